"""Protocols: how recordings are divided into training, validation and test, and what that leaks.

A protocol is plain data: its name, what it declares of itself, and a rule that makes
divisions. Every division passes the guard (`edge_ser.guard`), which refuses whatever its
protocol has not declared. What each one answers:

- speaker: how well are people recognised whom the model never heard? The figure to quote.
- random: the same with every test speaker heard in training; what most published folds are.
- paper: what most likely gave the paper's figures: augmented copies of all recordings first, a
  random division of recordings and copies after, the epoch chosen on the test side. It leaks.
- cross: people, language, room and microphone of another corpus.
- loco: the same with all other corpora in training (leave one corpus out).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, permutations
from typing import Any

from edge_ser.corpora import find_corpus
from edge_ser.corpora.clip import Clip
from edge_ser.emotions import SEVEN_EMOTIONS, SEVEN_FROM_CANONICAL, in_corpus_order
from edge_ser.evaluation.duplicates import (
    groups_of_duplicates,
    near_duplicates,
    near_duplicates_across,
)
from edge_ser.folds import TEST_SPEAKERS, Split, get_fold, split, validation_texts
from edge_ser.guard import IN_WORDS, LEAKS, Breach, check_disjoint, copy_number, speakers_of
from edge_ser.heads import Head, own_heads
from firmware_host.errors import EdgeSerError

RANDOM_FOLDS = 5
RANDOM_VALIDATION_HANDS = 8
"""Of the training folds one part in so many chooses the epoch: a tenth of the corpus."""

FOUR_CORPORA = ("RAVDESS", "EmoDB", "BanglaSER", "TESS")
"""What loco leaves out in turn, where no corpora are named."""


@dataclass(frozen=True)
class Protocol:
    """A way to divide.

    Args:
        declares: breaches that its divisions have by definition.
        augments_before: whether augmented copies are made before the division.
        in_words: one sentence for tables.
    """

    name: str
    declares: frozenset[Breach]
    in_words: str
    augments_before: bool = False

    @property
    def leaks(self) -> bool:
        """Whether its figures say nothing about recognition."""
        return bool(self.declares & LEAKS)


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "speaker",
            frozenset(),
            "test speakers are never heard before; further ones choose the epoch",
        ),
        Protocol(
            "random",
            frozenset({Breach.SPEAKERS, Breach.TAKES}),
            f"{RANDOM_FOLDS} folds stratified by emotion and speaker; test speakers are heard in "
            "training, exact duplicates stay on one side, augmentation inside training only",
        ),
        Protocol(
            "paper",
            frozenset(
                {
                    Breach.SPEAKERS,
                    Breach.TAKES,
                    Breach.DUPLICATES,
                    Breach.COPIES,
                    Breach.SELECTION,
                }
            ),
            f"leaks: augmented copies are made first, recordings and copies are divided into "
            f"{RANDOM_FOLDS} random folds after, and the epoch is chosen on the test fold",
            augments_before=True,
        ),
        Protocol(
            "cross",
            frozenset(),
            "trained on one corpus, tested on all of another, over the emotions they share",
        ),
        Protocol(
            "loco",
            frozenset(),
            "trained on all corpora but one, of seven emotions, tested on all of that one",
        ),
    )
}


@dataclass(frozen=True)
class DivisionKey:
    """Names a division, before any recording is looked at.

    Args:
        protocol: a key of `PROTOCOLS`.
        train_on: corpora, as given; one, but for loco.
        test_on: the corpus of the test side.
        index: of the fold, from 1; 1 where a protocol has no folds.
        pretrain_on: of speaker: other corpora, all of whose recordings are trained on first.
    """

    protocol: str
    train_on: tuple[str, ...]
    test_on: str
    index: int = 1
    pretrain_on: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        """For names of files and folders.

        >>> DivisionKey("cross", ("RAVDESS",), "EmoDB").slug
        'cross-ravdess-emodb'
        """
        if self.protocol == "cross":
            return f"cross-{self.train_on[0]}-{self.test_on}".lower()
        if self.protocol == "loco":
            return f"loco-{self.test_on}".lower()
        pretrained = "-pretrained" if self.pretrain_on else ""
        return f"{self.protocol}-{self.test_on}-{self.index}{pretrained}".lower()

    @property
    def corpora(self) -> tuple[str, ...]:
        """All whose recordings it needs."""
        return tuple(dict.fromkeys((*self.pretrain_on, *self.train_on, self.test_on)))

    @property
    def in_words(self) -> str:
        """For people.

        >>> DivisionKey("speaker", ("TESS",), "TESS", 2).in_words
        'TESS, fold 2'
        """
        if self.protocol in ("cross", "loco"):
            return f"{' + '.join(self.train_on)} to {self.test_on}"
        first = f", after {' + '.join(self.pretrain_on)}" if self.pretrain_on else ""
        return f"{self.test_on}, fold {self.index}{first}"


@dataclass(frozen=True)
class Division:
    """Recordings on three sides, and what is known of them. `divide` makes and guards it.

    Args:
        head: the classes.
        breaches: those that the guard found, all declared by the protocol.
        facts: counts and remarks, as plain JSON types.
    """

    key: DivisionKey
    split: Split
    head: Head
    breaches: tuple[Breach, ...]
    facts: Mapping[str, Any]


def find_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        EdgeSerError: when there is none.
    """
    if name not in PROTOCOLS:
        raise EdgeSerError(f"there is no protocol {name!r}: choose one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def keys_of(
    protocol: str,
    corpora: Sequence[str],
    test_corpus: str | None = None,
    folds: Sequence[int] = (),
    pretrain: Sequence[str] = (),
) -> tuple[DivisionKey, ...]:
    """All divisions of a protocol.

    Args:
        corpora: speaker, random, paper: each for itself. cross: train on each; without
            `test_corpus`, all ordered pairs of them. loco: leave each out of these in turn,
            or `test_corpus` alone; `FOUR_CORPORA` where none is named.
        test_corpus: of cross and loco.
        folds: only these, from 1; all by default.
        pretrain: speaker alone: corpora to train on first, but for the one that is tested on.

    Raises:
        EdgeSerError: for an unknown protocol, corpus or fold, or corpora that the protocol
            cannot use.
    """
    find_protocol(protocol)
    names = list(dict.fromkeys(find_corpus(name).name for name in corpora))
    first = list(dict.fromkeys(find_corpus(name).name for name in pretrain))
    if first and protocol != "speaker":
        raise EdgeSerError(
            f"the protocol {protocol} says itself what is trained on: pretraining is for speaker"
        )
    if len(first) == 1 and first[0] in names:
        raise EdgeSerError(
            f"{first[0]} was given to train on first and to evaluate, and it is left out of what "
            "comes before its own training: name another corpus with --pretrain"
        )
    target = None if test_corpus is None else find_corpus(test_corpus).name
    if protocol == "loco":
        keys = _loco_keys(names or list(FOUR_CORPORA), target)
    elif not names:
        raise EdgeSerError(f"the protocol {protocol} needs a corpus: name one with --corpus")
    elif protocol == "cross":
        keys = _cross_keys(names, target)
    else:
        if target is not None:
            raise EdgeSerError(
                f"the protocol {protocol} tests on the corpus that it trains on: leave "
                "--test-corpus out, or choose cross or loco"
            )
        keys = [
            DivisionKey(
                protocol, (name,), name, index, tuple(other for other in first if other != name)
            )
            for name in names
            for index in range(1, n_folds(protocol, name) + 1)
        ]
    if folds:
        wanted = set(folds)
        if absent := wanted - {key.index for key in keys}:
            most = max(key.index for key in keys)
            raise EdgeSerError(
                f"{' and '.join(sorted({key.test_on for key in keys}))} under the protocol "
                f"{protocol} has no fold {min(absent)}: choose one from 1 to {most}"
            )
        keys = [key for key in keys if key.index in wanted]
    return tuple(keys)


def n_folds(protocol: str, test_on: str) -> int:
    """How many divisions a protocol has on a corpus, or onto it."""
    if protocol == "speaker":
        return len(TEST_SPEAKERS[test_on])
    return 1 if protocol in ("cross", "loco") else RANDOM_FOLDS


def divide(key: DivisionKey, clips: Sequence[Clip], digests: Mapping[Any, str]) -> Division:
    """Divide recordings as the key says, and guard the result.

    Args:
        clips: all recordings of the corpora that the key names; for a protocol that augments
            before it divides, with their copies.
        digests: of the decoded samples of each clip's path.

    Raises:
        EdgeSerError: when a side is empty or the sides touch in a way that the protocol does
            not declare.
    """
    protocol = find_protocol(key.protocol)
    by_corpus: dict[str, list[Clip]] = {}
    for clip in clips:
        by_corpus.setdefault(clip.corpus, []).append(clip)
    for corpus in key.corpora:
        if corpus not in by_corpus:
            raise EdgeSerError(f"{key.in_words} needs recordings of {corpus}, and none were given")
    parts, head = RULES[key.protocol](key, by_corpus, digests)
    for name, side in parts.sides.items():
        if not side:
            raise EdgeSerError(
                f"{key.in_words} leaves nothing for {name} under the protocol {key.protocol}: "
                f"see `edge-ser corpora verify {key.test_on}`"
            )
    found = check_disjoint(parts, protocol.declares, digests)
    # What the protocol declares of itself stays said, where one corpus happens to lack it.
    breaches = tuple(b for b in Breach if b in found or b in protocol.declares & LEAKS)
    return Division(key, parts, head, breaches, _facts(key, parts, breaches, digests))


def deal(groups: Sequence[tuple[Clip, ...]], hands: int) -> list[list[Clip]]:
    """Deal clips to hands, stratified by emotion and speaker.

    Each (emotion, speaker) is dealt out like cards, one after the other without going back
    to the first hand, so that every hand gets as many of each emotion and of each speaker's
    emotion, give or take one. In a stratum the order is that of the names' hashes: the same
    everywhere, and no seed changes it.

    Args:
        groups: clips that stay together; the first one's emotion and speaker count.
    """
    ranked = sorted(
        groups,
        key=lambda group: (
            group[0].emotion,
            group[0].speaker,
            hashlib.sha256(group[0].path.stem.encode()).hexdigest(),
        ),
    )
    out: list[list[Clip]] = [[] for _ in range(hands)]
    for number, group in enumerate(ranked):
        out[number % hands] += group
    return out


def _cross_keys(names: Sequence[str], target: str | None) -> list[DivisionKey]:
    pairs = [(name, target) for name in names] if target else list(permutations(names, 2))
    if not pairs:
        raise EdgeSerError(
            "the protocol cross needs two corpora: name the one to test on with --test-corpus"
        )
    if target in names:
        raise EdgeSerError(
            f"the protocol cross tests on another corpus than it trains on, and {target} was "
            "given for both: leave one of the two out"
        )
    for one, other in pairs:
        if len(_shared(one, other)) < 2:
            raise EdgeSerError(f"{one} and {other} share fewer than two emotions")
    return [DivisionKey("cross", (one,), other) for one, other in pairs]


def _loco_keys(names: Sequence[str], target: str | None) -> list[DivisionKey]:
    if target is not None and target not in names:
        names = [*names, target]
    if len(names) < 2:
        raise EdgeSerError(
            "the protocol loco leaves one corpus out of several: name at least two with --corpus"
        )
    left_out = [target] if target else names
    return [
        DivisionKey("loco", tuple(name for name in names if name != out), out) for out in left_out
    ]


Sides = tuple[Split, Head]
ByCorpus = Mapping[str, Sequence[Clip]]


def _by_speaker(key: DivisionKey, by_corpus: ByCorpus, _: Mapping[Any, str]) -> Sides:
    clips = by_corpus[key.test_on]
    first = chain.from_iterable(by_corpus[corpus] for corpus in key.pretrain_on)
    parts = split(clips, get_fold(key.test_on, key.index))
    return replace(parts, pretraining=tuple(first)), _own_head(clips)


def _by_chance(key: DivisionKey, by_corpus: ByCorpus, digests: Mapping[Any, str]) -> Sides:
    clips = by_corpus[key.test_on]
    hands = deal(groups_of_duplicates(clips, digests), RANDOM_FOLDS)
    test = hands.pop(key.index - 1)
    rest = groups_of_duplicates(list(chain.from_iterable(hands)), digests)
    validation, *train = deal(rest, RANDOM_VALIDATION_HANDS)
    parts = Split(tuple(chain.from_iterable(train)), tuple(validation), tuple(test))
    return parts, _own_head(clips)


def _as_in_the_paper(key: DivisionKey, by_corpus: ByCorpus, _: Mapping[Any, str]) -> Sides:
    clips = by_corpus[key.test_on]
    hands = deal([(clip,) for clip in clips], RANDOM_FOLDS)
    test = tuple(hands.pop(key.index - 1))
    return Split(tuple(chain.from_iterable(hands)), test, test), _own_head(clips)


def _own_head(clips: Sequence[Clip]) -> Head:
    (head,) = own_heads(clips)  # as all are of one corpus
    return head


def _across(key: DivisionKey, by_corpus: ByCorpus, _: Mapping[Any, str]) -> Sides:
    labels = _shared(key.train_on[0], key.test_on)
    label_of = {label: label for label in labels}
    return _onto_another(key, by_corpus, Head((*key.train_on, key.test_on), labels, label_of))


def _one_left_out(key: DivisionKey, by_corpus: ByCorpus, _: Mapping[Any, str]) -> Sides:
    corpora = (*key.train_on, key.test_on)
    return _onto_another(key, by_corpus, Head(corpora, SEVEN_EMOTIONS, SEVEN_FROM_CANONICAL))


def _onto_another(key: DivisionKey, by_corpus: ByCorpus, head: Head) -> Sides:
    """Train and validate on some corpora, each by speakers of its own; test on all of another."""
    train: list[Clip] = []
    validation: list[Clip] = []
    for corpus in key.train_on:
        clips = by_corpus[corpus]
        fold = get_fold(corpus, 1)  # whose test speakers are trained on here
        texts = validation_texts((clip.text for clip in clips), fold.validation_text_share)
        for clip in clips:
            held_out = clip.speaker in fold.validation_speakers or clip.text in texts
            (validation if held_out else train).append(clip)
    sides = (
        tuple(clip for clip in side if head.label_of.get(clip.emotion) in head.labels)
        for side in (train, validation, by_corpus[key.test_on])
    )
    return Split(*sides), head


RULES: Mapping[str, Callable[[DivisionKey, ByCorpus, Mapping[Any, str]], Sides]] = {
    "speaker": _by_speaker,
    "random": _by_chance,
    "paper": _as_in_the_paper,
    "cross": _across,
    "loco": _one_left_out,
}


def _shared(one: str, other: str) -> tuple[str, ...]:
    """Emotions that both corpora label, by their canonical names."""
    return in_corpus_order(set(find_corpus(one).emotions) & set(find_corpus(other).emotions))


def _facts(
    key: DivisionKey, parts: Split, breaches: Sequence[Breach], digests: Mapping[Any, str]
) -> dict[str, Any]:
    everything = [clip for side in parts.sides.values() for clip in side]
    # The paper protocol's validation side is its test side: each recording counts once.
    once = [clip for clip in dict.fromkeys(everything) if not copy_number(clip.path)]
    groups = groups_of_duplicates(once, digests)
    names = sorted(
        f"{name} {clip.path.name}" for name, side in parts.sides.items() for clip in side
    )
    return {
        "clips": {name: len(side) for name, side in parts.sides.items()},
        "augmented_copies": {
            name: sum(copy_number(clip.path) > 0 for clip in side)
            for name, side in parts.sides.items()
        },
        "speakers": {name: speakers_of(side) for name, side in parts.sides.items()},
        "exact_duplicates": [
            sorted(clip.path.stem for clip in group) for group in groups if len(group) > 1
        ],
        "near_duplicates": {
            "recordings_with_another_take": near_duplicates(once),
            "test_recordings_with_a_take_in_training": near_duplicates_across(
                [clip for clip in parts.test if not copy_number(clip.path)],
                parts.train,
            ),
        },
        "breaches": [IN_WORDS[breach] for breach in breaches],
        "sides_sha256": hashlib.sha256("\n".join(names).encode()).hexdigest(),
    }
