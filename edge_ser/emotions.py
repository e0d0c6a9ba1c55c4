"""The canonical emotion names, and the seven classes of the model in the box."""

from collections.abc import Mapping, Sequence

EMOTIONS = (
    "neutral",
    "calm",
    "happy",
    "sad",
    "angry",
    "fearful",
    "disgust",
    "surprised",
    "bored",
)
"""Every emotion that any of the supported corpora labels, under one name each."""

SEVEN_EMOTIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""The classes shared by a model of several corpora."""

SEVEN_FROM_CANONICAL: Mapping[str, str] = {name: name for name in SEVEN_EMOTIONS} | {
    "calm": "neutral"
}
"""Canonical name to joint class: calm counts as neutral; bored has no class and is left out."""


def in_corpus_order(names: Sequence[str] | set[str]) -> tuple[str, ...]:
    """The given emotions, each once, in the order of `EMOTIONS`."""
    return tuple(name for name in EMOTIONS if name in set(names))
