"""`edge-ser convert --calibrate` and `--clips`: INT8 files without QAT, and how far each is off."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from convert.agreement import render
from convert.checkpoint import Checkpoint, write_checkpoint
from convert.pipeline import Conversion, convert
from convert.report import check_int8
from firmware_host.contract import read_contract
from firmware_host.errors import EdgeSerError
from firmware_host.recognizer import EmotionRecognizer

N_RECORDINGS = 5


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of noises of different colour, length and rate."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for index in range(N_RECORDINGS):
        rate = (16_000, 22_050)[index % 2]
        noise = rng.standard_normal(int(rate * rng.uniform(1, 5)))
        smooth = np.convolve(noise, np.ones(1 + 3 * index) / (1 + 3 * index), "same")
        (folder / str(index)).mkdir()
        soundfile.write(folder / str(index) / "noise.wav", 0.1 * smooth, rate)
    return folder


@pytest.fixture(scope="module")
def float_only(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training without quantization leaves."""
    path = tmp_path_factory.mktemp("checkpoint") / "untrained.safetensors"
    write_checkpoint(path, replace(checkpoint, qat_tensors={}))
    return path


@pytest.fixture(scope="module")
def conversion(
    float_only: Path, recordings: Path, tmp_path_factory: pytest.TempPathFactory
) -> Conversion:
    out = tmp_path_factory.mktemp("models")
    return convert(float_only, out, calibrate=[recordings], clips=[recordings])


def test_int8_files_come_of_a_checkpoint_without_qat(conversion: Conversion) -> None:
    names = [path.name.removeprefix("untrained.") for path in conversion.files]
    assert names == [f"{p}.{s}" for p in ("float32", "ptq.int8") for s in ("onnx", "tflite")]
    for path in conversion.files[2:]:
        check_int8(path.name, path.read_bytes())
        method = read_contract(path).quantization["method"]
        assert method == f"post-training, calibrated on {N_RECORDINGS} recordings"
        assert EmotionRecognizer(path).self_test().features < 1e-3


def test_qat_files_say_so_beside_them(
    checkpoint: Checkpoint, recordings: Path, tmp_path: Path
) -> None:
    """A checkpoint with both networks gives both, each with its own scales."""
    write_checkpoint(tmp_path / "both.safetensors", checkpoint)
    files = convert(tmp_path / "both.safetensors", tmp_path, calibrate=[recordings]).files
    assert len(files) == 6
    qat, after = (tmp_path / f"untrained.{kind}.onnx" for kind in ("int8", "ptq.int8"))
    assert read_contract(qat).quantization["method"] == "quantization-aware training"
    assert read_contract(after).quantization["method"].startswith("post-training")
    assert qat.read_bytes() != after.read_bytes()


def test_the_same_recordings_give_the_same_bytes(
    conversion: Conversion, float_only: Path, recordings: Path, tmp_path: Path
) -> None:
    again = convert(float_only, tmp_path, calibrate=[recordings]).files
    for first, second in zip(conversion.files, again, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_every_file_is_held_against_the_reference_on_clips(conversion: Conversion) -> None:
    report = json.loads((conversion.files[0].parent / "report.json").read_text())
    for file in report["files"]:
        golden, clips = file["reference"], file["clips"]
        assert golden["recordings"] == golden["windows"] == 2
        assert clips["recordings"] == N_RECORDINGS < clips["windows"]
        assert clips["mean_logit_difference"] <= clips["largest_logit_difference"]
        if "int8" in file["file"]:
            assert clips["mean_in_steps_of_the_output_grid"] < 2
        else:
            assert clips["largest_logit_difference"] < 1e-4
            assert clips["equal_labels"] == golden["equal_labels"] == 1
    assert render(report).row_count == 2 * len(report["files"])


def test_files_of_another_network_do_not_agree(
    checkpoint: Checkpoint, conversion: Conversion, recordings: Path
) -> None:
    """The measure can fail: a file held against another graph is far off."""
    from convert.agreement import Yardstick
    from convert.build import build_graph
    from convert.recordings import find_recordings, read_recordings
    from firmware_host.engines import load_engine

    tensors = dict(checkpoint.float_tensors)
    tensors["output.bias"] = tensors["output.bias"] + np.arange(7, dtype=np.float32)
    other = build_graph(replace(checkpoint, float_tensors=tensors), quantised=False)
    contract = read_contract(conversion.files[0])
    heard = read_recordings(find_recordings([recordings]), contract, most=3)
    found = Yardstick(other, heard, temperature=1.0).measure(load_engine(conversion.files[0]))
    assert found.largest == pytest.approx(6, abs=0.01)
    assert found.mean == pytest.approx(3, abs=0.01)
    assert found.equal_labels < 1


def test_without_recordings_one_sentence_says_what_to_do(
    float_only: Path, recordings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for arguments, words in (
        ([float_only], "--calibrate DIR"),
        ([float_only, "--calibrate", tmp_path], "no audio file"),
        ([float_only, "--calibrate", recordings, "--no-int8"], "--no-int8"),
    ):
        command = [sys.executable, "-m", "edge_ser", "convert", "-o", out, *arguments]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 2, done.stderr
        assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1
        assert not out.exists()
    assert len(convert(float_only, out, int8=False).files) == 2


def test_a_recording_that_cannot_be_read_is_named(
    float_only: Path, recordings: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no audio")
    for options in ({"calibrate": [broken]}, {"clips": [broken], "int8": False}):
        with pytest.raises(EdgeSerError, match=r"broken\.wav"):
            convert(float_only, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
