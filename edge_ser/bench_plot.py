"""The picture of a bench: UAR against size, or latency against size without recognition."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_ser.bench import FLOAT32, INT8, BenchResult, BenchRow
from edge_ser.bench_clips import HELD_OUT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

COLUMNS = {1: 1, 2: 2, 4: 2}  # of panels, by how many there are; otherwise three
PANEL_INCHES = (4.4, 3.8)
PNG_DPI = 160
COLOURS = {"ONNX": "#0072B2", "TFLite": "#D55E00"}
"""Two of Okabe and Ito's colours, which tell apart in every kind of colour vision."""

MARKERS = {"ONNX": "o", "TFLite": "D"}
MARKER = 8  # its size in points
LINE_COLOUR = "#999999"
ARROW_STEPS = 60  # pieces of an arrow that labels keep off
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
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(result)
    columns = COLUMNS.get(len(panels), 3)
    lines = -(-len(panels) // columns)
    with matplotlib.rc_context(
        {
            "svg.hashsalt": "edge-ser",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10,
        }
    ):
        size = (max(1.3, columns) * PANEL_INCHES[0], lines * PANEL_INCHES[1] + 0.5)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
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
        pictures = {}
        for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, dpi=PNG_DPI, metadata=metadata)
            pictures[suffix] = buffer.getvalue()
    return pictures


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
    from matplotlib.transforms import Bbox

    inside = axes.get_window_extent()
    pixels = axes.figure.dpi / 72

    def square(place: Any, side: float) -> Bbox:
        half = side / 2 * pixels
        return Bbox([[place[0] - half, place[1] - half], [place[0] + half, place[1] + half]])

    def on_screen(point: Point) -> Any:
        return axes.transData.transform((point.kilobytes, point.height))

    taken = [square(on_screen(point), MARKER + 4) for point in points]
    for start, end in _arrows(points):
        ends = on_screen(start), on_screen(end)
        shares = np.linspace(0, 1, ARROW_STEPS)
        taken += [square(ends[0] * (1 - share) + ends[1] * share, 3) for share in shares]
    labels: list[Bbox] = []
    for point in points:
        text = axes.annotate(
            point.label,
            (point.kilobytes, point.height),
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=COLOURS[point.row.format],
            arrowprops={
                "arrowstyle": "-",
                "color": COLOURS[point.row.format],
                "linewidth": 0.6,
                "shrinkA": 1,
                "shrinkB": MARKER / 2,
            },
        )
        half = text.get_window_extent().width / 2 / pixels
        costs = []
        for number, (dx, dy) in enumerate(LABEL_PLACES):
            # Sideways, half the text's own width comes between.
            place = (dx + ((dx > 0) - (dx < 0)) * half, dy)
            text.set_position(place)
            box = _extent(text).padded(pixels)
            outside = not (inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1))
            covered = sum(box.overlaps(other) for other in (*taken, *labels))
            here, offset = on_screen(point), pixels * np.asarray(place)
            leader = [square(here + offset * share, 1) for share in np.linspace(0, 1, 12)]
            covered += sum(piece.overlaps(other) for piece in leader for other in labels)
            costs.append((covered + ARROW_STEPS * outside, number, place, leader))
        _, _, place, leader = min(costs, key=lambda cost: cost[:2])
        text.set_position(place)
        taken += leader
        labels.append(_extent(text))


def _extent(text: "Annotation") -> Any:
    """Where the words stand, without the line that leads to them."""
    from matplotlib.text import Text

    text.get_window_extent()  # moves it to its place
    return Text.get_window_extent(text)


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
