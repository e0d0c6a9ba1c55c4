"""The stock paths from a float network to a model file: what each needs, and carrying it out.

The stock converters want other versions of the same packages, and some are a gigabyte: each
group has an environment of its own, made once. A path that does not install, does not
convert or makes a file that does not load stays in the table, with the reason.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convert.build import build_graph
from convert.checkpoint import Checkpoint, read_checkpoint
from convert.pipeline import contract_of
from convert.recordings import Recording
from convert.reference import run
from firmware_host.audio import read_audio, resample
from firmware_host.features import extract

REPOSITORY = Path(__file__).resolve().parents[2]
CALIBRATION_CLIP = REPOSITORY / "edge_ser" / "assets" / "demo.flac"
REASON_CHARACTERS = 200


class StockPathError(Exception):
    """One line: why there is no file."""


@dataclass(frozen=True)
class Environment:
    """What to install beside each other."""

    name: str
    requirements: tuple[str, ...]


@dataclass(frozen=True)
class StockPath:
    """A way from the float network to a file.

    Args:
        name: of the path, and of its file before the suffix.
        module: carries it out: `python -m MODULE NAME CHECKPOINT WINDOWS FILE`.
    """

    name: str
    suffix: str
    what: str
    module: str
    environment: Environment

    @property
    def file(self) -> str:
        """Name of the file it writes."""
        return f"{self.name}.{self.suffix}"


def _same(*packages: str) -> tuple[str, ...]:
    """The versions that run here, so that files and runtimes fit."""
    return tuple(f"{name}=={metadata.version(name).partition('+')[0]}" for name in packages)


TORCH_ONNX = Environment(
    "torch-onnx", (*_same("torch", "onnx", "onnxruntime", "safetensors"), "onnxscript==0.7.2")
)
LITERT_TORCH = Environment("litert-torch", (*_same("torch", "safetensors"), "litert-torch==0.10.0"))
TF_KERAS = Environment(
    "tf-keras", (*_same("safetensors"), "tensorflow==2.21.0", "tf_keras==2.21.0")
)

STOCK_PATHS = (
    StockPath("ort-float32", "onnx", "torch.onnx.export", "stock.to_onnx", TORCH_ONNX),
    StockPath(
        "ort-static-qdq",
        "onnx",
        "the same, quantize_static, QDQ, per channel",
        "stock.to_onnx",
        TORCH_ONNX,
    ),
    StockPath("ort-dynamic", "onnx", "the same, quantize_dynamic", "stock.to_onnx", TORCH_ONNX),
    StockPath(
        "ort-dynamic-lstm",
        "onnx",
        "the same, LSTM weights folded into initializers, quantize_dynamic",
        "stock.to_onnx",
        TORCH_ONNX,
    ),
    StockPath("litert-float32", "tflite", "litert_torch.convert", "stock.to_litert", LITERT_TORCH),
    StockPath(
        "litert-int8",
        "tflite",
        "litert_torch.convert, PT2E static",
        "stock.to_litert",
        LITERT_TORCH,
    ),
    StockPath(
        "keras-int8",
        "tflite",
        "legacy Keras, TFLiteConverter, full integer",
        "stock.to_keras",
        TF_KERAS,
    ),
)


def windows_of(checkpoint: Checkpoint) -> NDArray[np.float32]:
    """Windows to calibrate and compare with: of the demo's clip, hop by hop.

    Shape:
        - (n, window_frames, n_features), float32, normalised
    """
    contract = contract_of(checkpoint, build_graph(checkpoint, quantised=False))
    samples, rate = read_audio(CALIBRATION_CLIP)
    recording = Recording(extract(resample(samples, rate), contract.features), contract)
    return np.stack([recording.window(number) for number in range(len(recording))])


def make_files(
    checkpoint: Path,
    paths: tuple[StockPath, ...],
    folder: Path,
    tell: Callable[[str], None],
) -> dict[str, Path | StockPathError]:
    """The file of each path, or why there is none; files that are there are taken as they are.

    Args:
        folder: environments go to `folder`/env, files to a folder beside it that is named
            after the checkpoint's content and this package's.
    """
    made = folder / "stock" / _digest(checkpoint)
    made.mkdir(parents=True, exist_ok=True)
    windows = made / "windows.npz"
    if not windows.is_file():
        trained = read_checkpoint(checkpoint)
        graph, inputs = build_graph(trained, quantised=False), windows_of(trained)
        np.savez(windows, inputs=inputs, logits=np.stack([run(graph, x) for x in inputs]))
    found: dict[str, Path | StockPathError] = {}
    for path in paths:
        file = made / path.file
        try:
            if not file.is_file():
                python = _environment(path.environment, folder / "env", tell)
                tell(f"making {path.file}: {path.what}")
                _make(python, path, (checkpoint, windows), file)
            found[path.name] = file
        except StockPathError as error:
            tell(f"{path.file}: {error}")
            found[path.name] = error
    return found


def _make(python: Path, path: StockPath, inputs: tuple[Path, Path], file: Path) -> None:
    partial = file.with_name(f"partial-{file.name}")
    command = [str(python), "-m", path.module, path.name, *map(str, inputs), str(partial)]
    search = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "benchmarks")))
    environment = os.environ | {"PYTHONPATH": search}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    file.with_suffix(".log").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise StockPathError(_reason(done.stderr, f"exit status {done.returncode}"))
    partial.replace(file)


def _environment(environment: Environment, folder: Path, tell: Callable[[str], None]) -> Path:
    """Its Python; made unless the same is there."""
    home = folder / environment.name
    python, stamp = home / "bin" / "python", home / ".installed"
    what = "\n".join((sys.version, *environment.requirements))
    if stamp.is_file() and stamp.read_text() == what:
        return python
    tell(f"installing {', '.join(environment.requirements)} (minutes)")
    for command in (
        (sys.executable, "-m", "venv", "--clear", str(home)),
        (str(python), "-m", "pip", "install", *environment.requirements),
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StockPathError(f"does not install: {_reason(done.stderr, 'pip failed')}")
    stamp.write_text(what)
    return python


def _reason(text: str, otherwise: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:REASON_CHARACTERS] if lines else otherwise


def _digest(checkpoint: Path) -> str:
    whole = hashlib.sha256(checkpoint.read_bytes())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        whole.update(source.read_bytes())
    return whole.hexdigest()[:12]
