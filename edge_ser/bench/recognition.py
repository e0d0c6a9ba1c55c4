"""What model files recognise on test clips: several files hear a clip together, through the
recogniser that users run, and are scored with intervals over speakers."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ser.bench.clips import ClipChoice
from edge_ser.metrics import Score, score
from firmware_host.contract import read_contract
from firmware_host.engines import Engine
from firmware_host.probabilities import label_of
from firmware_host.recognizer import EmotionRecognizer

RESAMPLES = 2_000  # of the bootstrap
SEED = 0
CONFIDENCE = 95  # per cent

Interval = tuple[float, float]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Models = tuple[tuple[Path, str], ...]
"""Model files, and the engine for each."""


@dataclass(frozen=True)
class AgainstFloat:
    """An INT8 file against the float32 file of the same model, on the same clips.

    Args:
        file, engine: the float32 file, of the same format when there is one.
        uar_points, accuracy_points: INT8 minus float32, in percentage points.
        uar_points_interval: 95 % interval over speakers; None with a single speaker.
        agreement: share of clips for which both say the same emotion, 0 to 1.
    """

    file: str
    engine: str
    uar_points: float
    accuracy_points: float
    uar_points_interval: Interval | None
    agreement: float


@dataclass(frozen=True)
class CorpusScore:
    """What one model file scored on the test speakers of one corpus.

    Args:
        corpus, division, status: whose recordings, and whether they were held out.
        speakers: test speakers.
        clips, clips_available: measured on, and how many there were before a limit.
        uar, accuracy, macro_f1: 0 to 1; the most probable emotion counts, also where the
            recogniser would say "uncertain".
        uar_interval, accuracy_interval: 95 % bootstrap intervals over speakers; None with a
            single speaker.
        confusion: counts, true class by row, recognised class by column.
        against_float: for an INT8 file whose float32 twin heard the same clips.
    """

    corpus: str
    division: str
    status: str
    speakers: tuple[str, ...]
    clips: int
    clips_available: int
    uar: float
    accuracy: float
    macro_f1: float
    uar_interval: Interval | None
    accuracy_interval: Interval | None
    confusion: tuple[tuple[int, ...], ...]
    against_float: AgainstFloat | None = None


def recognise(
    models: Models,
    clips: Sequence[Sequence[Path]],
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[int]]:
    """The label, by its index, that each model hears in each of its recordings.

    Models of one input (features, normalisation, windows) that hear the same recordings
    share the features.

    Args:
        clips: for each model its recordings.
        jobs: processes; the result is the same with any number.

    Raises:
        EdgeSerError: when a recording or a model cannot be read.
    """
    together: dict[object, list[int]] = {}
    for index, (path, _) in enumerate(models):
        c = read_contract(path)
        same = (c.features.digest(), c.mean, c.std, c.window_frames, c.hop_frames)
        together.setdefault((same, tuple(clips[index])), []).append(index)
    work = [
        (members, path)
        for members in together.values()
        for path in dict.fromkeys(clips[members[0]])
    ]
    tasks = [(path, tuple(models[i] for i in members)) for members, path in work]
    heard: list[dict[Path, int]] = [{} for _ in models]
    for done, labels in enumerate(_spread(tasks, jobs), start=1):
        members, path = work[done - 1]
        for member, label in zip(members, labels, strict=True):
            heard[member][path] = label
        if progress:
            progress(done, len(work))
    return [[heard[index][path] for path in own] for index, own in enumerate(clips)]


class Panel:
    """An engine that hands each window to several, so that its features are computed once.

    A recogniser that has a panel for its engine does what each engine's own recogniser
    would, as long as their models agree in features, normalisation and windows.
    """

    name = "panel"

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines
        self._heard: list[list[Float32]] = [[] for _ in engines]

    def infer(self, features: Float32) -> Float32:
        """Logits of the first engine; `take` gives back everybody's."""
        for heard, engine in zip(self._heard, self._engines, strict=True):
            heard.append(engine.infer(features))
        return self._heard[0][-1]

    def take(self) -> list[Float32]:
        """Logits of each engine, (windows, n_labels), since the last time."""
        out = [np.stack(heard) for heard in self._heard]
        self._heard = [[] for _ in self._engines]
        return out


class Listeners:
    """Models of one input, which hear recordings together."""

    def __init__(self, models: Models) -> None:
        recognizers = [EmotionRecognizer(path, engine) for path, engine in models]
        self._temperatures = [one.contract.temperature for one in recognizers]
        self._panel = Panel([one.engine for one in recognizers])
        self._recognizer = recognizers[0]
        self._recognizer.engine = self._panel

    def hear(self, path: Path) -> list[int]:
        """Index of the most probable label, for each model."""
        self._recognizer.recognize_file(path)
        return [
            label_of(logits, temperature)
            for logits, temperature in zip(self._panel.take(), self._temperatures, strict=True)
        ]


_opened: dict[Models, Listeners] = {}  # those of a worker process, which hears many clips


def _spread(tasks: Sequence[tuple[Path, Models]], jobs: int) -> Iterator[list[int]]:
    """What is heard in each, in order."""
    if jobs <= 1 or len(tasks) <= 1:
        listeners = {models: Listeners(models) for models in dict.fromkeys(m for _, m in tasks)}
        yield from (listeners[models].hear(path) for path, models in tasks)
        return
    # Spawned: interpreters have threads, which do not survive a fork.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        yield from pool.map(_hear_in_worker, tasks, chunksize=8)
    finally:
        pool.shutdown(cancel_futures=True)


def _hear_in_worker(task: tuple[Path, Models]) -> list[int]:
    path, models = task
    if models not in _opened:
        _opened[models] = Listeners(models)
    return _opened[models].hear(path)


def score_corpus(choice: ClipChoice, heard: Sequence[int], n_labels: int) -> CorpusScore:
    """Score what a model heard in its clips of one corpus."""
    whole: Score = score(choice.truth, heard, n_labels)
    uar, accuracy = _resampled(choice, heard, n_labels)
    return CorpusScore(
        corpus=choice.corpus,
        division=choice.division,
        status=choice.status,
        speakers=choice.speakers,
        clips=whole.clips,
        clips_available=choice.n_available,
        uar=whole.uar,
        accuracy=whole.accuracy,
        macro_f1=whole.macro_f1,
        uar_interval=_interval(uar),
        accuracy_interval=_interval(accuracy),
        confusion=whole.confusion,
    )


def compare(
    choice: ClipChoice,
    heard: Sequence[int],
    heard_by_float: Sequence[int],
    n_labels: int,
    file: str,
    engine: str,
) -> AgainstFloat:
    """Set what an INT8 file heard against what its float32 twin heard in the same clips."""
    int8, float32 = (score(choice.truth, h, n_labels) for h in (heard, heard_by_float))
    # The same speakers are drawn for both, so that what they share cancels out.
    difference = (
        _resampled(choice, heard, n_labels)[0] - _resampled(choice, heard_by_float, n_labels)[0]
    )
    return AgainstFloat(
        file=file,
        engine=engine,
        uar_points=100 * (int8.uar - float32.uar),
        accuracy_points=100 * (int8.accuracy - float32.accuracy),
        uar_points_interval=_interval(100 * difference),
        agreement=float(np.mean(np.equal(heard, heard_by_float))),
    )


def _resampled(choice: ClipChoice, heard: Sequence[int], n_labels: int) -> tuple[Float64, Float64]:
    """UAR and accuracy of `RESAMPLES` draws of as many speakers, with replacement.

    Whole speakers are drawn, because the clips of one are not independent of each other
    (the cluster bootstrap; Davison and Hinkley, "Bootstrap Methods and their Application",
    section 3.8). With a single speaker nothing is drawn.
    """
    speakers = choice.speakers
    if len(speakers) < 2:
        return np.empty(0), np.empty(0)
    confusions = np.zeros((len(speakers), n_labels, n_labels))
    of_clip = [speakers.index(clip.speaker) for clip in choice.clips]
    np.add.at(confusions, (np.asarray(of_clip), np.asarray(choice.truth), np.asarray(heard)), 1)
    generator = np.random.default_rng(SEED)
    equal = np.full(len(speakers), 1 / len(speakers))
    draws = generator.multinomial(len(speakers), equal, size=RESAMPLES)
    drawn = np.tensordot(draws, confusions, axes=1)  # (RESAMPLES, n_labels, n_labels)
    of_class = drawn.sum(axis=2)
    right = np.diagonal(drawn, axis1=1, axis2=2)
    present = of_class > 0
    recall = np.divide(right, of_class, out=np.zeros_like(right), where=present)
    return recall.sum(axis=1) / present.sum(axis=1), right.sum(axis=1) / of_class.sum(axis=1)


def _interval(values: Float64) -> Interval | None:
    if not values.size:
        return None
    tail = (100 - CONFIDENCE) / 2
    low, high = np.percentile(values, (tail, 100 - tail))
    return float(low), float(high)
