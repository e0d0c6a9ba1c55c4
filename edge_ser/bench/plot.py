"""The picture of a bench: UAR against size, or latency against size without recognition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_ser.bench.canvas import COLOURS, canvas, to_bytes
from edge_ser.bench.clips import HELD_OUT
from edge_ser.bench.measure import FLOAT32, INT8, BenchResult, BenchRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float64 = NDArray[np.float64]

COLUMNS = {1: 1, 2: 2, 4: 2}  # of panels, by how many there are; otherwise three
PANEL_INCHES = (4.4, 3.8)
MARKERS = {"ONNX": "o", "TFLite": "D"}
MARKER = 8  # its size in points
LINE_COLOUR = "#999999"
ARROW_STEPS = 60  # pieces of an arrow that labels keep off
LEADER_STEPS = 12  # pieces of the line from a label to its point
MARGIN = 0.28  # of the axes' range left free around the points, for their labels
LEAST_RANGE = 0.06  # of UAR shown at least: a tenth of a point is not to look like a gulf
LABEL_PLACES = tuple(
    (distance * dx, distance * dy)
    for distance in (12, 16, 20, 25, 30, 36, 43, 50)
    for dx, dy in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
)
"""Where a label may stand, in points from its marker; the first that covers least is
taken."""


@dataclass(frozen=True)
class Point:
    """A file in one panel."""

    row: BenchRow
    kilobytes: float
    height: float
    label: str


def draw(result: BenchResult) -> dict[str, bytes]:
    """The picture as "svg" and "png"; the same result gives the same bytes."""
    panels = _panels(result)
    columns = COLUMNS.get(len(panels), 3)
    lines = -(-len(panels) // columns)
    size = (max(1.3, columns) * PANEL_INCHES[0], lines * PANEL_INCHES[1] + 0.5)
    with canvas(size) as figure:
        axes = figure.subplots(lines, columns, squeeze=False).flatten().tolist()
        for unused in axes[len(panels) :]:
            unused.set_axis_off()
        for one, (title, points) in zip(axes, panels.items(), strict=False):
            _draw_panel(one, title, points, bool(result.rows[0].scores))
        _legend(figure, result)
        figure.draw_without_rendering()  # settles the layout, so that texts have places
        figure.set_layout_engine("none")
        for one, points in zip(axes, panels.values(), strict=False):
            _label(one, points)
        return to_bytes(figure)


def _panels(result: BenchResult) -> dict[str, list[Point]]:
    """Title and points of each panel: one a corpus, or one of latencies."""
    models = {row.model for row in result.rows}
    engines = {(row.format, row.engine) for row in result.rows}
    formats = {row.format for row in result.rows}

    def name(row: BenchRow) -> str:
        parts = [row.model] if len(models) > 1 else []
        parts += [row.engine] if len(engines) > len(formats) else []
        return " ".join([*parts, f"{row.model_latency.p50_ms:.2f} ms"])

    panels: dict[str, list[Point]] = {}
    for row in result.rows:
        kilobytes = row.n_bytes / 1000
        if not row.scores:
            height = row.model_latency.p50_ms
            panels.setdefault("", []).append(Point(row, kilobytes, height, name(row)))
        for score in row.scores:
            status = "" if score.status == HELD_OUT else f", {score.status}"
            title = f"{score.corpus}, {score.division}{status}\n"
            plural = "s" if len(score.speakers) > 1 else ""
            title += f"{len(score.speakers)} test speaker{plural}, {score.clips:,} recordings"
            panels.setdefault(title, []).append(Point(row, kilobytes, 100 * score.uar, name(row)))
    return panels


def _draw_panel(axes: "Axes", title: str, points: Sequence[Point], recognition: bool) -> None:
    axes.set_title(title, loc="left")
    axes.set_xlabel("file size in kB")
    axes.set_ylabel("UAR in %" if recognition else "model latency of a window in ms, median")
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    for low, high in _arrows(points):
        axes.annotate(
            "",
            xy=(high.kilobytes, high.height),
            xytext=(low.kilobytes, low.height),
            arrowprops={
                "arrowstyle": "-|>",
                "color": LINE_COLOUR,
                "shrinkA": 6,
                "shrinkB": 6,
                "linewidth": 1.2,
            },
        )
    for point in points:
        colour = COLOURS[point.row.format]
        axes.plot(
            point.kilobytes,
            point.height,
            marker=MARKERS[point.row.format],
            markersize=MARKER,
            markeredgewidth=1.6,
            color=colour,
            markerfacecolor="none" if point.row.precision == FLOAT32 else colour,
            linestyle="none",
        )
    sizes, heights = [p.kilobytes for p in points], [p.height for p in points]
    axes.set_xlim(-max(sizes) * MARGIN / 3, max(sizes) * (1 + MARGIN))
    if recognition:
        spread = max(max(heights) - min(heights), 100 * LEAST_RANGE)
        middle = (max(heights) + min(heights)) / 2
        reach = spread * (0.5 + MARGIN)
        axes.set_ylim(middle - reach, middle + reach)
    else:
        axes.set_ylim(0, max(heights) * (1 + MARGIN))


def _arrows(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    """From each float32 file to the INT8 file of the same model, format and engine."""

    def same(point: Point) -> tuple[str, str, str]:
        return point.row.model, point.row.format, point.row.engine

    return [
        (start, end)
        for end in points
        if end.row.precision == INT8
        for start in points
        if start.row.precision == FLOAT32 and same(start) == same(end)
    ]


def _label(axes: "Axes", points: Sequence[Point]) -> None:
    """Write each point's label near it, off the points, the arrows and the other labels."""
    from matplotlib.text import Text

    pixels = axes.figure.dpi / 72
    inside = axes.get_window_extent()
    places = _on_screen(axes, points)
    shares = np.linspace(0, 1, ARROW_STEPS)[:, None]
    ends = [_on_screen(axes, arrow) for arrow in _arrows(points)]
    lines = [start * (1 - shares) + end * shares for start, end in ends]
    # Boxes (left, bottom, right, top) on the screen that no word may stand on.
    taken = np.concatenate(
        [_boxes(places, (MARKER + 4) * pixels), *(_boxes(line, 3 * pixels) for line in lines)]
    )
    labels = np.empty((0, 4))
    for point, here in zip(points, places, strict=True):
        colour = COLOURS[point.row.format]
        text = axes.annotate(
            point.label,
            (point.kilobytes, point.height),
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=colour,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "shrinkA": 1,
                "shrinkB": MARKER / 2,
            },
        )
        text.get_window_extent()  # sets the words' place, which the next line measures
        words = Text.get_window_extent(text)
        size = np.array([words.width, words.height]) + 2 * pixels
        choices = []
        for number, (dx, dy) in enumerate(LABEL_PLACES):
            # Sideways, half the words' own width comes between.
            offset = np.array([dx * pixels + np.sign(dx) * words.width / 2, dy * pixels])
            box = np.concatenate([here + offset - size / 2, here + offset + size / 2])
            leader = _boxes(here + offset * np.linspace(0, 1, LEADER_STEPS)[:, None], pixels)
            outside = not (inside.contains(*box[:2]) and inside.contains(*box[2:]))
            covered = _overlaps(box[None], taken) + _overlaps(box[None], labels)
            covered += _overlaps(leader, labels) + ARROW_STEPS * outside
            choices.append((covered, number, offset, box, leader))
        _, _, offset, box, leader = min(choices, key=lambda choice: choice[:2])
        text.set_position(tuple(offset / pixels))
        labels = np.concatenate([labels, box[None]])
        taken = np.concatenate([taken, leader])


def _on_screen(axes: "Axes", points: Sequence[Point]) -> Float64:
    """Where points stand, in pixels. Shape: (n, 2)."""
    here = axes.transData.transform([(point.kilobytes, point.height) for point in points])
    return np.asarray(here, np.float64)


def _boxes(centres: Float64, side: float) -> Float64:
    """Squares around points on the screen. Shape: (n, 2) to (n, 4)."""
    return np.concatenate([centres - side / 2, centres + side / 2], axis=1)


def _overlaps(some: Float64, others: Float64) -> int:
    """How many pairs of boxes overlap. Shape: (n, 4), (m, 4)."""
    first, second = some[:, None], others[None]
    apart = (first[..., 2:] < second[..., :2]) | (second[..., 2:] < first[..., :2])
    return int((~apart.any(axis=-1)).sum())


def _legend(figure: "Figure", result: BenchResult) -> None:
    from matplotlib.lines import Line2D

    engines: Mapping[str, list[str]] = {
        format_: sorted({row.engine for row in result.rows if row.format == format_})
        for format_ in COLOURS
    }
    handles = [
        Line2D(
            [], [], marker=MARKERS[name], markersize=MARKER, color=COLOURS[name], linestyle="none"
        )
        for name, used in engines.items()
        if used
    ]
    names = [f"{name} ({', '.join(used)})" for name, used in engines.items() if used]
    precisions = {row.precision for row in result.rows}
    for precision, name in ((FLOAT32, "float32"), (INT8, "INT8"), ("unknown", "unknown")):
        if precision in precisions:
            face = "white" if precision == FLOAT32 else "#555555"
            handles.append(
                Line2D(
                    [],
                    [],
                    marker="o",
                    markersize=8,
                    markeredgewidth=1.6,
                    color="#555555",
                    markerfacecolor=face,
                    linestyle="none",
                )
            )
            names.append(name)
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=len(names),
        frameon=False,
        title="labels: median model latency of a window, one thread",
        title_fontsize=8,
    )
