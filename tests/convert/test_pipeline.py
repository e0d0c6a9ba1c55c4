"""From a checkpoint to files: small, integer, true to the reference, and never half there."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convert.architecture import SIZES
from convert.build import build_graph
from convert.checkpoint import Checkpoint, read_checkpoint
from convert.inspection import read_contents
from convert.pipeline import Conversion, contract_of, convert, encode
from convert.report import LARGEST_FLOAT_CONSTANT, check_int8
from firmware_host.contract import read_contract
from firmware_host.errors import EdgeSerError

ONNX_LIMIT, TFLITE_LIMIT = 0.30, 0.35
"""INT8 bytes, at most, of the float32 ONNX file's."""

BYTES = {"tiny": 100_000, "small": 350_000}
"""Of a size's INT8 TFLite file, contract included, at most."""


@pytest.fixture(scope="module")
def conversion(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    return convert(written, tmp_path_factory.mktemp("models"))


def test_four_files_and_a_report_are_written(conversion: Conversion) -> None:
    names = [path.name for path in conversion.files]
    assert names == [f"untrained.{p}.{s}" for p in ("float32", "int8") for s in ("onnx", "tflite")]
    folder = conversion.files[0].parent
    assert json.loads((folder / "report.json").read_text()) == conversion.report
    assert not list(folder.glob("*.partial"))


def test_int8_files_are_small(conversion: Conversion) -> None:
    sizes = {path.name.removeprefix("untrained."): path.stat().st_size for path in conversion.files}
    assert sizes["int8.onnx"] <= ONNX_LIMIT * sizes["float32.onnx"]
    assert sizes["int8.tflite"] <= TFLITE_LIMIT * sizes["float32.onnx"]


@pytest.mark.parametrize("size", BYTES)
def test_a_size_fits_its_bytes(size: str, checkpoint_of: Callable[..., Checkpoint]) -> None:
    checkpoint = checkpoint_of(**SIZES[size])
    graph = build_graph(checkpoint, quantised=True)
    data = encode(graph, contract_of(checkpoint, graph), "tflite")
    assert len(data) <= BYTES[size]


def test_no_weight_of_an_int8_file_is_float(conversion: Conversion) -> None:
    """Read back from the files themselves: every constant over 1 kB is an integer."""
    for path in conversion.files:
        constants = read_contents(path.read_bytes()).constants
        large_floats = [
            c for c in constants if "float" in c.dtype and c.n_bytes > LARGEST_FLOAT_CONSTANT
        ]
        if "int8" in path.name:
            assert large_floats == []
            eight_bit = sum(c.n_bytes for c in constants if c.dtype in ("int8", "uint8"))
            assert eight_bit >= 200_000  # all of the weights are there
        else:
            with pytest.raises(EdgeSerError):  # the check can fail: the float file does not pass
                check_int8(path.name, path.read_bytes())


def test_files_carry_the_scales_that_training_learned(
    checkpoint: Checkpoint, conversion: Conversion
) -> None:
    """Weights of both INT8 files are, value by value, the checkpoint's integers."""
    learned = checkpoint.qat_tensors["hidden.weight"]
    for path in conversion.files:
        if "int8" not in path.name:
            continue
        data = path.read_bytes()
        assert any(pattern in data for pattern in (learned.tobytes(), learned.T.tobytes()))


def test_every_file_passes_its_own_golden_vectors(conversion: Conversion) -> None:
    from firmware_host import EmotionRecognizer

    for path in conversion.files:
        contract = read_contract(path)
        assert len(contract.golden) == 2
        test = EmotionRecognizer(path).self_test()
        spread = np.ptp([v.logits for v in contract.golden])
        assert test.logits < 0.1 * spread


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint: Checkpoint) -> None:
    from convert.pipeline import contract_of

    for quantised in (False, True):
        graph = build_graph(checkpoint, quantised)
        contract = contract_of(checkpoint, graph)
        for suffix in ("onnx", "tflite"):
            assert encode(graph, contract, suffix) == encode(graph, contract, suffix)


def test_a_checkpoint_comes_back_as_it_was(checkpoint: Checkpoint, written: Path) -> None:
    again = read_checkpoint(written)
    assert (again.name, again.model, again.features) == (
        checkpoint.name,
        checkpoint.model,
        checkpoint.features,
    )
    for kind in ("float_tensors", "qat_tensors"):
        before, after = getattr(checkpoint, kind), getattr(again, kind)
        assert set(before) == set(after)
        assert all(np.array_equal(before[name], after[name]) for name in before)


def run_convert(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_ser", "convert", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def assert_one_sentence(done: subprocess.CompletedProcess[str], words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize("share", [0.5, 0.001, 0.0])
def test_a_checkpoint_cut_short_is_refused(written: Path, tmp_path: Path, share: float) -> None:
    data = written.read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(data[: int(share * len(data))])
    assert_one_sentence(run_convert(cut, "-o", tmp_path / "out"), "cut.safetensors")
    assert not (tmp_path / "out").exists()


def test_other_files_are_refused_as_checkpoints(conversion: Conversion, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    assert_one_sentence(run_convert(tmp_path / "nowhere.safetensors"), "no checkpoint")
    assert_one_sentence(run_convert(conversion.files[0]), "safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"w": np.zeros(3, np.float32)}, foreign)
    assert_one_sentence(run_convert(foreign), "edge-ser train")


def test_an_unwritable_output_folder_is_refused(written: Path, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    assert_one_sentence(run_convert(written, "-o", in_the_way / "models"), "cannot write")
    # Not even root may make a folder here.
    assert_one_sentence(run_convert(written, "-o", "/proc/models"), "cannot write")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("hidden.weight", lambda w: w[:-1]),
        ("alfb.0.weight", lambda w: w.astype(np.float32)),
        ("activation.input.scale", lambda s: s * np.float32("nan")),
        ("gfb.forward.recurrent", lambda w: None),
    ],
)
def test_a_damaged_network_is_refused(checkpoint: Checkpoint, name: str, change: object) -> None:
    from dataclasses import replace

    tensors = dict(checkpoint.qat_tensors)
    tensors[name] = change(tensors[name])  # type: ignore[operator]
    if tensors[name] is None:
        del tensors[name]
    with pytest.raises(EdgeSerError):
        build_graph(replace(checkpoint, qat_tensors=tensors), quantised=True)
