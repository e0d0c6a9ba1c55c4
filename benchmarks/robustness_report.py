"""What benchmarks/robustness.py measured, for people: a table, what belongs to it, a picture."""

from typing import Any

from convert.pipeline import FLOAT32, INT8
from edge_ser.bench.canvas import PALETTE, canvas, to_bytes
from edge_ser.bootstrap import CONFIDENCE
from edge_ser.metrics import error_percent, percent
from edge_ser.rejection import REJECTED
from robustness_conditions import HEADLINE_SNR_DB, NOISE

STEM = "robustness"
PRECISIONS = (FLOAT32, INT8)
PANEL_INCHES = (4.2, 3.4)
CLEAN_AT_DB = 30  # where the pictures show the clean recordings

Summary = dict[str, Any]  # what robustness.json holds


def to_markdown(summary: Summary) -> str:
    """robustness.json for people."""
    return "\n".join(
        [
            "# Robustness: noise, rooms, telephones, levels",
            "",
            *to_table(summary),
            "",
            f"![UAR against signal-to-noise ratio]({STEM}.svg)",
            "",
            *_notes(summary),
            "",
        ]
    )


def to_table(summary: Summary) -> list[str]:
    """Every condition, after a paragraph that says what the figures are."""
    corpora = summary["corpora"]
    plural = "corpora" if len(corpora) > 1 else "corpus"
    lines = [
        f"UAR in percent of {summary['model']}'s float32 and INT8 TFLite files; in brackets points "
        f"against the clean recordings. Mean: over the {len(corpora)} {plural}. The corpora's "
        f"columns are the INT8 file's, with {CONFIDENCE} % intervals over speakers of the points.",
        "",
        "| | float32, mean | INT8, mean | INT8 - float32 | INT8 accuracy, mean | "
        f"{' | '.join(corpora)} |",
        f"| --- | --: | --: | --: | --: {'| --: ' * len(corpora)}|",
    ]
    for row in summary["conditions"]:
        mean = row["mean"]
        cells = [
            row["name"],
            *(f"{percent(mean[p])} ({mean[f'{p}_points_to_clean']:+.1f})" for p in PRECISIONS),
            f"{mean['int8_points_to_float32']:+.1f}",
            f"{percent(mean['int8_accuracy'])} ({mean['int8_accuracy_points_to_clean']:+.1f})",
            *(_corpus_cell(row["corpora"][name]) for name in corpora),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def certainty_in_words(summary: Summary) -> str:
    """What the INT8 file's probabilities are worth, in a sentence."""
    sure = summary["all_clean"]
    return (
        f"Clean, INT8, all {sure['clips']:,} recordings: calibration error "
        f"{error_percent(sure['calibration_error'])} %, and without the least certain "
        f"{REJECTED:.0%} the accuracy is {sure['rejection_gain']:+.1f} points."
    )


def _corpus_cell(figures: Summary) -> str:
    interval = figures["int8_points_to_clean_interval"]
    spread = "" if interval is None else "; {:+.1f} to {:+.1f}".format(*interval)
    return f"{percent(figures[INT8])} ({figures['int8_points_to_clean']:+.1f}{spread})"


def _notes(summary: Summary) -> list[str]:
    at_headline = {
        row["noise"]: row["mean"]["int8_points_to_clean"]
        for row in summary["conditions"]
        if row["snr_db"] == HEADLINE_SNR_DB
    }
    lines = []
    if at_headline:
        worst = min(at_headline, key=lambda noise: at_headline[noise])
        lines.append(
            f"- At {HEADLINE_SNR_DB} dB the noise that costs the INT8 file most is {worst}: "
            f"{at_headline[worst]:+.1f} points, mean over the corpora."
        )
    lines.append(f"- {certainty_in_words(summary)}")
    for name, facts in summary["corpora"].items():
        some = "" if facts["clips"] == facts["clips_available"] else ", drawn by hash"
        lines.append(
            f"- {name}, {facts['division']}, {facts['status']}: {facts['clips']:,} of "
            f"{facts['clips_available']:,} recordings of test speakers "
            f"{', '.join(facts['speakers'])}{some}. Rarest is {facts['rarest']}: one recording of "
            f"it is {facts['rarest_points']:.1f} points of UAR."
        )
    machine = summary["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return [
        *lines,
        "- Noise: its level against that of active speech; each recording beside "
        f"{summary['pieces']} pieces of it. Room: T60, and direct to reverberant "
        "energy. Telephone: 300 to 3400 Hz, 8 kHz, mu-law. What is random is determined by the "
        "recording's name.",
        f"- {machine['cpu']}, {machine['system']}; {versions}.",
        f"- Made by benchmarks/robustness.py, commit {machine['commit']}, {machine['date']}.",
    ]


def draw(summary: Summary) -> dict[str, bytes]:
    """UAR against signal-to-noise ratio, a panel a corpus and one of their mean."""
    from matplotlib.lines import Line2D

    rows = [row for row in summary["conditions"] if row["group"] == NOISE]
    clean = summary["conditions"][0]
    noises = list(dict.fromkeys(row["noise"] for row in rows))
    colours = {noise: PALETTE[number % len(PALETTE)] for number, noise in enumerate(noises)}
    corpora = list(summary["corpora"])
    panels = ["mean of the corpora", *corpora] if len(corpora) > 1 else corpora
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)

    def uar(row: Summary, panel: str, precision: str) -> float:
        return 100 * float(row["corpora"].get(panel, row["mean"])[precision])

    with canvas((columns * PANEL_INCHES[0], lines * PANEL_INCHES[1] + 0.6)) as figure:
        axes = figure.subplots(lines, columns, squeeze=False).flatten().tolist()
        for unused in axes[len(panels) :]:
            unused.set_axis_off()
        for one, panel in zip(axes, panels, strict=False):
            for noise in noises:
                own = [row for row in rows if row["noise"] == noise]
                places = [CLEAN_AT_DB, *(row["snr_db"] for row in own)]
                for precision, style in ((FLOAT32, "--"), (INT8, "-")):
                    heights = [uar(row, panel, precision) for row in [clean, *own]]
                    one.plot(
                        places,
                        heights,
                        color=colours[noise],
                        linestyle=style,
                        linewidth=1.2,
                        marker="o",
                        markersize=4,
                        markerfacecolor="white" if precision == FLOAT32 else colours[noise],
                    )
            snrs = sorted({row["snr_db"] for row in rows}, reverse=True)
            one.set_xticks([CLEAN_AT_DB, *snrs], ["clean", *map(str, snrs)])
            one.invert_xaxis()  # the louder the noise, the further to the right
            one.set_title(panel, loc="left")
            one.set_xlabel("signal-to-noise ratio in dB")
            one.set_ylabel("UAR in %")
            one.grid(color="#eeeeee")
            one.set_axisbelow(True)
        handles = [
            *(Line2D([], [], color=colours[noise]) for noise in noises),
            Line2D([], [], color="#555555", linestyle="-", marker="o"),
            Line2D([], [], color="#555555", linestyle="--", marker="o", markerfacecolor="white"),
        ]
        names = [*noises, "INT8", "float32"]
        figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
        return to_bytes(figure)
