"""Raspberry Pi systems to test on: emulated, with nothing in them but what a test installs.

Made by benchmarks/pi_emulator in a folder of their own, build/pi-test, and kept there.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from own_wheel import ROOT, output_of
from pi_emulator.emulator import HERE

FOLDER = ROOT / "build" / "pi-test"
TIMEOUT = 900  # seconds; emulation hangs seldom, and then for ever


@dataclass(frozen=True)
class PiPython:
    """An environment of an emulated system: a Python, and what is installed for it."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter; the variable PI_CPU says on which core it runs."""
        return self.folder / "bin" / "python"

    def install(self, *requirements: str | Path) -> None:
        """Install packages for Arm, as pip on the device would choose them."""
        output_of([uv(), "pip", "install", "--python", self.python, *requirements])

    def packages(self) -> dict[str, str]:
        """What is installed: versions by name."""
        listed = output_of([uv(), "pip", "list", "--python", self.python, "--format", "json"])
        return {row["name"]: row["version"] for row in json.loads(listed)}

    def run(
        self,
        core: str,
        arguments: Sequence[str | Path],
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run that Python on a core, in a folder, and hear of nothing else in this checkout."""
        return subprocess.run(
            [str(self.python), *map(str, arguments)],
            cwd=folder,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "PI_CPU": core,
                "OPENBLAS_NUM_THREADS": "1",  # idle threads spin, and emulation makes them dear
                "OMP_NUM_THREADS": "1",
                **(environment or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )


def make_python(suite: str, name: str, requirements: Sequence[str] = ()) -> PiPython:
    """An environment in an emulated system, which is made first unless it is there.

    Args:
        suite: bookworm or trixie.
        requirements: what is to be in it: then it is kept, for as long as they are the same.
            Without any it is a new one each time.
    """
    system = FOLDER / suite
    with _making:
        output_of([HERE / "pi-emu.sh", system, suite])
    first, made = system / "venv", PiPython(FOLDER / "environments" / f"{suite}-{name}")
    stamp, what = made.folder / ".installed", "\n".join(requirements)
    if requirements and stamp.is_file() and stamp.read_text() == what:
        return made
    shutil.rmtree(made.folder, ignore_errors=True)
    (made.folder / "bin").mkdir(parents=True)
    # Called by this path, it finds this pyvenv.cfg beside itself: that is what a venv is.
    for file in ("bin/python", "pyvenv.cfg"):
        shutil.copy(first / file, made.folder / file)
    (made.folder / "bin" / "python3").symlink_to("python")
    for packages in first.glob("lib/python3*/site-packages"):
        (made.folder / packages.relative_to(first)).mkdir(parents=True)
    if requirements:
        made.install(*requirements)
        stamp.write_text(what)
    return made


def uv() -> Path:
    """The installer: pip would judge the requirements' conditions by this machine."""
    home = FOLDER / "uv"
    program = home / "bin" / "uv"
    with _making:
        if not program.is_file():
            output_of([sys.executable, "-m", "venv", "--clear", home])
            output_of([home / "bin" / "python", "-m", "pip", "install", "--quiet", "uv"])
    return program


_making = threading.Lock()  # of what several environments share
