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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import robustness_conditions
from convert.pipeline import FLOAT32, INT8, boxed_checkpoint, convert
from edge_ser import degrade
from edge_ser.bench.clips import ClipChoice, choose_clips
from edge_ser.bench.machine import describe_machine
from edge_ser.bench.recognition import Hearing, Models, hear_each, outcomes_of
from edge_ser.corpora import corpora_root, load_corpus
from edge_ser.evaluation.protocols import FOUR_CORPORA
from edge_ser.outcomes import Outcomes, pool
from edge_ser.paired import compare
from edge_ser.rejection import rejection_gain
from edge_ser.reliability import reliability
from firmware_host.contract import read_contract
from firmware_host.engines import load_engine
from firmware_host.errors import EdgeSerError
from firmware_host.files import write_whole
from one_fold import ROOT
from robustness_conditions import PIECES, Condition, conditions, noise_sources
from robustness_report import PRECISIONS, STEM, Summary, draw, to_markdown

RESULTS = ROOT / "benchmarks" / "results" / "robustness"
PARTS = ROOT / "runs" / "robustness"
FORMAT = 1  # of the JSON; raised when what reads it needs what was not there before
BOXED = "boxed"  # folder of the converted model in the package


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
    sources = [Path(__file__), Path(robustness_conditions.__file__), Path(degrade.__file__)]
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


if __name__ == "__main__":
    main()
