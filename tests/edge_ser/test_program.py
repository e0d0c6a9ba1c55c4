"""The short way into `edge-ser recognize` does what the whole command line would, and is short."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
from tiny_models import tiny_contract, write_tflite

from edge_ser.cli import app
from edge_ser.program import plain_line
from firmware_host.golden import golden_waveform

PLAIN = [
    ["a.wav"],
    ["a.wav", "b c.flac", "--json"],
    ["--windows", "a.wav", "--json"],
    ["--model", "m.tflite", "a.wav"],
    ["a.wav", "--engine", "litert", "b.wav", "--model", "folder/m.onnx", "--windows"],
    ["--json", "--json", "a.wav"],
]
NOT_PLAIN = [
    [],
    ["--help"],
    ["--json"],
    ["a.wav", "--jsno"],
    ["a.wav", "--model"],
    ["a.wav", "--model", "--json"],
    ["--model=m.tflite", "a.wav"],
    ["--engine", "litert", "--engine", "onnxruntime", "a.wav"],
    ["--", "a.wav"],
    ["-", "a.wav"],
    [""],
]


@pytest.mark.parametrize("arguments", PLAIN)
def test_a_plain_line_means_what_the_whole_command_line_takes_it_for(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ways to read one line must never come apart."""
    asked: list[tuple[Any, ...]] = []

    def recognize_files(*given: Any) -> bool:
        asked.append((tuple(given[0]), *given[1:]))
        return True

    monkeypatch.setattr("edge_ser.recognition.recognize_files", recognize_files)
    app(["recognize", *arguments], standalone_mode=False)
    line = plain_line(["recognize", *arguments])
    assert line is not None
    assert asked == [(line.files, line.model, line.engine, line.as_json, line.windows)]


@pytest.mark.parametrize("arguments", NOT_PLAIN)
def test_whatever_else_is_left_to_the_whole_command_line(arguments: list[str]) -> None:
    """It knows every option and how to speak of a mistake."""
    assert plain_line(["recognize", *arguments]) is None


def test_other_commands_are_left_to_it_too() -> None:
    assert plain_line([]) is None
    assert plain_line(["listen", "a.wav"]) is None


def test_recognising_starts_without_a_command_line_library(tmp_path: Path) -> None:
    """Typer, pydantic and rich would double the time to the first result."""
    write_tflite(tmp_path / "tiny.tflite", tiny_contract())
    soundfile.write(tmp_path / "a.wav", golden_waveform(1, 20_000), 16_000)
    script = """
import sys
sys.argv[1:] = ["recognize", "--model", "tiny.tflite", "a.wav"]
from edge_ser.program import main
main()
slow = {"typer", "click", "pydantic", "rich", "soxr", "importlib.metadata", "logging", "asyncio"}
print(sorted(slow & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first.startswith("a.wav  ")
    assert second == "[]"
