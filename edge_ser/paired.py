"""Two models on the same recordings: INT8 against float32, or degraded sound against clean.

What both get right or wrong alike says nothing of their difference, so it is compared in
pairs: by an interval over speakers (`bootstrap`), and by a permutation test of whether the signs
of the differences could be chance.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ser.bootstrap import (
    SEED,
    Interval,
    percentile_interval,
    resample_speakers,
)
from edge_ser.outcomes import Outcomes, Recognised, check_same_clips

Float64 = NDArray[np.float64]

SIGN_FLIPS = 2**14  # all of them with up to 14 differences, else as many drawn ones


@dataclass(frozen=True)
class SignTest:
    """Whether differences lean to one side more than chance would let them.

    Args:
        p_value: two-sided: the share of the choices of signs under which their sum is as far
            from zero. With n differences it is at least 2 / 2**n: two speakers never
            come below 0.5.
        exact: whether every choice of signs was counted, not drawn.
        n: how many differences.
    """

    p_value: float
    exact: bool
    n: int


@dataclass(frozen=True)
class Paired:
    """One model's UAR less another's, on the same recordings.

    Args:
        uar_points, accuracy_points: in percentage points.
        uar_points_interval: 95 % over speakers; None with a single one.
        agreement: share of the recordings of which both say the same, 0 to 1.
    """

    uar_points: float
    accuracy_points: float
    uar_points_interval: Interval | None
    agreement: float


def compare(ours: Outcomes, theirs: Outcomes) -> Paired:
    """Ours less theirs.

    Raises:
        EdgeSerError: when they are of different recordings.
    """
    check_same_clips(ours, theirs)
    first, second = ours.score(), theirs.score()
    return Paired(
        uar_points=100 * (first.uar - second.uar),
        accuracy_points=100 * (first.accuracy - second.accuracy),
        uar_points_interval=percentile_interval(100 * (_uar_draws(ours) - _uar_draws(theirs))),
        agreement=float(np.mean(ours.recognised == theirs.recognised)),
    )


def sign_test_over_speakers(pairs: Iterable[tuple[Recognised, Recognised]]) -> SignTest:
    """Whether one speaker after the other leans to the same of two models.

    Args:
        pairs: ours and theirs on the same recordings; of each fold and seed, say. A speaker
            counts once, in however many pairs.

    Raises:
        EdgeSerError: when a pair is of different recordings.
    """
    parts: dict[str, float] = {}
    for ours, theirs in pairs:
        check_same_clips(ours, theirs)
        for speaker, part in _speaker_parts(ours, theirs).items():
            parts[speaker] = parts.get(speaker, 0.0) + part
    return sign_test(np.array(list(parts.values())))


def sign_test(differences: Float64) -> SignTest:
    """A permutation test of differences whose signs would be chance if nothing were behind them.

    Source: Fisher, "The Design of Experiments", section 21; computed by scipy.

    Shape:
        - differences: (n,)
    """
    from scipy.stats import permutation_test

    n = int(differences.size)
    exact = 2**n <= SIGN_FLIPS
    if n < 2 or not differences.any():  # one sign is as good as the other
        return SignTest(1.0, exact, n)
    found = permutation_test(
        (differences,),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=SIGN_FLIPS,
        rng=np.random.default_rng(SEED),
    )
    return SignTest(float(found.pvalue), exact, n)


def _uar_draws(outcomes: Outcomes) -> Float64:
    return resample_speakers(
        outcomes.truth, outcomes.recognised, outcomes.speakers, outcomes.n_labels
    )[0]


def _speaker_parts(ours: Recognised, theirs: Recognised) -> dict[str, float]:
    """Each speaker's part in the difference of the UARs, which is their sum.

    UAR is a mean over classes of right / all; both models meet the same clips, so each clip that
    one alone has right adds or takes 1 / (classes x clips of its class), whoever spoke it.
    Exchanging the models on one speaker's clips changes the sign of that speaker's part.
    """
    of_class = np.bincount(ours.truth, minlength=ours.n_labels)
    worth = 1 / (np.count_nonzero(of_class) * of_class[ours.truth])
    right, other = (one.recognised == one.truth for one in (ours, theirs))
    gained = worth * (right.astype(int) - other.astype(int))
    parts: dict[str, float] = dict.fromkeys(ours.speakers, 0.0)
    for speaker, part in zip(ours.speakers, gained.tolist(), strict=True):
        parts[speaker] += part
    return parts
