"""Environments for the interpreters that cannot share one with edge-ser.

tflite-runtime ended with an old numpy on an old Python; TensorFlow is large. Each gets an
environment of its own under build/engines, made once, with nothing but the interpreter in it:
edge-ser is found there by its path.
"""

import fcntl
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "build" / "engines"
WANTED = os.environ.get("EDGE_SER_ENGINE_ENVS") == "1"
THIS_PYTHON = sys.version_info[:2]
# Kernels of different years round differently: up to four steps of the int8 logits were seen
# in tflite-runtime, none in TensorFlow. Another computation would be tens of steps away.
LOGIT_STEPS = 8


@dataclass(frozen=True)
class EngineEnvironment:
    """What to install for an engine, and the newest Python that there are wheels for."""

    engine: str
    requirements: tuple[str, ...]
    newest_python: tuple[int, int]

    @property
    def has_wheels(self) -> bool:
        """Whether the running Python can have this environment at all."""
        return self.newest_python >= THIS_PYTHON

    @property
    def python(self) -> Path:
        """Its interpreter of Python, there or not."""
        return FOLDER / self.engine / "bin" / "python"


ENVIRONMENTS = (
    EngineEnvironment("tflite-runtime", ("tflite-runtime==2.14.0", "numpy==1.26.4"), (3, 11)),
    EngineEnvironment(
        "tensorflow",
        (
            "tensorflow-cpu==2.21.0; platform_machine == 'x86_64'",
            "tensorflow==2.21.0; platform_machine != 'x86_64'",
        ),
        (3, 13),
    ),
)


def make(environment: EngineEnvironment) -> Path:
    """Make the environment unless it is there, and return its Python."""
    folder = FOLDER / environment.engine
    stamp = folder / ".installed"
    what = "\n".join((sys.version, *environment.requirements))
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{environment.engine}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test run may be making it
        if not stamp.is_file() or stamp.read_text() != what:
            _run(sys.executable, "-m", "venv", "--clear", str(folder))
            _run(str(environment.python), "-m", "pip", "install", *environment.requirements)
            stamp.write_text(what)
    return environment.python


def grid_step(logits: NDArray[np.float32]) -> float:
    """The scale of the logits' int8 values: the least by which two of them differ."""
    return float(np.diff(np.unique(np.round(logits, 4))).min())


def _run(*command: str) -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
