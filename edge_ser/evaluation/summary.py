"""From outcomes to figures: means over folds and seeds, intervals, float against INT8.

Only what outcomes hold is used: no corpus, no model. One summary speaks of the divisions of
one protocol and test corpus under one setting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.bootstrap import Interval, percentile_interval, resample_folds
from edge_ser.certainty import Certainty, certainty
from edge_ser.evaluation.outcome import FLOAT32, Outcome
from edge_ser.evaluation.protocols import n_folds
from edge_ser.evaluation.units import Settings
from edge_ser.metrics import score
from edge_ser.outcomes import make_outcomes
from edge_ser.paired import SignTest, sign_test_over_speakers
from firmware_host.errors import EdgeSerError

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class VariantSummary:
    """What one kind of file scored.

    Args:
        variant: "float32", "int8" or "ptq.int8".
        n_bytes: of the largest file.
        uar: mean over folds, then over seeds, 0 to 1; the headline.
        uar_interval: 95 %, speakers drawn anew; None with a single test speaker.
        uar_of_folds: each fold's, mean over seeds, in the folds' order.
        uar_of_seeds: each seed's mean over folds.
        accuracy, macro_f1: means over folds, then over seeds.
        confusion: counts over all folds and seeds, true class by row.
        uar_points: minus float32's UAR, in percentage points; None of float32 itself.
        uar_points_interval: 95 %, the same speakers drawn for both.
        sign_test: whether speakers lean to float32 or to this by more than chance.
        same_label: share of recordings in which it says what float32 says.
        certainty: over the recordings of all folds and seeds together.
        uar_recordings: with the augmented copies among the test recordings left out; None
            where there are none.
    """

    variant: str
    n_bytes: int
    uar: float
    uar_interval: Interval | None
    uar_of_folds: tuple[float, ...]
    uar_of_seeds: tuple[float, ...]
    accuracy: float
    macro_f1: float
    confusion: tuple[tuple[int, ...], ...]
    uar_points: float | None
    uar_points_interval: Interval | None
    sign_test: SignTest | None
    same_label: float | None
    certainty: Certainty
    uar_recordings: float | None


@dataclass(frozen=True)
class Summary:
    """The figures of one protocol on one test corpus.

    Args:
        folds, folds_there: how many the protocol has, and which of them are there.
        seeds: of which every fold that is there was trained.
        leaks, breaches: what the guard let through because the protocol declares it.
        recordings: test recordings of one seed, all folds together.
        takes_in_training: how many of them, augmented copies aside, have another take of the
            same text in the same emotion by the same speaker on the training side.
        parameters: of the network.
        minutes: of computing, all folds and seeds.
    """

    protocol: str
    train_on: tuple[str, ...]
    test_on: str
    pretrain_on: tuple[str, ...]
    settings: Settings
    leaks: bool
    breaches: tuple[str, ...]
    folds: int
    folds_there: tuple[int, ...]
    seeds: tuple[int, ...]
    speakers: tuple[str, ...]
    recordings: int
    takes_in_training: int
    labels: tuple[str, ...]
    parameters: int
    minutes: float
    variants: Mapping[str, VariantSummary]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self) | {"settings": self.settings.to_dict()}


def summarise(outcomes: Sequence[Outcome]) -> Summary:
    """The figures of outcomes that differ in fold and seed alone.

    Seeds that lack a fold which others have are left out, so that every seed's mean is over
    the same people.

    Raises:
        EdgeSerError: when there are none, or they differ in more.
    """
    if not outcomes:
        raise EdgeSerError("there are no outcomes to summarise: evaluate something first")
    kinds = {_kind(outcome) for outcome in outcomes}
    if len(kinds) > 1:
        raise EdgeSerError(
            "only folds and seeds of one evaluation can be summarised together, and these are "
            f"{len(kinds)} evaluations"
        )
    there = {(o.unit.seed, o.unit.key.index): o for o in outcomes}
    indices = tuple(sorted({index for _, index in there}))
    seeds = tuple(
        seed
        for seed in sorted({seed for seed, _ in there})
        if all((seed, index) in there for index in indices)
    )
    if not seeds:  # each has some folds only: take the one that has most
        seeds = (max(sorted({s for s, _ in there}), key=lambda s: sum(t == s for t, _ in there)),)
        indices = tuple(index for index in indices if (seeds[0], index) in there)
    grid = [[there[seed, index] for index in indices] for seed in seeds]
    flat = [outcome for of_seed in grid for outcome in of_seed]
    first = flat[0]
    variants = [v for v in first.heard if all(v in outcome.heard for outcome in flat)]
    speakers = tuple(sorted({speaker for outcome in grid[0] for speaker in outcome.speakers}))
    return Summary(
        protocol=first.unit.key.protocol,
        train_on=first.unit.key.train_on,
        test_on=first.unit.key.test_on,
        pretrain_on=first.unit.key.pretrain_on,
        settings=first.unit.settings,
        leaks=any(outcome.leaks for outcome in flat),
        breaches=tuple(dict.fromkeys(b for outcome in flat for b in outcome.breaches)),
        folds=n_folds(first.unit.key.protocol, first.unit.key.test_on),
        folds_there=indices,
        seeds=seeds,
        speakers=speakers,
        recordings=sum(len(outcome.names) for outcome in grid[0]),
        takes_in_training=sum(
            outcome.division["near_duplicates"]["test_recordings_with_a_take_in_training"]
            for outcome in grid[0]
        ),
        labels=first.labels,
        parameters=int(first.training["parameters"]),
        minutes=sum(outcome.seconds["all"] for outcome in flat) / 60,
        variants={variant: _variant(grid, variant) for variant in variants},
    )


def group(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """Outcomes that one summary speaks of, together; in the order in which they come."""
    groups: dict[Any, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(_kind(outcome), []).append(outcome)
    return list(groups.values())


def _kind(outcome: Outcome) -> tuple[object, ...]:
    key, settings = outcome.unit.key, outcome.unit.settings
    without = {k: v for k, v in settings.to_dict().items() if k != "post_training"}
    return key.protocol, key.train_on, key.test_on, key.pretrain_on, str(without)


def _variant(grid: Sequence[Sequence[Outcome]], variant: str) -> VariantSummary:
    flat = [outcome for of_seed in grid for outcome in of_seed]
    scores = [[outcome.score(variant) for outcome in of_seed] for of_seed in grid]
    drawn = _drawn(grid, variant)
    points = interval = test = same = None
    if variant != FLOAT32 and FLOAT32 in flat[0].heard:
        whole = np.mean([[o.score(FLOAT32).uar for o in of_seed] for of_seed in grid])
        points = 100 * float(np.mean([[s.uar for s in of_seed] for of_seed in scores]) - whole)
        # The same speakers are drawn for both, so that what they share cancels out.
        interval = percentile_interval(100 * (drawn - _drawn(grid, FLOAT32)))
        test = sign_test_over_speakers((_heard(o, variant), _heard(o, FLOAT32)) for o in flat)
        same = float(
            np.mean(
                np.concatenate([o.heard[variant].labels == o.heard[FLOAT32].labels for o in flat])
            )
        )
    return VariantSummary(
        variant=variant,
        n_bytes=max(int(outcome.heard[variant].file["bytes"]) for outcome in flat),
        uar=float(np.mean([[s.uar for s in of_seed] for of_seed in scores])),
        uar_interval=percentile_interval(drawn),
        uar_of_folds=tuple(
            float(np.mean([of_seed[fold].uar for of_seed in scores]))
            for fold in range(len(grid[0]))
        ),
        uar_of_seeds=tuple(float(np.mean([s.uar for s in of_seed])) for of_seed in scores),
        accuracy=float(np.mean([[s.accuracy for s in of_seed] for of_seed in scores])),
        macro_f1=float(np.mean([[s.macro_f1 for s in of_seed] for of_seed in scores])),
        confusion=tuple(
            tuple(int(n) for n in row)
            for row in np.sum([s.confusion for of_seed in scores for s in of_seed], axis=0)
        ),
        uar_points=points,
        uar_points_interval=interval,
        sign_test=test,
        same_label=same,
        certainty=_certainty(flat, variant),
        uar_recordings=_without_copies(flat, variant),
    )


def _certainty(outcomes: Sequence[Outcome], variant: str) -> Certainty:
    heard = [outcome.heard[variant] for outcome in outcomes]
    truth = np.concatenate([outcome.truth for outcome in outcomes])
    speakers = [speaker for outcome in outcomes for speaker in outcome.speakers]
    return certainty(
        make_outcomes(truth, np.concatenate([one.probabilities for one in heard]), speakers),
        make_outcomes(truth, np.concatenate([one.untempered for one in heard]), speakers),
    )


def _without_copies(outcomes: Sequence[Outcome], variant: str) -> float | None:
    if all(outcome.recordings_alone.all() for outcome in outcomes):
        return None
    uars = []
    for outcome in outcomes:
        alone = outcome.recordings_alone
        truth, labels = outcome.truth[alone], outcome.heard[variant].labels[alone]
        uars.append(score(truth.tolist(), labels.tolist(), len(outcome.labels)).uar)
    return float(np.mean(uars))


@dataclass(frozen=True)
class _Heard:
    """An outcome's recordings as one kind of file heard them; an `outcomes.Recognised`."""

    truth: Int64
    recognised: Int64
    speakers: tuple[str, ...]
    n_labels: int


def _heard(outcome: Outcome, variant: str) -> _Heard:
    labels = outcome.heard[variant].labels
    return _Heard(outcome.truth, labels, outcome.speakers, len(outcome.labels))


def _drawn(grid: Sequence[Sequence[Outcome]], variant: str) -> Float64:
    """The headline, mean UAR over folds and seeds, of each draw of speakers.

    Seed by seed, because random folds of another seed are of other recordings.
    """
    of_seeds = [resample_folds([_heard(o, variant) for o in of_seed]) for of_seed in grid]
    return np.asarray(np.mean(of_seeds, axis=0))
