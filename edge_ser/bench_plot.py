"""The picture of a bench: UAR against size, or latency against size without recognition."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_ser.bench import FLOAT32, INT8, BenchResult, BenchRow
from edge_ser.bench_clips import HELD_OUT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3  # of panels
PANEL_INCHES = (4.4, 3.8)
PNG_DPI = 160
COLOURS = {"ONNX": "#0072B2", "TFLite": "#D55E00"}
"""Two of Okabe and Ito's colours, which tell apart in every kind of colour vision."""

LINE_COLOUR = "#999999"
MARGIN = 0.28  # of the axes' range left free around the points, for their labels
LEAST_RANGE = 0.06  # of UAR shown at least: a tenth of a point is not to look like a gulf
LABEL_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
LABEL_PLACES = tuple(
    (distance * dx, distance * dy)
    for distance in (10, 18, 27, 37, 48)
    for dx, dy in LABEL_DIRECTIONS
)
"""Where a label may stand, in points from its marker; the first free place is taken."""


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
    columns = min(COLUMNS, len(panels))
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
            title += f"{len(score.speakers)} test speakers, {score.clips:,} recordings"
            panels.setdefault(title, []).append(Point(row, kilobytes, 100 * score.uar, name(row)))
    return panels


def _draw_panel(axes: "Axes", title: str, points: Sequence[Point], recognition: bool) -> None:
    axes.set_title(title, loc="left")
    axes.set_xlabel("file size in kB")
    axes.set_ylabel("UAR in %" if recognition else "latency of a window in ms, median")
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
            marker="o",
            markersize=8,
            markeredgewidth=1.6,
            color=colour,
            markerfacecolor="white" if point.row.precision == FLOAT32 else colour,
            linestyle="none",
        )
    sizes, heights = [p.kilobytes for p in points], [p.height for p in points]
    axes.set_xlim(0, max(sizes) * (1 + MARGIN))
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
    """Write each point's label where it covers neither a point nor another label."""
    from matplotlib.transforms import Bbox

    inside = axes.get_window_extent()
    pixels = axes.figure.dpi / 72
    taken = []
    for point in points:
        x, y = axes.transData.transform((point.kilobytes, point.height))
        taken.append(Bbox.from_bounds(x - 6 * pixels, y - 6 * pixels, 12 * pixels, 12 * pixels))
    for point in points:
        text = axes.annotate(
            point.label,
            (point.kilobytes, point.height),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=COLOURS[point.row.format],
        )
        half = text.get_window_extent()
        for dx, dy in LABEL_PLACES:
            # Sideways, the text's own width comes between.
            side = (dx > 0) - (dx < 0)
            text.set_position((dx + side * half.width / 2 / pixels, dy))
            box = text.get_window_extent().padded(1.5 * pixels)
            fits = inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1)
            if fits and not any(box.overlaps(other) for other in taken):
                break
        taken.append(text.get_window_extent())


def _legend(figure: "Figure", result: BenchResult) -> None:
    from matplotlib.lines import Line2D

    engines: Mapping[str, list[str]] = {
        format_: sorted({row.engine for row in result.rows if row.format == format_})
        for format_ in COLOURS
    }
    handles = [
        Line2D([], [], marker="s", markersize=8, color=COLOURS[name], linestyle="none")
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
        title="label: median latency of a window, one thread",
        title_fontsize=8,
    )
