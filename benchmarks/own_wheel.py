"""The package as a person gets it: a wheel of this checkout's sources."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "edge_ser", "convert", "firmware_host")


def make_wheel(folder: Path) -> Path:
    """Build the wheel into a folder, which is emptied first, from a copy of the sources.

    A copy, because setuptools packs whatever an earlier build left in the checkout.
    """
    shutil.rmtree(folder, ignore_errors=True)
    copy = folder / "source"
    copy.mkdir(parents=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            copy_sources(ROOT / name, copy / name)
        else:
            shutil.copy(ROOT / name, copy / name)
    output_of([sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder, copy])
    (wheel,) = folder.glob("*.whl")
    return wheel


def copy_sources(folder: Path, to: Path) -> None:
    """A new copy of a folder, without what Python has left there."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("__pycache__"))


def output_of(command: Sequence[str | Path]) -> str:
    """What a program prints on standard output.

    Raises:
        RuntimeError: with all that it said, when it does not succeed.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr)[-4000:]
        raise RuntimeError(f"{' '.join(words)} failed:\n{said}")
    return done.stdout
