"""How fast and how large a loaded model is: latency, load time, peak memory, on one thread.

Latencies are taken in one process, the models in turn, so that whatever else the machine
does hits all alike. Load time and memory are taken in fresh processes, one a model, because
a process never gives back what the interpreter before took.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firmware_host.contract import Contract
from firmware_host.engines import Engine
from firmware_host.errors import EdgeSerError
from firmware_host.features import FeatureExtractor
from firmware_host.golden import golden_features, golden_waveform

WARM_UP_RUNS = 10  # interpreters allocate and pack weights on the first ones
SEED = 1  # of the waveform that is listened to
LOADS = 3  # fresh processes a model; their medians are reported


@dataclass(frozen=True)
class Latency:
    """Of one window, in milliseconds: the median, and what 95 % of the windows stay below."""

    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Footprint:
    """What a fresh process needs to load a model and recognise one window.

    Args:
        load_ms: reading the file and preparing the interpreter, which is imported already.
        peak_bytes: largest resident memory of the whole process: Python, numpy, the
            interpreter's library and the model.
    """

    load_ms: float
    peak_bytes: int


def measure_latency(
    models: Sequence[tuple[Contract, Engine]],
    runs: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[Latency, Latency]]:
    """Latency of the model and of its features, for each model, in that order.

    A stream that is due a new window computes the features of one hop of new samples, then
    runs the model on the whole window: these two are timed apart.

    Args:
        models: contract and engine of each.
        runs: how often each is timed; every round touches all models once.
    """
    works: list[Callable[[], object]] = []
    for contract, engine in models:
        works += [_model_work(contract, engine), _features_work(contract)]
    for work in works:
        for _ in range(WARM_UP_RUNS):
            work()
    times = np.empty((len(works), runs))
    for run in range(runs):
        for index, work in enumerate(works):
            started = time.perf_counter_ns()
            work()
            times[index, run] = (time.perf_counter_ns() - started) / 1e6
        if progress:
            progress(run + 1, runs)
    found = [Latency(*np.percentile(row, (50, 95)).tolist()) for row in times]
    return list(zip(found[::2], found[1::2], strict=True))


def measure_footprint(path: Path, engine: str) -> Footprint:
    """Load a model file in a fresh process, recognise one window, and ask what that took.

    Args:
        engine: one of `firmware_host.engines.ENGINES`.

    Raises:
        EdgeSerError: when that process fails.
    """
    import edge_ser

    # The same modules as here, wherever the other process starts.
    here = str(Path(edge_ser.__file__).parents[1])
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-m", "edge_ser.bench.process", str(path.resolve()), engine],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise EdgeSerError(
            f"{path}: a fresh process could not load and run this model with {engine} "
            f"({reason}): see whether `edge-ser recognize --model {path}` can"
        )
    return Footprint(**json.loads(done.stdout))


def median_footprint(found: Sequence[Footprint]) -> Footprint:
    """The median of each number."""
    return Footprint(
        load_ms=float(np.median([one.load_ms for one in found])),
        peak_bytes=int(np.median([one.peak_bytes for one in found])),
    )


def _model_work(contract: Contract, engine: Engine) -> Callable[[], object]:
    frames = golden_features(SEED, contract.features, contract.window_frames)
    window = contract.normalise(frames)
    return lambda: engine.infer(window)


def _features_work(contract: Contract) -> Callable[[], object]:
    extractor = FeatureExtractor(contract.features)
    hop = golden_waveform(SEED, contract.hop_samples)
    window = golden_features(SEED, contract.features, contract.window_frames)

    def work() -> None:
        extractor.feed(hop)
        contract.normalise(window)

    return work
