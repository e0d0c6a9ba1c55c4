"""Intervals over speakers: how far a figure would move with other speakers of the same kind.

Whole speakers are drawn, with replacement, because the clips of one are not independent of
each other (the cluster bootstrap; Davison and Hinkley, "Bootstrap Methods and their
Application", section 3.8). The draws depend on the number of speakers alone, so that two models
tested on the same speakers meet the same draws, and what they share cancels out of their
difference. With a single speaker nothing is drawn and there is no interval.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_ser.outcomes import Int64, Recognised

RESAMPLES = 2_000
SEED = 0
CONFIDENCE = 95  # per cent

Interval = tuple[float, float]
Float64 = NDArray[np.float64]


def resample_speakers(
    truth: Sequence[int] | Int64,
    recognised: Sequence[int] | Int64,
    speakers: Sequence[str],
    n_labels: int,
) -> tuple[Float64, Float64]:
    """UAR and accuracy of `RESAMPLES` draws of as many speakers as there are.

    Shape:
        - truth, recognised, speakers: (clips,)
        - returns: (RESAMPLES,) each, or (0,) with a single speaker
    """
    names = sorted(set(speakers))
    if len(names) < 2:
        return np.empty(0), np.empty(0)
    confusions = _confusions(truth, recognised, speakers, names, n_labels)
    return _scores(_draws(len(names)), confusions)


def percentile_interval(values: Float64) -> Interval | None:
    """The middle `CONFIDENCE` per cent of resampled values; None without any."""
    if not values.size:
        return None
    tail = (100 - CONFIDENCE) / 2
    low, high = np.percentile(values, (tail, 100 - tail))
    return float(low), float(high)


def resample_folds(folds: Sequence[Recognised]) -> Float64:
    """The mean over folds of UAR, of `RESAMPLES` draws of the speakers of all folds.

    In a draw a fold counts by how many of its speakers were drawn, of those it has: with one
    speaker a fold this is the mean over the speakers drawn.

    Shape:
        - returns: (RESAMPLES,), or (0,) with a single speaker
    """
    names = sorted({speaker for fold in folds for speaker in fold.speakers})
    if len(names) < 2:
        return np.empty(0)
    draws = _draws(len(names))
    index = {name: number for number, name in enumerate(names)}
    sums, weights = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    for fold in folds:
        own = sorted(set(fold.speakers))
        drawn = draws[:, [index[name] for name in own]]
        weight = drawn.sum(axis=1) / len(own)
        uar, _ = _scores(
            drawn, _confusions(fold.truth, fold.recognised, fold.speakers, own, fold.n_labels)
        )
        sums += weight * uar
        weights += weight
    return sums / weights


def _draws(n_speakers: int) -> Int64:
    """How often each speaker is drawn. Shape: (RESAMPLES, n_speakers)."""
    generator = np.random.default_rng(SEED)
    equal = np.full(n_speakers, 1 / n_speakers)
    return generator.multinomial(n_speakers, equal, size=RESAMPLES)


def _confusions(
    truth: Sequence[int] | Int64,
    recognised: Sequence[int] | Int64,
    speakers: Sequence[str],
    names: Sequence[str],
    n_labels: int,
) -> Float64:
    """Each speaker's confusions. Shape: (len(names), n_labels, n_labels)."""
    index = {name: number for number, name in enumerate(names)}
    of_clip = np.asarray([index[speaker] for speaker in speakers])
    out = np.zeros((len(names), n_labels, n_labels))
    np.add.at(out, (of_clip, np.asarray(truth), np.asarray(recognised)), 1)
    return out


def _scores(draws: Int64, confusions: Float64) -> tuple[Float64, Float64]:
    """UAR and accuracy of each draw; 0 of one that draws nobody. Shape: (RESAMPLES,) each."""
    drawn = np.tensordot(draws, confusions, axes=1)  # (RESAMPLES, n_labels, n_labels)
    of_class = drawn.sum(axis=2)
    right = np.diagonal(drawn, axis1=1, axis2=2)
    present = of_class > 0
    recall = np.divide(right, of_class, out=np.zeros_like(right), where=present)
    # A draw of nobody divides 0 by 1.
    uar = recall.sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    return uar, right.sum(axis=1) / np.maximum(of_class.sum(axis=1), 1)
