"""From a unit to its outcome: divide, train, convert, hear. Each step goes on where it was."""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convert.architecture import count_parameters
from convert.checkpoint import read_checkpoint
from convert.pipeline import convert
from convert.recordings import evenly
from edge_ser.bench.machine import describe_machine
from edge_ser.corpora import CORPORA, Clip, corpora_root, load_corpus
from edge_ser.evaluation.copies import with_copies
from edge_ser.evaluation.duplicates import sample_digests
from edge_ser.evaluation.feature_store import FeatureStore
from edge_ser.evaluation.hearing import hear
from edge_ser.evaluation.outcome import (
    FLOAT32,
    INT8,
    POST_TRAINING,
    Heard,
    Outcome,
    read_outcome,
    write_outcome,
)
from edge_ser.evaluation.protocols import Division, divide, find_protocol
from edge_ser.evaluation.units import Unit
from edge_ser.folders import locked
from edge_ser.train import PRETRAINED, train, versions
from edge_ser.trainer import LOG_FILE, OnEpoch, TrainConfig
from firmware_host.contract import read_contract
from firmware_host.engines import installed_engines
from firmware_host.errors import EdgeSerError

CALIBRATION_CLIPS = 300
"""Training clips that a quantization after training is calibrated on; see benchmarks/ptq.py."""

CACHE, RUNS, TEACHERS = "cache", "runs", "teachers"
"""Folders of a working folder: features and copies, the trainings, and those of their teachers;
beside them that of pretrained networks, `PRETRAINED`."""


@dataclass(frozen=True)
class Place:
    """Where units are computed.

    Args:
        outcomes: folder of the files that they leave.
        work: folder of features, trainings and model files; may be deleted afterwards.
        data: the folder of the corpora; None takes EDGE_SER_CORPORA.
        device: "cpu", "cuda", or "auto": a GPU when there is one.
        jobs: processes that read recordings.
    """

    outcomes: Path
    work: Path
    data: Path | None = None
    device: str = "auto"
    jobs: int = 1


Tell = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Material:
    """The recordings of a unit: divided, and with their features at hand."""

    division: Division
    store: FeatureStore


def run_unit(
    unit: Unit,
    place: Place,
    tell: Tell | None = None,
    on_epoch: OnEpoch = None,
) -> Outcome:
    """Compute a unit, or go on with it, and leave its outcome.

    Two processes may be given the same unit: the second one waits for the first.

    Raises:
        EdgeSerError: when a corpus is not there or cannot be divided, or a folder holds
            something with other settings.
    """
    say = tell or (lambda _what, _done, _all: None)
    run = place.work / RUNS / unit.slug
    teachers = place.work / TEACHERS / unit.teachers_slug if unit.settings.teachers else run
    with locked(run / "lock"), locked(teachers / "teachers.lock"):
        if (done := read_outcome(place.outcomes, unit)) is not None:
            return done
        started = time.monotonic()
        material = gather(unit, place, say)
        division = material.division
        config = _config_of(unit, len(division.head.labels))
        (trained,) = train(
            division.split,
            (division.head,),
            config,
            run,
            unit.model_name,
            _facts(unit, division),
            device=_device(place.device),
            jobs=place.jobs,
            on_read=lambda done, total: say("reading features", done, total),
            on_epoch=on_epoch,
            read=material.store.read,
            teachers_in=teachers,
            pretrained_in=place.work / PRETRAINED,
        )
        after_training = time.monotonic()
        files = _convert(unit, trained, division, run / "models", say)
        tested, head = division.split.test, division.head
        heard = hear(
            list(files.values()),
            [clip.path for clip in tested],
            lambda done, total: say("hearing test recordings", done, total),
        )
        index = {label: number for number, label in enumerate(head.labels)}
        checkpoint = read_checkpoint(trained)
        training_seconds = _seconds(run, teachers)
        preparing = after_training - started
        outcome = Outcome(
            unit=unit,
            labels=head.labels,
            names=tuple(clip.path.stem for clip in tested),
            speakers=tuple(clip.speaker for clip in tested),
            truth=np.asarray([index[head.label_of[clip.emotion]] for clip in tested], np.int64),
            heard={
                variant: Heard(one.probabilities, one.untempered, one.labels, _about(path))
                for (variant, path), one in zip(files.items(), heard, strict=True)
            },
            leaks=find_protocol(unit.key.protocol).leaks,
            breaches=tuple(division.facts["breaches"]),
            division={k: v for k, v in division.facts.items() if k != "breaches"},
            training={
                "parameters": count_parameters(checkpoint.model),
                "temperature": checkpoint.temperature,
                "rejection_threshold": checkpoint.rejection_threshold,
                "validation_uar": checkpoint.training["validation_uar"],
                "clips": checkpoint.training["clips"],
                "device": _device(place.device),
                "threads": config.threads,
            },
            seconds={
                "training": round(training_seconds, 1),
                # What the last start took before and after its epochs.
                "all": round(
                    max(training_seconds, preparing) + time.monotonic() - after_training, 1
                ),
            },
            machine=_machine(),
        )
        write_outcome(place.outcomes, outcome)
        return outcome


def gather(unit: Unit, place: Place, tell: Tell | None = None) -> Material:
    """Find, divide and guard the recordings of a unit.

    Raises:
        EdgeSerError: when a corpus is not there, cannot be read or cannot be divided.
    """
    say = tell or (lambda _what, _done, _all: None)
    root, cache = corpora_root(place.data), place.work / CACHE
    config = unit.settings.config(n_labels=2, seed=unit.seed)
    clips: list[Clip] = []
    digests: dict[Path, str] = {}
    for number, corpus in enumerate(unit.key.corpora):
        say("comparing recordings", number, len(unit.key.corpora))
        own = load_corpus(root, corpus)
        known = sample_digests(own, cache, place.jobs)
        if find_protocol(unit.key.protocol).augments_before:
            rate = config.features.sample_rate
            own = with_copies(own, known, config.augment, rate, unit.seed, cache, place.jobs)
            known = sample_digests(own, cache, place.jobs)
        clips += own
        digests |= known
    division = divide(unit.key, clips, digests)
    return Material(division, FeatureStore(clips, digests, cache))


def _config_of(unit: Unit, n_labels: int = 2) -> TrainConfig:
    """The settings of a unit's training; the number of classes is known once it is divided."""
    config = unit.settings.config(n_labels, unit.seed)
    if find_protocol(unit.key.protocol).augments_before:
        return replace(config, augment=replace(config.augment, copies=0))
    return config


def _facts(unit: Unit, division: Division) -> dict[str, Any]:
    """What the checkpoint says of its training; as of `edge-ser train` where that could say it."""
    key, speakers = unit.key, division.facts["speakers"]
    return {
        "corpora": list(key.train_on),
        "pretrained_on": list(key.pretrain_on),
        "fold": key.index if key.protocol == "speaker" else key.slug,
        "protocol": key.protocol,
        "breaches": list(division.facts["breaches"]),
        "test_speakers": speakers["test"],
        "validation_speakers": speakers["validation"],
        "terms": {corpus: CORPORA[corpus].terms for corpus in (*key.pretrain_on, *key.train_on)},
        "sides_sha256": division.facts["sides_sha256"],
    }


def _convert(
    unit: Unit, trained: Path, division: Division, out: Path, say: Tell
) -> dict[str, Path]:
    """The TFLite files that are to hear, by variant."""
    some = []
    if unit.settings.post_training:
        some = evenly([clip.path for clip in division.split.train], CALIBRATION_CLIPS)
    converted = convert(trained, out, calibrate=some, on_step=lambda what: say(what, 0, 1))
    files = {}
    for variant in (FLOAT32, INT8, POST_TRAINING):
        path = out / f"{trained.stem}.{variant}.tflite"
        if path in converted.files:
            files[variant] = path
    return files


def _about(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {
        "name": path.name,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "method": read_contract(path).quantization.get("method"),
    }


def _device(asked: str) -> str:
    import torch

    gpu = torch.cuda.is_available()
    if asked == "cuda" and not gpu:
        raise EdgeSerError("no CUDA device was found: use --device cpu, or auto")
    return "cuda" if gpu and asked != "cpu" else "cpu"


def _seconds(*folders: Path) -> float:
    """Of all epochs, also those before an interruption; one that was done twice counts once."""
    seconds: dict[tuple[Path, str, int], float] = {}
    for log in (log for folder in folders for log in folder.rglob(LOG_FILE)):
        for line in log.read_text().splitlines():
            # The line of a moment at which the training was killed may be cut off.
            with contextlib.suppress(ValueError, KeyError):
                report = json.loads(line)
                seconds[log, report["stage"], report["epoch"]] = report["seconds"]
    return sum(seconds.values())


def _machine() -> dict[str, Any]:
    machine = describe_machine(installed_engines(tflite=True)[:1])
    return machine | {"versions": machine["versions"] | versions()}
