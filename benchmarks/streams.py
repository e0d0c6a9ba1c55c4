"""What many streams cost in one process and one thread, against as many single ones.

    python benchmarks/streams.py

Each number of streams in a process of its own: all are fed in turn, 250 ms at a time, and in
the same process one stream is fed what all of them were, in blocks that alternate, so that what
else the machine does falls on both. Memory is what the process grew by while the streams were
made and warmed up. Writes benchmarks/results/streams/: streams.json and streams.md.
"""

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil

from edge_ser.bench.machine import describe_machine
from firmware_host.decisions import DecisionConfig
from firmware_host.files import write_whole
from firmware_host.recognizer import EmotionRecognizer
from firmware_host.stream import EmotionStream
from one_fold import ROOT
from pi_emulator.count_stream import second_of

RESULTS = ROOT / "benchmarks" / "results" / "streams"
NUMBERS = (1, 4, 16, 64)
STREAM_SECONDS = 640  # of sound in all, whatever the number of streams
BLOCKS = 10
TARGET_RATIO, TARGET_KB = 1.1, 300.0  # at 64 streams, without the gate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--measure", type=int, metavar="N", help="one number, as JSON")
    parser.add_argument("--gate", action="store_true")
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.gate)))
        return
    rows = [_apart(number, gate) for gate in (False, True) for number in NUMBERS]
    summary = {"machine": describe_machine(("litert",)), "rows": rows}
    write_whole(RESULTS / "streams.json", json.dumps(summary, indent=2) + "\n")
    write_whole(RESULTS / "streams.md", to_markdown(summary))
    print((RESULTS / "streams.md").read_text())


def measure(number: int, gate: bool) -> dict[str, Any]:
    """Time and memory of so many streams, in this process."""
    recognizer, process = EmotionRecognizer(), psutil.Process()
    config = DecisionConfig(gate=gate)

    def stream() -> tuple[EmotionStream, Callable[[], None]]:
        made = recognizer.stream(16_000, config)
        return made, second_of(made, 16_000)

    _, alone = stream()
    alone()
    gc.collect()
    before = process.memory_info().rss
    made = [stream() for _ in range(number)]
    gc.collect()
    grown = process.memory_info().rss - before
    rounds = max(1, STREAM_SECONDS // BLOCKS // number)
    together = single = 0.0
    for _ in range(BLOCKS):
        start = time.process_time()
        for _ in range(rounds):
            for _, second in made:
                second()
        middle = time.process_time()
        for _ in range(rounds * number):
            alone()
        single += time.process_time() - middle
        together += middle - start
    heard = BLOCKS * rounds * number
    return {
        "streams": number,
        "gate": gate,
        "ms_per_second_of_sound": 1_000 * together / heard,
        "ms_per_second_of_a_single_stream": 1_000 * single / heard,
        "ratio": together / single,
        "kb_each": grown / 1_000 / number,
    }


def to_markdown(summary: Mapping[str, Any]) -> str:
    """streams.json for people."""
    lines = [
        "# Many streams in one process and one thread",
        "",
        f"{STREAM_SECONDS} s of sound in all, in turn between the streams; beside it one stream "
        "that is fed the same, in alternate blocks. Memory of one stream includes what the "
        "process needed once.",
        "",
        "| streams | gate | ms a second of sound | of a single stream | ratio | kB each |",
        "| --: | --- | --: | --: | --: | --: |",
    ]
    for row in summary["rows"]:
        lines.append(
            f"| {row['streams']} | {'on' if row['gate'] else 'off'} "
            f"| {row['ms_per_second_of_sound']:.3f} "
            f"| {row['ms_per_second_of_a_single_stream']:.3f} "
            f"| {row['ratio']:.3f} | {row['kb_each']:.0f} |"
        )
    machine = summary["machine"]
    lines += [
        "",
        f"Targets at {NUMBERS[-1]} streams without the gate: ratio at most {TARGET_RATIO}, "
        f"{TARGET_KB:.0f} kB each. A gate has a detector of its own, with its weights, in each "
        "stream: turn it off where there are many.",
        "",
        f"{machine['date']}, {machine['commit']}, {machine['cpu']}.",
    ]
    return "\n".join(lines) + "\n"


def _apart(number: int, gate: bool) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", str(number), *(["--gate"] if gate else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, Any] = json.loads(done.stdout)
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
