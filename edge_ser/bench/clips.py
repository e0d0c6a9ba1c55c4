"""Which recordings measure which model: speakers whom it never heard, or a refusal.

A model file says what it was trained on and which fold was held out. Other test speakers
than that fold's would be people whom the model knows, so they are refused unless asked for
by name, and then marked.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_ser.corpora import Clip, find_corpus
from edge_ser.emotions import SEVEN_FROM_CANONICAL
from edge_ser.folds import JOINT_HOLDOUT, Fold, get_fold
from firmware_host.contract import Contract
from firmware_host.errors import EdgeSerError

HELD_OUT = "held out"
OTHER_CORPUS = "corpus not trained on"
SEEN = "seen in training"
UNKNOWN = "held-out status unknown"

JOINT = "joint"  # what a model of several corpora has in place of a fold's number


@dataclass(frozen=True)
class ClipChoice:
    """The recordings of one corpus that one model is measured on.

    Args:
        corpus: its name.
        division: in words, as "fold 1" or "joint hold-out".
        status: `HELD_OUT`, `OTHER_CORPUS`, `SEEN` or `UNKNOWN`.
        clips: of the test speakers, those whose emotion the model has a class for.
        truth: index of the label of each clip.
        n_available: how many clips there were before a limit.
    """

    corpus: str
    division: str
    status: str
    clips: tuple[Clip, ...]
    truth: tuple[int, ...]
    n_available: int

    @property
    def speakers(self) -> tuple[str, ...]:
        """Test speakers, sorted."""
        return tuple(sorted({clip.speaker for clip in self.clips}))


def choose_clips(
    file: str,
    contract: Contract,
    corpus: str,
    clips: Sequence[Clip],
    fold: int | None = None,
    allow_seen: bool = False,
    limit: int | None = None,
) -> ClipChoice:
    """The recordings of `corpus` on which a model is to be measured.

    Args:
        file: the model file's name, for messages.
        contract: the model's; its `training` says what was held out.
        clips: every recording of the corpus that is there.
        fold: other test speakers than those of the model's own training.
        allow_seen: measure on speakers of the training too, and say so.
        limit: at most so many recordings, drawn from all of them, the same ones every time.

    Raises:
        EdgeSerError: when the model heard those speakers in training, when nobody can tell
            which to take, or when none of their recordings is there.
    """
    corpus = find_corpus(corpus).name
    speakers, division, status = _speakers(file, contract, corpus, fold)
    if status == SEEN and not allow_seen:
        raise EdgeSerError(
            f"{file} was trained with speakers of {corpus}'s {division} in training or "
            "validation: leave --fold out to measure on those it never heard, or add "
            "--allow-seen, which marks the result as seen in training"
        )
    index = {label: number for number, label in enumerate(contract.labels)}
    label_of = _label_of(contract)
    chosen = [
        clip
        for clip in clips
        if (speakers is None or clip.speaker in speakers) and label_of.get(clip.emotion) in index
    ]
    if not chosen:
        raise EdgeSerError(
            f"there is no recording of {corpus} to measure {file} on: its {division} asks for "
            f"{'all speakers' if speakers is None else 'speakers ' + ', '.join(speakers)} and "
            f"emotions among {', '.join(contract.labels)}, see `edge-ser corpora verify {corpus}`"
        )
    kept = _draw(chosen, limit)
    truth = tuple(index[label_of[clip.emotion]] for clip in kept)
    return ClipChoice(corpus, division, status, tuple(kept), truth, len(chosen))


def _speakers(
    file: str, contract: Contract, corpus: str, fold: int | None
) -> tuple[tuple[str, ...] | None, str, str]:
    """(test speakers, None for everybody; the division in words; the status)."""
    training = contract.training
    asked = None if fold is None else get_fold(corpus, fold)
    if not training.get("corpora") or "fold" not in training:
        if asked is None:
            raise EdgeSerError(
                f"{file} does not say which speakers it was trained on: give --fold N to say "
                f"whose recordings of {corpus} to measure on"
            )
        return asked.test_speakers, f"fold {asked.index}", UNKNOWN
    own = _own_fold(file, training, corpus)
    if corpus in training.get("pretrained_on", ()):
        speakers = None if asked is None else asked.test_speakers
        return speakers, "all speakers" if asked is None else f"fold {asked.index}", SEEN
    if own is None:
        if asked is None:
            return None, "all speakers", OTHER_CORPUS
        return asked.test_speakers, f"fold {asked.index}", OTHER_CORPUS
    if asked is None:
        return own.test_speakers, _in_words(training), HELD_OUT
    held_out = set(asked.test_speakers) <= set(own.test_speakers)
    return asked.test_speakers, f"fold {asked.index}", HELD_OUT if held_out else SEEN


def _own_fold(file: str, training: Mapping[str, Any], corpus: str) -> Fold | None:
    """The fold of this corpus that the training held out; None when it had none of it."""
    try:
        if corpus not in {find_corpus(str(name)).name for name in training["corpora"]}:
            return None
        if training["fold"] == JOINT:
            return JOINT_HOLDOUT[corpus]
        return get_fold(corpus, int(training["fold"]))
    except (EdgeSerError, KeyError, TypeError, ValueError) as error:
        raise EdgeSerError(
            f"{file} says it was trained on {training['corpora']}, fold {training['fold']}, which "
            "this edge-ser does not know: measure it with the version that trained it"
        ) from error


def _in_words(training: Mapping[str, Any]) -> str:
    fold = training["fold"]
    return "joint hold-out" if fold == JOINT else f"fold {fold}"


def _label_of(contract: Contract) -> Mapping[str, str]:
    """Canonical emotion to class: as trained, or else by name, as the seven classes do it."""
    known = contract.training.get("label_of")
    if isinstance(known, Mapping):
        return {str(emotion): str(label) for emotion, label in known.items()}
    return {**SEVEN_FROM_CANONICAL, **{label: label for label in contract.labels}}


def _draw(clips: Sequence[Clip], limit: int | None) -> list[Clip]:
    """At most `limit` of the clips, in their order: those whose name's sha256 comes first.

    Not every so-maniest: file names go round by speaker or emotion, and a step in time with
    that would hear one speaker only.
    """
    if limit is None or len(clips) <= limit:
        return list(clips)
    ranked = sorted(clips, key=lambda c: hashlib.sha256(c.path.name.encode()).hexdigest())
    kept = set(ranked[:limit])
    return [clip for clip in clips if clip in kept]
