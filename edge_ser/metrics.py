"""Metrics of recognition: UAR (the headline), accuracy, macro-F1, confusion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware_host.probabilities import softmax

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """What a model scored on some clips.

    Args:
        clips: how many there were.
        uar: unweighted average recall: the mean over the classes that occur of each one's
            recall, 0 to 1.
        accuracy: share of clips recognised, 0 to 1.
        macro_f1: mean F1 over the classes that occur, 0 to 1.
        confusion: counts, true class by row, recognised class by column.
    """

    clips: int
    uar: float
    accuracy: float
    macro_f1: float
    confusion: tuple[tuple[int, ...], ...]


def score(truth: Sequence[int], recognised: Sequence[int], n_labels: int) -> Score:
    """Score recognised classes against the true ones.

    Shape:
        - truth, recognised: (clips,), integers below `n_labels`

    >>> score([0, 0, 0, 1], [0, 0, 1, 1], 2).uar
    0.8333333333333333
    """
    confusion = np.zeros((n_labels, n_labels), np.int64)
    np.add.at(confusion, (np.asarray(truth, int), np.asarray(recognised, int)), 1)
    of_class, found, right = confusion.sum(axis=1), confusion.sum(axis=0), np.diag(confusion)
    present = of_class > 0
    recall = right[present] / of_class[present]
    f1 = 2 * right[present] / (of_class + found)[present]
    return Score(
        clips=int(confusion.sum()),
        uar=float(recall.mean()) if present.any() else float("nan"),
        accuracy=float(right.sum() / max(1, confusion.sum())),
        macro_f1=float(f1.mean()) if present.any() else float("nan"),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
    )


def percent(share: float) -> str:
    """A share in percent with one decimal, cut off and not rounded up.

    >>> percent(0.6726), percent(0.67), percent(1.0)
    ('67.2', '67.0', '100.0')
    """
    # What binary fractions lack of a whole thousandth must not cost one.
    return f"{math.floor(share * 1000 + 1e-9) / 10:.1f}"


def error_percent(share: float) -> str:
    """An error in percent with one decimal, the nearest: cutting it off would flatter.

    >>> error_percent(0.0628), error_percent(0.0622)
    ('6.3', '6.2')
    """
    return f"{100 * share:.1f}"


def fit_temperature(logits: Sequence[Float64], truth: Sequence[int]) -> float:
    """The temperature that makes the probabilities of clips most likely to be right.

    Minimises the negative log likelihood of the mean over a clip's windows, on clips that
    trained nothing. Source: Guo et al., "On Calibration of Modern Neural Networks" (2017).

    Shape:
        - logits: one (windows, n_labels) a clip
    """
    candidates = np.geomspace(0.2, 5.0, 161)
    windows = np.concatenate(logits)
    counts = np.array([len(of_clip) for of_clip in logits])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    clips = np.arange(len(counts))

    def loss(temperature: float) -> float:
        means = np.add.reduceat(softmax(windows, temperature), starts) / counts[:, None]
        return -float(np.log(np.maximum(means[clips, truth], 1e-12)).mean())

    return float(min(candidates, key=loss))
