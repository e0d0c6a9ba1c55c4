"""Who is trained on and who is tested on: speaker-disjoint folds, the same for everybody.

RAVDESS's and SUBESCO's folds are those of the published speaker-independent results, Emo-DB
leaves one speaker out, TESS sets one actress against the other. BanglaSER has none published;
ours deals its speakers out (see `deal_banglaser`). What chooses an epoch or a threshold is
a validation side of further held-out speakers, never the test side.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from edge_ser.corpora import CORPORA, Clip, Corpus, find_corpus
from edge_ser.corpora.banglaser import WITHOUT_NEUTRAL
from edge_ser.guard import Split, check_disjoint
from firmware_host.errors import EdgeSerError

__all__ = [
    "JOINT_HOLDOUT",
    "TEST_SPEAKERS",
    "Fold",
    "Split",
    "check_disjoint",
    "deal_banglaser",
    "get_fold",
    "joint_split",
    "speaker_folds",
    "split",
    "validation_texts",
]

TEST_SPEAKERS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "RAVDESS": (
        ("02", "05", "14", "15", "16"),
        ("03", "06", "07", "13", "18"),
        ("10", "11", "12", "19", "20"),
        ("08", "17", "21", "23", "24"),
        ("01", "04", "09", "22"),
    ),
    "SUBESCO": (
        ("F03", "M03", "M08", "M09"),
        ("F01", "F04", "F10", "M07"),
        ("F06", "F08", "M05", "M06"),
        ("F05", "F07", "F09", "M04"),
        ("F02", "M01", "M02", "M10"),
    ),
    "EmoDB": tuple((speaker,) for speaker in CORPORA["EmoDB"].speakers),
    "TESS": (("YAF",), ("OAF",)),
    "BanglaSER": (
        ("02", "05", "11", "14", "19", "30", "31"),
        ("07", "10", "13", "20", "21", "28", "33"),
        ("08", "09", "18", "23", "26", "29"),
        ("01", "06", "15", "16", "24", "25", "34"),
        ("03", "04", "12", "17", "22", "27", "32"),
    ),
}
"""Test speakers of each fold; together they are all the corpus's speakers, each once."""

VALIDATION_PER_GENDER: Mapping[str, int] = {
    "RAVDESS": 2,
    "BanglaSER": 2,
    "SUBESCO": 1,
    "EmoDB": 1,
    "TESS": 0,
}
"""Women, and as many men, who are held out for validation: the lowest numbers of the next fold;
for Emo-DB, whose folds are single speakers, the next woman and the next man after them."""

VALIDATION_TEXT_SHARE: Mapping[str, float] = {"TESS": 0.15}
"""TESS has no third speaker: there the validation side is a share of the training actress's
words, ranked by each word's hash, so that it is the same words for both actresses."""


@dataclass(frozen=True)
class Fold:
    """One division of a corpus.

    Args:
        index: from 1.
        test_speakers, validation_speakers: disjoint; all others are trained on.
        validation_text_share: where there are no validation speakers, the share of texts
            whose recordings by training speakers are held out for validation.
    """

    corpus: str
    index: int
    test_speakers: tuple[str, ...]
    validation_speakers: tuple[str, ...]
    validation_text_share: float = 0.0


def speaker_folds(corpus: str) -> tuple[Fold, ...]:
    """All folds of a corpus, which together test every speaker once.

    Raises:
        EdgeSerError: when there is no such corpus.
    """
    known = find_corpus(corpus)
    groups = TEST_SPEAKERS[known.name]
    return tuple(
        Fold(
            corpus=known.name,
            index=index,
            test_speakers=test,
            validation_speakers=_validation_speakers(known, groups[index:] + groups[: index - 1]),
            validation_text_share=VALIDATION_TEXT_SHARE.get(known.name, 0.0),
        )
        for index, test in enumerate(groups, start=1)
    )


def get_fold(corpus: str, index: int) -> Fold:
    """One fold, counted from 1.

    Raises:
        EdgeSerError: when there is no such corpus or fold.
    """
    folds = speaker_folds(corpus)
    if not 1 <= index <= len(folds):
        raise EdgeSerError(
            f"{folds[0].corpus} has no fold {index}: choose one from 1 to {len(folds)}"
        )
    return folds[index - 1]


def validation_texts(texts: Iterable[str], share: float) -> frozenset[str]:
    """That share of the texts, rounded: those whose sha256 comes first, the same everywhere."""
    ranked = sorted(set(texts), key=lambda text: hashlib.sha256(text.encode()).hexdigest())
    return frozenset(ranked[: round(share * len(ranked))])


def split(clips: Iterable[Clip], fold: Fold) -> Split:
    """Divide the recordings of one corpus.

    Raises:
        EdgeSerError: when a side is empty, a recording is of another corpus, or something
            that is tested on would also be trained on.
    """
    clips = list(clips)
    texts = validation_texts((clip.text for clip in clips), fold.validation_text_share)
    sides: dict[str, list[Clip]] = {"train": [], "validation": [], "test": []}
    for clip in clips:
        if clip.corpus != fold.corpus:
            raise EdgeSerError(
                f"{clip.path} is of {clip.corpus}, but this fold divides {fold.corpus}: "
                "divide each corpus by a fold of its own"
            )
        if clip.speaker in fold.test_speakers:
            side = "test"
        elif clip.speaker in fold.validation_speakers or clip.text in texts:
            side = "validation"
        else:
            side = "train"
        sides[side].append(clip)
    out = Split(tuple(sides["train"]), tuple(sides["validation"]), tuple(sides["test"]))
    for name, held in sides.items():
        if not held:
            raise EdgeSerError(
                f"fold {fold.index} of {fold.corpus} leaves nothing for {name}: some speakers' "
                f"recordings are not here, see `edge-ser corpora verify {fold.corpus}`"
            )
    check_disjoint(out)
    return out


def joint_split(clips: Iterable[Clip], holdout: Mapping[str, Fold] | None = None) -> Split:
    """Divide recordings of several corpora, each by its fold in `holdout`.

    Args:
        holdout: corpus name to fold; `JOINT_HOLDOUT` by default.

    Raises:
        EdgeSerError: as `split`, or when a corpus has no fold in `holdout`.
    """
    folds = JOINT_HOLDOUT if holdout is None else holdout
    by_corpus: dict[str, list[Clip]] = {}
    for clip in clips:
        by_corpus.setdefault(clip.corpus, []).append(clip)
    if not by_corpus:
        raise EdgeSerError("there are no recordings to divide: name at least one corpus")
    for corpus in by_corpus:
        if corpus not in folds:
            raise EdgeSerError(
                f"{corpus} has no speakers held out in a joint training: leave it out, or train "
                f"on it alone (held out are speakers of {', '.join(folds)})"
            )
    parts = [split(by_corpus[corpus], folds[corpus]) for corpus in folds if corpus in by_corpus]
    joined = Split(
        train=tuple(chain.from_iterable(part.train for part in parts)),
        validation=tuple(chain.from_iterable(part.validation for part in parts)),
        test=tuple(chain.from_iterable(part.test for part in parts)),
    )
    check_disjoint(joined)
    return joined


def deal_banglaser() -> tuple[tuple[str, ...], ...]:
    """The rule behind BanglaSER's folds: speakers are dealt out like cards to five hands.

    Men first, from fold 1 upwards; then women, from fold 5 downwards, so that the gender
    that is one more in a fold differs. In each gender those who did not speak neutrally
    (and so have 36 recordings, not 45) come first, which spreads them; otherwise by number.
    """
    hands: list[list[str]] = [[] for _ in range(5)]
    for gender, order in (("m", (0, 1, 2, 3, 4)), ("f", (4, 3, 2, 1, 0))):
        speakers = [s for s, who in CORPORA["BanglaSER"].speakers.items() if who.gender == gender]
        speakers.sort(key=lambda speaker: (speaker not in WITHOUT_NEUTRAL, speaker))
        for number, speaker in enumerate(speakers):
            hands[order[number % 5]].append(speaker)
    return tuple(tuple(sorted(hand)) for hand in hands)


def _validation_speakers(corpus: Corpus, following: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Of each gender the first speakers of the folds that follow, in order."""
    wanted = VALIDATION_PER_GENDER[corpus.name]
    chosen: list[str] = []
    for gender in ("f", "m"):
        candidates = [
            speaker
            for group in following
            for speaker in sorted(group)
            if corpus.speakers[speaker].gender == gender
        ]
        chosen += candidates[:wanted]
    return tuple(sorted(chosen))


JOINT_HOLDOUT: Mapping[str, Fold] = {
    "RAVDESS": get_fold("RAVDESS", 1),
    "BanglaSER": get_fold("BanglaSER", 1),
    # One man and one woman each; not one of the numbered folds, which hold out one speaker.
    "EmoDB": replace(
        get_fold("EmoDB", 1), index=0, test_speakers=("03", "08"), validation_speakers=("10", "14")
    ),
    "TESS": get_fold("TESS", 1),
    "SUBESCO": get_fold("SUBESCO", 1),
}
"""The division of a joint training, each corpus's as it is among the others. The model in the
package is trained on the first four, and tested on speakers of each whom it never heard."""
