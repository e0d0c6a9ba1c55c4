"""A microcontroller's file in TensorFlow Lite Micro itself, and in the oldest runtime for Pis.

Both have environments of their own (see engine_environments.py), made where
EDGE_SER_ENGINE_ENVS=1 asks for them.
"""

import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_environments import (
    ENVIRONMENTS,
    REPOSITORY,
    THIS_PYTHON,
    WANTED,
    EngineEnvironment,
    make,
)
from numpy.typing import NDArray

from convert.build import build_graph
from convert.checkpoint import Checkpoint, read_checkpoint
from convert.graph import Graph
from convert.micro_reference import run_all
from convert.pipeline import boxed_checkpoint, contract_of, encode
from convert.reference import to_grid
from convert.targets import MICRO
from firmware_host.golden import golden_features

Array = NDArray[Any]

HELPERS = REPOSITORY / "tests" / "helpers"
TFLITE_MICRO = EngineEnvironment("tflite-micro", ("tflite-micro==0.dev20261023182759",), (3, 14))
TFLITE_RUNTIME = next(e for e in ENVIRONMENTS if e.engine == "tflite-runtime")

N_WINDOWS = 40
MICRO_STEPS = 1
"""How far TensorFlow Lite Micro's int8 logits may be from the reference's: its sigmoid and
tanh are tables, where TFLite's are polynomials."""

FAST_KERNEL_STEPS = 4
"""Of tflite-runtime, whose XNNPACK rounds otherwise; its plain kernels give the same bits."""

PLAIN_KERNELS = """
import sys
import numpy as np
from tflite_runtime.interpreter import Interpreter, OpResolverType
model, given, computed = sys.argv[1:]
found = []
for kernels in (OpResolverType.BUILTIN_REF, OpResolverType.AUTO):
    interpreter = Interpreter(model, experimental_op_resolver_type=kernels, num_threads=1)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    for window in np.load(given):
        interpreter.reset_all_variables()
        interpreter.set_tensor(source["index"], window[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(sink["index"])[0])
np.save(computed, np.stack(found))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Path]:
    """The model in the package, for a microcontroller."""
    checkpoint = read_checkpoint(boxed_checkpoint())
    graph = build_graph(checkpoint, quantised=True, target=MICRO)
    path = tmp_path_factory.mktemp("model") / "micro.tflite"
    path.write_bytes(encode(graph, contract_of(checkpoint, graph), "tflite"))
    return graph, path


@pytest.fixture(scope="module")
def windows(model: tuple[Graph, Path]) -> Array:
    """Golden waveforms as int8 features. Shape: (windows, frames, features)."""
    graph, _ = model
    checkpoint: Checkpoint = read_checkpoint(boxed_checkpoint())
    contract = contract_of(checkpoint, graph)
    assert graph.inputs[0].grid
    floats = [
        contract.normalise(golden_features(seed, contract.features, contract.window_frames))
        for seed in range(N_WINDOWS)
    ]
    return to_grid(np.stack(floats), graph.inputs[0].grid)


@pytest.fixture(scope="module")
def expected(model: tuple[Graph, Path], windows: Array) -> Array:
    """The reference's int8 logits, as int64."""
    logits = [run_all(model[0], window)["logits"] for window in windows]
    assert len({int(row.argmax()) for row in logits}) > 1
    return np.stack(logits).astype(np.int64)


def python_of(environment: EngineEnvironment, need: Callable[[str], None]) -> Path:
    if not environment.has_wheels:
        pytest.skip(f"there is no {environment.engine} for Python {THIS_PYTHON}")
    if not WANTED:
        need("EDGE_SER_ENGINE_ENVS is not 1: other engines' environments take a minute to make")
    return make(environment)


def compute(command: list[str | Path], windows: Array, folder: Path) -> Array:
    """What a program makes of the windows; it is told two files besides."""
    given, computed = folder / "windows.npy", folder / "logits.npy"
    np.save(given, windows)
    done = subprocess.run(
        [*command, given, computed], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return np.asarray(np.load(computed), np.int64)


def test_tensorflow_lite_micro(
    model: tuple[Graph, Path],
    windows: Array,
    expected: Array,
    tmp_path: Path,
    need: Callable[[str], None],
) -> None:
    """It takes the file as it is, in an arena of 64 kB, and hears what the reference hears."""
    if platform.machine() != "x86_64":
        pytest.skip("tflite-micro has wheels for x86-64 alone")
    python = python_of(TFLITE_MICRO, need)
    program = HELPERS / "infer_on_microcontroller.py"
    found = compute([python, program, model[1]], windows, tmp_path)
    assert np.abs(found - expected).max() <= MICRO_STEPS
    assert np.mean(found == expected) >= 0.8


def test_the_last_tflite_runtime(
    model: tuple[Graph, Path],
    windows: Array,
    expected: Array,
    tmp_path: Path,
    need: Callable[[str], None],
) -> None:
    """Its plain kernels gave the same bits three years before."""
    python = python_of(TFLITE_RUNTIME, need)
    plain, fast = np.split(compute([python, "-c", PLAIN_KERNELS, model[1]], windows, tmp_path), 2)
    assert np.array_equal(plain, expected)
    assert np.abs(fast - expected).max() <= FAST_KERNEL_STEPS
