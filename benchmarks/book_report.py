"""RESULTS.md, made of the plan and the outcomes that are there, and of nothing else."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import book_targets
from book_filled import Filled, FilledRow, fill
from book_plan import CERTAINTY, QUANTIZATION, ROWS, PlannedTable
from book_targets import PUBLISHED
from edge_ser.bootstrap import CONFIDENCE
from edge_ser.evaluation.outcome import FLOAT32, INT8, POST_TRAINING, Outcome
from edge_ser.evaluation.protocols import find_protocol
from edge_ser.evaluation.report import (
    FIGURES,
    LEAKS,
    NOTHING,
    between,
    figures,
    folds,
    headline,
    markdown_table,
    notes,
    p_value,
    points,
    points_between,
)
from edge_ser.evaluation.summary import Summary
from edge_ser.metrics import error_percent, percent
from edge_ser.rejection import REJECTED
from robustness_report import certainty_in_words, to_table

THREE = ("paper", "random", "speaker")
"""Protocols that are set side by side, from the one that leaks most."""

COMMAND = "python benchmarks/result_book.py --only {}"
ROBUSTNESS = "robustness"
"""Of what is no table of the plan: degraded recordings, heard by the model in the package."""


PICTURES = "benchmarks/results/book"
"""Where the pictures of the page are, from the page."""
DRAWN: Mapping[str, str] = {
    "confusions": "What is taken for what: people whom the model never heard, INT8",
    "confidence": "How sure it is and how often right; what is gained by rejecting",
}
"""Stems of the pictures, and what they show."""
KEPT = (0.9, 0.7, 0.5)  # shares of the recordings of which the accuracy is told


def to_markdown(
    tables: Sequence[PlannedTable],
    outcomes: Sequence[Outcome],
    robustness: dict[str, Any] | None = None,
) -> str:
    """The whole page.

    Args:
        robustness: what benchmarks/robustness.py measured of the model in the package.
    """
    filled = fill(tables, outcomes)
    parts = [
        "# Results",
        "Made by `make results` out of [the outcomes](benchmarks/results/book), which hold every "
        "test recording's probabilities, versions, seeds and folds; "
        "`python benchmarks/result_book.py --report` makes this page again without computing. "
        "Figures are of the INT8 TFLite file, with the float32 one beside it; shares are cut, "
        "not rounded up, and calibration errors, which that would flatter, are rounded.",
        *_overview(filled),
        *book_targets.to_markdown(filled, robustness),
    ]
    for table, rows in filled:
        parts += [f"## {table.title}", table.text.strip()]
        parts.append(LAYOUTS[table.layout](rows, table))
        parts += _unfinished(table, rows)
        if table.layout == CERTAINTY and any(one.summary for one in rows):
            parts += [f"![{what}]({PICTURES}/{stem}.svg)" for stem, what in DRAWN.items()]
    parts += _robustness(robustness)
    parts += ["## How to read it", *_remarks(filled)]
    return "\n\n".join(parts) + "\n"


def _robustness(measured: dict[str, Any] | None) -> list[str]:
    command = COMMAND.format(ROBUSTNESS)
    text = f"not computed yet: `{command}`"
    if measured is not None:
        text = "\n".join(to_table(measured)) + (
            f"\n\n{certainty_in_words(measured)}\n\nBy `{command}`, which also draws [the curves]"
            "(benchmarks/results/robustness/robustness.md)."
        )
    return ["## Noise, rooms, telephones, levels: the model in the package", text]


def _overview(filled: Filled) -> list[str]:
    """Each corpus under the three protocols, beside what the paper reports."""
    by_protocol: dict[tuple[str, str], tuple[PlannedTable, FilledRow]] = {}
    for table, rows in filled:
        for one in rows:
            if table.protocol in THREE:
                by_protocol.setdefault((one.row.test_on, table.protocol), (table, one))
    corpora = list(dict.fromkeys(corpus for corpus, _ in by_protocol))
    lines, accuracies = [], {}
    for corpus in corpora:
        cells, known = [corpus, PUBLISHED[corpus]], []
        for protocol in THREE:
            found = by_protocol.get((corpus, protocol))
            cells.append(NOTHING if found is None else _in_brief(*found))
            summary = found[1].summary if found else None
            if summary is not None and _has_all_folds(summary):
                known.append(headline(summary).accuracy)
        lines.append(cells)
        if len(known) == len(THREE):
            accuracies[corpus] = known
    headings = (
        "corpus",
        "the paper reports, accuracy %",
        f"paper protocol ({LEAKS}), accuracy %, UAR %",
        "random, accuracy %, UAR %",
        f"speaker, accuracy %, UAR % ({CONFIDENCE} % interval)",
    )
    return [
        "## What the paper's figures mean",
        "One network, three ways to divide the recordings. The paper protocol hears copies of "
        "its test recordings in training and chooses the epoch on them; random folds hear other "
        "recordings of the same people; under the protocol speaker nobody who is tested on was "
        "ever heard.",
        markdown_table(headings, lines, 1),
        *made_of(accuracies),
    ]


def made_of(accuracies: Mapping[str, Sequence[float]]) -> list[str]:
    """What the paper's kind of figure is made of, in a paragraph; nothing without figures.

    Args:
        accuracies: of each corpus under the protocols `THREE`, 0 to 1.
    """
    parts = []
    for corpus, (leaking, by_chance, unheard) in accuracies.items():
        voices, copies = 100 * (by_chance - unheard), 100 * (leaking - by_chance)
        parts.append(
            f"{corpus}: {percent(unheard)} on people never heard, {points(voices)} points with "
            f"their voices in training, {points(copies)} with "
            f"copies of the test recordings in training and the epoch chosen on them: "
            f"{percent(leaking)}, where the paper reports {PUBLISHED[corpus]}"
        )
    if not parts:
        return []
    return [
        "What such a figure is made of, in percent of the recordings recognised. "
        + "; ".join(parts)
        + ". Only the first part is recognition of emotion in a voice that is new; the others "
        "measure how well a network remembers voices and recordings. (People never heard are "
        "recognised by networks that had teachers and, where the table below says so, other "
        "corpora to learn from; the other figures are of networks that had one corpus alone.)"
    ]


def _has_all_folds(summary: Summary) -> bool:
    return len(summary.folds_there) == summary.folds


def _in_brief(table: PlannedTable, one: FilledRow) -> str:
    if one.summary is None:
        return f"not computed yet: `{COMMAND.format(table.name)}`"
    best = headline(one.summary)
    text = f"{percent(best.accuracy)}, {percent(best.uar)}"
    if table.protocol == "speaker" and best.uar_interval is not None:
        text += f" ({between(best.uar_interval)})"
    if not _has_all_folds(one.summary):
        text += f"; {folds(one.summary)} folds"
    return text + (f"; {LEAKS}" if one.summary.leaks else "")


def _names(one: FilledRow, table: PlannedTable) -> tuple[str, ...]:
    """The cells that say what a row is about."""
    row = one.row
    cells = [row.test_on + (f" ({LEAKS})" if find_protocol(table.protocol).leaks else "")]
    if _trained_on_others(table):
        cells.append(" + ".join(row.train_on))
    if any(other.label for other in table.rows):
        cells.append(row.label)
    return tuple(cells)


def _trained_on_others(table: PlannedTable) -> bool:
    """Whether a row of it is tested after a training on more or other corpora."""
    return any(row.train_on != (row.test_on,) for row in table.rows)


def _name_headings(table: PlannedTable) -> tuple[str, ...]:
    headings = ["tested on"]
    if _trained_on_others(table):
        headings.append("trained on")
    if any(row.label for row in table.rows):
        headings.append("model")
    return tuple(headings)


def _rows(rows: Sequence[FilledRow], table: PlannedTable) -> str:
    copies = find_protocol(table.protocol).augments_before

    def cells(summary: Summary) -> Sequence[str]:
        if not copies:
            return figures(summary)
        alone = headline(summary).uar_recordings
        return (*figures(summary), NOTHING if alone is None else percent(alone))

    headings = (*FIGURES, *(("INT8 UAR % of recordings alone",) if copies else ()))
    return _lines(rows, table, headings, cells)


def _quantization(rows: Sequence[FilledRow], table: PlannedTable) -> str:
    headings = ["folds", "seeds", "float32 UAR %"]
    for kind in ("after training", "in training"):
        headings += [
            f"{kind}, UAR %",
            "to float32, points",
            f"{CONFIDENCE} % interval",
            "p",
            "same label %",
        ]
    return _lines(rows, table, headings, _quantization_cells)


def _quantization_cells(summary: Summary) -> Sequence[str]:
    whole = summary.variants.get(FLOAT32)
    cells = [
        folds(summary),
        str(len(summary.seeds)),
        NOTHING if whole is None else percent(whole.uar),
    ]
    for variant in (POST_TRAINING, INT8):
        found = summary.variants.get(variant)
        if found is None:
            cells += [NOTHING] * 5
            continue
        same = found.same_label
        cells += [
            percent(found.uar),
            points(found.uar_points),
            points_between(found.uar_points_interval),
            p_value(found.sign_test),
            NOTHING if same is None else percent(same),
        ]
    return cells


def _certainty(rows: Sequence[FilledRow], table: PlannedTable) -> str:
    headings = (
        "folds",
        "seeds",
        "recordings",
        "accuracy %",
        "confidence - accuracy, points",
        "calibration error %",
        "without temperature",
        *(f"accuracy % of the most certain {share:.0%}" for share in KEPT),
        f"gained at {1 - REJECTED:.0%}, points",
    )
    return _lines(rows, table, headings, _certainty_cells)


def _certainty_cells(summary: Summary) -> Sequence[str]:
    sure = headline(summary).certainty
    accuracies = {point.coverage: point.accuracy for point in sure.coverage}
    return (
        folds(summary),
        str(len(summary.seeds)),
        f"{summary.recordings:,}",
        percent(accuracies[1.0]),
        points(100 * sure.overconfidence),
        error_percent(sure.calibration_error),
        error_percent(sure.uncalibrated_error),
        *(percent(accuracies[share]) for share in KEPT),
        points(sure.rejection_gain_points),
    )


def _lines(
    rows: Sequence[FilledRow],
    table: PlannedTable,
    headings: Sequence[str],
    cells: Callable[[Summary], Sequence[str]],
) -> str:
    """A line for each row: what it is about, then its cells, or by which command they come."""
    names = _name_headings(table)
    lines = [
        (
            *_names(one, table),
            *(_not_yet(table, len(headings)) if one.summary is None else cells(one.summary)),
        )
        for one in rows
    ]
    return markdown_table((*names, *headings), lines, len(names))


def _not_yet(table: PlannedTable, n: int) -> tuple[str, ...]:
    return (f"not computed yet: `{COMMAND.format(table.name)}`", *("",) * (n - 1))


def _unfinished(table: PlannedTable, rows: Sequence[FilledRow]) -> list[str]:
    """What is still to come of rows that have figures, in a sentence."""
    short = [
        one
        for one in rows
        if one.summary is not None
        and len(one.summary.folds_there) * len(one.summary.seeds) < len(one.row.units)
    ]
    if not short:
        return []
    return [
        f"Folds or seeds are missing in {len(short)} of {len(rows)} rows: "
        f"`{COMMAND.format(table.name)}` completes them."
    ]


def _remarks(filled: Filled) -> list[str]:
    summaries = [one.summary for _, rows in filled for one in rows if one.summary is not None]
    lines = notes(summaries) if summaries else []
    breaches = dict.fromkeys(
        f"Protocol {summary.protocol}: {breach}."
        for summary in summaries
        for breach in summary.breaches
    )
    lines += breaches
    lines.append(
        f"Computed so far: {sum(summary.minutes for summary in summaries):,.0f} minutes of a "
        "core, where a piece of work that two tables share counts twice."
    )
    return ["\n".join(f"- {line}" for line in lines)]


LAYOUTS: Mapping[str, Callable[[Sequence[FilledRow], PlannedTable], str]] = {
    ROWS: _rows,
    QUANTIZATION: _quantization,
    CERTAINTY: _certainty,
}
