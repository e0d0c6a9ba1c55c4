"""From nothing to the first result: how long `edge-ser recognize` takes to start.

    python benchmarks/cold_start.py

Beside it a Python that imports numpy and the interpreter and ends, which is the least that any
program of this kind can take. Both run in a new environment with the wheel of this checkout,
in pairs, each pair in turn with the other order, so that what else the machine does falls on
both. Writes benchmarks/results/cold-start/: cold-start.json and cold-start.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_ser.bench.machine import describe_machine
from firmware_host.files import write_whole
from own_wheel import ROOT, make_wheel, output_of

RESULTS = ROOT / "benchmarks" / "results" / "cold-start"
ENVIRONMENT = ROOT / "build" / "cold-start"
CLIP = ROOT / "edge_ser" / "assets" / "demo.flac"
LEAST = "import numpy, ai_edge_litert.interpreter"
LIMIT = 2.0  # times the least
WARM_UPS = 3  # pairs, uncounted: Python compiles, the system reads files


@dataclass(frozen=True)
class Run:
    """What one process took.

    Args:
        seconds: from its start to its end.
        cpu_seconds: of the processor, its own and the system's for it.
    """

    seconds: float
    cpu_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=40)
    pairs = parser.parse_args().pairs
    programs = make_environment()
    least = [str(programs / "python"), "-c", LEAST]
    ours = [str(programs / "edge-ser"), "recognize", str(CLIP)]
    measured: list[tuple[Run, Run]] = []
    for index in range(-WARM_UPS, pairs):
        if index % 2:
            run = measure(ours)
            pair = measure(least), run
        else:
            pair = measure(least), measure(ours)
        if index >= 0:
            measured.append(pair)
    summary = summarise(measured)
    versions = installed_versions(programs)
    data = {"limit": LIMIT, **summary, "environment": versions, **describe_machine(["litert"])}
    data["runs"] = [{"least": asdict(a), "recognize": asdict(b)} for a, b in measured]
    write_whole(RESULTS / "cold-start.json", json.dumps(data, indent=1) + "\n")
    write_whole(RESULTS / "cold-start.md", to_markdown(data))
    print(to_markdown(data))


def make_environment() -> Path:
    """A new environment with the wheel and what it requires; the folder of its programs."""
    wheel = make_wheel(ENVIRONMENT.with_name("cold-start-wheel"))
    output_of([sys.executable, "-m", "venv", "--clear", ENVIRONMENT])
    programs = ENVIRONMENT / "bin"
    pip = (programs / "python", "-m", "pip", "install")
    output_of([*pip, wheel, "--constraint", ROOT / "constraints.txt"])
    return programs


def measure(command: Sequence[str]) -> Run:
    """Run a program that has to succeed, in an environment that no shell has changed."""
    environment = {"PATH": os.defpath, "OPENBLAS_NUM_THREADS": "1"}
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Run(seconds, usage.ru_utime + usage.ru_stime)


def summarise(pairs: Sequence[tuple[Run, Run]]) -> dict[str, Any]:
    """Medians of both, and quartiles of the ratio within a pair."""
    found: dict[str, Any] = {"pairs": len(pairs)}
    for what in ("seconds", "cpu_seconds"):
        least = [getattr(pair[0], what) for pair in pairs]
        ours = [getattr(pair[1], what) for pair in pairs]
        ratios = [b / a for a, b in zip(least, ours, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        found[what] = {
            "least_median": statistics.median(least),
            "recognize_median": statistics.median(ours),
            "ratio_median": middle,
            "ratio_quartiles": [low, high],
        }
    return found


def installed_versions(programs: Path) -> dict[str, str]:
    """Of everything in the environment."""
    listed = output_of([programs / "python", "-m", "pip", "list", "--format", "json"])
    return {row["name"]: row["version"] for row in json.loads(listed)}


def to_markdown(data: dict[str, Any]) -> str:
    """cold-start.json for people."""
    lines = [
        "# Cold start",
        "",
        f"`edge-ser recognize` of the clip in the package, from the start of the process to its "
        f"end, beside `python -c '{LEAST}'`: {data['pairs']} pairs, medians, and the middle half "
        "of the ratios within a pair.",
        "",
        "| | least | recognize | ratio | middle half | limit | |",
        "| --- | --: | --: | --: | --: | --: | --- |",
    ]
    for what, name in (("seconds", "elapsed, ms"), ("cpu_seconds", "processor time, ms")):
        row = data[what]
        low, high = row["ratio_quartiles"]
        verdict = "met" if row["ratio_median"] <= data["limit"] else "NOT met"
        lines.append(
            f"| {name} | {row['least_median'] * 1e3:.0f} | {row['recognize_median'] * 1e3:.0f} "
            f"| {row['ratio_median']:.2f} | {low:.2f} to {high:.2f} | {data['limit']:.1f} "
            f"| {verdict} |"
        )
    versions = data["environment"]
    packages = ("numpy", "ai-edge-litert", "soundfile", "soxr")
    lines += [
        "",
        f"{data['cpu']}, {data['system']}, Python {data['versions']['python']}, "
        + ", ".join(f"{name} {versions[name]}" for name in packages)
        + f"; commit {data['commit']}, {data['date']}. Files in the system's cache, Python's "
        "modules compiled.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
