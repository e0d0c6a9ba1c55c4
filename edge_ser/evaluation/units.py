"""One piece of work: a division, a seed and the settings of its training, as plain data.

A unit says everything that a process elsewhere needs to do it, and its slug names the file of
its outcome and the folder of its training.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from convert.architecture import ModelConfig, check_size
from edge_ser.evaluation.protocols import DivisionKey, find_protocol
from edge_ser.trainer import TrainConfig
from firmware_host.contract import MAX_LABEL_LENGTH
from firmware_host.errors import EdgeSerError
from firmware_host.features import KINDS, FeatureConfig

LISTS = ("train_on", "pretrain_on")
"""Fields of a key that JSON holds as lists."""
DIGEST_LETTERS = 8  # of a slug that is cut: names that begin alike stay apart


@dataclass(frozen=True)
class Settings:
    """What is trained, beside the recordings; the defaults are those of `edge-ser train`.

    Args:
        size: a key of `SIZES`.
        eca, gfb, alfb, lstm_scales: as `ModelConfig` has them.
        kinds: of features, of `firmware_host.features.KINDS`.
        epochs, qat_epochs, batch_size, learning_rate, qat_learning_rate, weight_decay, teachers,
            teacher_size, refit_epochs, pupil_epochs, pretraining_epochs, fast: as `TrainConfig`.
        post_training: also quantise the float network after training, calibrated on training
            clips, and hear the test recordings with that file too.

    Raises:
        EdgeSerError: when they contradict each other.
    """

    size: str = "small"
    eca: bool = True
    gfb: bool = True
    alfb: bool = True
    lstm_scales: str = ModelConfig.lstm_scales
    kinds: tuple[str, ...] = KINDS
    epochs: int = TrainConfig.epochs
    qat_epochs: int = TrainConfig.qat_epochs
    batch_size: int = TrainConfig.batch_size
    learning_rate: float = TrainConfig.learning_rate
    qat_learning_rate: float = TrainConfig.qat_learning_rate
    weight_decay: float = TrainConfig.weight_decay
    teachers: int = TrainConfig.teachers
    teacher_size: str = TrainConfig.teacher_size
    refit_epochs: int = TrainConfig.refit_epochs
    pupil_epochs: int = TrainConfig.pupil_epochs
    pretraining_epochs: int = TrainConfig.pretraining_epochs
    fast: bool = TrainConfig.fast
    post_training: bool = False

    def __post_init__(self) -> None:
        check_size(self.size)
        if not (self.qat_epochs or self.post_training):
            raise EdgeSerError(
                "without quantization-aware training there is no INT8 file to evaluate: give "
                "--qat-epochs, or quantise after training with --post-training"
            )
        self.config(n_labels=2, seed=0)  # which refuses impossible switches

    def config(self, n_labels: int, seed: int) -> TrainConfig:
        """The settings of a training on so many classes."""
        features = FeatureConfig(kinds=self.kinds)
        model = ModelConfig(
            n_features=features.n_features,
            n_labels=n_labels,
            use_eca=self.eca,
            use_gfb=self.gfb,
            use_alfb=self.alfb,
            lstm_scales=self.lstm_scales,
        )
        return TrainConfig(
            model=model,
            features=features,
            epochs=self.epochs,
            qat_epochs=self.qat_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            qat_learning_rate=self.qat_learning_rate,
            weight_decay=self.weight_decay,
            teachers=self.teachers,
            teacher_size=self.teacher_size,
            refit_epochs=self.refit_epochs,
            pupil_epochs=self.pupil_epochs,
            pretraining_epochs=self.pretraining_epochs,
            fast=self.fast,
            seed=seed,
        ).resized(self.size)

    @property
    def slug(self) -> str:
        """Size, what is switched off, decay, teachers and how long they teach, for names of files.

        >>> Settings(size="tiny", eca=False, kinds=("mfcc",)).slug
        'tiny-no-eca-mfcc'
        >>> Settings(weight_decay=1.0, teachers=2, refit_epochs=40, pupil_epochs=300).slug
        'small-decay1-2-large-refit40-300'
        """
        parts = [self.size]
        parts += [f"no-{name}" for name in ("eca", "gfb", "alfb") if not getattr(self, name)]
        if self.lstm_scales != ModelConfig.lstm_scales:
            parts.append(f"{self.lstm_scales}-scales")
        if self.kinds != KINDS:
            parts += [kind.replace("_", "") for kind in self.kinds]
        if self.weight_decay != TrainConfig.weight_decay:
            parts.append(f"decay{self.weight_decay:g}")
        if self.teachers != TrainConfig.teachers:
            parts.append(f"{self.teachers}-{self.teacher_size}")
            if self.refit_epochs != TrainConfig.refit_epochs:
                parts.append(f"refit{self.refit_epochs}")
            if self.pupil_epochs != TrainConfig.pupil_epochs:
                parts.append(str(self.pupil_epochs))
        return "-".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self) | {"kinds": list(self.kinds)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Settings":
        """The inverse of `to_dict`; what is left out has its default.

        Raises:
            EdgeSerError: for a setting that does not exist.
        """
        known = {one.name for one in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise EdgeSerError(
                f"there is no setting {unknown[0]!r}: choose of {', '.join(sorted(known))}"
            )
        values = dict(data)
        if "kinds" in values:
            values["kinds"] = tuple(values["kinds"])
        return cls(**values)


@dataclass(frozen=True)
class Unit:
    """A division, trained and heard once."""

    key: DivisionKey
    seed: int = 0
    settings: Settings = field(default_factory=Settings)

    @property
    def slug(self) -> str:
        """Names its files and its training.

        >>> Unit(DivisionKey("speaker", ("TESS",), "TESS", 2), 1).slug
        'speaker-tess-2-small-seed1'
        """
        return f"{self.key.slug}-{self.settings.slug}-seed{self.seed}"

    @property
    def model_name(self) -> str:
        """Of its model: the slug, or as much of it as a model file has room for and a digest.

        >>> many = Settings(teachers=2, refit_epochs=40, eca=False)
        >>> Unit(DivisionKey("speaker", ("BanglaSER",), "BanglaSER", 1), 0, many).model_name
        'speaker-banglaser-1-small-no-eca-2-large-refit40-seed0'
        >>> more = replace(many, kinds=("mfcc", "rms", "zcr"))
        >>> Unit(DivisionKey("speaker", ("BanglaSER",), "BanglaSER", 1), 0, more).model_name
        'speaker-banglaser-1-small-no-eca-mfcc-rms-zcr-2-large-r-9a631477'
        """
        if len(self.slug) <= MAX_LABEL_LENGTH:
            return self.slug
        digest = hashlib.sha256(self.slug.encode()).hexdigest()[:DIGEST_LETTERS]
        return f"{self.slug[: MAX_LABEL_LENGTH - DIGEST_LETTERS - 1]}-{digest}"

    @property
    def teachers_slug(self) -> str:
        """Names its teachers, which pupils of all sizes share; where it has none, its training.

        >>> tiny = Settings(size="tiny", teachers=2, pupil_epochs=300)
        >>> Unit(DivisionKey("speaker", ("TESS",), "TESS", 2), 1, tiny).teachers_slug
        'speaker-tess-2-large-2-large-seed1'
        """
        settings = self.settings
        if settings.teachers:
            # However long they teach, and whom, they are the same; a refit lies beside the judged.
            settings = replace(
                settings,
                size=settings.teacher_size,
                refit_epochs=Settings.refit_epochs,
                pupil_epochs=Settings.pupil_epochs,
            )
        return f"{self.key.slug}-{settings.slug}-seed{self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        key = asdict(self.key)
        key |= {name: list(key[name]) for name in LISTS}
        return {"key": key, "seed": self.seed, "settings": self.settings.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Unit":
        """The inverse of `to_dict`."""
        key = dict(data["key"])
        key |= {name: tuple(key[name]) for name in LISTS if name in key}
        return cls(DivisionKey(**key), data["seed"], Settings.from_dict(data["settings"]))

    def is_done_by(self, other: "Unit") -> bool:
        """Whether the other one's outcome has everything that this one's would have."""
        if other.settings.post_training:
            return replace(self, settings=replace(self.settings, post_training=True)) == other
        return self == other


def units_of(
    keys: Sequence[DivisionKey], seeds: Sequence[int], settings: Settings
) -> tuple[Unit, ...]:
    """Every division with every seed, seed by seed."""
    for key in keys:
        find_protocol(key.protocol)
    return tuple(Unit(key, seed, settings) for seed in dict.fromkeys(seeds) for key in keys)


def joined(units: Sequence[Unit]) -> tuple[Unit, ...]:
    """Each piece of work once, with all that any of its namesakes asks for.

    Raises:
        EdgeSerError: when two differ in more than whether to quantise after training.
    """
    out: dict[str, Unit] = {}
    for unit in units:
        known = out.setdefault(unit.slug, unit)
        if not known.is_done_by(unit) and not unit.is_done_by(known):
            raise EdgeSerError(
                f"{unit.slug} is asked for twice with different settings: evaluate them in "
                "folders of their own"
            )
        if known.is_done_by(unit):
            out[unit.slug] = unit
    return tuple(out.values())
