"""RAVDESS, its speech: 24 actors, two English sentences, eight emotions, two intensities."""

import re
from collections.abc import Collection
from itertools import product

from edge_ser.corpora.corpus import Archive, Corpus, KnownDefects, NameFacts, Speaker

# modality-channel-emotion-intensity-statement-repetition-actor; 03 is audio only, 01 speech.
SPEECH = re.compile(r"03-01-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")
ANY_PART = re.compile(r"0[123]-0[12]-0[1-8]-0[12]-0[12]-0[12]-(0[1-9]|1\d|2[0-4])")
DIGITS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}


def parse(stem: str) -> NameFacts | None:
    """Text is the statement's number; take is intensity and repetition, as "02-01"."""
    match = SPEECH.fullmatch(stem)
    if not match:
        return None
    emotion, intensity, statement, repetition, actor = match.groups()
    if DIGITS[emotion] == "neutral" and intensity == "02":  # neutral has one intensity only
        return None
    return NameFacts(actor, DIGITS[emotion], statement, f"{intensity}-{repetition}", stem)


def proper_names(_: Collection[str]) -> frozenset[str]:
    """The 1440 names of the speech part."""
    return frozenset(
        f"03-01-{emotion}-{intensity}-{statement}-{repetition}-{actor}"
        for emotion, intensity, statement, repetition, actor in product(
            DIGITS, ("01", "02"), ("01", "02"), ("01", "02"), CORPUS.speakers
        )
        if (emotion, intensity) != ("01", "02")
    )


CORPUS = Corpus(
    name="RAVDESS",
    title="Ryerson Audio-Visual Database of Emotional Speech and Song (speech, audio only)",
    language="English",
    labels={emotion: 96 if emotion == "neutral" else 192 for emotion in DIGITS.values()},
    # Odd numbers are men, even numbers women.
    speakers={f"{n:02d}": Speaker("m" if n % 2 else "f", 60) for n in range(1, 25)},
    terms="CC BY-NC-SA 4.0",
    home_page="https://zenodo.org/records/1188976",
    citation=(
        "S. R. Livingstone, F. A. Russo: The Ryerson Audio-Visual Database of Emotional Speech "
        "and Song (RAVDESS), PLoS ONE 13(5), e0196391, 2018, doi:10.1371/journal.pone.0196391"
    ),
    how_to_get="fetch Audio_Speech_Actors_01-24.zip from https://zenodo.org/records/1188976",
    parse=parse,
    proper_names=proper_names,
    is_other_part=lambda stem: ANY_PART.fullmatch(stem) is not None,
    archive=Archive(
        url="https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
        file_name="Audio_Speech_Actors_01-24.zip",
        size=208_468_073,
        md5="bc696df654c87fed845eb13823edef8a",
    ),
    known=KnownDefects(
        duplicates=frozenset({frozenset({"03-01-03-01-02-01-07", "03-01-03-01-02-02-07"})}),
    ),
)
