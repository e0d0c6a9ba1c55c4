"""Rejection: what a model is worth when it may say "uncertain".

Recordings whose most probable emotion has a low probability are left out; of the rest more
should be right. Sources: El-Yaniv and Wiener, "On the Foundations of Noise-free Selective
Classification" (2010); Geifman and El-Yaniv (2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_ser.outcomes import Outcomes
from firmware_host.errors import EdgeSerError

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
REJECTED = 0.3  # share of recordings, the least certain, that the headline rejects


@dataclass(frozen=True)
class CoveragePoint:
    """The most certain recordings alone.

    Args:
        coverage: which share was asked for, 0 to 1.
        clips: how many that are.
        threshold: confidence of the least certain of them.
        accuracy: of them, 0 to 1.
    """

    coverage: float
    clips: int
    threshold: float
    accuracy: float


def coverage_curve(
    outcomes: Outcomes, coverages: Sequence[float] = COVERAGES
) -> tuple[CoveragePoint, ...]:
    """Accuracy against coverage.

    Where recordings of one confidence are kept in part, the accuracy is the one expected of any
    choice among them, so that the order of the recordings is nothing.

    Args:
        coverages: shares above 0, up to 1; at least one recording is kept.

    Raises:
        EdgeSerError: for another share.
    """
    confidence, right = outcomes.confidence, outcomes.right
    ranked = np.sort(confidence)[::-1]
    points = []
    for coverage in coverages:
        if not 0 < coverage <= 1:
            raise EdgeSerError(f"a coverage of {coverage} was given: give one above 0, up to 1")
        kept = max(1, round(coverage * right.size))
        threshold = ranked[kept - 1]
        surer, tied = confidence > threshold, confidence == threshold
        right_ones = right[surer].sum() + right[tied].mean() * (kept - surer.sum())
        points.append(CoveragePoint(coverage, kept, float(threshold), float(right_ones / kept)))
    return tuple(points)


def rejection_gain(outcomes: Outcomes, rejected: float = REJECTED) -> float:
    """Points of accuracy gained by rejecting that share of the recordings, the least certain.

    Raises:
        EdgeSerError: for a share below 0, or of 1 or more.
    """
    whole, rest = coverage_curve(outcomes, (1.0, 1.0 - rejected))
    return 100 * (rest.accuracy - whole.accuracy)


def choose_threshold(validation: Outcomes, rejected: float) -> float:
    """The rejection threshold that leaves out a share of the validation recordings.

    What is below it is "uncertain" (`Contract.rejection_threshold`). Never chosen on test
    recordings: on those, `rejected_share` says what it came to.

    Args:
        rejected: the share, 0 to below 1; where recordings have one confidence, it may be less.

    Returns:
        The threshold, 0 to below 1; 0 rejects nothing.

    Raises:
        EdgeSerError: for another share.
    """
    if not 0 <= rejected < 1:
        raise EdgeSerError(f"a rejected share of {rejected} was given: give 0 to below 1")
    if rejected == 0:
        return 0.0
    ranked = np.sort(validation.confidence)
    # What decimals lack in binary must not cost a recording: 0.29 * 100 is 28.999...
    threshold = float(ranked[int(rejected * ranked.size + 1e-9)])
    return min(threshold, float(np.nextafter(1.0, 0.0)))  # a contract's is below 1


def rejected_share(outcomes: Outcomes, threshold: float) -> float:
    """Share of recordings that a threshold makes "uncertain", 0 to 1."""
    return float(np.mean(outcomes.confidence < threshold))
