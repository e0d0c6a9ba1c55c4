"""What `edge-ser demo` does, without how it looks: listen to a clip, set INT8 beside float.

The clip is a synthetic voice (`assets/README.md`): it shows the mechanism, not the accuracy.
"""

import importlib.util
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.bench.speed import measure_latency
from edge_ser.extras import install_command
from edge_ser.level import level_dbfs
from firmware_host.audio import read_audio
from firmware_host.contract import read_contract
from firmware_host.decisions import EACH_WINDOW
from firmware_host.engines import installed_engines, load_engine
from firmware_host.errors import EdgeSerError
from firmware_host.recognizer import Emotion, EmotionRecognizer

CLIP = Path(__file__).parent / "assets" / "demo.flac"
MODULES = ("ai_edge_litert", "onnxruntime", "onnx", "flatbuffers", "safetensors")
"""What the demo needs beside what every command needs."""

FORMATS = {"tflite": "TFLite", "onnx": "ONNX"}
PORTION_SECONDS = 0.1  # of the clip fed at once, as a microphone would
RUNS = 200  # of each model: its median no longer moves, and a slow board still takes seconds


@dataclass(frozen=True)
class Clip:
    """A recording.

    Args:
        samples: (n,), float32, full scale 1.
        rate: in Hz.
    """

    samples: NDArray[np.float32]
    rate: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class Moment:
    """A portion of the clip, and what the stream made of it.

    Args:
        seconds: where in the clip the portion ends.
        level_dbfs: its root mean square, in dB below full scale; at least `SILENCE_DBFS`.
        compute_seconds: how long the stream took to compute it.
        emotions: the windows that it completed.
    """

    seconds: float
    level_dbfs: float
    compute_seconds: float
    emotions: tuple[Emotion, ...]


@dataclass(frozen=True)
class Event:
    """Windows in a row with the same label.

    Args:
        label: of every one of them.
        start_seconds, end_seconds: in the clip, when it was first and last heard, which is
            at the end of a window.
        probability: the highest.
        windows: how many.
    """

    label: str
    start_seconds: float
    end_seconds: float
    probability: float
    windows: int


@dataclass(frozen=True)
class Measured:
    """One model file: its size, and the median time that it takes for a window."""

    file: str
    bytes: int
    p50_ms: float


@dataclass(frozen=True)
class Comparison:
    """Float beside INT8 in one format, measured by turns in one process on one thread.

    Args:
        format: "TFLite" or "ONNX".
        engine: that ran both.
        runs: of one window that each median is over.
        float32, int8: the two files.
    """

    format: str
    engine: str
    runs: int
    float32: Measured
    int8: Measured

    @property
    def size_ratio(self) -> float:
        """How many times smaller INT8 is."""
        return self.float32.bytes / self.int8.bytes

    @property
    def latency_ratio(self) -> float:
        """How many times faster INT8 is."""
        return self.float32.p50_ms / self.int8.p50_ms

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, ratios included."""
        ratios = {"size_ratio": self.size_ratio, "latency_ratio": self.latency_ratio}
        return asdict(self) | ratios


def read_clip() -> Clip:
    """The clip in the package."""
    return Clip(*read_audio(CLIP))


def check_packages() -> None:
    """Make sure that all the demo needs is installed, before it begins.

    Raises:
        EdgeSerError: naming what is missing and the command that brings it.
    """
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise EdgeSerError(
            "the demo writes and runs ONNX and TFLite files, for which "
            f"{', '.join(missing)} must be installed: `{install_command(missing)}` does it"
        )


def streamed_file(files: Sequence[Path]) -> Path:
    """The file to listen with: INT8 TFLite, or INT8 ONNX where nothing reads TFLite.

    Raises:
        EdgeSerError: when there is no such file among them.
    """
    suffix = "tflite" if installed_engines(tflite=True) else "onnx"
    return _file(files, "int8", suffix)


def listen_to(recognizer: EmotionRecognizer, clip: Clip) -> Iterator[Moment]:
    """Feed a clip to a new stream, portion by portion."""
    stream = recognizer.stream(clip.rate, EACH_WINDOW)
    size = max(1, int(clip.rate * PORTION_SECONDS))
    n_samples = len(clip.samples)
    for start in range(0, n_samples, size):
        end = min(start + size, n_samples)
        portion = clip.samples[start:end]
        before = time.perf_counter()
        emotions = stream.feed_signal(portion, arrived=None)
        if end == n_samples:
            emotions += stream.flush()
        took = time.perf_counter() - before
        yield Moment(end / clip.rate, level_dbfs(portion), took, tuple(emotions))


def events_of(emotions: Iterable[Emotion]) -> tuple[Event, ...]:
    """Windows in a row with the same label, joined."""
    events: list[Event] = []
    for heard in emotions:
        at, probability = heard.end_seconds, heard.probability
        if events and events[-1].label == heard.label:
            last = events.pop()
            probability = max(last.probability, probability)
            joined = Event(heard.label, last.start_seconds, at, probability, last.windows + 1)
            events.append(joined)
        else:
            events.append(Event(heard.label, at, at, probability, 1))
    return tuple(events)


def compare(files: Sequence[Path]) -> tuple[Comparison, ...]:
    """Measure float beside INT8 in each format that an installed engine reads.

    Args:
        files: NAME.float32.tflite and so on, as `convert.pipeline.convert` writes them.

    Raises:
        EdgeSerError: when a file is missing or cannot be loaded.
    """
    formats = [suffix for suffix in FORMATS if installed_engines(tflite=suffix == "tflite")]
    paths = [_file(files, kind, suffix) for suffix in formats for kind in ("float32", "int8")]
    contracts = [read_contract(path) for path in paths]
    engines = [load_engine(path) for path in paths]
    latencies = measure_latency(list(zip(contracts, engines, strict=True)), RUNS)
    measured = [
        Measured(path.name, path.stat().st_size, model.p50_ms)
        for path, (model, _) in zip(paths, latencies, strict=True)
    ]
    return tuple(
        Comparison(FORMATS[suffix], engine.name, RUNS, float32, int8)
        for suffix, engine, float32, int8 in zip(
            formats, engines[1::2], measured[::2], measured[1::2], strict=True
        )
    )


def _file(files: Sequence[Path], precision: str, suffix: str) -> Path:
    for path in files:
        if path.name.endswith(f".{precision}.{suffix}"):
            return path
    raise EdgeSerError(f"the conversion wrote no {precision} {FORMATS[suffix]} file; convert again")
