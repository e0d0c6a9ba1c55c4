"""Every engine that is installed computes the model in the file, and refuses another."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tiny_models import reference_logits, tiny_contract, write_onnx, write_tflite

from firmware_host.engines import (
    ENGINES,
    _without_info_lines,
    installed_engines,
    load_engine,
)
from firmware_host.errors import EdgeSerError

CONTRACT = tiny_contract()
WINDOWS = np.random.default_rng(2).normal(size=(20, 40, 64)).astype(np.float32)


class Models(dict[bool, Path]):
    """The TFLite file (True) and the ONNX file (False), each made when a test asks for it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, tflite: bool) -> Path:
        write, name = (write_tflite, "one.model") if tflite else (write_onnx, "two.model")
        self[tflite] = write(self.folder / name, CONTRACT)  # the names tell nothing
        return self[tflite]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("reference_kernels", [False, True])
@pytest.mark.parametrize("name", sorted({"litert", "onnxruntime", *installed_engines()}))
def test_logits_are_the_models(
    name: str, reference_kernels: bool, models: Models, need: Callable[[str], None]
) -> None:
    """Each of the interpreters, with its fast kernels and with its plain ones."""
    if name not in installed_engines():
        need(f"engine {name} is not installed")
    path = models[ENGINES[name].reads_tflite]
    engine = load_engine(path, name, reference_kernels=reference_kernels)
    assert engine.name == name
    for window in WINDOWS:
        logits = engine.infer(window)
        assert logits.dtype == np.float32
        assert logits.shape == (4,)
        assert np.allclose(logits, reference_logits(window), atol=1e-5)


@pytest.mark.parametrize("tflite", [True, False])
def test_the_content_chooses_the_engine(tflite: bool, models: Models) -> None:
    assert load_engine(models[tflite]).name == installed_engines(tflite)[0]


@pytest.mark.parametrize("tflite", [True, False])
def test_threads_may_share_an_engine(tflite: bool, models: Models) -> None:
    """One model serves many streams, which may live in different threads."""
    engine = load_engine(models[tflite])
    alone = [engine.infer(window) for window in WINDOWS]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(engine.infer, np.repeat(WINDOWS, 10, axis=0)))
    assert np.array_equal(np.repeat(alone, 10, axis=0), together)


def test_unknown_and_unfit_engines_are_refused(models: Models) -> None:
    with pytest.raises(EdgeSerError, match=r"'torch' is unknown; choose one of litert, .*onnxr"):
        load_engine(models[True], "torch")
    with pytest.raises(EdgeSerError, match="onnxruntime does not read TFLite files"):
        load_engine(models[True], "onnxruntime")


def test_a_tflite_engine_refuses_an_onnx_file(models: Models) -> None:
    with pytest.raises(EdgeSerError, match="litert does not read ONNX files; choose onnxruntime"):
        load_engine(models[False], "litert")


def test_without_an_engine_the_command_to_install_one_is_given(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a bare device the person must learn what to install."""
    for package in ("ai_edge_litert", "tflite_runtime", "tensorflow", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    assert installed_engines() == ()
    with pytest.raises(EdgeSerError, match="pip install ai-edge-litert"):
        load_engine(models[True])
    with pytest.raises(EdgeSerError, match="pip install onnxruntime"):
        load_engine(models[False])
    with pytest.raises(EdgeSerError, match="pip install tensorflow"):
        load_engine(models[True], "tensorflow")


def test_a_model_that_belies_its_contract_is_refused(tmp_path: Path) -> None:
    """Running it would fail late, or worse, give numbers that mean nothing."""
    longer = write_onnx(tmp_path / "longer.onnx", CONTRACT, window_frames=41)
    with pytest.raises(EdgeSerError, match=r"input is float32 \[1, 41, 64\].*\[1, 40, 64\]"):
        load_engine(longer)
    doubles = write_onnx(tmp_path / "doubles.onnx", CONTRACT, input_type=11)  # TensorProto.DOUBLE
    with pytest.raises(EdgeSerError, match=r"input is tensor\(double\)"):
        load_engine(doubles)
    with pytest.raises(EdgeSerError, match=r"output is float32 \[1, 4\].*\[1, 3\]"):
        load_engine(
            write_tflite(tmp_path / "t.tflite", CONTRACT),
            contract=tiny_contract(labels=("a", "b", "c"), golden=()),
        )


@pytest.mark.parametrize("tflite", [True, False])
def test_a_damaged_model_ends_in_a_sentence(tflite: bool, models: Models, tmp_path: Path) -> None:
    """The contract is whole, the weights or the graph are not."""
    data = bytearray(models[tflite].read_bytes())
    if tflite:
        data[:4] = b"\xff" * 4  # where the root table is
    else:
        data = data.replace(b"ReduceMax", b"NoSuchOne")
    path = tmp_path / "damaged"
    path.write_bytes(data)
    with pytest.raises(EdgeSerError, match="no engine could load this model") as caught:
        load_engine(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tflite", [True, False])
def test_engines_print_nothing(tflite: bool, models: Models) -> None:
    """TFLite announces its delegate on standard error, which belongs to our own sentences."""
    program = (
        "import sys, numpy; from firmware_host.engines import load_engine;"
        "load_engine(sys.argv[1]).infer(numpy.zeros((40, 64), numpy.float32))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(models[tflite])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_only_info_lines_are_kept_off(capfd: pytest.CaptureFixture[str]) -> None:
    """An interpreter's complaint must not get lost with its announcements."""
    with _without_info_lines():
        os.write(2, b"INFO: Created a delegate\nERROR: this matters\n")
    os.write(2, b"INFO: of somebody else\n")
    assert capfd.readouterr().err == "ERROR: this matters\nINFO: of somebody else\n"
