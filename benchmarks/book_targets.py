"""What was aimed for before anything was measured, and what came of it, met or not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from book_filled import Filled
from edge_ser.evaluation.report import NOTHING, headline, markdown_table, points, points_between
from edge_ser.evaluation.summary import Summary
from edge_ser.metrics import error_percent, percent
from edge_ser.rejection import REJECTED
from robustness_conditions import HEADLINE_SNR_DB
from targets import in_a_word

PUBLISHED: Mapping[str, str] = {
    "TESS": "99.65",
    "RAVDESS": "94.88",
    "BanglaSER": "98.12",
    "SUBESCO": "97.94",
    "EmoDB": "97.19",
}
"""Accuracy in percent that the paper reports (arXiv 2412.10011); it does not describe its folds."""

PAPER, SPEAKER, TINY, AS_TINY = "paper", "speaker", "tiny", "less-decay"
"""Tables of the plan that targets are about; the last is of the network whose recipe `tiny` has."""
LEAST_UAR: Mapping[str, tuple[int, int]] = {
    "RAVDESS": (68, 72),
    "BanglaSER": (73, 80),
    "TESS": (75, 85),
    "EmoDB": (80, 86),
}
"""Percent that the network is to recognise of people it never heard, and what one hopes for."""
MOST_BYTES: Mapping[str, int] = {SPEAKER: 350_000, TINY: 100_000}
MOST_LOST_BY_TINY = 4.0  # points of UAR
MOST_LOST_BY_INT8 = 0.3
MOST_CALIBRATION_ERROR = 0.05
LEAST_REJECTION_GAIN = 8.0  # points of accuracy
MOST_LOST_IN_NOISE = 6.0  # points of UAR, mean over the corpora

DECIMALS = 2  # of differences: told to a tenth, -0.31 would seem to meet -0.3


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured.

    Args:
        what, of: the quantity, and of which corpus, network or noise.
        value: what was measured, None where nothing was: it decides.
        limit, aim: to be reached, and what one hopes for; in the unit of `value`.
        measured, asked: value and limit as they are told.
        at_most: whether the limit is not to be exceeded.
    """

    what: str
    of: str
    value: float | None
    limit: float
    measured: str
    asked: str
    aim: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the limit holds; None when that is not known."""
        if self.value is None:
            return None
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    @property
    def reached(self) -> bool | None:
        """Whether the aim is reached too; None without one."""
        return None if self.aim is None else replace(self, limit=self.aim).met

    @property
    def in_a_word(self) -> str:
        """Met or not."""
        return in_a_word(self.met, self.reached)


def to_markdown(filled: Filled, robustness: Mapping[str, Any] | None) -> list[str]:
    """The part of the page that holds every target against what was measured."""
    rows = [
        (v.what, v.of, v.measured, v.asked, _aim(v), v.in_a_word)
        for v in verdicts(filled, robustness)
    ]
    if not rows:
        return []
    return [
        "## What was aimed for",
        "Set before anything was measured. Figures are of the tables below, of the INT8 TFLite "
        "file, over the seeds that are there; whether a target is met is decided before figures "
        "are cut to a decimal; differences have two.",
        markdown_table(("what", "of", "measured", "target", "aim", ""), rows, 2),
    ]


def verdicts(filled: Filled, robustness: Mapping[str, Any] | None) -> list[Verdict]:
    """Every target of the tables that are in the plan, and of the model in the package.

    Args:
        robustness: what benchmarks/robustness.py measured of the model in the package.
    """
    tables = {
        table.name: {one.row.test_on: one.summary for one in rows if one.row.test_on in LEAST_UAR}
        for table, rows in filled
        if table.name in (PAPER, SPEAKER, TINY, AS_TINY)
    }
    found: list[Verdict] = []
    for corpus, summary in tables.get(PAPER, {}).items():
        found.append(_like_the_papers(corpus, summary))
    for corpus, summary in tables.get(SPEAKER, {}).items():
        found.append(_people_never_heard(corpus, summary))
    for corpus, summary in tables.get(SPEAKER, {}).items():
        found += _int8_against_float32(corpus, summary)
    for corpus, summary in tables.get(TINY, {}).items():
        found.append(_tiny(corpus, summary, tables.get(AS_TINY, {}).get(corpus)))
    for name, limit in MOST_BYTES.items():
        if name in tables:
            found.append(_bytes(name, list(tables[name].values()), limit))
    if robustness is not None:
        found += _model_in_the_package(robustness)
    return found


def _aim(verdict: Verdict) -> str:
    return NOTHING if verdict.aim is None else f"{verdict.aim:g}"


def _percent(value: float | None) -> str:
    return NOTHING if value is None else percent(value / 100)


def _like_the_papers(corpus: str, summary: Summary | None) -> Verdict:
    accuracy = None if summary is None else 100 * headline(summary).accuracy
    what, asked = "protocol paper (it leaks), accuracy %", f">= {PUBLISHED[corpus]}, the paper's"
    return Verdict(what, corpus, accuracy, float(PUBLISHED[corpus]), _percent(accuracy), asked)


def _people_never_heard(corpus: str, summary: Summary | None) -> Verdict:
    uar = None if summary is None else 100 * headline(summary).uar
    limit, aim = LEAST_UAR[corpus]
    what = "people never heard, UAR %"
    return Verdict(what, corpus, uar, limit, _percent(uar), f">= {limit}", aim)


def _int8_against_float32(corpus: str, summary: Summary | None) -> Iterator[Verdict]:
    best = None if summary is None else headline(summary)
    lost = None if best is None else best.uar_points
    yield _lost("INT8 - float32, points of UAR", corpus, lost, MOST_LOST_BY_INT8)
    interval = None if best is None else best.uar_points_interval
    yield Verdict(
        "its interval over speakers",
        corpus,
        None if interval is None else interval[1],
        0.0,
        points_between(interval, DECIMALS),
        "not all below 0",
    )


def _tiny(corpus: str, tiny: Summary | None, whole: Summary | None) -> Verdict:
    lost = None
    if tiny is not None and whole is not None:
        lost = 100 * (headline(tiny).uar - headline(whole).uar)
    what = "tiny - the network taught likewise, points of UAR"
    return _lost(what, corpus, lost, MOST_LOST_BY_TINY)


def _lost(what: str, of: str, change: float | None, most: float) -> Verdict:
    """Of a change in points, which is to lose at most so many."""
    return Verdict(what, of, change, -most, points(change, DECIMALS), f">= {-most:g}")


def _bytes(name: str, summaries: Sequence[Summary | None], limit: int) -> Verdict:
    most = max((headline(one).n_bytes for one in summaries if one is not None), default=None)
    measured = NOTHING if most is None else f"{most:,}"
    what, of, asked = "bytes of the largest file", f"table {name}", f"<= {limit:,}"
    return Verdict(what, of, most, limit, measured, asked, at_most=True)


def _model_in_the_package(measured: Mapping[str, Any]) -> Iterator[Verdict]:
    sure, model = measured["all_clean"], measured["model"]
    error, gain = sure["calibration_error"], sure["rejection_gain"]
    yield Verdict(
        "calibration error %, all its test recordings",
        model,
        error,
        MOST_CALIBRATION_ERROR,
        error_percent(error),
        f"<= {100 * MOST_CALIBRATION_ERROR:.0f}",
        at_most=True,
    )
    yield Verdict(
        f"accuracy without the least certain {REJECTED:.0%}, points",
        model,
        gain,
        LEAST_REJECTION_GAIN,
        points(gain, DECIMALS),
        f">= +{LEAST_REJECTION_GAIN:.0f}",
    )
    for row in measured["conditions"]:
        if row["snr_db"] == HEADLINE_SNR_DB:
            what = "noise against clean, points of UAR, mean over the corpora"
            yield _lost(what, row["name"], row["mean"]["int8_points_to_clean"], MOST_LOST_IN_NOISE)
