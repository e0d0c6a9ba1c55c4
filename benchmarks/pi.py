"""What one window costs on a Raspberry Pi's cores: our files, and the stock converters'.

    python benchmarks/pi.py

Converts the checkpoint, has the stock converters make what they can of the same float
network, counts every file's instructions per window on emulated cores, and writes
benchmarks/results/pi/pi.md and pi.json. Needs Debian's apt-get and cc, no root; half an hour
the first time, because converters are large. Emulator, environments, files and counts stay
under build/pi, so that an interrupted run goes on. A part of the table goes to build/pi/part.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import numpy as np
from rich.console import Console

from convert.architecture import count_macs, count_parameters
from convert.build import build_graph
from convert.checkpoint import Checkpoint, read_checkpoint
from convert.inspection import inspect_file
from convert.pipeline import boxed_checkpoint, contract_of, convert
from convert.targets import ALL
from edge_ser.bench.machine import describe_machine
from firmware_host.contract import Contract
from firmware_host.engines import Engine, load_engine
from firmware_host.errors import EdgeSerError
from firmware_host.files import write_whole
from firmware_host.golden import golden_features
from pi_emulator.emulator import CORES, Count, Emulator, EmulatorError
from pi_table import PiTable, Row, to_json, to_markdown
from stock.paths import STOCK_PATHS, make_files

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "pi"
RESULTS = ROOT / "benchmarks" / "results" / "pi"
BASELINE = ".float32.onnx"
"""What ratios refer to: onnxruntime on our float file, which is leaner than the stock one."""
STOCK_BASELINE = "ort-float32.onnx"

RUNTIMES = ("numpy", "ai-edge-litert", "onnxruntime")  # in the emulator as they are here
ENGINES = ("litert", "onnxruntime")
LATENCY_ROUNDS, WARM_UP_ROUNDS = 1000, 50
GOLDEN_SEED = 1
console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class File:
    """A model file to count, or the reason why it is not there."""

    name: str
    made_by: str
    path: Path | None
    failure: str = ""


def main() -> None:
    """Measure and write the table."""
    given = _arguments()
    try:
        table = measure(given)
    except (EdgeSerError, EmulatorError) as error:
        console.print(f"[red]benchmarks/pi.py:[/red] {error}")
        sys.exit(2)
    part = given.only or given.skip_stock or given.models or set(given.cores) != set(CORES)
    out: Path = given.output or (BUILD / "part" if part else RESULTS)
    markdown = to_markdown(table)
    write_whole(out / "pi.md", markdown)
    write_whole(out / "pi.json", json.dumps(to_json(table), indent=1) + "\n")
    print(markdown)
    console.print(f"written: {out / 'pi.md'}, {out / 'pi.json'}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint", type=Path, default=boxed_checkpoint(), help="default: the boxed one"
    )
    parser.add_argument(
        "--models", type=Path, help="count the model files in this folder, do not convert anew"
    )
    parser.add_argument(
        "--cores", nargs="+", choices=CORES, default=list(CORES), help="default: all"
    )
    parser.add_argument("--only", help="count files whose name has this in it, and the baseline")
    parser.add_argument("--skip-stock", action="store_true", help="leave out the stock converters")
    parser.add_argument("-o", "--output", type=Path, help="folder for pi.md and pi.json")
    return parser.parse_args()


def measure(given: argparse.Namespace) -> PiTable:
    """Everything the table holds."""
    checkpoint = read_checkpoint(given.checkpoint)
    contract = contract_of(checkpoint, build_graph(checkpoint, quantised=False))
    baseline = f"{checkpoint.name}{BASELINE}"
    files = _our_files(given.checkpoint, given.models)
    if not given.skip_stock:
        files += _stock_files(given.checkpoint)
    if given.only:
        files = [file for file in files if given.only in file.name or file.name == baseline]
    if baseline not in [file.name for file in files]:
        raise EdgeSerError(f"{given.models} holds no {baseline}, which ratios refer to: convert it")

    emulator = Emulator(BUILD)
    _say("making the emulator")
    emulator.make([f"{name}=={metadata.version(name)}" for name in RUNTIMES])
    counts, failures = _count(emulator, files, contract, given.cores)
    spread = _spread(emulator, files, baseline, contract, counts)
    latencies, no_latency = _latencies(files, baseline, contract)
    rows = tuple(
        Row(
            file=file.name,
            made_by=file.made_by,
            n_bytes=file.path.stat().st_size if file.path else None,
            x86_ms=latencies.get(file.name, (None, None))[0],
            x86_baseline_ms=latencies.get(file.name, (None, None))[1],
            counts=counts.get(file.name, {}),
            int8_share=inspect_file(file.path).int8_mac_share if file.path else None,
            failure=file.failure or failures.get(file.name) or no_latency.get(file.name, ""),
        )
        for file in files
    )
    facts = {"name": checkpoint.name} | _facts(given.checkpoint, checkpoint, emulator)
    return PiTable(rows, baseline, facts, spread, STOCK_BASELINE)


def _our_files(checkpoint: Path, models: Path | None) -> list[File]:
    """Every model file of a folder; of one that is converted into now, unless it is given."""
    if models is None:
        models = BUILD / "models"
        shutil.rmtree(models, ignore_errors=True)
        convert(checkpoint, models, on_step=_say, target=ALL)
    found = sorted(path for path in models.iterdir() if path.suffix in (".onnx", ".tflite"))
    return [File(path.name, "edge-ser convert", path) for path in found]


def _stock_files(checkpoint: Path) -> list[File]:
    made = make_files(checkpoint, STOCK_PATHS, BUILD, _say)
    files = []
    for path in STOCK_PATHS:
        found = made[path.name]
        file = File(path.file, path.what, None)
        if isinstance(found, Path):
            files.append(replace(file, path=found))
        else:
            files.append(replace(file, failure=str(found)))
    return files


def _count(
    emulator: Emulator, files: Sequence[File], contract: Contract, cores: Sequence[str]
) -> tuple[dict[str, dict[str, Count]], dict[str, str]]:
    """By file and core; and why files could not be counted."""
    counts: dict[str, dict[str, Count]] = {}
    failures: dict[str, str] = {}
    warm: set[str] = set()
    for file in files:
        if file.path is None:
            continue
        counts[file.name] = {}
        for core in cores:
            try:
                if file.path.suffix not in warm:
                    emulator.warm_up(file.path, contract)
                    warm.add(file.path.suffix)
                count = emulator.count(file.path, contract, core)
            except EmulatorError as error:
                failures[file.name] = f"{core}: {error}"
                _say(f"{file.name}: {error}")
                break
            counts[file.name][core] = count
            _say(f"{file.name} on {core}: {count.invoke['total'] / 1e6:.2f} M instructions")
    return counts, failures


def _spread(
    emulator: Emulator,
    files: Sequence[File],
    baseline: str,
    contract: Contract,
    counts: Mapping[str, Mapping[str, Count]],
) -> float | None:
    """How far a second count of the int8 files and of the baseline is off the first."""
    differences = []
    for file in files:
        ours = file.name == baseline or ".int8." in file.name
        for core, first in counts.get(file.name, {}).items():
            if ours and file.path:
                _say(f"{file.name} on {core}: counting again")
                second = emulator.count(file.path, contract, core, again=True)
                before, after = first.invoke["total"], second.invoke["total"]
                differences.append(abs(after - before) / before)
    return max(differences, default=None)


def _latencies(
    files: Sequence[File], baseline: str, contract: Contract
) -> tuple[dict[str, tuple[float, float]], dict[str, str]]:
    """Milliseconds of each file, and of the baseline beside it; and why files have none.

    One process, the file and the baseline in turn: what else the machine does hits both alike,
    and a file's figure does not depend on which others are in the table.
    """
    engines: dict[str, Engine] = {}
    failures = {}
    frames = golden_features(GOLDEN_SEED, contract.features, contract.window_frames)
    window = contract.normalise(frames)
    for file in files:
        if file.path:
            try:
                engines[file.name] = load_engine(file.path, contract=contract)
                engines[file.name].infer(window)
            except (EdgeSerError, RuntimeError, ValueError) as error:
                engines.pop(file.name, None)
                failures[file.name] = str(error).strip().splitlines()[0]
    _say(f"x86 latency of {len(engines)} files, {LATENCY_ROUNDS} rounds each")
    found = {}
    for name, engine in engines.items():
        times = np.empty((LATENCY_ROUNDS, 2))
        for row in times:
            for column, each in enumerate((engine, engines[baseline])):
                started = time.perf_counter_ns()
                each.infer(window)
                row[column] = (time.perf_counter_ns() - started) / 1e6
        ours, theirs = np.median(times[WARM_UP_ROUNDS:], axis=0).tolist()
        found[name] = (ours, theirs)
    return found, failures


def _facts(path: Path, checkpoint: Checkpoint, emulator: Emulator) -> dict[str, object]:
    machine = describe_machine(ENGINES)
    return {
        "checkpoint": f"{path.name}, sha256 {sha256(path.read_bytes()).hexdigest()[:16]}",
        "parameters": count_parameters(checkpoint.model),
        "multiply-accumulates per window": count_macs(checkpoint.model, checkpoint.window_frames),
        "date": machine["date"],
        "commit": machine["commit"],
        "emulated": emulator.versions(),
        "x86": {"cpu": machine["cpu"]} | machine["versions"],
    }


_say: Callable[[str], None] = console.print


if __name__ == "__main__":
    main()
