"""Outcomes: what a model said of each recording, and what it should have said.

Everything that can be known of a test is computed from them, so a test is run once and
judged as often as one likes (`metrics`, `bootstrap`, `paired`, `reliability`, `rejection`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_ser.metrics import Score, score
from firmware_host.errors import EdgeSerError
from firmware_host.probabilities import softmax

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

SUM_TOLERANCE = 1e-3  # of a recording's probabilities, which may have been stored rounded


class Recognised(Protocol):
    """What was recognised, and by whom it was spoken: all that pairs and draws need.

    `Outcomes` is one.

    Shape:
        - truth, recognised: (clips,), indices below `n_labels`
    """

    @property
    def truth(self) -> Int64: ...

    @property
    def recognised(self) -> Int64: ...

    @property
    def speakers(self) -> tuple[str, ...]: ...

    @property
    def n_labels(self) -> int: ...


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What one model said of some recordings.

    Args:
        truth: index of the true label of each.
        probabilities: of every label, the mean over a recording's windows.
        speakers: of each; a name is one person, whatever recordings are set side by side.

    Shape:
        - truth: (clips,), int64
        - probabilities: (clips, n_labels), float64

    Raises:
        EdgeSerError: when there are none, or the three do not fit together.
    """

    truth: Int64
    probabilities: Float64
    speakers: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = self.probabilities.shape
        clips = len(self.speakers)
        if not clips or len(shape) != 2 or shape[0] != clips or self.truth.shape != (clips,):
            raise EdgeSerError(
                f"outcomes of {clips} speakers' recordings, {self.truth.shape} true labels and "
                f"{shape} probabilities were given: give one of each for every recording"
            )
        if self.truth.min() < 0 or self.truth.max() >= shape[1]:
            raise EdgeSerError(
                f"true labels from {self.truth.min()} to {self.truth.max()} were given, but there "
                f"are probabilities of {shape[1]} labels: count labels from 0"
            )
        sums = self.probabilities.sum(axis=1)
        # Written so that NaN is refused too.
        if not (self.probabilities.min() >= 0 and np.abs(sums - 1).max() <= SUM_TOLERANCE):
            raise EdgeSerError(
                "probabilities that are negative, or do not sum to 1 for each recording, were "
                "given: give softmax(logits / temperature), not logits"
            )

    @property
    def n_labels(self) -> int:
        """How many labels the model knows."""
        return int(self.probabilities.shape[1])

    @property
    def recognised(self) -> Int64:
        """The most probable label of each. Shape: (clips,)."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which were recognised. Shape: (clips,)."""
        return np.asarray(self.recognised == self.truth)

    @property
    def confidence(self) -> Float64:
        """Probability of the most probable label of each. Shape: (clips,)."""
        return np.asarray(self.probabilities.max(axis=1), np.float64)

    def score(self) -> Score:
        """UAR, accuracy, macro-F1 and confusions."""
        return score(self.truth.tolist(), self.recognised.tolist(), self.n_labels)


def make_outcomes(
    truth: Sequence[int] | Int64, probabilities: ArrayLike, speakers: Sequence[str]
) -> Outcomes:
    """Outcomes from plain lists, as they come out of JSON.

    Raises:
        EdgeSerError: as `Outcomes`.

    >>> make_outcomes([0, 1], [[0.9, 0.1], [0.8, 0.2]], ["ann", "bob"]).score().accuracy
    0.5
    """
    return Outcomes(
        np.asarray(truth, np.int64), np.asarray(probabilities, np.float64), tuple(speakers)
    )


def pool(parts: Sequence[Outcomes]) -> Outcomes:
    """Recordings of several tests as of one: of all folds, say, or of several seeds.

    Raises:
        EdgeSerError: when there is none, or they are of different labels.
    """
    if len({part.n_labels for part in parts}) != 1:
        raise EdgeSerError(
            f"outcomes of {sorted({part.n_labels for part in parts})} labels cannot be pooled: "
            "give at least one, and all of the same labels"
        )
    return Outcomes(
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        tuple(speaker for part in parts for speaker in part.speakers),
    )


def check_same_clips(ours: Recognised, theirs: Recognised) -> None:
    """A paired comparison needs both models' outcomes of the same recordings, in one order.

    Raises:
        EdgeSerError: when speakers or true labels differ.
    """
    same = ours.speakers == theirs.speakers and ours.n_labels == theirs.n_labels
    if not (same and np.array_equal(ours.truth, theirs.truth)):
        raise EdgeSerError(
            "the two models' outcomes are of different recordings: give both of the same ones, in "
            "the same order"
        )


def clip_probabilities(logits: ArrayLike, temperature: float = 1.0) -> Float64:
    """A recording's probabilities: the mean over its windows of softmax(logits / temperature).

    Shape:
        - logits: (windows, n_labels)
        - returns: (n_labels,), float64
    """
    return np.asarray(softmax(np.asarray(logits), temperature).mean(axis=0), np.float64)
