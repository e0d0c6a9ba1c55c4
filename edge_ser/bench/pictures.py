"""Pictures of what a model recognised: confusions, reliability, coverage.

They are drawn from plain figures, whoever computed them; the same figures give the same bytes.
Each function returns the picture as "svg" and "png".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_ser.bench.canvas import PALETTE, canvas, to_bytes
from edge_ser.rejection import REJECTED, CoveragePoint
from edge_ser.reliability import ReliabilityBin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Confusion = Sequence[Sequence[int]]

CELL_INCHES = 0.52  # holds "100" above "1,399"
MARGIN_INCHES = (1.2, 1.35)  # beside and above the cells, for the labels and the title
DARK = 0.55  # share from which a cell is so dark that white is read better
CURVE_INCHES = (4.4, 3.4)
DIAGONAL = "#999999"


@dataclass(frozen=True)
class ConfusionPanel:
    """One confusion matrix.

    Args:
        title: above it.
        labels: of rows and columns.
        counts: true class by row, recognised class by column.
    """

    title: str
    labels: Sequence[str]
    counts: Confusion


@dataclass(frozen=True)
class ConfidencePanel:
    """How far the confidence of some models can be trusted on one set of recordings.

    Args:
        title: above it.
        bins: reliability by the model's name.
        uncalibrated: the same without the model's temperature, drawn dashed.
        coverage: accuracy against coverage by the model's name.
    """

    title: str
    bins: Mapping[str, Sequence[ReliabilityBin]]
    uncalibrated: Mapping[str, Sequence[ReliabilityBin]]
    coverage: Mapping[str, Sequence[CoveragePoint]]


def draw_confusions(panels: Sequence[ConfusionPanel], columns: int = 4) -> dict[str, bytes]:
    """Confusion matrices: each cell the percent of its row, and the count below it.

    A row of a class that did not occur is left out, a column is not.

    Args:
        columns: how many stand side by side.
    """
    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    cells = max(len(panel.labels) for panel in panels)
    inches = (
        columns * (cells * CELL_INCHES + MARGIN_INCHES[0]),
        lines * (cells * CELL_INCHES + MARGIN_INCHES[1]),
    )
    with canvas(inches) as figure:
        axes = figure.subplots(lines, columns, squeeze=False).flatten().tolist()
        for one, panel in zip(axes, panels, strict=False):
            _draw_confusion(one, panel)
        for unused in axes[len(panels) :]:
            unused.set_axis_off()
        return to_bytes(figure)


def draw_confidence(panels: Sequence[ConfidencePanel]) -> dict[str, bytes]:
    """Reliability diagram and coverage curve side by side: a line of them for each panel."""
    from matplotlib.lines import Line2D

    inches = (2 * CURVE_INCHES[0], len(panels) * CURVE_INCHES[1] + 0.4)
    names = list(dict.fromkeys(name for panel in panels for name in panel.bins))
    colours = {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(names)}
    with canvas(inches) as figure:
        lines = figure.subplots(len(panels), 2, squeeze=False).tolist()
        for (left, right), panel in zip(lines, panels, strict=True):
            _draw_reliability(left, panel, colours)
            _draw_coverage(right, panel, colours)
        dashed = any(panel.uncalibrated for panel in panels)
        figure.legend(
            [Line2D([], [], color=colours[name], marker="o", markersize=4) for name in names],
            names,
            loc="outside lower center",
            ncols=2,
            frameon=False,
            title="dashed: without the model's temperature" if dashed else None,
            title_fontsize=8,
        )
        return to_bytes(figure)


def _draw_confusion(axes: "Axes", panel: ConfusionPanel) -> None:
    counts = np.asarray(panel.counts)
    present = np.flatnonzero(counts.sum(axis=1)).tolist()
    counts = counts[present]
    shares = counts / counts.sum(axis=1, keepdims=True)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for row, column in np.ndindex(*counts.shape):
        share, count = shares[row, column], counts[row, column]
        if not count:
            continue
        axes.text(
            column,
            row,
            f"{100 * share:.0f}\n{count:,}",
            ha="center",
            va="center",
            fontsize=7,
            linespacing=1.0,
            color="white" if share > DARK else "black",
            fontweight="bold" if present[row] == column else "normal",
        )
    axes.set_xticks(range(len(panel.labels)), panel.labels, rotation=45, ha="right")
    axes.set_yticks(range(len(present)), [panel.labels[index] for index in present])
    axes.set_xticks(np.arange(len(panel.labels) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(present) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(panel.title, loc="left", fontsize=9)
    axes.set_xlabel("recognised; % of the row, recordings")
    axes.set_ylabel("true")


def _draw_reliability(axes: "Axes", panel: ConfidencePanel, colours: Mapping[str, str]) -> None:
    axes.plot([0, 100], [0, 100], color=DIAGONAL, linewidth=1, linestyle=":")
    for by_name, style in ((panel.uncalibrated, "--"), (panel.bins, "-")):
        for name, bins in by_name.items():
            axes.plot(
                [100 * one.confidence for one in bins],
                [100 * one.accuracy for one in bins],
                color=colours[name],
                marker="o",
                markersize=4,
                markerfacecolor="white" if style == "--" else colours[name],
                linestyle=style,
                linewidth=1.2,
            )
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 102)
    axes.set_xlabel("confidence in %")
    axes.set_ylabel("accuracy in %")
    _finish(axes, panel.title)


def _draw_coverage(axes: "Axes", panel: ConfidencePanel, colours: Mapping[str, str]) -> None:
    for name, points in panel.coverage.items():
        axes.plot(
            [100 * point.coverage for point in points],
            [100 * point.accuracy for point in points],
            color=colours[name],
            marker="o",
            markersize=4,
            linewidth=1.2,
        )
    axes.axvline(100 * (1 - REJECTED), color=DIAGONAL, linewidth=1, linestyle=":")
    axes.set_xlim(102, 0)  # the more is rejected, the further to the right
    axes.set_xlabel("most certain recordings kept, in %")
    axes.set_ylabel("accuracy in %")
    _finish(axes, "")


def _finish(axes: "Axes", title: str) -> None:
    axes.set_title(title, loc="left")
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
