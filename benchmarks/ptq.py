"""Float, INT8 quantised after training, and INT8 of quantization-aware training, side by side.

    python benchmarks/ptq.py --data corpora --fold 1

One fold of RAVDESS: what is quantised after training is calibrated on training clips alone;
all files are measured on the test speakers. Writes benchmarks/results/ptq/: ptq.md and
ptq.json, and the whole bench beside them. The training's folder is runs/ravdess-N-small, as
benchmarks/one_fold.py makes it; without one it is trained first.
"""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from convert.agreement import CLIPS
from convert.pipeline import POST_TRAINING, convert
from convert.recordings import evenly
from edge_ser.bench.measure import BenchResult, bench
from edge_ser.bench.report import write_report
from edge_ser.metrics import percent
from edge_ser.recipe import make_recipe
from firmware_host.contract import read_contract
from firmware_host.files import write_whole
from one_fold import ROOT, edge_ser

CORPUS, SIZE = "RAVDESS", "small"
CALIBRATION_CLIPS = 300
RESULTS = ROOT / "benchmarks" / "results" / "ptq"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--fold", type=int, default=1)
    given = parser.parse_args()
    recipe = make_recipe((CORPUS,), given.data, given.fold, SIZE)
    run = ROOT / "runs" / recipe.name
    checkpoint = run / f"{recipe.name}.safetensors"
    if not checkpoint.is_file():
        edge_ser("train", "--data", given.data, "--corpus", CORPUS, "--fold", given.fold, "-o", run)
    test = [clip.path for clip in recipe.split.test]
    some = evenly([clip.path for clip in recipe.split.train], CALIBRATION_CLIPS)
    with Console(stderr=True).status("converting") as status:
        conversion = convert(
            checkpoint, run / "ptq", on_step=status.update, calibrate=some, clips=test
        )
    result = bench(conversion.files, given.data, (CORPUS,), jobs=os.cpu_count() or 1)
    write_report(result, RESULTS)
    method = next(
        str(read_contract(path).quantization["method"])
        for path in conversion.files
        if POST_TRAINING in path.name
    )
    files = [_line(file, result) for file in conversion.report["files"]]
    summary = {
        "model": recipe.name,
        "post_training": f"{method} of {CORPUS}'s training speakers",
        "test_recordings": len(test),
        "files": files,
    }
    write_whole(RESULTS / "ptq.json", json.dumps(summary, indent=2) + "\n")
    write_whole(RESULTS / "ptq.md", to_markdown(summary))
    print(f"written: {RESULTS}")


def _line(file: Mapping[str, Any], result: BenchResult) -> dict[str, Any]:
    """One file's size and recognition, and how far it is from the reference of its graph."""
    row = next(row for row in result.rows if row.file == file["file"])
    score = row.scores[0]
    against = score.against_float
    return {
        "file": row.file.removeprefix(f"{row.model}."),
        "bytes": row.n_bytes,
        "uar": score.uar,
        "accuracy": score.accuracy,
        "uar_points_to_float32": against.uar_points if against else None,
        "same_label_as_float32": against.agreement if against else None,
        "model_p50_ms": row.model_latency.p50_ms,
        "against_the_reference": file[CLIPS],
    }


def to_markdown(summary: Mapping[str, Any]) -> str:
    """ptq.json for people."""
    lines = [
        "# Quantised after training, and in training",
        "",
        f"{summary['model']}, {summary['test_recordings']} recordings of test speakers. "
        f"ptq.int8: {summary['post_training']}. int8: quantization-aware training. "
        "[The whole bench](bench.md) has intervals, protocol and machine.",
        "",
        "| file | bytes | UAR % | INT8 - float32, UAR points | same label as float32 % "
        "| model p50 ms | logits off the reference, largest | mean | same label as it % |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for file in summary["files"]:
        points, same = file["uar_points_to_float32"], file["same_label_as_float32"]
        cells = (
            file["file"],
            f"{file['bytes']:,}",
            percent(file["uar"]),
            "-" if points is None else f"{points:+.1f}",
            "-" if same is None else percent(same),
            f"{file['model_p50_ms']:.3f}",
            *_differences(file["against_the_reference"]),
            percent(file["against_the_reference"]["equal_labels"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "The reference is the numpy execution of the file's own graph. Of INT8 files the logits "
        "are compared in steps of their int8 grid.",
    ]
    return "\n".join(lines) + "\n"


def _differences(measured: Mapping[str, Any]) -> tuple[str, str]:
    """Largest and mean."""
    steps = measured.get("in_steps_of_the_output_grid")
    if steps is None:
        return f"{measured['largest_logit_difference']:.1e}", (
            f"{measured['mean_logit_difference']:.1e}"
        )
    return f"{steps:.0f}", f"{measured['mean_in_steps_of_the_output_grid']:.3f}"


if __name__ == "__main__":
    main()
