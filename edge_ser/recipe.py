"""What is trained on what: the clips, classes and facts of a training, from its few choices."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convert.architecture import ModelConfig, check_size
from edge_ser.corpora import corpora_root, find_corpus, load_corpus
from edge_ser.emotions import SEVEN_EMOTIONS, SEVEN_FROM_CANONICAL
from edge_ser.folds import Split, get_fold, joint_split, split
from edge_ser.guard import check_disjoint, speakers_of
from edge_ser.heads import Head, own_heads
from edge_ser.trainer import TrainConfig
from firmware_host.errors import EdgeSerError

JOINT = "joint"
"""What the facts of a training on several corpora say in place of a fold's number."""


@dataclass(frozen=True)
class Recipe:
    """A training, ready to run.

    Args:
        name: of the model.
        split: clips for training, validation and test.
        heads: classes; one for all corpora, or one for each.
        config: sizes and settings.
        facts: what the checkpoint says of corpora, speakers held out, and terms.
    """

    name: str
    split: Split
    heads: tuple[Head, ...]
    config: TrainConfig
    facts: Mapping[str, Any]

    def with_settings(self, **settings: Any) -> "Recipe":
        """The same with other fields of `TrainConfig`."""
        return replace(self, config=replace(self.config, **settings))

    def with_surroundings(self, max_gain_db: float, **settings: float) -> "Recipe":
        """The same with that much level change, and other fields of `SurroundingsConfig`."""
        augment = self.config.augment
        surroundings = replace(augment.surroundings, **settings)
        return self.with_settings(
            augment=replace(augment, max_gain_db=max_gain_db, surroundings=surroundings)
        )

    def with_switches(self, **switches: bool | str) -> "Recipe":
        """The same with the model's switches set: ablations, and its LSTM's scales."""
        model: ModelConfig = replace(self.config.model, **switches)  # type: ignore[arg-type]
        return self.with_settings(model=model)


def make_recipe(
    corpora: tuple[str, ...],
    data: Path | None,
    fold: int,
    size: str,
    name: str | None = None,
    separate: bool = False,
    pretrain: tuple[str, ...] = (),
) -> Recipe:
    """The recipe for one corpus and fold, or for several corpora at once.

    Args:
        corpora: names, in any case. One keeps its own classes and the given fold; several
            share `SEVEN_EMOTIONS`, or have a head each, and hold out the speakers of
            `folds.joint_split`.
        data: the folder of the corpora; None takes EDGE_SER_CORPORA.
        size: a key of `SIZES`.
        name: of the model; by default made of corpus, fold and size.
        separate: whether each corpus keeps its own classes, in a head of its own.
        pretrain: names of other corpora, all of whose recordings are trained on first.

    Raises:
        EdgeSerError: for an unknown corpus, fold or size, a corpus that is not there, or one
            that is to be trained on both first and afterwards.
    """
    check_size(size)
    found = [find_corpus(corpus) for corpus in corpora]
    names = list(dict.fromkeys(corpus.name for corpus in found))
    first = list(dict.fromkeys(find_corpus(corpus).name for corpus in pretrain))
    if both := [corpus for corpus in first if corpus in names]:
        raise EdgeSerError(
            f"{both[0]} was given for --corpus and for --pretrain, which trains on its test "
            "speakers too: leave one of the two out"
        )
    root = corpora_root(data)
    clips = [clip for corpus in names for clip in load_corpus(root, corpus)]
    if len(names) == 1:
        parts, which = split(clips, get_fold(names[0], fold)), str(fold)
    else:
        parts, which = joint_split(clips), JOINT
    before = tuple(clip for corpus in first for clip in load_corpus(root, corpus))
    parts = replace(parts, pretraining=before)
    check_disjoint(parts)
    if separate or len(names) == 1:
        heads = own_heads(clips)
    else:
        heads = (Head(tuple(names), SEVEN_EMOTIONS, SEVEN_FROM_CANONICAL),)
    model = ModelConfig(n_labels=sum(len(head.labels) for head in heads))
    config = TrainConfig(model=model).resized(size)
    facts = {
        "corpora": names,
        "fold": fold if len(names) == 1 else JOINT,
        "test_speakers": speakers_of(parts.test),
        "validation_speakers": speakers_of(parts.validation),
        "pretrained_on": first,
        "terms": {name: find_corpus(name).terms for name in [*names, *first]},
    }
    default = f"{'-'.join(names).lower()}-{which}-{size}"
    return Recipe(name or default, parts, heads, config, facts)
