"""Engines: whichever interpreter is installed, behind one call from features to logits.

Three packages bring the same TFLite interpreter under different names, one reads ONNX. An
engine refuses a model whose input and output are not what its contract says.
"""

import contextlib
import importlib
import importlib.util
import os
import platform
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from firmware_host.contract import Contract, is_tflite, read_contract
from firmware_host.cpu import CPU_INFO, read_cpu
from firmware_host.errors import EdgeSerError
from firmware_host.standard_error import turned_aside

Float32 = NDArray[np.float32]


class Engine(Protocol):
    """A loaded model. Safe to share between threads."""

    @property
    def name(self) -> str:
        """One of `ENGINES`."""

    def infer(self, features: Float32) -> Float32:
        """Logits of one window, independent of every window before it.

        Shape:
            - features: (window_frames, n_features), float32, normalised
            - returns: (n_labels,), float32
        """


@dataclass(frozen=True)
class EngineKind:
    """An interpreter that may be installed: its module, and the package that brings it."""

    module: str
    package: str
    reads_tflite: bool


ENGINES = {
    "litert": EngineKind("ai_edge_litert.interpreter", "ai-edge-litert", True),
    "tflite-runtime": EngineKind("tflite_runtime.interpreter", "tflite-runtime", True),
    "tensorflow": EngineKind("tensorflow.lite.python.interpreter", "tensorflow", True),
    "onnxruntime": EngineKind("onnxruntime", "onnxruntime", False),
}
"""Every engine by name; the first that is installed and reads a file is taken for it."""


def installed_engines(tflite: bool | None = None) -> tuple[str, ...]:
    """Names of the engines whose package is there; of those for TFLite or for ONNX if asked."""
    return tuple(
        name
        for name, kind in ENGINES.items()
        if (tflite is None or kind.reads_tflite == tflite) and _is_installed(kind)
    )


def load_engine(
    path: str | os.PathLike[str],
    engine: str | None = None,
    threads: int = 1,
    reference_kernels: bool = False,
    contract: Contract | None = None,
) -> Engine:
    """Load a model file into an interpreter.

    Args:
        path: a TFLite or ONNX file with a contract in it.
        engine: one of `ENGINES`; None takes the first that is installed and reads the file.
        threads: of the interpreter; models are so small that more than one rarely helps.
        reference_kernels: compute each operator plainly as written: TFLite's reference
            kernels, or onnxruntime without graph optimisations. Slow; for comparisons.
        contract: of this file when it has been read already.

    Raises:
        EdgeSerError: when the file is no model that this runtime can honour, or no engine
            that reads it is installed.
    """
    path = Path(path)
    contract = contract or read_contract(path)
    tflite = is_tflite(path)
    failures: list[tuple[str, Exception]] = []
    for name in _candidates(path, engine, tflite):
        try:
            module = importlib.import_module(ENGINES[name].module)
            opened = _open(name, module, path, threads, reference_kernels)
        except (ImportError, OSError, ValueError, RuntimeError) as error:
            failures.append((f"{name}: {_first_line(error)}", error))
            continue
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "onnxruntime":
                raise  # onnxruntime's own errors have no other common base
            failures.append((f"{name}: {_first_line(error)}", error))
            continue
        _check_signature(path, opened, contract)
        return opened
    reasons = "; ".join(reason for reason, _ in failures)
    raise EdgeSerError(
        f"{path}: no engine could load this model ({reasons}): convert or copy it again, or "
        "install another engine"
    ) from failures[0][1]


class InterpreterEngine:
    """TFLite's Interpreter, of whichever of its three packages."""

    def __init__(
        self, name: str, module: Any, path: Path, threads: int, reference_kernels: bool
    ) -> None:
        self.name = name
        kinds = module.OpResolverType
        self._interpreter = module.Interpreter(
            model_path=str(path),
            num_threads=threads,
            experimental_op_resolver_type=kinds.BUILTIN_REF if reference_kernels else kinds.AUTO,
        )
        self._interpreter.allocate_tensors()
        self.inputs = [_tensor(detail) for detail in self._interpreter.get_input_details()]
        self.outputs = [_tensor(detail) for detail in self._interpreter.get_output_details()]
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self._lock = threading.Lock()  # an interpreter has one set of tensors

    def infer(self, features: Float32) -> Float32:
        """As `Engine.infer`."""
        with self._lock:
            # A fused LSTM keeps its state in variables, which would leak into the next window.
            self._interpreter.reset_all_variables()
            self._interpreter.set_tensor(
                self._input["index"], _to_tensor(features[None], self._input)
            )
            self._interpreter.invoke()
            logits = self._interpreter.get_tensor(self._output["index"])[0]
        return _from_tensor(logits, self._output)


class OnnxRuntimeEngine:
    """onnxruntime on the CPU."""

    def __init__(
        self, name: str, module: Any, path: Path, threads: int, reference_kernels: bool
    ) -> None:
        self.name = name
        options = module.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = module.ExecutionMode.ORT_SEQUENTIAL
        # Waiting threads would spin, and burn more than a small model's work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what goes wrong is raised; nothing is to be printed
        if _saturates():
            options.add_session_config_entry("session.x64quantprecision", "1")
        if reference_kernels:
            options.graph_optimization_level = module.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = module.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [_value(value) for value in self._session.get_inputs()]
        self.outputs = [_value(value) for value in self._session.get_outputs()]
        self._input = self._session.get_inputs()[0].name

    def infer(self, features: Float32) -> Float32:
        """As `Engine.infer`."""
        logits: Float32 = self._session.run(None, {self._input: features[None]})[0][0]
        return logits


def _saturates() -> bool:
    """Whether this CPU's int8 products overflow their 16 bits unless onnxruntime avoids it.

    On x86 without VNNI, onnxruntime multiplies uint8 by int8 in pairs that saturate: labels
    change. It has an exact way, which is slower, so that it is asked for only there.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return not read_cpu(CPU_INFO).dot_product  # where it is not known: exact rather than fast


def _candidates(path: Path, engine: str | None, tflite: bool) -> tuple[str, ...]:
    """Engines to try on this file, best first."""
    kind = "TFLite" if tflite else "ONNX"
    fitting = [name for name, spec in ENGINES.items() if spec.reads_tflite == tflite]
    if engine is None:
        names = installed_engines(tflite)
        if not names:
            raise EdgeSerError(
                f"{path}: no engine that reads {kind} files is installed; "
                f"`pip install {ENGINES[fitting[0]].package}` brings one"
            )
        return names
    if engine not in ENGINES:
        raise EdgeSerError(f"engine {engine!r} is unknown; choose one of {', '.join(ENGINES)}")
    if engine not in fitting:
        raise EdgeSerError(
            f"{path}: engine {engine} does not read {kind} files; choose {' or '.join(fitting)}"
        )
    if not _is_installed(ENGINES[engine]):
        package = ENGINES[engine].package
        raise EdgeSerError(f"engine {engine} is not installed; `pip install {package}` brings it")
    return (engine,)


def _is_installed(kind: EngineKind) -> bool:
    # The outermost package only: looking for a module inside one would import it.
    return importlib.util.find_spec(kind.module.partition(".")[0]) is not None


def _open(
    name: str, module: Any, path: Path, threads: int, reference_kernels: bool
) -> InterpreterEngine | OnnxRuntimeEngine:
    if not ENGINES[name].reads_tflite:
        return OnnxRuntimeEngine(name, module, path, threads, reference_kernels)
    with _without_info_lines():
        return InterpreterEngine(name, module, path, threads, reference_kernels)


Tensor = tuple[tuple[int | str | None, ...], str]  # shape and type; ONNX may name a length

ON_GRID = "int8 on a grid"
"""Type of an int8 tensor that says what its values stand for."""


def _check_signature(
    path: Path, engine: InterpreterEngine | OnnxRuntimeEngine, contract: Contract
) -> None:
    """Refuse a model whose input and output are not those that its contract speaks of."""
    features = (1, contract.window_frames, contract.features.n_features)
    for what, found, shape in (
        ("input", engine.inputs, features),
        ("output", engine.outputs, (1, len(contract.labels))),
    ):
        if found not in ([(shape, "float32")], [(shape, ON_GRID)]):
            listed = ", ".join(f"{kind} {list(size)}" for size, kind in found)
            raise EdgeSerError(
                f"{path}: the model's {what} is {listed}, but its contract says {list(shape)}, "
                f"and float32 or {ON_GRID} was expected; convert it again"
            )


def _tensor(detail: Any) -> Tensor:
    kind = np.dtype(detail["dtype"]).name
    scale, _ = detail["quantization"]
    if kind == "int8" and 0.0 < scale < float("inf"):
        kind = ON_GRID
    return tuple(int(size) for size in detail["shape"]), kind


def _to_tensor(x: Float32, detail: Any) -> NDArray[Any]:
    """Numbers as that tensor holds them; onto its grid to the nearest step, ties to even."""
    if detail["dtype"] is np.float32:
        return x
    scale, zero_point = detail["quantization"]
    steps = np.rint(x.astype(np.float64) / scale) + zero_point
    return np.asarray(np.clip(steps, -128, 127), np.int8)


def _from_tensor(x: NDArray[Any], detail: Any) -> Float32:
    """The numbers that a tensor's values stand for."""
    if detail["dtype"] is np.float32:
        return x
    scale, zero_point = detail["quantization"]
    return np.asarray((x.astype(np.float32) - np.float32(zero_point)) * np.float32(scale))


def _value(value: Any) -> Tensor:
    kind = {"tensor(float)": "float32"}.get(value.type, value.type)
    return tuple(value.shape), kind


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 200 else lines[0][:197] + "..."


@contextlib.contextmanager
def _without_info_lines() -> Iterator[None]:
    """Keep native "INFO:" lines off standard error; whatever else comes is passed on after.

    TFLite announces its XNNPACK delegate there, once, and no call or variable of its Python
    packages turns that off. So the descriptor is turned aside while a model is loaded, and
    at no other time.
    """
    with contextlib.ExitStack() as stack:
        try:
            sys.stderr.flush()
            aside = stack.enter_context(tempfile.TemporaryFile())
        except (OSError, ValueError, AttributeError):
            yield  # no standard error, or a device that cannot be written to: let it chatter
            return
        try:
            with turned_aside(aside.fileno()):
                yield
        finally:
            aside.seek(0)
            for line in aside:
                if not line.startswith(b"INFO:"):
                    os.write(2, line)
