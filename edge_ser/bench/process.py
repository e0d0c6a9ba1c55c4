"""`python -m edge_ser.bench.process FILE ENGINE`: what loading and running a model takes.

A program of its own, so that it holds what a device would hold and nothing else: it prints
the fields of `edge_ser.bench.speed.Footprint` as JSON.
"""

import importlib
import json
import resource
import sys
import time
from pathlib import Path

from firmware_host.engines import ENGINES
from firmware_host.golden import golden_waveform
from firmware_host.recognizer import EmotionRecognizer

STATUS = Path("/proc/self/status")


def main() -> None:
    """Load the model, recognise one window, print what it took."""
    model, engine = sys.argv[1:]
    importlib.import_module(ENGINES[engine].module)
    started = time.perf_counter()
    recognizer = EmotionRecognizer(model, engine)
    loaded = time.perf_counter()
    contract = recognizer.contract
    samples = golden_waveform(1, contract.window_samples)
    recognizer.recognize(samples, contract.features.sample_rate)
    print(json.dumps({"load_ms": 1000 * (loaded - started), "peak_bytes": peak_bytes()}))


def peak_bytes() -> int:
    """Largest resident memory of this process so far.

    On Linux from VmHWM: ru_maxrss there begins at what the process that started this one
    held, because it outlives the exec.
    """
    if STATUS.is_file():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


if __name__ == "__main__":
    main()
