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
from edge_ser.bootstrap import Interval, percentile_interval, resample_speakers
from edge_ser.certainty import Certainty, certainty
from edge_ser.outcomes import Outcomes, clip_probabilities, make_outcomes, pool
from edge_ser.paired import compare
from edge_ser.rejection import CoveragePoint
from edge_ser.reliability import ReliabilityBin
from firmware_host.audio import read_audio, resample
from firmware_host.contract import read_contract
from firmware_host.engines import Engine
from firmware_host.recognizer import EmotionRecognizer

Float32 = NDArray[np.float32]
Probabilities = tuple[float, ...]
Change = Callable[[Float32, Path], Float32]
"""What becomes of a recording's samples, at the model's rate, before they are heard."""
Models = tuple[tuple[Path, str], ...]
"""Model files, and the engine for each."""


@dataclass(frozen=True)
class Heard:
    """What one model heard in one recording.

    Args:
        probabilities: of every label, the mean over the windows.
        uncalibrated: the same without the model's temperature.
    """

    probabilities: Probabilities
    uncalibrated: Probabilities

    @property
    def label(self) -> int:
        """Index of the most probable label, also where the recogniser would be uncertain."""
        return int(np.argmax(self.probabilities))


@dataclass(frozen=True)
class Hearing:
    """A recording that models of one input hear together.

    Args:
        change: what becomes of it before; it goes to other processes, so it must pickle.
    """

    path: Path
    models: Models
    change: Change | None = None


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
        calibration_error, uncalibrated_error, reliability, uncalibrated_reliability, coverage,
            rejection_gain_points: as `edge_ser.certainty.Certainty` has them.
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
    calibration_error: float
    uncalibrated_error: float
    reliability: tuple[ReliabilityBin, ...]
    uncalibrated_reliability: tuple[ReliabilityBin, ...]
    coverage: tuple[CoveragePoint, ...]
    rejection_gain_points: float
    against_float: AgainstFloat | None = None


def recognise(
    models: Models,
    clips: Sequence[Sequence[Path]],
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[Heard]]:
    """What each model hears in each of its recordings.

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
        same = (c.features.digest(), c.normalisation, c.window_frames, c.hop_frames)
        together.setdefault((same, tuple(clips[index])), []).append(index)
    work = [
        (members, path)
        for members in together.values()
        for path in dict.fromkeys(clips[members[0]])
    ]
    tasks = [Hearing(path, tuple(models[i] for i in members)) for members, path in work]
    heard: list[dict[Path, Heard]] = [{} for _ in models]
    for done, found in enumerate(hear_each(tasks, jobs), start=1):
        members, path = work[done - 1]
        for member, one in zip(members, found, strict=True):
            heard[member][path] = one
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

    def hear(self, path: Path, change: Change | None = None) -> list[Heard]:
        """What each model hears in a recording, changed before if asked for."""
        if change is None:
            self._recognizer.recognize_file(path)
        else:
            rate = self._recognizer.contract.features.sample_rate
            samples = change(resample(*read_audio(path), rate), path)
            self._recognizer.recognize(samples, rate)
        return [
            Heard(
                tuple(clip_probabilities(logits, temperature).tolist()),
                tuple(clip_probabilities(logits).tolist()),
            )
            for logits, temperature in zip(self._panel.take(), self._temperatures, strict=True)
        ]


_opened: dict[Models, Listeners] = {}  # those of a worker process, which hears many clips


def hear_each(tasks: Sequence[Hearing], jobs: int = 1) -> Iterator[list[Heard]]:
    """What is heard in each, by each of its models; in order, as it comes.

    Args:
        jobs: processes; the result is the same with any number.

    Raises:
        EdgeSerError: when a recording or a model cannot be read.
    """
    if jobs <= 1 or len(tasks) <= 1:
        listeners: dict[Models, Listeners] = {}
        for task in tasks:
            if task.models not in listeners:
                listeners[task.models] = Listeners(task.models)
            yield listeners[task.models].hear(task.path, task.change)
        return
    # Spawned: interpreters have threads, which do not survive a fork.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        yield from pool.map(_hear_in_worker, tasks, chunksize=8)
    finally:
        pool.shutdown(cancel_futures=True)


def _hear_in_worker(task: Hearing) -> list[Heard]:
    if task.models not in _opened:
        _opened[task.models] = Listeners(task.models)
    return _opened[task.models].hear(task.path, task.change)


def score_corpus(choice: ClipChoice, heard: Sequence[Heard]) -> CorpusScore:
    """Score what a model heard in its clips of one corpus."""
    outcomes = outcomes_of(choice, [one.probabilities for one in heard])
    uncalibrated = outcomes_of(choice, [one.uncalibrated for one in heard])
    whole, sure = outcomes.score(), certainty(outcomes, uncalibrated)
    uar, accuracy = resample_speakers(
        outcomes.truth, outcomes.recognised, outcomes.speakers, outcomes.n_labels
    )
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
        uar_interval=percentile_interval(uar),
        accuracy_interval=percentile_interval(accuracy),
        confusion=whole.confusion,
        calibration_error=sure.calibration_error,
        uncalibrated_error=sure.uncalibrated_error,
        reliability=sure.reliability,
        uncalibrated_reliability=sure.uncalibrated_reliability,
        coverage=sure.coverage,
        rejection_gain_points=sure.rejection_gain_points,
    )


def certainty_of_all(choices: Sequence[ClipChoice], heard: Sequence[Sequence[Heard]]) -> Certainty:
    """What a model's probabilities are worth over several corpora, their recordings as one set.

    Who uses a model has one temperature and one threshold for all that it hears.

    Args:
        heard: for each choice what the model heard in its clips.
    """
    parts = list(zip(choices, heard, strict=True))
    return certainty(
        pool([outcomes_of(choice, [h.probabilities for h in own]) for choice, own in parts]),
        pool([outcomes_of(choice, [h.uncalibrated for h in own]) for choice, own in parts]),
    )


def against_float(
    choice: ClipChoice,
    heard: Sequence[Heard],
    heard_by_float: Sequence[Heard],
    file: str,
    engine: str,
) -> AgainstFloat:
    """Set what an INT8 file heard against what its float32 twin heard in the same clips."""
    int8, float32 = (
        outcomes_of(choice, [one.probabilities for one in h]) for h in (heard, heard_by_float)
    )
    found = compare(int8, float32)
    return AgainstFloat(
        file=file,
        engine=engine,
        uar_points=found.uar_points,
        accuracy_points=found.accuracy_points,
        uar_points_interval=found.uar_points_interval,
        agreement=found.agreement,
    )


def outcomes_of(choice: ClipChoice, probabilities: Sequence[Probabilities]) -> Outcomes:
    """What a model said of its clips of one corpus, beside what was true."""
    return make_outcomes(choice.truth, probabilities, [clip.speaker for clip in choice.clips])
