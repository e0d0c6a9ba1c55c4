"""The file that a unit leaves: what every test recording sounded like, and how it came about.

Small enough to publish. All that is said of single recordings stands in one packed string:
the JSON of it, compressed and in base64, since thousands of digits compress well; and what
follows from other digits is left out. Of probabilities at the model's temperature there is how
far they are from those at temperature 1, brought to it (nothing, where a recording is one
window), and of further files how far they are from the first. `read_outcomes` reads them.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ser.evaluation.units import Unit
from edge_ser.guard import copy_number
from edge_ser.metrics import Score, score
from firmware_host.errors import EdgeSerError
from firmware_host.files import write_whole

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
FORMAT_VERSION = 2
STEPS = 10_000  # a probability is kept in whole steps of so many
HALF_A_STEP = 0.5  # what was rounded to none may have been as much

FLOAT32, INT8, POST_TRAINING = "float32", "int8", "ptq.int8"
"""Names of the variants: TFLite files, as `convert.pipeline` calls them."""


@dataclass(frozen=True)
class Heard:
    """What one model file heard.

    Args:
        probabilities: mean over a recording's windows, at the model's own temperature.
        untempered: the same at temperature 1, as it would be without calibration.
        labels: index of the most probable one, as the recogniser says it.
        file: name, bytes, sha256, and how it was quantised.

    Shape:
        - probabilities, untempered: (recordings, n_labels), float64, kept to 1 / `STEPS`, the
          last label's to as many of them as there are labels
        - labels: (recordings,), int64
    """

    probabilities: Float64
    untempered: Float64
    labels: Int64
    file: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What came of a unit.

    Args:
        labels: classes, in the order of the probabilities.
        names: of the test recordings, without suffix; NAME~2 is an augmented copy of NAME.
        speakers: of each.
        truth: index of the label of each.
        heard: by variant: `FLOAT32`, `INT8` where quantization was trained, `POST_TRAINING`.
        leaks: the figures say nothing about recognition; `breaches` say why.
        breaches: in words, what touches between the sides.
        division: facts of the division (`protocols.Division.facts`).
        training: parameters, temperature, validation UAR, epochs, device.
        seconds: of wall clock: training (all of it, also where it was resumed), and the rest.
        machine: processor, versions, commit, date.
    """

    unit: Unit
    labels: tuple[str, ...]
    names: tuple[str, ...]
    speakers: tuple[str, ...]
    truth: Int64
    heard: Mapping[str, Heard]
    leaks: bool
    breaches: tuple[str, ...]
    division: Mapping[str, Any]
    training: Mapping[str, Any]
    seconds: Mapping[str, float]
    machine: Mapping[str, Any]

    def score(self, variant: str) -> Score:
        """What a variant scored on the test recordings."""
        return score(self.truth.tolist(), self.heard[variant].labels.tolist(), len(self.labels))

    @property
    def recordings_alone(self) -> NDArray[np.bool_]:
        """Which of the test recordings are no augmented copies. Shape: (recordings,)."""
        return np.array([copy_number(Path(f"{name}.flac")) == 0 for name in self.names], bool)


def to_json(outcome: Outcome) -> str:
    """An outcome as text; `from_json` reads it."""
    untempered = {v: _in_steps(heard.untempered) for v, heard in outcome.heard.items()}
    first = _first(untempered)
    recordings = {
        "names": outcome.names,
        "speakers": outcome.speakers,
        "truth": outcome.truth.tolist(),
        "heard": {
            variant: {
                "labels": heard.labels.tolist(),
                "probabilities": (
                    _in_steps(heard.probabilities)
                    - _tempered(untempered[variant], outcome.training)
                ).tolist(),
                "untempered": (untempered[variant] - (first if number else 0)).tolist(),
            }
            for number, (variant, heard) in enumerate(outcome.heard.items())
        },
    }
    packed = zlib.compress(json.dumps(recordings, separators=(",", ":")).encode(), 9)
    data = {
        "format_version": FORMAT_VERSION,
        "leaks": outcome.leaks,
        "breaches": outcome.breaches,
        "unit": outcome.unit.to_dict(),
        "scores": {
            variant: {"uar": s.uar, "accuracy": s.accuracy, "macro_f1": s.macro_f1}
            for variant in outcome.heard
            for s in (outcome.score(variant),)
        },
        "labels": outcome.labels,
        "division": outcome.division,
        "training": outcome.training,
        "files": {variant: heard.file for variant, heard in outcome.heard.items()},
        "seconds": outcome.seconds,
        "machine": outcome.machine,
        "recordings": base64.b64encode(packed).decode(),
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str, name: str) -> Outcome:
    """The inverse of `to_json`.

    Args:
        name: of the file, for messages.

    Raises:
        EdgeSerError: when it is no outcome that this version can read.
    """
    try:
        data = json.loads(text)
        if data["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {data['format_version']}")
        recordings = json.loads(zlib.decompress(base64.b64decode(data["recordings"])))
        untempered: dict[str, Int64] = {}
        for variant, heard in recordings["heard"].items():
            own = np.asarray(heard["untempered"], np.int64)
            untempered[variant] = own + _first(untempered)
        return Outcome(
            unit=Unit.from_dict(data["unit"]),
            labels=tuple(data["labels"]),
            names=tuple(recordings["names"]),
            speakers=tuple(recordings["speakers"]),
            truth=np.asarray(recordings["truth"], np.int64),
            heard={
                variant: Heard(
                    _from_steps(
                        np.asarray(heard["probabilities"], np.int64)
                        + _tempered(untempered[variant], data["training"])
                    ),
                    _from_steps(untempered[variant]),
                    np.asarray(heard["labels"], np.int64),
                    data["files"][variant],
                )
                for variant, heard in recordings["heard"].items()
            },
            leaks=data["leaks"],
            breaches=tuple(data["breaches"]),
            division=data["division"],
            training=data["training"],
            seconds=data["seconds"],
            machine=data["machine"],
        )
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error) as error:
        raise EdgeSerError(
            f"{name} is no outcome that this edge-ser can read ({type(error).__name__}: {error}): "
            "delete it and evaluate again"
        ) from error


def outcome_path(folder: Path, unit: Unit) -> Path:
    """Where a unit's outcome stands."""
    return folder / f"{unit.slug}.json"


def write_outcome(folder: Path, outcome: Outcome) -> Path:
    """Write an outcome; the file is never half there.

    Raises:
        EdgeSerError: when the folder cannot be written.
    """
    path = outcome_path(folder, outcome.unit)
    write_whole(path, to_json(outcome))
    return path


def read_outcome(folder: Path, unit: Unit) -> Outcome | None:
    """The outcome of a unit, or None where it has to be computed.

    Raises:
        EdgeSerError: when there is one of the same name with other settings, or it is damaged.
    """
    path = outcome_path(folder, unit)
    if not path.exists():
        return None
    found = from_json(path.read_text(encoding="utf-8"), str(path))
    if unit.is_done_by(found.unit):
        return found
    if found.unit.is_done_by(unit):
        return None  # the same, with less
    raise EdgeSerError(
        f"{path} is an evaluation with other settings: choose another folder with -o, or delete it"
    )


def read_outcomes(folder: Path) -> list[Outcome]:
    """Every outcome in a folder, sorted by file name.

    Raises:
        EdgeSerError: when one is damaged.
    """
    paths = sorted(folder.glob("*-seed*.json"))
    return [from_json(path.read_text(encoding="utf-8"), str(path)) for path in paths]


def _first(untempered: Mapping[str, Int64]) -> Int64:
    """What the other variants are written as differences from; nothing where it is not there."""
    return next(iter(untempered.values()), np.zeros((), np.int64))


def _in_steps(probabilities: Float64) -> Int64:
    """A row for each label but the last, whose probabilities are what is left; it packs best."""
    return np.rint(probabilities[:, :-1].T * STEPS).astype(np.int64)


def _from_steps(steps: Int64) -> Float64:
    whole = _with_the_last(steps).T
    return np.asarray(whole / whole.sum(axis=1, keepdims=True), np.float64)


def _with_the_last(steps: Int64) -> Float64:
    # Each was rounded by itself, which may leave less than nothing.
    left = np.maximum(0, STEPS - steps.sum(axis=0, keepdims=True))
    return np.vstack([steps, left]).astype(np.float64)


def _tempered(untempered: Int64, training: Mapping[str, Any]) -> Int64:
    """What the steps at the model's temperature would be if each recording were one window.

    Shape:
        - untempered, and what is returned: (n_labels - 1, recordings)
    """
    whole = np.maximum(_with_the_last(untempered), HALF_A_STEP)
    powers = whole ** (1.0 / training["temperature"])
    return np.asarray(np.rint(STEPS * powers[:-1] / powers.sum(axis=0)), np.int64)
