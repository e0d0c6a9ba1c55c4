"""The plan of the result book: book_plan.toml as tables, their rows, and what each asks for."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_ser.augment import AugmentConfig
from edge_ser.corpora import CORPORA, find_corpus
from edge_ser.evaluation.outcome import Outcome
from edge_ser.evaluation.protocols import DivisionKey, find_protocol, keys_of
from edge_ser.evaluation.units import Settings, Unit, joined, units_of
from firmware_host.errors import EdgeSerError

PLAN = Path(__file__).with_name("book_plan.toml")
ROWS, QUANTIZATION, CERTAINTY = "rows", "quantization", "certainty"
"""Layouts: a row for each summary, or one for each corpus with its kinds of files beside, or with
what the probabilities of the INT8 file are worth."""

SECONDS_A_CLIP_AND_EPOCH: Mapping[str, float] = {
    "tiny": 0.0013,
    "small": 0.0015,
    "base": 0.0020,
    "large": 0.0026,
}
"""Of float training, on one core; what was computed already counts instead, where it can."""
QAT_FACTOR = 2.1  # an epoch of quantization-aware training to one of float training
FAST_FACTOR = 0.75  # what is left of it with `fast`
SECONDS_BESIDE = 60.0  # of dividing, reading, converting and hearing, a unit
TRAINED_SHARE: Mapping[str, float] = {
    "speaker": 0.7,
    "random": 0.7,
    "paper": 0.8,
    "cross": 0.8,
    "loco": 0.85,
}
"""About how much of the corpora a protocol trains on."""


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        label: of the variant; empty where a table has none.
        units: whose outcomes it sums up.
    """

    test_on: str
    train_on: tuple[str, ...]
    label: str
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class PlannedTable:
    """A table of the book.

    Args:
        name: for `--only`.
        layout: `ROWS`, `QUANTIZATION` or `CERTAINTY`.
        optional: whether it is left out where a corpus is not there.
    """

    name: str
    title: str
    text: str
    protocol: str
    rows: tuple[Row, ...]
    layout: str = ROWS
    optional: bool = False

    @property
    def units(self) -> tuple[Unit, ...]:
        """All that it asks for."""
        return tuple(unit for row in self.rows for unit in row.units)


@dataclass(frozen=True)
class _Entry:
    """A table as it stands in the file.

    Args:
        variants: rows of a corpus: label, settings of their own, and seeds where they differ.
        pretrain: what is trained on first, but for the corpus that is tested on.
        like: an earlier table's name, which gives what is left out here, each setting too.
    """

    name: str
    title: str
    text: str
    protocol: str
    corpora: list[str]
    seeds: list[int]
    layout: str = ROWS
    settings: Mapping[str, Any] = field(default_factory=dict)
    variants: Sequence[Mapping[str, Any]] = ({"label": "", "settings": {}},)
    pretrain: Sequence[str] = ()
    optional: bool = False
    like: str = ""


def read_plan(path: Path = PLAN) -> list[PlannedTable]:
    """The tables of a plan.

    Raises:
        EdgeSerError: when it cannot be read, or asks for what does not exist.
    """
    try:
        entries = tomllib.loads(path.read_text("utf-8"))["table"]
        earlier: dict[str, dict[str, Any]] = {}
        tables = []
        for entry in entries:
            whole = earlier[entry["name"]] = _like(entry, earlier)
            tables.append(_table(_Entry(**whole)))
    except (OSError, tomllib.TOMLDecodeError, TypeError, KeyError) as error:
        raise EdgeSerError(f"{path} is no plan of a result book ({error})") from error
    joined([unit for table in tables for unit in table.units])  # which refuses contradictions
    return tables


def chosen(tables: Sequence[PlannedTable], only: Sequence[str]) -> list[PlannedTable]:
    """The tables of these names; all, where none is given.

    Raises:
        EdgeSerError: when there is no such table.
    """
    names = [table.name for table in tables]
    for name in only:
        if name not in names:
            raise EdgeSerError(f"the plan has no table {name!r}: choose of {', '.join(names)}")
    return [table for table in tables if not only or table.name in only]


def estimate_minutes(
    unit: Unit, known: Sequence[Outcome] = (), taught: bool = False, pretrained: bool = False
) -> float:
    """How long a unit takes on one core: as its fellows took, or else by a rule of thumb.

    Args:
        known: outcomes of which some may be its fellows.
        taught: whether another unit shares its teachers, and has trained them.
        pretrained: the same of what comes before its training.
    """
    before = 0.0 if pretrained else _pretraining_seconds(unit)
    fellows = [
        outcome.seconds["all"]
        for outcome in known
        if outcome.unit.key.protocol == unit.key.protocol
        and outcome.unit.key.train_on == unit.key.train_on
        and outcome.unit.key.pretrain_on == unit.key.pretrain_on
        and outcome.unit.settings == unit.settings
        and not taught  # else they had teachers to train
    ]
    if fellows:
        return (sum(fellows) / len(fellows) + before) / 60
    settings = unit.settings
    recordings = sum(CORPORA[corpus].n_files for corpus in unit.key.train_on)
    clips = recordings * TRAINED_SHARE[unit.key.protocol]
    if find_protocol(unit.key.protocol).augments_before:
        clips *= 1 + AugmentConfig().copies
    own, teacher = (SECONDS_A_CLIP_AND_EPOCH[s] for s in (settings.size, settings.teacher_size))
    teachers = 0 if taught else settings.teachers
    # While a network learns from teachers, one of them answers: a third of what learning takes.
    epochs = settings.config(n_labels=2, seed=unit.seed).own_epochs
    seconds = teachers * (settings.epochs + settings.refit_epochs) * teacher
    seconds += epochs * (own + (teacher / 3 if settings.teachers else 0.0))
    seconds += QAT_FACTOR * settings.qat_epochs * own
    seconds *= clips * (FAST_FACTOR if settings.fast else 1.0)
    return (before + seconds + SECONDS_BESIDE) / 60


def _pretraining_seconds(unit: Unit) -> float:
    """What its networks learn before their own corpus; its outcome does not count that."""
    settings = unit.settings
    clips = sum(CORPORA[corpus].n_files for corpus in unit.key.pretrain_on)
    own, teacher = (SECONDS_A_CLIP_AND_EPOCH[s] for s in (settings.size, settings.teacher_size))
    seconds = settings.pretraining_epochs * (own + settings.teachers * teacher)
    return clips * seconds * (FAST_FACTOR if settings.fast else 1.0)


def _like(entry: Mapping[str, Any], earlier: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the entry leaves out, as in the one that it is like; settings one by one."""
    if "like" not in entry:
        return dict(entry)
    model = earlier[entry["like"]]
    settings = {**model.get("settings", {}), **entry.get("settings", {})}
    return {**model, **entry, "settings": settings}


def _table(entry: _Entry) -> PlannedTable:
    if entry.layout not in (ROWS, QUANTIZATION, CERTAINTY):
        raise KeyError(f"layout {entry.layout!r}")
    rows = tuple(
        Row(keys[0].test_on, keys[0].train_on, str(variant["label"]), _units(keys, entry, variant))
        for keys in _divisions(entry)
        for variant in entry.variants
    )
    return PlannedTable(
        entry.name, entry.title, entry.text, entry.protocol, rows, entry.layout, entry.optional
    )


def _units(
    keys: Sequence[DivisionKey], entry: _Entry, variant: Mapping[str, Any]
) -> tuple[Unit, ...]:
    settings = Settings.from_dict({**entry.settings, **variant["settings"]})
    return units_of(keys, variant.get("seeds", entry.seeds), settings)


def _divisions(entry: _Entry) -> Iterator[tuple[DivisionKey, ...]]:
    """The divisions that one row sums up, row by row."""
    names = [find_corpus(name).name for name in entry.corpora]
    if entry.protocol in ("cross", "loco"):
        for key in keys_of(entry.protocol, names):
            yield (key,)
        return
    for name in names:
        yield keys_of(entry.protocol, (name,), pretrain=entry.pretrain)
