"""Intervals over speakers: how far a figure would move with other speakers of the same kind.

Whole speakers are drawn, with replacement, because the clips of one are not independent of
each other (the cluster bootstrap; Davison and Hinkley, "Bootstrap Methods and their
Application", section 3.8). The draws depend on the number of speakers alone, so that two models
tested on the same speakers meet the same draws, and what they share cancels out of their
difference. With a single speaker nothing is drawn and there is no interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_ser.outcomes import Int64, Outcomes
from firmware_host.errors import EdgeSerError

RESAMPLES = 2_000
SEED = 0
CONFIDENCE = 95  # per cent

Interval = tuple[float, float]
Float64 = NDArray[np.float64]
Folds = Sequence[Sequence[Outcomes]]
"""Outcomes by fold, and in each fold by seed: those of one fold are of the same recordings."""


class Recognised(Protocol):
    """What is drawn from: what was recognised, and by whom it was spoken. `Outcomes` is one.

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


@dataclass(frozen=True)
class FoldMean:
    """Means over folds, and in each fold over seeds.

    Args:
        folds, seeds: how many.
        uar, accuracy, macro_f1: means over the folds of each fold's figure, 0 to 1.
        uar_interval, accuracy_interval: 95 % bootstrap intervals over the speakers of all
            folds; None with a single speaker.
        fold_uar: of each fold, the mean over its seeds.
        fold_std: standard deviation of `fold_uar`, which papers give after a ±; it is no
            interval of the mean. None with a single fold.
        seed_std: standard deviation between seeds of the mean over folds; None with one seed.
    """

    folds: int
    seeds: int
    uar: float
    accuracy: float
    macro_f1: float
    uar_interval: Interval | None
    accuracy_interval: Interval | None
    fold_uar: tuple[float, ...]
    fold_std: float | None
    seed_std: float | None


def mean_over_folds(folds: Folds) -> FoldMean:
    """What a corpus's folds and seeds come to.

    Raises:
        EdgeSerError: when there is no fold, or folds have different numbers of seeds.
    """
    seeds = check_folds(folds)
    scores = [[outcomes.score() for outcomes in fold] for fold in folds]
    # Shape: (folds, seeds, figures)
    table = np.array([[(s.uar, s.accuracy, s.macro_f1) for s in fold] for fold in scores])
    by_fold, by_seed = table[..., 0].mean(axis=1), table[..., 0].mean(axis=0)
    uar, accuracy = resample_folds(folds)
    means = table.mean(axis=(0, 1))
    return FoldMean(
        folds=len(folds),
        seeds=seeds,
        uar=float(means[0]),
        accuracy=float(means[1]),
        macro_f1=float(means[2]),
        uar_interval=percentile_interval(uar),
        accuracy_interval=percentile_interval(accuracy),
        fold_uar=tuple(map(float, by_fold)),
        fold_std=float(by_fold.std(ddof=1)) if len(folds) > 1 else None,
        seed_std=float(by_seed.std(ddof=1)) if seeds > 1 else None,
    )


def resample_folds(folds: Sequence[Sequence[Recognised]]) -> tuple[Float64, Float64]:
    """The mean over folds of UAR, and of accuracy, of `RESAMPLES` draws of all their speakers.

    In a draw a fold counts by how many of its speakers were drawn, of those it has: with one
    speaker a fold this is the mean over the speakers drawn. All seeds of a fold meet the same
    draws: another seed is no other speaker.

    Shape:
        - returns: (RESAMPLES,) each, or (0,) with a single speaker

    Raises:
        EdgeSerError: as `mean_over_folds`.
    """
    check_folds(folds)
    names = sorted({speaker for fold in folds for speaker in fold[0].speakers})
    if len(names) < 2:
        return np.empty(0), np.empty(0)
    draws = _draws(len(names))
    index = {name: number for number, name in enumerate(names)}
    sums, weights = np.zeros((2, RESAMPLES)), np.zeros(RESAMPLES)
    for fold in folds:
        own = sorted(set(fold[0].speakers))
        drawn = draws[:, [index[name] for name in own]]
        weight = drawn.sum(axis=1) / len(own)
        found = np.mean(
            [
                _scores(drawn, _confusions(o.truth, o.recognised, o.speakers, own, o.n_labels))
                for o in fold
            ],
            axis=0,
        )  # (2, RESAMPLES)
        sums += weight * found
        weights += weight
    uar, accuracy = sums / weights
    return uar, accuracy


def check_folds(folds: Sequence[Sequence[Recognised]]) -> int:
    """The number of seeds, which is every fold's.

    Raises:
        EdgeSerError: when there is no fold, when folds have different numbers of seeds, or the
            seeds of a fold heard different recordings.
    """
    counts = {len(fold) for fold in folds}
    if len(counts) != 1 or counts == {0}:
        raise EdgeSerError(
            f"folds of {sorted(counts)} seeds were given: give at least one fold, and the outcomes "
            "of the same seeds for each"
        )
    for number, fold in enumerate(folds, start=1):
        if any(outcomes.speakers != fold[0].speakers for outcomes in fold):
            raise EdgeSerError(
                f"the seeds of fold {number} heard different recordings: give the outcomes of the "
                "same ones, in the same order"
            )
    return counts.pop()


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
