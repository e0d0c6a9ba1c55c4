"""A recording and what is known of it: what every corpus's loader gives back."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording of one utterance.

    Args:
        corpus: name of the corpus, a key of `edge_ser.corpora.CORPORA`.
        path: the audio file, of any rate and number of channels.
        speaker: the publisher's own name of the speaker, unique within the corpus.
        gender: "f" or "m".
        emotion: one of `edge_ser.emotions.EMOTIONS`.
        text: what was said, as the publisher names it (a sentence's number, a word).
        take: tells apart recordings of one text by one speaker in one emotion.
    """

    corpus: str
    path: Path
    speaker: str
    gender: str
    emotion: str
    text: str
    take: str
