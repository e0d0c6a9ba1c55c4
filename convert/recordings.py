"""Recordings that a person names, as the windows that the runtime recognises of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from firmware_host.audio import read_audio, resample
from firmware_host.contract import Contract
from firmware_host.errors import EdgeSerError
from firmware_host.features import extract

Float32 = NDArray[np.float32]
Item = TypeVar("Item")
Progress = Callable[[int, int], None]
"""Told how many recordings are read, and how many there are."""

SUFFIXES = frozenset(
    (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf")
)
"""Of the files taken from a folder; one that is named itself may be called anything."""


@dataclass(frozen=True)
class Recording:
    """A recording's features; its windows are cut out of them when they are used.

    Shape:
        - frames: (n, n_features), float32, n >= window_frames
    """

    frames: Float32
    contract: Contract

    def __len__(self) -> int:
        """Number of windows, at least one."""
        contract = self.contract
        return (len(self.frames) - contract.window_frames) // contract.hop_frames + 1

    def window(self, number: int) -> Float32:
        """Normalised. Shape: (window_frames, n_features)."""
        start = number * self.contract.hop_frames
        return self.contract.normalise(self.frames[start : start + self.contract.window_frames])


def find_recordings(named: Iterable[Path]) -> list[Path]:
    """The audio files named, with those of a folder and all folders in it in its place, sorted.

    Raises:
        EdgeSerError: when something is not there, or a folder holds no audio file.
    """
    found: list[Path] = []
    for path in named:
        inside = [path]
        if not path.is_file():
            inside = sorted(file for file in path.rglob("*") if _is_recording(file))
        if not inside:
            raise EdgeSerError(
                f"{path} {'holds' if path.is_dir() else 'is'} no audio file: name a folder with "
                "recordings in it (WAV, FLAC, Ogg, MP3 ...)"
            )
        found += inside
    return found


def read_recording(path: Path, contract: Contract) -> Recording:
    """Read an audio file of any rate, as a model with this contract hears it.

    Raises:
        EdgeSerError: when it is not readable.
    """
    samples, rate = read_audio(path)
    samples = resample(samples, rate, contract.features.sample_rate)
    samples = np.pad(samples, (0, max(0, contract.window_samples - samples.size)))
    return Recording(extract(samples, contract.features), contract)


def read_recordings(
    paths: Sequence[Path], contract: Contract, most: int, on_read: Progress | None = None
) -> list[Recording]:
    """At most so many of these files, evenly spread over them.

    Raises:
        EdgeSerError: when one is not readable.
    """
    out: list[Recording] = []
    chosen = evenly(paths, most)
    for path in chosen:
        out.append(read_recording(path, contract))
        if on_read:
            on_read(len(out), len(chosen))
    return out


def some_windows(recordings: Sequence[Recording], most: int) -> list[Float32]:
    """Windows evenly spread over the recordings, of each as many, `most` in all at most."""
    each = max(1, most // max(1, len(recordings)))
    return [
        recording.window(number)
        for recording in evenly(recordings, most)
        for number in evenly(range(len(recording)), each)
    ]


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, evenly spread; the same ones every time.

    >>> evenly(range(10), 3)
    [1, 5, 8]
    """
    n = min(len(items), most)
    return [items[(2 * i + 1) * len(items) // (2 * n)] for i in range(n)]


def _is_recording(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
