"""Summaries for people: a table's rows, with numbers cut and not rounded up."""

from collections.abc import Sequence

from edge_ser.bootstrap import CONFIDENCE, Interval
from edge_ser.evaluation.outcome import FLOAT32, INT8, POST_TRAINING
from edge_ser.evaluation.protocols import PROTOCOLS
from edge_ser.evaluation.summary import Summary, VariantSummary
from edge_ser.metrics import percent
from edge_ser.paired import SignTest

NOTHING = "-"
LEAKS = "**leaks**"
FIGURES = (
    "folds",
    "seeds",
    "recordings",
    "INT8 UAR %",
    f"{CONFIDENCE} % interval",
    "float32 UAR %",
    "INT8 - float32, points",
    "interval",
    "accuracy %",
    "macro-F1 %",
    "INT8 bytes",
)
"""Headings of what a summary says; a table puts others before them."""

HEADINGS = ("protocol", "tested on", "trained on", "model", *FIGURES)
FEW_SPEAKERS = 5
SMALLEST_P = 0.001  # that is told by its number
FIRST_NUMBER = 4
"""The column from which on cells are set to the right."""


def headline(summary: Summary) -> VariantSummary:
    """The variant that the figures are of: the INT8 file, post-training where no other is."""
    for variant in (INT8, POST_TRAINING, FLOAT32):
        if variant in summary.variants:
            return summary.variants[variant]
    raise KeyError(FLOAT32)


def row(summary: Summary) -> tuple[str, ...]:
    """Cells under `HEADINGS`."""
    return (
        summary.protocol + (f" ({LEAKS})" if summary.leaks else ""),
        summary.test_on,
        trained_on(summary),
        summary.settings.slug,
        *figures(summary),
    )


def figures(summary: Summary) -> tuple[str, ...]:
    """Cells under `FIGURES`."""
    best, whole = headline(summary), summary.variants.get(FLOAT32)
    return (
        folds(summary),
        str(len(summary.seeds)),
        f"{summary.recordings:,}",
        percent(best.uar),
        between(best.uar_interval),
        NOTHING if whole is None else percent(whole.uar),
        points(best.uar_points),
        points_between(best.uar_points_interval),
        percent(best.accuracy),
        percent(best.macro_f1),
        f"{best.n_bytes:,}",
    )


def folds(summary: Summary) -> str:
    """How many, and of how many where some are not there."""
    there = len(summary.folds_there)
    return str(there) if there == summary.folds else f"{there} of {summary.folds}"


def trained_on(summary: Summary) -> str:
    """The corpora, or a dash where it is the one that is tested on alone."""
    if summary.pretrain_on:
        return f"{' + '.join(summary.pretrain_on)} first"
    return NOTHING if summary.train_on == (summary.test_on,) else " + ".join(summary.train_on)


def between(interval: Interval | None) -> str:
    """An interval of shares, in percent."""
    return NOTHING if interval is None else f"{percent(interval[0])} to {percent(interval[1])}"


def points(value: float | None, decimals: int = 1) -> str:
    """A difference in percentage points.

    >>> points(-0.04), points(1.26), points(-0.312, 2)
    ('-0.0', '+1.3', '-0.31')
    """
    return NOTHING if value is None else f"{value:+.{decimals}f}"


def points_between(interval: Interval | None, decimals: int = 1) -> str:
    """An interval of percentage points."""
    if interval is None:
        return NOTHING
    low, high = interval
    return f"{points(low, decimals)} to {points(high, decimals)}"


def p_value(test: SignTest | None) -> str:
    """How often chance alone would set two models as far apart.

    >>> p_value(SignTest(0.0342, True, 10)), p_value(SignTest(0.0001, False, 30))
    ('0.034', '< 0.001')
    """
    if test is None:
        return NOTHING
    return f"{test.p_value:.3f}" if test.p_value >= SMALLEST_P else f"< {SMALLEST_P}"


def markdown_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], first_number: int
) -> str:
    """Rows under headings; from a column on set to the right."""
    rule = ["--:" if column >= first_number else "---" for column in range(len(headings))]
    lines = (headings, rule, *rows)
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in r) + " |" for r in lines)


def notes(summaries: Sequence[Summary]) -> list[str]:
    """What has to be known to read the rows, a sentence each."""
    lines = [
        f"Protocol {name}: {PROTOCOLS[name].in_words}."
        for name in dict.fromkeys(summary.protocol for summary in summaries)
    ]
    lines.append(
        "UAR, unweighted average recall, is the mean over folds and then over seeds, of TFLite "
        f"files heard by the interpreter that users run; intervals: {CONFIDENCE} % bootstrap over "
        "test speakers; points are percentage points, both files on the same draws of speakers."
    )
    if few := [s.test_on for s in summaries if 1 < len(s.speakers) < FEW_SPEAKERS]:
        lines.append(
            f"{' and '.join(dict.fromkeys(few))} has so few test speakers that an interval over "
            "them says little."
        )
    lines += dict.fromkeys(
        f"{s.test_on} under the protocol {s.protocol}: {s.takes_in_training:,} test recordings "
        "have another take of their sentence, by their speaker in their emotion, in training."
        for s in summaries
        if s.takes_in_training
    )
    return lines


def to_markdown(summaries: Sequence[Summary]) -> str:
    """What `edge-ser evaluate` prints and keeps."""
    parts = [
        "# Evaluation",
        markdown_table(HEADINGS, [row(summary) for summary in summaries], FIRST_NUMBER),
        "\n".join(f"- {line}" for line in notes(summaries)),
    ]
    for summary in summaries:
        best = headline(summary)
        parts.append(
            f"## {summary.protocol}, {summary.test_on}"
            + (f" from {trained_on(summary)}" if trained_on(summary) != NOTHING else "")
            + (": leaks" if summary.leaks else "")
        )
        parts += ["\n".join(f"- {breach}" for breach in summary.breaches)] * bool(summary.breaches)
        by_fold = zip(summary.folds_there, best.uar_of_folds, strict=True)
        parts.append(
            f"{best.variant} UAR % by fold: "
            + ", ".join(f"{fold}: {percent(uar)}" for fold, uar in by_fold)
        )
        if best.sign_test is not None:
            parts.append(
                f"{best.variant} - float32: {points(best.uar_points)} points of UAR "
                f"({points_between(best.uar_points_interval)}; permutation test over "
                f"{best.sign_test.n} speakers: p {p_value(best.sign_test)})"
            )
        parts.append(
            markdown_table(
                ("true \\ recognised", *summary.labels),
                [
                    (label, *map(str, counts))
                    for label, counts in zip(summary.labels, best.confusion, strict=True)
                ],
                1,
            )
        )
    return "\n\n".join(parts) + "\n"
