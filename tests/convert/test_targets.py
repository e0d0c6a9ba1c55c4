"""`edge-ser convert --target`: which files each target gets, and what a microcontroller's is."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from convert.architecture import ROW
from convert.build import build_graph
from convert.checkpoint import Checkpoint
from convert.pipeline import Conversion, contract_of, convert, encode
from convert.reference import run
from convert.targets import ALL, MICRO, TARGETS, targets_of
from firmware_host.contract import embed_in_tflite, read_contract
from firmware_host.engines import load_engine
from firmware_host.errors import EdgeSerError

CLIP = Path(__file__).parents[2] / "edge_ser" / "assets" / "demo.flac"

MICRO_LIMIT = 0.28
"""Bytes of a microcontroller's file, contract included, of the float32 ONNX file's."""

FLOAT = ["float32.onnx", "float32.tflite"]
PI_FILES = ["int8.onnx", "int8.tflite"]
MICRO_FILES = ["micro.int8.tflite", "micro.c", "micro.h"]


@pytest.fixture(scope="module")
def conversion(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    return convert(written, tmp_path_factory.mktemp("models"), target=ALL, c_array=True)


@pytest.fixture(scope="module")
def micro_file(conversion: Conversion) -> Path:
    return next(path for path in conversion.files if path.name.endswith(MICRO_FILES[0]))


def test_all_targets_get_their_files(conversion: Conversion) -> None:
    names = [path.name.removeprefix("untrained.") for path in conversion.files]
    assert names == FLOAT + PI_FILES + MICRO_FILES
    described = [file["file"].removeprefix("untrained.") for file in conversion.report["files"]]
    assert described == FLOAT + PI_FILES + MICRO_FILES[:1]


def test_a_microcontrollers_file_is_small_and_the_references_own(
    conversion: Conversion, micro_file: Path
) -> None:
    described = {
        file["file"].removeprefix("untrained."): file for file in conversion.report["files"]
    }
    micro, whole = described[MICRO_FILES[0]], described[FLOAT[0]]
    assert micro["bytes"] == micro_file.stat().st_size <= MICRO_LIMIT * whole["bytes"]
    assert micro["reference"]["in_steps_of_the_output_grid"] == 0
    assert (micro["int8_mac_share"], micro["int8_weight_share"]) == (1, 1)
    assert set(micro["constant_bytes"]) == {"int8", "int32"}


def test_its_contract_says_what_it_is(checkpoint: Checkpoint, micro_file: Path) -> None:
    contract = read_contract(micro_file)
    assert contract.quantization["target"] == MICRO
    assert contract.quantization["weights"].endswith("per gate")
    assert "int16" in contract.quantization["activations"]
    assert contract.labels == checkpoint.labels


def test_the_contract_says_where_weights_were_rounded_twice(
    checkpoint_of: Callable[..., Checkpoint],
) -> None:
    trained = checkpoint_of(lstm_scales=ROW)
    graph = build_graph(trained, quantised=True, target=MICRO)
    weights = contract_of(trained, graph).quantization["weights"]
    assert weights.endswith("per gate, rounded once more from per row")


def test_the_runtime_takes_it_as_any_other(checkpoint: Checkpoint, micro_file: Path) -> None:
    """Float features go in, float logits come out; between them are the reference's bits."""
    from firmware_host import EmotionRecognizer

    graph = build_graph(checkpoint, quantised=True, target=MICRO)
    engine = load_engine(micro_file, reference_kernels=True)
    windows = np.random.default_rng(4).normal(size=(3, 320, 64)).astype(np.float32)
    windows[0] *= 100  # beyond the ends of the grid
    for window in windows:
        logits = engine.infer(window)
        assert logits.dtype == np.float32
        assert np.array_equal(logits, run(graph, window))
    assert graph.output_grid
    test = EmotionRecognizer(micro_file).self_test()
    assert test.logits <= 4.01 * graph.output_grid.scale


def test_an_int8_end_that_does_not_say_what_it_means_is_refused(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """Without a grid its numbers mean nothing."""
    import flatbuffers

    graph = build_graph(checkpoint, quantised=True, target=MICRO)
    contract = contract_of(checkpoint, graph)
    model = schema.ModelT.InitFromPackedBuf(encode(graph, contract, "tflite"), 0)
    model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].quantization = None
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "mute.tflite"
    path.write_bytes(embed_in_tflite(bytes(builder.Output()), contract))
    with pytest.raises(EdgeSerError, match=r"input is int8 \[1, 320, 64\].*int8 on a grid"):
        load_engine(path, reference_kernels=True)


def test_one_target_gets_nothing_of_the_others(written: Path, tmp_path: Path) -> None:
    files = convert(written, tmp_path, target=MICRO).files
    assert [path.name.removeprefix("untrained.") for path in files] == FLOAT + MICRO_FILES[:1]


def test_quantised_after_training_it_is_rounded_once(written: Path, tmp_path: Path) -> None:
    """Onto one scale a gate at once: there were no rows on scales of their own before."""
    conversion = convert(written, tmp_path, calibrate=[CLIP], target=MICRO, c_array=True)
    names = [path.name.removeprefix("untrained.") for path in conversion.files]
    ours = ["micro.ptq.int8.tflite", "micro.ptq.c", "micro.ptq.h"]
    assert names == FLOAT + MICRO_FILES + ours
    contract = read_contract(tmp_path / f"untrained.{ours[0]}")
    assert contract.quantization["weights"].endswith("per gate")
    assert contract.quantization["method"].startswith("post-training")
    assert conversion.report["files"][-1]["reference"]["in_steps_of_the_output_grid"] == 0


def test_a_target_is_known_by_its_name() -> None:
    assert targets_of(ALL) == TARGETS
    assert [targets_of(target) for target in TARGETS] == [(target,) for target in TARGETS]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--target", "esp32"), "there is no target 'esp32': choose pi, micro or all"),
        (("--c-array",), "choose --int8 and the target micro, or all"),
        (("--no-int8", "--target", "micro"), "leave --no-int8 out"),
    ],
)
def test_what_does_not_go_together_ends_in_a_sentence(
    arguments: tuple[str, ...], words: str, written: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "edge_ser", "convert", str(written), *arguments]
    command += ["-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert words in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint: Checkpoint) -> None:
    graph = build_graph(checkpoint, quantised=True, target=MICRO)
    renamed = contract_of(replace(checkpoint, name="other"), graph)
    contract = contract_of(checkpoint, graph)
    first, second, other = (encode(graph, c, "tflite") for c in (contract, contract, renamed))
    assert first == second != other
