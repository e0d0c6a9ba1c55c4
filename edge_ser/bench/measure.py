"""The bench: float32 against INT8, accuracy against size, measured on the files themselves.

Every number is taken from a model file through the runtime that a user runs: what it
recognises on speakers whom it never heard, how many bytes it has, how long a window takes,
what a process needs to hold it.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edge_ser.bench.clips import ClipChoice, choose_clips
from edge_ser.bench.machine import describe_machine
from edge_ser.bench.recognition import (
    CorpusScore,
    Heard,
    against_float,
    certainty_of_all,
    recognise,
    score_corpus,
)
from edge_ser.bench.speed import (
    LOADS,
    Footprint,
    Latency,
    measure_footprint,
    measure_latency,
    median_footprint,
)
from edge_ser.certainty import Certainty
from edge_ser.corpora import Clip, corpora_root, find_corpus, load_corpus
from firmware_host.contract import Contract, is_tflite, read_contract
from firmware_host.engines import ENGINES, Engine, load_engine
from firmware_host.errors import EdgeSerError

RUNS = 300  # timed windows a file
MODEL_SUFFIXES = (".onnx", ".tflite")
FLOAT32, INT8 = "float32", "int8"

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class BenchRow:
    """Everything measured of one model file in one engine.

    Args:
        file: its name, or its path where two files have the same name.
        model: name of the model, as its contract says.
        format: "ONNX" or "TFLite".
        precision: "float32", "int8", or "unknown" when the contract does not say.
        n_bytes, sha256: of the file.
        ratio: of its bytes to those of the model's float32 ONNX file, if that is measured.
        parameters, macs_per_window: as the contract says; None when it does not.
        labels: in the order of the confusion matrices.
        training: corpora, fold, seed, versions and terms, as the contract says.
        model_latency: of one window in the engine, on one thread.
        features_latency: of the features of the hop that makes a window due.
        footprint: load time and peak memory of a fresh process.
        scores: one a corpus.
        certainty: of the recordings of all corpora together; None of fewer than two.
    """

    file: str
    model: str
    format: str
    precision: str
    engine: str
    n_bytes: int
    sha256: str
    ratio: float | None
    parameters: int | None
    macs_per_window: int | None
    window_seconds: float
    hop_seconds: float
    labels: tuple[str, ...]
    training: Mapping[str, Any]
    model_latency: Latency
    features_latency: Latency
    footprint: Footprint
    scores: tuple[CorpusScore, ...]
    certainty: Certainty | None


@dataclass(frozen=True)
class BenchResult:
    """What `bench` measured, and where.

    Args:
        rows: one a file and engine, in the order in which they were given.
        left_out: files that none of the engines asked for reads.
        runs: timed windows a row.
        machine: CPU, system, versions, commit, date.
    """

    rows: tuple[BenchRow, ...]
    left_out: tuple[str, ...]
    runs: int
    machine: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def bench(
    files: Sequence[Path],
    data: Path | None = None,
    corpora: Sequence[str] = (),
    fold: int | None = None,
    allow_seen: bool = False,
    limit: int | None = None,
    engines: Sequence[str] = (),
    runs: int = RUNS,
    jobs: int = 1,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure model files against each other.

    Args:
        files: model files, or folders of them.
        data: the folder of the corpora; None takes EDGE_SER_CORPORA. Only needed when
            `corpora` names some.
        corpora: on whose test speakers to recognise; none: size, speed and memory only.
        fold, allow_seen, limit: see `clips.choose_clips`.
        engines: measure in each of these that reads a file; none: in the first installed.
        runs: timed windows a file.
        jobs: processes that recognise recordings.
        progress: told how far it is.

    Raises:
        EdgeSerError: for a file that is no model file, an unknown corpus or engine, speakers
            whom a model knows, a recording that cannot be read.
    """
    tell = progress or (lambda _stage, _done, _total: None)
    subjects, left_out = _open_files(files, engines)
    # Before anything that takes long: whatever is wrong with the request shows here.
    names = list(dict.fromkeys(find_corpus(name).name for name in corpora))
    if fold is not None and not names:
        raise EdgeSerError("a fold chooses test speakers of a corpus: name one with --corpus")
    loaded = {name: load_corpus(corpora_root(data), name) for name in names}
    choices = [_choices(s, loaded, fold, allow_seen, limit) for s in subjects]
    recognition = _recognition(subjects, choices, jobs, tell)
    footprints: list[list[Footprint]] = [[] for _ in subjects]
    for done in range(LOADS * len(subjects)):
        subject = subjects[done % len(subjects)]  # in turn, as the latencies
        footprints[done % len(subjects)].append(measure_footprint(subject.path, subject.engine))
        tell("loading in fresh processes", done + 1, LOADS * len(subjects))
    latencies = measure_latency(
        [(subject.contract, subject.loaded) for subject in subjects],
        runs,
        lambda done, total: tell("timing windows", done, total),
    )
    rows = [
        _row(subject, subjects, *latency, median_footprint(footprint), *found)
        for subject, latency, footprint, found in zip(
            subjects, latencies, footprints, recognition, strict=True
        )
    ]
    used = sorted({row.engine for row in rows})
    return BenchResult(tuple(rows), left_out, runs, describe_machine(used))


def model_files(given: Sequence[Path]) -> list[Path]:
    """The files given, with the model files of a folder in its place; each once.

    Raises:
        EdgeSerError: when a folder holds none, or nothing was given.
    """
    found: dict[Path, Path] = {}
    for path in given:
        inside = [path]
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix in MODEL_SUFFIXES)
            if not inside:
                raise EdgeSerError(
                    f"{path} holds no .onnx or .tflite file: give the folder that "
                    "`edge-ser convert` wrote to, or model files"
                )
        for file in inside:
            found.setdefault(file.resolve(), file)
    if not found:
        raise EdgeSerError("there are no model files to measure: name at least one")
    return list(found.values())


@dataclass(frozen=True)
class _Subject:
    """One file in one engine, open."""

    path: Path
    file: str
    contract: Contract
    loaded: Engine

    @property
    def engine(self) -> str:
        return self.loaded.name

    @property
    def format(self) -> str:
        return "TFLite" if ENGINES[self.engine].reads_tflite else "ONNX"

    @property
    def precision(self) -> str:
        return str(self.contract.quantization.get("precision", "unknown"))

    def count(self, key: str) -> int | None:
        """A whole number that the converter noted in the contract."""
        value = self.contract.quantization.get(key)
        return value if isinstance(value, int) else None

    def float_twin(self, subjects: Sequence["_Subject"]) -> "_Subject | None":
        """The float32 file of the same model, of the same format before the other."""
        twins = [
            other
            for other in subjects
            if other.precision == FLOAT32 and other.contract.name == self.contract.name
        ]
        twins.sort(key=lambda other: (other.format != self.format, other.engine != self.engine))
        return twins[0] if twins else None


def _open_files(
    files: Sequence[Path], engines: Sequence[str]
) -> tuple[list[_Subject], tuple[str, ...]]:
    """Every file in every engine wanted, and the names of the files that none of them reads."""
    for engine in engines:
        if engine not in ENGINES:
            raise EdgeSerError(f"engine {engine!r} is unknown; choose one of {', '.join(ENGINES)}")
    paths = model_files(files)
    names = [path.name for path in paths]
    subjects, left_out = [], []
    for path in paths:
        file = path.name if names.count(path.name) == 1 else str(path)
        contract = read_contract(path)
        wanted: list[str | None] = [None]
        if engines:
            tflite = is_tflite(path)
            wanted = [e for e in dict.fromkeys(engines) if ENGINES[e].reads_tflite == tflite]
            if not wanted:
                left_out.append(file)
        for name in wanted:
            loaded = load_engine(path, name, contract=contract)
            subjects.append(_Subject(path, file, contract, loaded))
    if not subjects:
        raise EdgeSerError(
            f"{' or '.join(engines)} reads none of {', '.join(left_out)}: name another engine"
        )
    return subjects, tuple(left_out)


def _choices(
    subject: _Subject,
    loaded: Mapping[str, Sequence[Clip]],
    fold: int | None,
    allow_seen: bool,
    limit: int | None,
) -> list[ClipChoice]:
    """The clips of each corpus for one file."""
    return [
        choose_clips(subject.file, subject.contract, name, clips, fold, allow_seen, limit)
        for name, clips in loaded.items()
    ]


def _recognition(
    subjects: Sequence[_Subject],
    choices: Sequence[Sequence[ClipChoice]],
    jobs: int,
    tell: Progress,
) -> list[tuple[tuple[CorpusScore, ...], Certainty | None]]:
    """For each file its score on each corpus, INT8 against float32 included, and its certainty
    over several."""
    heard = recognise(
        tuple((subject.path, subject.engine) for subject in subjects),
        [[clip.path for choice in own for clip in choice.clips] for own in choices],
        jobs,
        lambda done, total: tell("recognising recordings", done, total),
    )
    by_choice: list[list[list[Heard]]] = []
    for own, found in zip(choices, heard, strict=True):
        rest = iter(found)
        by_choice.append([[next(rest) for _ in choice.clips] for choice in own])
    out: list[tuple[tuple[CorpusScore, ...], Certainty | None]] = []
    for index, subject in enumerate(subjects):
        twin = subject.float_twin(subjects) if subject.precision == INT8 else None
        scores = []
        for number, choice in enumerate(choices[index]):
            own_heard = by_choice[index][number]
            score = score_corpus(choice, own_heard)
            if twin is not None:
                other = subjects.index(twin)
                if choices[other][number] == choice:
                    against = against_float(
                        choice, own_heard, by_choice[other][number], twin.file, twin.engine
                    )
                    score = replace(score, against_float=against)
            scores.append(score)
        several = len(choices[index]) > 1
        sure = certainty_of_all(choices[index], by_choice[index]) if several else None
        out.append((tuple(scores), sure))
    return out


def _row(
    subject: _Subject,
    subjects: Sequence[_Subject],
    model_latency: Latency,
    features_latency: Latency,
    footprint: Footprint,
    scores: tuple[CorpusScore, ...],
    certainty: Certainty | None,
) -> BenchRow:
    contract, data = subject.contract, subject.path.read_bytes()
    whole = next(
        (
            other.path.stat().st_size
            for other in subjects
            if (other.contract.name, other.precision, other.format)
            == (contract.name, FLOAT32, "ONNX")
        ),
        None,
    )
    rate = contract.features.sample_rate
    return BenchRow(
        file=subject.file,
        model=contract.name,
        format=subject.format,
        precision=subject.precision,
        engine=subject.engine,
        n_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        ratio=len(data) / whole if whole else None,
        parameters=subject.count("parameters"),
        macs_per_window=subject.count("macs_per_window"),
        window_seconds=contract.window_samples / rate,
        hop_seconds=contract.hop_samples / rate,
        labels=contract.labels,
        training=contract.training,
        model_latency=model_latency,
        features_latency=features_latency,
        footprint=footprint,
        scores=scores,
        certainty=certainty,
    )
