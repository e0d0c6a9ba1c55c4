"""The exact account of a stream's time: what was lost when, and when each sample arrived.

Positions are counted in samples and compared as integers, at the stream's rate and at the
model's, so that after a year they are as exact as at the beginning.
"""

from collections import deque


class StreamClock:
    """Where in its time a stream is.

    Args:
        rate: of the samples that arrive, in Hz.
        model_rate: at which windows are counted, in Hz.
    """

    def __init__(self, rate: int, model_rate: int) -> None:
        self._rate, self._model_rate = rate, model_rate
        self.reset()

    def reset(self) -> None:
        """Begin at time zero again."""
        self._n_samples = 0  # at the stream's rate, lost ones included
        self._gaps: deque[tuple[int, int]] = deque()  # [first, last) of the lost ones
        self._arrivals: deque[tuple[int, float]] = deque()  # (how many were there then, when)

    def arrive(self, n_samples: int, when: float | None, due: int) -> None:
        """Count samples that arrived.

        Args:
            when: the last of them, in seconds of the monotonic clock; None: nobody asks.
            due: end of the next window; earlier arrivals need not be remembered.
        """
        self._n_samples += n_samples
        if when is not None:
            if self._arrivals and self._is_before(self._arrivals[-1][0], due):
                self._arrivals.pop()
            self._arrivals.append((self._n_samples, when))

    def lose(self, n_samples: int) -> None:
        """Count samples that never arrived."""
        first, last = self._n_samples, self._n_samples + n_samples
        if self._gaps and self._gaps[-1][1] == first:
            first = self._gaps.pop()[0]
        self._gaps.append((first, last))
        self._n_samples = last

    def arrived(self, end: int) -> float | None:
        """When the last sample before `end` arrived; windows are asked about in their order.

        None when nobody told. Where only lost samples follow: when the last one before them did.

        Args:
            end: in samples at the model's rate.
        """
        while len(self._arrivals) > 1 and self._is_before(self._arrivals[0][0], end):
            self._arrivals.popleft()
        return self._arrivals[0][1] if self._arrivals else None

    def lost_seconds(self, start: int, end: int) -> float:
        """How much of a window was lost; equal to its length when all of it was.

        What lies before `start` is forgotten: windows are asked about in their order.

        Args:
            start, end: in samples at the model's rate.
        """
        low, high = start * self._rate, end * self._rate  # in units of 1 / (rate * model_rate) s
        while self._gaps and self._gaps[0][1] * self._model_rate <= low:
            self._gaps.popleft()
        lost = sum(
            max(0, min(last * self._model_rate, high) - max(first * self._model_rate, low))
            for first, last in self._gaps
        )
        return (
            (end - start) / self._model_rate
            if lost == high - low
            else (lost / (self._rate * self._model_rate))
        )

    def _is_before(self, n_samples: int, position: int) -> bool:
        """Whether so many samples of the stream end before a position at the model's rate."""
        return n_samples * self._model_rate < position * self._rate
