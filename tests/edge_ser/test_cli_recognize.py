"""`edge-ser recognize` as a person and as a program meet it: a real process, real files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_models import LABELS, tiny_contract, write_onnx, write_tflite

from firmware_host import EmotionRecognizer
from firmware_host.golden import golden_waveform

SPEECH = golden_waveform(1, 50_000)


def edge_ser(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_ser", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, recordings, and things that only look like them."""
    folder = tmp_path_factory.mktemp("recognize")
    write_onnx(folder / "tiny.onnx", tiny_contract())
    whole = write_tflite(folder / "tiny.tflite", tiny_contract()).read_bytes()
    (folder / "half.tflite").write_bytes(whole[: len(whole) // 2])
    onnx = (folder / "tiny.onnx").read_bytes()
    (folder / "half.onnx").write_bytes(onnx[: len(onnx) // 2])
    (folder / "newer.onnx").write_bytes(onnx.replace(b'"format_version":2', b'"format_version":7'))
    soundfile.write(folder / "good.wav", SPEECH, 16_000)
    soundfile.write(folder / "good 2.flac", np.stack([SPEECH, SPEECH], 1), 44_100)
    soundfile.write(folder / "nan.wav", np.array([0, np.nan], np.float32), 16_000, subtype="FLOAT")
    soundfile.write(folder / "nothing.wav", np.empty(0), 16_000)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("no audio\n" * 10)
    return folder


@pytest.mark.parametrize("model", ["tiny.onnx", "tiny.tflite"])
def test_a_line_per_file(folder: Path, model: str) -> None:
    """Line and label, in the order asked for, and nothing on standard error."""
    files = [folder / "good.wav", folder / "good 2.flac"]
    done = edge_ser("recognize", "--model", folder / model, *files)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    recognizer = EmotionRecognizer(folder / model)
    for file, line in zip(files, lines, strict=True):
        heard = recognizer.recognize_file(file)
        assert line.startswith(f"{file}  {heard.label}  {heard.probability:.2f}")


def test_json_is_what_the_library_says(folder: Path) -> None:
    """A program gets every number, and windows only when it asks."""
    model, file = folder / "tiny.onnx", folder / "good.wav"
    heard = EmotionRecognizer(model).recognize_file(file).to_dict()
    done = edge_ser("recognize", "--json", "--windows", "--model", model, file)
    data = json.loads(done.stdout)
    assert data == json.loads(json.dumps({"file": str(file)} | heard))
    assert list(data["probabilities"]) == list(LABELS)
    done = edge_ser("recognize", "--json", "--model", model, file, folder / "good 2.flac")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["good.wav", "good 2.flac"]
    assert all("windows" not in line for line in lines)


def test_windows_are_printed_when_asked_for(folder: Path) -> None:
    model, file = folder / "tiny.onnx", folder / "good.wav"
    done = edge_ser("recognize", "--windows", "--model", model, file)
    windows = EmotionRecognizer(model).recognize_file(file).windows
    assert len(done.stdout.splitlines()) == 1 + len(windows)


def one_sentence(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Exit code 2, one line on standard error that says these things, no traceback."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.startswith("edge-ser: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("missing.wav", "no such audio file"),
        ("empty.wav", "0 bytes"),
        ("text.wav", "not readable as audio"),
        ("nan.wav", "NaN"),
        ("nothing.wav", "no samples"),
        (".", "a folder"),
    ],
)
def test_wrong_files_end_in_a_sentence(folder: Path, file: str, reason: str) -> None:
    path = folder / file
    one_sentence(edge_ser("recognize", "--model", folder / "tiny.onnx", path), str(path), reason)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("half.tflite", "its end is missing"),
        ("half.onnx", "cut short"),
        ("newer.onnx", "newer edge-ser"),
        ("text.wav", "expected a TFLite or ONNX model file"),
        ("missing.tflite", "No such file"),
        (".", "directory"),
    ],
)
def test_wrong_models_end_in_a_sentence(folder: Path, model: str, reason: str) -> None:
    path = folder / model
    one_sentence(edge_ser("recognize", "--model", path, folder / "good.wav"), str(path), reason)


def test_an_unknown_engine_ends_in_a_sentence(folder: Path) -> None:
    arguments = ("--model", folder / "tiny.onnx", "--engine", "abacus", folder / "good.wav")
    one_sentence(edge_ser("recognize", *arguments), "'abacus' is unknown", "onnxruntime")


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_one_bad_file_does_not_stop_the_others(folder: Path, json_option: list[str]) -> None:
    """A long list must not be lost for one broken recording, nor its failure be hidden."""
    files = [folder / name for name in ("good.wav", "text.wav", "missing.wav", "good 2.flac")]
    done = edge_ser("recognize", *json_option, "--model", folder / "tiny.onnx", *files)
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 2
    complaints = done.stderr.splitlines()
    assert len(complaints) == 2
    assert str(files[1]) in complaints[0]
    assert str(files[2]) in complaints[1]
