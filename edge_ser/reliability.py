"""Reliability: whether a probability of 0.8 is right in eight of ten recordings.

Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (2017).
"""

from dataclasses import dataclass

import numpy as np

from edge_ser.outcomes import Outcomes
from firmware_host.errors import EdgeSerError

BINS = 15  # theirs


@dataclass(frozen=True)
class ReliabilityBin:
    """Recordings recognised with about one confidence.

    Args:
        clips: how many.
        confidence: mean probability of what was recognised, 0 to 1.
        accuracy: share that was right, 0 to 1.
    """

    clips: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """The data of a reliability diagram.

    Args:
        error: the expected calibration error: the mean over recordings of how far their bin's
            confidence is from its accuracy, 0 to 1. Few recordings make it larger than it is:
            with 100 even a perfectly calibrated model has several hundredths.
        overconfidence: mean confidence less accuracy; below 0 the model is too modest.
        bins: those that hold recordings, the least confident first.
    """

    error: float
    overconfidence: float
    bins: tuple[ReliabilityBin, ...]


def reliability(outcomes: Outcomes, bins: int = BINS, equal_mass: bool = False) -> Reliability:
    """Set confidence against accuracy.

    Args:
        bins: how many. Of equal width from 0 to 1 as in the source, so that the error compares
            with published ones.
        equal_mass: bins of as many recordings each instead, which is what a picture of few
            recordings needs.

    Raises:
        EdgeSerError: for less than one bin.
    """
    if bins < 1:
        raise EdgeSerError(f"{bins} bins were given: give 1 or more")
    confidence, right = outcomes.confidence, outcomes.right
    if equal_mass:
        order = np.argsort(confidence, kind="stable")
        members = [part for part in np.array_split(order, bins) if part.size]
    else:
        # ((m - 1) / bins, m / bins], as the source has them.
        place = np.clip(np.ceil(confidence * bins).astype(int), 1, bins)
        members = [np.flatnonzero(place == number) for number in np.unique(place)]
    found = tuple(
        ReliabilityBin(int(m.size), float(confidence[m].mean()), float(right[m].mean()))
        for m in members
    )
    gaps = sum(one.clips * abs(one.confidence - one.accuracy) for one in found)
    return Reliability(
        error=gaps / len(right),
        overconfidence=float(confidence.mean() - right.mean()),
        bins=found,
    )
