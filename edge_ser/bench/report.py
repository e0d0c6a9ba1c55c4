"""A bench's result for people and programs: Markdown, JSON, and the picture."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edge_ser.bench.clips import HELD_OUT, OTHER_CORPUS, SEEN, UNKNOWN
from edge_ser.bench.measure import INT8, BenchResult, BenchRow
from edge_ser.bench.recognition import CorpusScore
from edge_ser.bench.speed import LOADS
from edge_ser.bootstrap import CONFIDENCE
from edge_ser.certainty import Certainty
from edge_ser.metrics import error_percent, percent
from edge_ser.rejection import REJECTED
from edge_ser.reliability import BINS
from firmware_host.files import write_whole

if TYPE_CHECKING:
    from edge_ser.bench.pictures import ConfidencePanel, ConfusionPanel

NOTHING = "-"
MARKDOWN_FILE, JSON_FILE, PLOT_STEM = "bench.md", "bench.json", "bench"
CONFUSIONS_STEM, CONFIDENCE_STEM = "confusions", "confidence"
STATUS_SENTENCES = {
    HELD_OUT: "speaker-disjoint: held out from this model's training and validation, and nothing "
    "was chosen on them",
    OTHER_CORPUS: "speaker-disjoint: the model was trained on other corpora, and nothing was "
    "chosen on these speakers",
    SEEN: "NOT speaker-disjoint: the model heard some of these speakers in training or validation",
    UNKNOWN: "held-out status unknown: the file does not say which speakers it was trained on",
}


@dataclass(frozen=True)
class Table:
    """Cells as text.

    Args:
        headings, rows: of all columns.
        numbers: columns set to the right.
        main: columns that a narrow terminal shows.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int]
    main: tuple[int, ...]

    def brief(self) -> "Table":
        """The main columns alone."""
        return Table(
            tuple(self.headings[column] for column in self.main),
            tuple(tuple(row[column] for column in self.main) for row in self.rows),
            frozenset(new for new, old in enumerate(self.main) if old in self.numbers),
            tuple(range(len(self.main))),
        )


def write_report(result: BenchResult, out_dir: Path) -> tuple[Path, ...]:
    """Write bench.md, bench.json and, where matplotlib is installed, the pictures.

    Those are bench, and with recognition confusions and confidence, each as .svg and .png.

    Returns:
        The files written.

    Raises:
        EdgeSerError: when the folder cannot be written.
    """
    written = {
        out_dir / JSON_FILE: to_json(result).encode(),
        out_dir / MARKDOWN_FILE: to_markdown(result, can_plot()).encode(),
    }
    if can_plot():
        for stem, pictures in _draw_all(result).items():
            for suffix, picture in pictures.items():
                written[out_dir / f"{stem}.{suffix}"] = picture
    for path, data in written.items():
        write_whole(path, data)
    return tuple(written)


def check_writable(out_dir: Path) -> None:
    """Make the folder, and refuse one that cannot be written before anything is measured.

    Raises:
        EdgeSerError: when it cannot be written.
    """
    probe = out_dir / f".{JSON_FILE}.probe"
    write_whole(probe, b"")
    probe.unlink()


def can_plot() -> bool:
    """Whether matplotlib is installed; a small device can do without."""
    return find_spec("matplotlib") is not None


def to_json(result: BenchResult) -> str:
    """Every number, unrounded."""
    return json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n"


def to_markdown(result: BenchResult, plot: bool = False) -> str:
    """The tables with all that is needed to read them.

    Args:
        plot: show the pictures, which stand beside it.
    """
    parts = ["# Bench: float32 against INT8", _markdown_table(files_table(result))]
    if any(row.scores for row in result.rows):
        parts += ["## Recognition", _markdown_table(scores_table(result))]
    if any(row.certainty for row in result.rows):
        parts += ["## All corpora together: how sure", _markdown_table(certainty_table(result))]
    if plot:
        caption = "UAR against size" if any(r.scores for r in result.rows) else "Latency and size"
        parts.append(f"![{caption}]({PLOT_STEM}.svg)")
    if plot and any(row.scores for row in result.rows):
        parts += [
            f"![What is taken for what]({CONFUSIONS_STEM}.svg)",
            f"![Accuracy against confidence, and of the most certain]({CONFIDENCE_STEM}.svg)",
        ]
    parts += ["## How it was measured", "\n".join(f"- {line}" for line in notes(result))]
    return "\n\n".join(parts) + "\n"


def files_table(result: BenchResult) -> Table:
    """Size, speed, memory and the headline of recognition: a line a file."""
    corpora = list(dict.fromkeys(score.corpus for row in result.rows for score in row.scores))
    headings = (
        "file",
        "format",
        "precision",
        "engine",
        "bytes",
        "of float32 ONNX",
        "parameters",
        "MACs / window",
        *(f"UAR {corpus} %" for corpus in corpora),
        "model p50 ms",
        "p95 ms",
        "features p50 ms",
        "p95 ms",
        "load ms",
        "peak memory MB",
    )
    rows = []
    for row in result.rows:
        uar = {score.corpus: score for score in row.scores}
        rows.append(
            (
                row.file,
                row.format,
                row.precision,
                row.engine,
                f"{row.n_bytes:,}",
                NOTHING if row.ratio is None else f"{row.ratio:.3f}",
                _count(row.parameters),
                _count(row.macs_per_window),
                *(_headline(uar.get(corpus)) for corpus in corpora),
                f"{row.model_latency.p50_ms:.3f}",
                f"{row.model_latency.p95_ms:.3f}",
                f"{row.features_latency.p50_ms:.3f}",
                f"{row.features_latency.p95_ms:.3f}",
                f"{row.footprint.load_ms:.1f}",
                f"{row.footprint.peak_bytes / 1e6:.1f}",
            )
        )
    last = len(headings) - 1
    main = (0, 4, 5, *range(8, 8 + len(corpora) + 2), last - 3, last - 1, last)
    return Table(headings, tuple(rows), frozenset(range(4, len(headings))), main)


def scores_table(result: BenchResult) -> Table:
    """Recognition: a line a corpus and file."""
    headings = (
        "corpus",
        "test speakers",
        "file",
        "engine",
        "clips",
        "UAR %",
        f"{CONFIDENCE} %",
        "accuracy %",
        f"{CONFIDENCE} %",
        "INT8 - float32, UAR points",
        f"{CONFIDENCE} %",
        "accuracy points",
        "same label as float32 %",
        *_sure_headings(),
    )
    corpora = dict.fromkeys(score.corpus for row in result.rows for score in row.scores)
    lines = [
        _score_line(row, score)
        for corpus in corpora
        for row in result.rows
        for score in row.scores
        if score.corpus == corpus
    ]
    main = (0, 2, 4, 5, 6, 7, 9, 12)
    return Table(headings, tuple(lines), frozenset(range(4, len(headings))), main)


def certainty_table(result: BenchResult) -> Table:
    """What probabilities are worth over all corpora's recordings as one set: a line a file."""
    headings = (
        "file",
        "engine",
        "clips",
        "accuracy %",
        *_sure_headings(),
        "gained, points",
    )
    rows = []
    for row in result.rows:
        sure = row.certainty
        if sure is None:
            continue
        (everything,) = (point for point in sure.coverage if point.coverage == 1)
        rows.append(
            (
                row.file,
                row.engine,
                f"{everything.clips:,}",
                percent(everything.accuracy),
                *_sure_cells(sure, everything.accuracy),
                f"{sure.rejection_gain_points:+.1f}",
            )
        )
    return Table(headings, tuple(rows), frozenset(range(2, len(headings))), (0, 3, 4, 6, 7))


def notes(result: BenchResult) -> list[str]:
    """Protocol, machine and versions, a sentence each."""
    lines = list(dict.fromkeys(_protocol(score) for row in result.rows for score in row.scores))
    if lines:
        lines.append(
            f"Intervals: {CONFIDENCE} % bootstrap over speakers, none with a single speaker; "
            "points are percentage points, both files on the same draws of speakers; the most "
            "probable emotion counts."
        )
        lines.append(
            f"Calibration error: expected calibration error over {BINS} bins of equal width "
            "(Guo et al. 2017), with the model's temperature and without; the surer recordings "
            "are those of the highest probabilities."
        )
    else:
        lines.append("No accuracy: no corpus was named (--corpus NAME with --data DIR).")
    spans = dict.fromkeys((row.window_seconds, row.hop_seconds) for row in result.rows)
    windows = " and ".join(
        f"a window of {window:.3f} s every {1000 * hop:.0f} ms" for window, hop in spans
    )
    lines.append(
        f"Latency: {result.runs} windows a file, the files in turn in one process, one thread; "
        f"of the model for {windows}, and of the features for the hop that is new in it."
    )
    lines.append(
        f"Load and memory: a fresh process each, median of {LOADS}; load is from the file to a "
        "ready interpreter, memory the largest resident size of the whole process "
        "(Python, numpy and the interpreter included)."
    )
    trained = {
        row.model: f"seed {row.training['seed']}, torch {row.training['versions']['torch']}"
        for row in result.rows
        if {"seed", "versions"} <= set(row.training)
    }
    lines += [f"Training of {model}: {facts}." for model, facts in trained.items()]
    if result.left_out:
        names = ", ".join(result.left_out)
        lines.append(f"Left out, as none of the engines asked for reads it: {names}.")
    machine = result.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    commit = f"commit {machine['commit']}, " if machine["commit"] else ""
    lines.append(f"Machine: {machine['cpu']}, {machine['system']}; {versions}.")
    lines.append(f"Made by `edge-ser bench`, {commit}{machine['date']}.")
    return lines


def _score_line(row: BenchRow, score: CorpusScore) -> tuple[str, ...]:
    against = score.against_float
    limited = score.clips < score.clips_available
    return (
        score.corpus,
        f"{score.division}, {score.status}",
        row.file,
        row.engine,
        f"{score.clips:,} of {score.clips_available:,}" if limited else f"{score.clips:,}",
        percent(score.uar),
        _percent_interval(score.uar_interval),
        percent(score.accuracy),
        _percent_interval(score.accuracy_interval),
        NOTHING if against is None else f"{against.uar_points:+.1f}",
        NOTHING
        if against is None or against.uar_points_interval is None
        else "{:+.1f} to {:+.1f}".format(*against.uar_points_interval),
        NOTHING if against is None else f"{against.accuracy_points:+.1f}",
        NOTHING if against is None else percent(against.agreement),
        *_sure_cells(score, score.accuracy),
    )


def _sure_headings() -> tuple[str, ...]:
    """Of `_sure_cells`."""
    kept = round(100 * (1 - REJECTED))
    return "calibration error %", "without temperature %", f"accuracy % of the surer {kept} %"


def _sure_cells(sure: CorpusScore | Certainty, accuracy: float) -> tuple[str, ...]:
    """What probabilities are worth, where so many are right of all."""
    return (
        error_percent(sure.calibration_error),
        error_percent(sure.uncalibrated_error),
        percent(accuracy + sure.rejection_gain_points / 100),
    )


def _protocol(score: CorpusScore) -> str:
    speakers = ", ".join(score.speakers)
    sentence = f"{score.corpus}, {score.division}: {STATUS_SENTENCES[score.status]}; "
    plural = "s" if len(score.speakers) > 1 else ""
    sentence += f"{len(score.speakers)} test speaker{plural} ({speakers})"
    if score.clips < score.clips_available:
        sentence += f", {score.clips} of their {score.clips_available} recordings, drawn by hash"
    return sentence + "."


def _draw_all(result: BenchResult) -> dict[str, dict[str, bytes]]:
    """The pictures by the stem of their files."""
    from edge_ser.bench.pictures import draw_confidence, draw_confusions
    from edge_ser.bench.plot import draw

    pictures = {PLOT_STEM: draw(result)}
    corpora = dict.fromkeys(score.corpus for row in result.rows for score in row.scores)
    if corpora:
        pictures[CONFUSIONS_STEM] = draw_confusions(_confusions(result), columns=len(corpora))
        pictures[CONFIDENCE_STEM] = draw_confidence(
            [_confidence(result, corpus) for corpus in corpora]
        )
    return pictures


def _shown(result: BenchResult) -> list[BenchRow]:
    """The rows whose confusions and confidence are drawn: of INT8 files, where there are any."""
    return [row for row in result.rows if row.precision == INT8] or list(result.rows)


def _confusions(result: BenchResult) -> list["ConfusionPanel"]:
    from edge_ser.bench.pictures import ConfusionPanel

    return [
        ConfusionPanel(
            f"{score.corpus}: UAR {percent(score.uar)} %\n{_name(row, result)}",
            row.labels,
            score.confusion,
        )
        for row in _shown(result)
        for score in row.scores
    ]


def _confidence(result: BenchResult, corpus: str) -> "ConfidencePanel":
    from edge_ser.bench.pictures import ConfidencePanel

    scores = {
        _name(row, result): score
        for row in _shown(result)
        for score in row.scores
        if score.corpus == corpus
    }
    return ConfidencePanel(
        corpus,
        {name: score.reliability for name, score in scores.items()},
        {name: score.uncalibrated_reliability for name, score in scores.items()},
        {name: score.coverage for name, score in scores.items()},
    )


def _name(row: BenchRow, result: BenchResult) -> str:
    """The file, and the engine where a file was measured in several."""
    files = [other.file for other in result.rows]
    return row.file if files.count(row.file) == 1 else f"{row.file} ({row.engine})"


def _headline(score: CorpusScore | None) -> str:
    if score is None:
        return NOTHING
    return percent(score.uar) + (" (seen)" if score.status == SEEN else "")


def _percent_interval(interval: Sequence[float] | None) -> str:
    return NOTHING if interval is None else " to ".join(map(percent, interval))


def _count(number: int | None) -> str:
    return NOTHING if number is None else f"{number:,}"


def _markdown_table(table: Table) -> str:
    rule = ["--:" if column in table.numbers else "---" for column in range(len(table.headings))]
    lines = (table.headings, rule, *table.rows)
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in r) + " |" for r in lines)
