"""From the probabilities of each window to a label that a person or a light can follow.

Windows overlap, so that their probabilities flicker where the voice does not. They are smoothed
over time; a new label must lead the present one by a margin, and a label once given stays for a
while; where there is doubt the label is `UNCERTAIN`, and where nobody speaks `NO_SPEECH`.
Everything can be set and turned off, and the windows' own probabilities stay as they are.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware_host.errors import EdgeSerError

UNCERTAIN = "uncertain"
"""The label when no emotion is probable enough."""

NO_SPEECH = "no speech"
"""The label when the speech gate hears nobody speak."""

MAX_SECONDS = 600.0  # of smoothing and hold; a label ten minutes late is a mistake in a unit


@dataclass(frozen=True)
class DecisionConfig:
    """How labels are decided; `EACH_WINDOW` is the one with everything off.

    Args:
        smoothing_seconds: time constant of the exponential mean of the probabilities: the
            weight of what was heard so long ago has fallen to 37 %. 0: no smoothing.
        margin: by how much a new emotion's smoothed probability must exceed the present
            one's; to leave "uncertain", how much of the way from the threshold to certainty.
            0: no hysteresis.
        hold_seconds: of the stream; a label stays at least so long. 0: no hold.
        threshold: a smoothed probability below it is "uncertain". None: the rejection
            threshold of the model's contract. 0: nothing is.
        gate: whether a speech gate listens too. None: where its package is installed.
        min_speech: share of a window that must be speech for an emotion to be named.

    Raises:
        EdgeSerError: when a value is impossible.
    """

    smoothing_seconds: float = 0.5  # two hops: halves the flicker, delays by less than a word
    margin: float = 0.1
    hold_seconds: float = 1.0
    threshold: float | None = None
    gate: bool | None = None
    # benchmarks/gate.py: of windows of noise none reaches it, of sentences nearly all do.
    min_speech: float = 0.1

    def __post_init__(self) -> None:
        def check(name: str, holds: bool, expected: str) -> None:
            if not holds:
                raise EdgeSerError(
                    f"{name} of {getattr(self, name)} was given, but {expected} is expected; "
                    "0 turns it off"
                )

        for name in ("smoothing_seconds", "hold_seconds"):
            check(name, 0 <= getattr(self, name) <= MAX_SECONDS, f"0 to {MAX_SECONDS:.0f} seconds")
        check("margin", 0 <= self.margin < 1, "0 to below 1")
        check("threshold", self.threshold is None or 0 <= self.threshold < 1, "0 to below 1")
        check("min_speech", 0 <= self.min_speech <= 1, "a share from 0 to 1")


EACH_WINDOW = DecisionConfig(
    smoothing_seconds=0.0, margin=0.0, hold_seconds=0.0, threshold=None, gate=False
)
"""Every window judged by itself, as when a whole recording is recognised."""


@dataclass(frozen=True)
class Decision:
    """What was decided for a window.

    Args:
        label: an emotion, `UNCERTAIN` or `NO_SPEECH`.
        probability: smoothed, of the label; of the most probable emotion where it is none.
        smoothed: probabilities that the decision was made from. Shape: (n_labels,), float64
    """

    label: str
    probability: float
    smoothed: NDArray[np.float64]


class Decider:
    """Decides window after window of one stream; all that it remembers is that stream's.

    Args:
        config: how.
        labels: the emotions, in the order of the probabilities.
        contract_threshold: the model's own rejection threshold.
    """

    def __init__(
        self, config: DecisionConfig, labels: tuple[str, ...], contract_threshold: float
    ) -> None:
        self._config, self._labels = config, labels
        given = config.threshold
        self._threshold = contract_threshold if given is None else given
        self.reset()

    def reset(self) -> None:
        """Forget every window."""
        self._smoothed: NDArray[np.float64] | None = None
        self._seconds = 0.0  # of the last window
        self._label: str | None = None
        self._since = 0.0

    def decide(
        self, probabilities: NDArray[np.float64], seconds: float, speech: float | None = None
    ) -> Decision:
        """The label at a window.

        Args:
            probabilities: of the window itself.
            seconds: when it ends, in the stream's time; later than the window before.
            speech: share of it that is speech, or None when no gate listens.

        Shape:
            - probabilities: (n_labels,), float64
        """
        silent = speech is not None and speech < self._config.min_speech
        smoothed = self._smooth(probabilities, seconds)
        label = NO_SPEECH if silent else self._emotion(smoothed)
        if label != self._label:
            if self._label is not None and seconds - self._since < self._config.hold_seconds:
                label = self._label
            else:
                self._label, self._since = label, seconds
        # What was heard before a silence says nothing about who speaks after it.
        self._smoothed = None if silent else smoothed
        named = label in self._labels
        probability = smoothed[self._labels.index(label)] if named else smoothed.max()
        return Decision(label, float(probability), smoothed)

    def _smooth(self, probabilities: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
        before, constant = self._smoothed, self._config.smoothing_seconds
        kept = 0.0 if constant == 0 else math.exp(-(seconds - self._seconds) / constant)
        self._seconds = seconds
        if before is None or kept == 0.0:
            return probabilities
        return probabilities + kept * (before - probabilities)

    def _emotion(self, smoothed: NDArray[np.float64]) -> str:
        """The emotion that stands out, or `UNCERTAIN`."""
        best, margin = int(np.argmax(smoothed)), self._config.margin
        if self._label in self._labels:
            present = self._labels.index(self._label)
            if smoothed[best] - smoothed[present] < margin:
                best = present
        needed = self._threshold
        if self._label == UNCERTAIN:
            needed += margin * (1 - needed)
        return self._labels[best] if smoothed[best] >= needed else UNCERTAIN
