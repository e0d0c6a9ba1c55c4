"""The ring buffer between the thread that captures sound and the one that listens to it."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from firmware_host.capture import Captured

Int16 = NDArray[np.int16]


class RingBuffer:
    """Blocks of sound on their way from one thread to another, in memory allocated once.

    One thread writes, one reads, and neither ever waits: all they share are counts that only
    one of them changes, and a deque. A block that finds no room is lost as a whole and
    counted; what was captured before it stays.

    Args:
        capacity: in frames, a frame being one sample of every channel.
        channels: of what is written; it is read as their mean.
        rate: in Hz.
    """

    def __init__(self, capacity: int, channels: int, rate: int) -> None:
        self._memory = np.zeros((capacity, channels), np.int16)
        self._rate = rate
        self._blocks: deque[tuple[int, int, float]] = deque()  # frames, lost before, arrived
        self._written = 0  # frames since the beginning; only the writer changes it
        self._read = 0  # only the reader changes it
        self._lost = 0  # frames lost since the last block that is kept

    def write(self, frames: Int16, arrived: float, lost: int = 0) -> None:
        """Keep a block, or count it as lost.

        Args:
            frames: what was captured. Shape: (n, channels), int16.
            arrived: when it came, in seconds of `time.monotonic`.
            lost: how many frames were lost just before it.
        """
        self._lost += lost
        n, capacity = len(frames), len(self._memory)
        if n > capacity - (self._written - self._read):
            self._lost += n
            return
        at = self._written % capacity
        first = min(n, capacity - at)
        self._memory[at : at + first] = frames[:first]
        self._memory[: n - first] = frames[first:]
        self._written += n
        self._blocks.append((n, self._lost, arrived))
        self._lost = 0

    def read(self) -> Captured | None:
        """The next block, mono, with what was lost before it; None when there is none yet."""
        if not self._blocks:
            return None
        n, lost, arrived = self._blocks.popleft()
        capacity = len(self._memory)
        at = self._read % capacity
        first = min(n, capacity - at)
        samples = np.empty(n, np.int16)
        samples[:first] = _mono(self._memory[at : at + first])
        samples[first:] = _mono(self._memory[: n - first])
        self._read += n
        return Captured(samples, self._rate, lost, arrived)


def _mono(frames: Int16) -> Int16:
    """The mean of the channels. Shape: (n, channels) to (n,), int16."""
    if frames.shape[1] == 1:
        return frames[:, 0]
    mean: Int16 = np.rint(frames.mean(axis=1, dtype=np.float32)).astype(np.int16)
    return mean
