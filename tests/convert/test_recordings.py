"""Recordings that a person names: all are found, and heard as the runtime hears them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from convert.build import build_graph
from convert.checkpoint import Checkpoint
from convert.pipeline import contract_of
from convert.recordings import (
    evenly,
    find_recordings,
    read_recording,
    read_recordings,
    some_windows,
)
from firmware_host.audio import read_audio
from firmware_host.contract import Contract
from firmware_host.errors import EdgeSerError
from firmware_host.recognizer import EmotionStream

Float32 = NDArray[np.float32]


class Listener:
    """An engine that keeps the windows that a stream gives it."""

    name = "listener"

    def __init__(self, n_labels: int) -> None:
        self.n_labels = n_labels
        self.windows: list[Float32] = []

    def infer(self, features: Float32) -> Float32:
        self.windows.append(features.copy())
        return np.zeros(self.n_labels, np.float32)


@pytest.fixture(scope="module")
def contract(checkpoint: Checkpoint) -> Contract:
    return contract_of(checkpoint, build_graph(checkpoint, quantised=False))


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    """`record(name, seconds, rate, channels)`: a file of noise."""

    def write(name: str, seconds: float, rate: int = 16_000, channels: int = 1) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(len(name))
        soundfile.write(path, 0.1 * rng.standard_normal((int(seconds * rate), channels)), rate)
        return path

    return write


@pytest.mark.parametrize(
    ("seconds", "rate", "channels"), [(0.3, 8_000, 1), (3.3, 16_000, 1), (7.0, 44_100, 2)]
)
def test_windows_are_those_of_the_runtime_bit_for_bit(
    record: Callable[..., Path],
    contract: Contract,
    seconds: float,
    rate: int,
    channels: int,
) -> None:
    path = record("noise.flac", seconds, rate, channels)
    listener = Listener(len(contract.labels))
    stream = EmotionStream(contract, listener, rate)
    stream.feed(read_audio(path)[0])
    stream.flush()
    recording = read_recording(path, contract)
    assert len(recording) == len(listener.windows)
    for number, window in enumerate(listener.windows):
        assert np.array_equal(recording.window(number), window)


def test_a_folder_stands_for_the_recordings_below_it(
    record: Callable[..., Path], tmp_path: Path
) -> None:
    expected = [record(name, 0.1) for name in ("a/b/2.FLAC", "a/1.wav", "c.ogg")]
    record("a/._1.wav", 0.1)  # what some systems leave beside a file
    (tmp_path / "notes.txt").write_text("no audio")
    (tmp_path / "folder.wav").mkdir()
    assert find_recordings([tmp_path]) == sorted(expected)
    odd = record("recording.wav", 0.1).rename(tmp_path / "recording")
    assert find_recordings([odd]) == [odd]  # one that is named is taken at its word


def test_what_is_no_recording_is_refused(tmp_path: Path, contract: Contract) -> None:
    with pytest.raises(EdgeSerError, match="holds no audio file"):
        find_recordings([tmp_path])
    with pytest.raises(EdgeSerError, match="is no audio file"):
        find_recordings([tmp_path / "nowhere"])
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF and no more")
    with pytest.raises(EdgeSerError, match=r"broken\.wav"):
        read_recordings([broken], contract, most=5)


def test_windows_are_spread_over_all_recordings(
    record: Callable[..., Path], contract: Contract
) -> None:
    recordings = [
        read_recording(record(f"{index}.wav", seconds), contract)
        for index, seconds in enumerate((1.0, 9.0, 5.0))
    ]
    assert [len(recording) for recording in recordings] == [1, 24, 8]
    for most, expected in ((2, 2), (6, 5), (90, 33)):
        windows = some_windows(recordings, most)
        assert len(windows) == expected
        assert {window.shape for window in windows} == {(320, 64)}
    assert evenly(range(5), 9) == [0, 1, 2, 3, 4]
