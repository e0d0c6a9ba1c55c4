"""Makes the emulator, installs into it, and counts the instructions of a window of a model."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from firmware_host.contract import Contract
from firmware_host.files import write_whole
from pi_emulator.count_file import ENGINE, INTERPRETER
from pi_emulator.regions import read_counts

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
CORES = {"cortex-a53": "Pi 3, Zero 2 W", "cortex-a72": "Pi 4", "cortex-a76": "Pi 5"}
"""Every core that can be emulated, and the boards that have it."""

COUNTING_CODE = ("emulator.py", "pi-emu.sh", "insncount.c", "regions.py", "count_file.py")


class EmulatorError(Exception):
    """One line: what did not work."""


@dataclass(frozen=True)
class Count:
    """Instructions of one window.

    Args:
        invoke: of the interpreter's call alone, by class; `total` is their sum.
        infer: of `Engine.infer` in all, the interpreter's call included.
        engine: that ran it.
        resident_bytes: of the emulated process, with Python, numpy and the interpreter.
        logits: of the golden window.
    """

    invoke: dict[str, float]
    infer: float
    engine: str
    resident_bytes: int
    logits: tuple[float, ...]


class Emulator:
    """An emulated Arm Python in a folder."""

    def __init__(self, folder: Path, suite: str = "bookworm") -> None:
        self.folder = folder.resolve()
        self.home = self.folder / suite
        self.suite = suite
        self.python = self.home / "venv" / "bin" / "python"
        self.requirements: tuple[str, ...] = ()

    def make(self, requirements: Sequence[str]) -> None:
        """Unpack it unless it is there, and install packages for Arm.

        Raises:
            EmulatorError: with what the script or the installer said last.
        """
        _run([str(HERE / "pi-emu.sh"), str(self.home), self.suite])
        self.requirements = tuple(requirements)
        stamp, what = self.home / ".installed", "\n".join(requirements)
        if stamp.is_file() and stamp.read_text() == what:
            return
        uv = self.folder / "uv"
        if not (uv / "bin" / "uv").is_file():
            _run([sys.executable, "-m", "venv", "--clear", str(uv)])
            _run([str(uv / "bin" / "python"), "-m", "pip", "install", "uv"])
        install = [str(uv / "bin" / "uv"), "pip", "install", "--python", str(self.python)]
        _run([*install, *requirements])
        stamp.write_text(what)

    def versions(self) -> dict[str, str]:
        """Of the emulator, its system's Python and what is installed there."""
        told = self._run("cortex-a72", ["-c", "import platform as p; print(p.python_version())"])
        packages = dict(requirement.split("==") for requirement in self.requirements)
        return {"python": told.strip(), "system": f"Debian {self.suite}, arm64"} | packages

    def warm_up(self, model: Path, contract: Contract) -> None:
        """Run once uncounted, so that Python has compiled whatever this model's engine imports."""
        self._run("cortex-a72", self._arguments(model, contract))

    def count(self, model: Path, contract: Contract, core: str, again: bool = False) -> Count:
        """Count a window of a model file.

        Args:
            again: even where the same file was counted by the same code before; a count
                is kept, as it would be the same.

        Raises:
            EmulatorError: when the file does not run there.
        """
        kept = self.folder / "counts" / f"{self._key(model, core)}.json"
        if kept.is_file() and not again:
            data = json.loads(kept.read_text())
            return Count(**data | {"logits": tuple(data["logits"])})
        printed, regions = self.run_counted(core, self._arguments(model, contract))
        told: dict[str, Any] = json.loads(printed.splitlines()[-1])
        count = Count(
            invoke=regions[INTERPRETER],
            infer=regions[ENGINE]["total"],
            engine=told["engine"],
            resident_bytes=told["resident_bytes"],
            logits=tuple(told["logits"]),
        )
        write_whole(kept, json.dumps(asdict(count)))
        return count

    def run_counted(
        self, core: str, arguments: Sequence[str]
    ) -> tuple[str, dict[int, dict[str, float]]]:
        """Run Python there: what it prints, and instructions by region and class.

        Raises:
            EmulatorError: when it does not end well.
        """
        counts = self.folder / f"counts-{os.getpid()}.txt"
        try:
            printed = self._run(core, arguments, counts)
            return printed, read_counts(counts.read_text())
        finally:
            counts.unlink(missing_ok=True)

    def run(self, core: str, arguments: Sequence[str]) -> str:
        """Run Python there, uncounted: what it prints."""
        return self._run(core, arguments)

    def _arguments(self, model: Path, contract: Contract) -> list[str]:
        file = self.folder / "contract.json"
        write_whole(file, contract.to_json())
        return ["-m", "pi_emulator.count_file", str(model.resolve()), str(file)]

    def _key(self, model: Path, core: str) -> str:
        whole = hashlib.sha256(model.read_bytes())
        for name in COUNTING_CODE:
            whole.update((HERE / name).read_bytes())
        whole.update((REPOSITORY / "firmware_host" / "engines.py").read_bytes())
        whole.update("\n".join((self.suite, core, *self.requirements)).encode())
        return whole.hexdigest()[:24]

    def _run(self, core: str, arguments: Sequence[str], counts: Path | None = None) -> str:
        """In a clean environment and at fixed addresses: else the counts would not repeat."""
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PI_CPU": core,
            "PYTHONHASHSEED": "0",
            "OPENBLAS_NUM_THREADS": "1",  # idle threads spin, and are counted too
            "PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, HERE.parent))),
        }
        if counts:
            environment["PI_COUNT"] = str(counts)
        return _run(["setarch", "-R", str(self.python), *arguments], environment)


def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        said = lines[-1] if lines else f"exit status {done.returncode}"
        raise EmulatorError(f"{Path(command[0]).name}: {said}")
    return done.stdout
