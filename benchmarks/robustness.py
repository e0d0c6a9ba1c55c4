"""What noise, rooms, telephones and levels cost: UAR of the float32 and the INT8 TFLite file.

    python benchmarks/robustness.py --data corpora     # of the model in the package
    python benchmarks/robustness.py models --data corpora

Both files hear the test speakers that their training held out, of each corpus, once clean and
once through every degradation, by the recogniser that users run. Noises are the recordings in
DATA/noise/*.flac, at 20, 10, 5 and 0 dB, and each voice is heard beside several pieces of one;
without any, there is synthetic white and pink noise. Writes
benchmarks/results/robustness/: robustness.json, .md, .svg, .png. What was heard is kept in
runs/robustness, a file a degradation and corpus, and gone on with where it was interrupted.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.pipeline import FLOAT32, INT8, boxed_checkpoint, convert
from edge_ser import degrade
from edge_ser.bench.canvas import PALETTE, canvas, to_bytes
from edge_ser.bench.clips import ClipChoice, choose_clips
from edge_ser.bench.machine import describe_machine
from edge_ser.bench.recognition import Change, Hearing, Models, hear_each, outcomes_of
from edge_ser.bootstrap import CONFIDENCE
from edge_ser.corpora import corpora_root, load_corpus
from edge_ser.evaluation.protocols import FOUR_CORPORA
from edge_ser.metrics import error_percent, percent
from edge_ser.outcomes import Outcomes, pool
from edge_ser.paired import compare
from edge_ser.rejection import REJECTED, rejection_gain
from edge_ser.reliability import reliability
from firmware_host.audio import read_audio, resample
from firmware_host.contract import read_contract
from firmware_host.engines import load_engine
from firmware_host.errors import EdgeSerError
from firmware_host.files import write_whole
from one_fold import ROOT

RESULTS = ROOT / "benchmarks" / "results" / "robustness"
PARTS = ROOT / "runs" / "robustness"
STEM = "robustness"
FORMAT = 1  # of the JSON; raised when what reads it needs what was not there before
BOXED = "boxed"  # folder of the converted model in the package
PRECISIONS = (FLOAT32, INT8)

CLEAN, NOISE = "clean", "noise"
SNRS_DB = (20, 10, 5, 0)
HEADLINE_SNR_DB = 10
PIECES = 4  # of a noise, beside which a recording is heard: where one is loud, another is not
GAINS_DB = (-20, 20)
CLIPPED_AT = (0.3, 0.1)  # of a recording's peak
ROOMS = ((0.4, 5.0), (0.8, 0.0))  # seconds of decay, and dB of direct to reverberant sound
SYNTHETIC_SLOPES_DB = {"white (synthetic)": 0.0, "pink (synthetic)": 3.0}
SYNTHETIC_SECONDS = 20
PANEL_INCHES = (4.2, 3.4)
CLEAN_AT_DB = 30  # where the pictures show the clean recordings

Float32 = NDArray[np.float32]
Summary = dict[str, Any]


@dataclass(frozen=True)
class Condition:
    """One way to hear every recording.

    Args:
        name: of it, also in file names.
        group: what kind of degradation it is.
        changes: what becomes of the samples, once for each; None: nothing.
        noise, snr_db: which noise, how far below the voice.
        source: the file of the noise, where it has one.
    """

    name: str
    group: str
    changes: tuple[Change | None, ...]
    noise: str | None = None
    snr_db: int | None = None
    source: Path | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "models",
        type=Path,
        nargs="?",
        help="folder of one model's files (default: those of the model in the package)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("EDGE_SER_CORPORA"),
        help="folder of the corpora (default: EDGE_SER_CORPORA)",
    )
    parser.add_argument("--corpus", action="append", help="repeat it for several (default: four)")
    parser.add_argument("--limit", type=int, help="at most so many recordings a corpus")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--parts", type=Path, default=PARTS, help="folder of what was heard")
    given = parser.parse_args()
    try:
        data = corpora_root(given.data)
        models, corpora = given.models or boxed_models(given.parts), given.corpus or FOUR_CORPORA
        publish(models, data, corpora, given.out, given.parts, given.limit, given.jobs)
    except EdgeSerError as error:
        parser.error(str(error))
    print((given.out / f"{STEM}.md").read_text())


def boxed_models(work: Path) -> Path:
    """A folder with both files of the model in the package."""
    convert(boxed_checkpoint(), work / BOXED)
    return work / BOXED


def publish(
    models: Path,
    data: Path,
    corpora: Sequence[str] = FOUR_CORPORA,
    out: Path = RESULTS,
    parts: Path = PARTS,
    limit: int | None = None,
    jobs: int = 1,
) -> None:
    """Measure by every condition, and leave results and pictures in `out`.

    Raises:
        EdgeSerError: as `measure`.
    """
    wanted = conditions(noise_sources(data))
    told = partial(print, flush=True)
    write_results(measure(models, data, corpora, wanted, parts, limit, jobs, told), out)


def read_results(out: Path = RESULTS) -> Summary | None:
    """What was measured last; None where nothing was.

    Raises:
        EdgeSerError: when an earlier version of this program measured it.
    """
    path = out / f"{STEM}.json"
    if not path.is_file():
        return None
    summary: Summary = json.loads(path.read_text())
    if summary.get("format") != FORMAT:
        raise EdgeSerError(
            f"{path} has format {summary.get('format')}, and this program reads {FORMAT}: measure "
            "again with `python benchmarks/robustness.py`"
        )
    return summary


def noise_sources(data: Path) -> dict[str, Path | None]:
    """The recorded noises by name; without any, the synthetic ones, which have no file."""
    recorded = sorted((data / NOISE).glob("*.flac"))
    if recorded:
        return {path.stem.replace("_", " "): path for path in recorded}
    return dict.fromkeys(SYNTHETIC_SLOPES_DB)


def conditions(noises: Mapping[str, Path | None]) -> list[Condition]:
    """Clean first, then every degradation."""
    out = [Condition(CLEAN, CLEAN, (None,))]
    for name, path in noises.items():
        for snr_db in SNRS_DB:
            beside = partial(_with_noise, noise=path or name, snr_db=snr_db)
            pieces = tuple(partial(beside, piece=piece) for piece in range(PIECES))
            out.append(Condition(f"{name}, {snr_db} dB", NOISE, pieces, name, snr_db, path))
    for gain_db in GAINS_DB:
        change = partial(_louder, gain_db=gain_db)
        out.append(Condition(f"gain {gain_db:+d} dB", "gain", (change,)))
    for share in CLIPPED_AT:
        change = partial(_clipped, share=share)
        out.append(Condition(f"clipped at {share:.0%} of the peak", "clipping", (change,)))
    for seconds, direct_db in ROOMS:
        change = partial(_in_a_room, seconds=seconds, direct_db=direct_db)
        out.append(Condition(f"room, T60 {seconds} s, D/R {direct_db:.0f} dB", "room", (change,)))
    out.append(Condition("8 kHz source", "band", (_narrow,)))
    out.append(Condition("telephone", "band", (_telephone,)))
    return out


def measure(
    folder: Path,
    data: Path,
    corpora: Sequence[str],
    wanted: Sequence[Condition],
    parts: Path,
    limit: int | None = None,
    jobs: int = 1,
    tell: Callable[[str], None] = print,
) -> Summary:
    """Hear what was not heard yet, and sum everything up.

    Args:
        folder: of one model's float32 and INT8 TFLite files.
        wanted: the clean condition first.
        parts: folder in which what was heard is kept.

    Raises:
        EdgeSerError: when files or recordings are missing, or were heard in training.
    """
    files = _model_files(folder)
    models = tuple((path, load_engine(path).name) for path in files.values())
    machine = describe_machine([engine for _, engine in models])
    choices = _choices(files, data, corpora, limit)
    kept = parts / _digest(models, wanted, limit, machine)
    _hear_all(models, choices, wanted, kept, jobs, tell)
    heard = {
        (condition.name, name): _read_part(_part(kept, condition, name), choice)
        for condition in wanted
        for name, choice in choices.items()
    }
    contract = read_contract(files[INT8])
    labels = contract.labels
    return {
        "format": FORMAT,
        "model": contract.name,
        "files": {
            precision: {
                "file": path.name,
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for precision, path in files.items()
        },
        "seed": "sha256 of each recording's file name",
        "limit": limit,
        "pieces": PIECES,
        "corpora": {
            name: {
                "division": choice.division,
                "status": choice.status,
                "speakers": choice.speakers,
                "clips": len(choice.clips),
                "clips_available": choice.n_available,
                **_rarest(heard[wanted[0].name, name][INT8], labels),
            }
            for name, choice in choices.items()
        },
        "all_clean": _certainty([heard[wanted[0].name, name][INT8] for name in choices]),
        "conditions": [
            _condition_row(condition, wanted[0], list(choices), heard) for condition in wanted
        ],
        "machine": machine,
    }


def write_results(summary: Summary, out: Path) -> None:
    """robustness.json, .md, .svg and .png."""
    write_whole(out / f"{STEM}.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    write_whole(out / f"{STEM}.md", to_markdown(summary))
    for suffix, picture in draw(summary).items():
        write_whole(out / f"{STEM}.{suffix}", picture)


# --- what becomes of a recording: pickled by name, computed in the process that hears it ----


def seed_of(path: Path) -> int:
    """A recording's own seed: the same in every condition, and wherever the corpora lie."""
    return int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:4], "little")


def _with_noise(
    samples: Float32, path: Path, noise: Path | str, snr_db: float, piece: int
) -> Float32:
    return degrade.add_noise(samples, _noise(noise), snr_db, seed_of(path) + piece)


@lru_cache(maxsize=16)
def _noise(noise: Path | str) -> Float32:
    if isinstance(noise, Path):
        return resample(*read_audio(noise), degrade.RATE)
    slope = SYNTHETIC_SLOPES_DB[noise]
    return degrade.coloured_noise(SYNTHETIC_SECONDS * degrade.RATE, slope, seed=0)


def _louder(samples: Float32, _: Path, gain_db: float) -> Float32:
    return degrade.change_gain(samples, gain_db)


def _clipped(samples: Float32, _: Path, share: float) -> Float32:
    return degrade.clip_peaks(samples, share)


def _in_a_room(samples: Float32, path: Path, seconds: float, direct_db: float) -> Float32:
    return degrade.reverberate(samples, seconds, direct_db, seed_of(path))


def _narrow(samples: Float32, _: Path) -> Float32:
    return degrade.narrow(samples)


def _telephone(samples: Float32, _: Path) -> Float32:
    return degrade.telephone(samples)


# --- hearing -----------------------------------------------------------------------------


def _model_files(folder: Path) -> dict[str, Path]:
    """The TFLite files of both precisions, float32 first; not those quantised otherwise."""
    pairs = [
        (path, path.with_name(path.name.replace(f".{FLOAT32}.", f".{INT8}.")))
        for path in sorted(folder.glob(f"*.{FLOAT32}.tflite"))
    ]
    pairs = [pair for pair in pairs if pair[1].is_file()]
    if len(pairs) != 1:
        raise EdgeSerError(
            f"{folder} holds {len(pairs)} pairs of NAME.{FLOAT32}.tflite and NAME.{INT8}.tflite: "
            "give a folder that `edge-ser convert --int8` wrote one model to"
        )
    return dict(zip(PRECISIONS, pairs[0], strict=True))


def _choices(
    files: Mapping[str, Path], data: Path, corpora: Sequence[str], limit: int | None
) -> dict[str, ClipChoice]:
    """The recordings of each corpus, on which nothing was trained."""
    int8 = files[INT8]
    contract = read_contract(int8)
    found = [
        choose_clips(int8.name, contract, name, load_corpus(data, name), limit=limit)
        for name in corpora
    ]
    return {choice.corpus: choice for choice in found}


def _digest(
    models: Models, wanted: Sequence[Condition], limit: int | None, machine: Mapping[str, Any]
) -> str:
    """Of everything that may change what is heard."""
    digest = hashlib.sha256(json.dumps([limit, machine["versions"]]).encode())
    noises = {condition.source for condition in wanted if condition.source}
    sources = [Path(__file__), Path(degrade.__file__)]
    for path in [*(path for path, _ in models), *sources, *sorted(noises)]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _part(kept: Path, condition: Condition, corpus: str) -> Path:
    plain = "".join(c if c.isalnum() else "-" for c in condition.name)
    # What tells +20 dB from -20 dB is no letter.
    own = hashlib.sha256(condition.name.encode()).hexdigest()[:6]
    return kept / f"{plain}-{own}" / f"{corpus}.json"


def _hear_all(
    models: Models,
    choices: Mapping[str, ClipChoice],
    wanted: Sequence[Condition],
    kept: Path,
    jobs: int,
    tell: Callable[[str], None],
) -> None:
    """Write each part that is not there, as soon as its last recording was heard."""
    missing = [
        (condition, choice)
        for condition in wanted
        for name, choice in choices.items()
        if not _part(kept, condition, name).is_file()
    ]
    there = len(wanted) * len(choices) - len(missing)
    tell(f"{there} parts were heard before, {len(missing)} are to be heard: {kept}")
    tasks = [
        Hearing(clip.path, models, change)
        for condition, choice in missing
        for change in condition.changes
        for clip in choice.clips
    ]
    heard = hear_each(tasks, jobs)
    for number, (condition, choice) in enumerate(missing, start=1):
        found = [next(heard) for _ in condition.changes for _ in choice.clips]
        part = {
            "clips": [clip.path.name for clip in choice.clips],
            **{
                precision: [one[index].probabilities for one in found]
                for index, precision in enumerate(PRECISIONS)
            },
        }
        write_whole(_part(kept, condition, choice.corpus), json.dumps(part) + "\n")
        tell(f"{number} of {len(missing)}: {choice.corpus}, {condition.name}")


def _read_part(path: Path, choice: ClipChoice) -> dict[str, Outcomes]:
    """Outcomes by precision, of all recordings once for each change."""
    part, n = json.loads(path.read_text()), len(choice.clips)
    if part["clips"] != [clip.path.name for clip in choice.clips]:
        raise EdgeSerError(f"{path} is of other recordings than are here: remove it")
    return {
        precision: pool(
            [
                outcomes_of(choice, part[precision][start : start + n])
                for start in range(0, len(part[precision]), n)
            ]
        )
        for precision in PRECISIONS
    }


# --- summing up --------------------------------------------------------------------------


def _condition_row(
    condition: Condition,
    clean: Condition,
    corpora: Sequence[str],
    heard: Mapping[tuple[str, str], Mapping[str, Outcomes]],
) -> Summary:
    """Each corpus's figures and their mean over the corpora."""
    figures: dict[str, Summary] = {}
    for name in corpora:
        here, before = heard[condition.name, name], heard[clean.name, name]
        row: Summary = {}
        for precision in PRECISIONS:
            score = here[precision].score()
            row |= {precision: score.uar, f"{precision}_accuracy": score.accuracy}
            change = compare(here[precision], pool([before[precision]] * len(condition.changes)))
            row[f"{precision}_accuracy_points_to_clean"] = change.accuracy_points
            row[f"{precision}_points_to_clean"] = change.uar_points
            row[f"{precision}_points_to_clean_interval"] = change.uar_points_interval
        against = compare(here[INT8], here[FLOAT32])
        row["int8_points_to_float32"] = against.uar_points
        row["int8_points_to_float32_interval"] = against.uar_points_interval
        figures[name] = row
    means = [
        "int8_points_to_float32",
        *(f"{precision}{of}" for precision in PRECISIONS for of in ("", "_accuracy")),
        *(f"{p}{of}_points_to_clean" for p in PRECISIONS for of in ("", "_accuracy")),
    ]
    return {
        "name": condition.name,
        "group": condition.group,
        "noise": condition.noise,
        "snr_db": condition.snr_db,
        "mean": {key: float(np.mean([row[key] for row in figures.values()])) for key in means},
        "corpora": figures,
    }


def _rarest(outcomes: Outcomes, labels: Sequence[str]) -> Summary:
    """The emotion with the fewest recordings, and what one of them is worth in UAR."""
    counts = np.bincount(outcomes.truth, minlength=len(labels))
    there = np.flatnonzero(counts)
    rarest = int(there[np.argmin(counts[there])])
    return {
        "rarest": labels[rarest],
        "rarest_clips": int(counts[rarest]),
        "rarest_points": 100 / (len(there) * int(counts[rarest])),
    }


def _certainty(of_corpora: Sequence[Outcomes]) -> Summary:
    """What the INT8 file's probabilities are worth, over the recordings of all corpora."""
    together = pool(of_corpora)
    confidence = reliability(together)
    return {
        "clips": len(together.truth),
        "accuracy": together.score().accuracy,
        "calibration_error": confidence.error,
        "overconfidence": confidence.overconfidence,
        "rejection_gain": rejection_gain(together),
    }


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


if __name__ == "__main__":
    main()
