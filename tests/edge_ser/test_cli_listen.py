"""`edge-ser listen` on pipes and files: emotions come when they are due, and end cleanly."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import soundfile
from some_events import check_event
from tiny_models import tiny_contract, write_onnx

from firmware_host import Emotion, EmotionRecognizer
from firmware_host.golden import golden_waveform

CONTRACT = tiny_contract()
SPEECH = golden_waveform(1, 50_000)
S16LE = (SPEECH * 32768).astype("<i2").tobytes()
F32LE = SPEECH.astype("<f4").tobytes()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_onnx(tmp_path_factory.mktemp("listen") / "tiny.onnx", CONTRACT)


def listen(
    model: Path, *arguments: str | Path, data: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    command = [
        sys.executable,
        "-m",
        "edge_ser",
        "listen",
        "--model",
        *map(str, (model, *arguments)),
    ]
    # Each window by itself, as a recording's are.
    command += ["--no-gate", "--no-smoothing"]
    return subprocess.run(command, capture_output=True, input=data, check=False, timeout=60)


def wanted(model: Path, samples: Any, rate: int) -> list[dict[str, Any]]:
    windows = EmotionRecognizer(model).recognize(samples, rate).windows
    events: list[dict[str, Any]] = json.loads(json.dumps([w.to_dict() for w in windows]))
    return [event | {"latency_ms": None} for event in events]


def events_of(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    assert (done.returncode, done.stderr) == (0, b"")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    for event in events:
        check_event(event)
    # When it was, and how late, differs from run to run, and is no part of what was heard.
    heard = {field.name for field in fields(Emotion)}
    return [{key: event[key] for key in heard} | {"latency_ms": None} for event in events]


def test_a_pipe_is_heard_like_a_file(model: Path, tmp_path: Path) -> None:
    """Raw samples on standard input, an audio file and a raw file: the very same logits."""
    expected = wanted(model, SPEECH, 16_000)
    assert events_of(listen(model, "--input", "-", "--json", data=S16LE)) == expected
    soundfile.write(tmp_path / "a.wav", SPEECH, 16_000)
    assert events_of(listen(model, "--input", tmp_path / "a.wav", "--json")) == expected
    (tmp_path / "a.f32").write_bytes(F32LE)
    raw = ("--input", tmp_path / "a.f32", "--format", "f32le", "--json")
    assert events_of(listen(model, *raw)) == expected


def test_another_rate_of_raw_samples(model: Path) -> None:
    done = listen(model, "--input", "-", "--rate", "48000", "--json", data=S16LE)
    assert events_of(done) == wanted(model, SPEECH, 48_000)


def test_a_line_per_event_without_json(model: Path) -> None:
    done = listen(model, "--input", "-", data=S16LE)
    assert (done.returncode, done.stderr) == (0, b"")
    expected = wanted(model, SPEECH, 16_000)
    lines = done.stdout.decode().splitlines()
    assert [line.split()[2] for line in lines] == [event["label"] for event in expected]


def test_a_stream_shorter_than_a_window_is_still_heard(model: Path) -> None:
    """Its end may fall within a sample, too."""
    done = listen(model, "--input", "-", "--json", data=S16LE[:2_001])
    assert events_of(done) == wanted(model, SPEECH[:1_000], 16_000)
    done = listen(model, "--input", "-", "--json")
    assert events_of(done) == []


@pytest.fixture
def running(model: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A listener whose standard input stays open."""
    command = [sys.executable, "-m", "edge_ser", "listen", "--json", "--input", "-", "--model"]
    # Where the tests run as a shell's background job, it would inherit that Ctrl-C is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*command, str(model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    signal.signal(signal.SIGINT, before)
    with process:
        yield process
        process.kill()


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def test_an_event_comes_while_the_stream_goes_on(running: subprocess.Popen[bytes]) -> None:
    """Exactly one window was written and nothing is closed: no buffer may hold the event back."""
    source, sink = pipe(running.stdin), pipe(running.stdout)
    source.write(S16LE[: 2 * CONTRACT.window_samples])
    source.flush()
    assert json.loads(sink.readline())["window"] == 0
    # The next hop in two parts that cut a sample in two.
    middle = 2 * CONTRACT.window_samples + 3_001
    source.write(S16LE[2 * CONTRACT.window_samples : middle])
    source.flush()
    source.write(S16LE[middle : 2 * (CONTRACT.window_samples + CONTRACT.hop_samples)])
    source.flush()
    assert json.loads(sink.readline())["window"] == 1
    source.close()
    assert running.wait(timeout=30) == 0


def test_ctrl_c_ends_it_cleanly(running: subprocess.Popen[bytes]) -> None:
    source, sink = pipe(running.stdin), pipe(running.stdout)
    source.write(S16LE[: 2 * CONTRACT.window_samples])
    source.flush()
    sink.readline()
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=30) == 130
    assert pipe(running.stderr).read() == b""


def test_bars_on_a_terminal(model: Path, tmp_path: Path) -> None:
    """On a terminal the emotions are drawn; every label stands there in the end."""
    soundfile.write(tmp_path / "a.wav", SPEECH[:20_000], 16_000)
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "edge_ser", "listen", "--model", str(model), "--input"]
    with subprocess.Popen(
        [*command, str(tmp_path / "a.wav")],
        stdout=slave,
        stderr=subprocess.PIPE,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "25"},
    ) as process:
        os.close(slave)
        screen = b""
        try:
            while part := os.read(master, 4096):
                screen += part
        except OSError:  # how a terminal says that nobody writes to it any more
            pass
        os.close(master)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, b"")
    last = screen.decode()[-2_000:]
    assert all(label in last for label in CONTRACT.labels)


def one_sentence(done: subprocess.CompletedProcess[bytes], *parts: str) -> None:
    message = done.stderr.decode()
    assert done.returncode == 2, done
    assert message.startswith("edge-ser: ")
    assert message.count("\n") == 1, message
    assert "Traceback" not in message
    for part in parts:
        assert part in message


def test_what_cannot_be_heard_ends_in_a_sentence(model: Path, tmp_path: Path) -> None:
    nowhere = listen(model, "--device", "a name that no microphone has")
    one_sentence(nowhere, "microphone")
    one_sentence(listen(model, "--device", "usb", "--input", "-"), "--device", "--input")
    one_sentence(listen(model, "--rate", "48000"), "--rate", "--input")
    one_sentence(listen(model, "--input", tmp_path / "missing.wav"), "no such audio file")
    missing = tmp_path / "missing.raw"
    one_sentence(listen(model, "--input", missing, "--format", "s16le"), str(missing), "No such")
    one_sentence(listen(model, "--input", tmp_path, "--format", "s16le"), "irectory")
    one_sentence(listen(model, "--input", "-", "--rate", "0"), "sample rate of 0 Hz")
    nan = np.array([0, np.nan], "<f4").tobytes()
    one_sentence(listen(model, "--input", "-", "--format", "f32le", data=nan), "NaN")
    soundfile.write(tmp_path / "a.wav", SPEECH, 16_000)
    both = listen(model, "--input", tmp_path / "a.wav", "--rate", "8000")
    one_sentence(both, "--rate", "leave it out")


def test_a_terminal_as_input_is_refused(model: Path) -> None:
    """Waiting for samples from a keyboard would look like hanging."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "edge_ser", "listen", "--model", str(model), "--input", "-"]
    done = subprocess.run(command, stdin=slave, capture_output=True, check=False, timeout=60)
    os.close(slave)
    os.close(master)
    one_sentence(done, "terminal", "arecord")
