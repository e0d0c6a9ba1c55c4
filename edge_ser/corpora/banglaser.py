"""BanglaSER: 34 Bangla speakers, three sentences, five emotions, by telephone and laptop.

Its names look like RAVDESS's, but the emotion digits mean something else.
"""

import re
from collections.abc import Collection
from itertools import product

from edge_ser.corpora.corpus import Corpus, KnownDefects, NameFacts, Speaker

# modality-mode-emotion-intensity-statement-repetition-speaker. The modality is not looked at:
# 03 is right, and three files bear another one.
NAME = re.compile(r"0[123]-(01-(0[1-5])-(0[12])-(0[1-3])-(0[1-3])-(0[1-9]|[12]\d|3[0-4]))")
DIGITS = {"01": "happy", "02": "sad", "03": "angry", "04": "surprised", "05": "neutral"}
# Happy, sad and neutral were spoken with normal intensity, angry and surprised with strong.
INTENSITIES = {"01": "01", "02": "01", "03": "02", "04": "02", "05": "01"}
REPEATS = ("01", "02", "03")  # of statements and of repetitions
WITHOUT_NEUTRAL = frozenset({"11", "12", "13", "16", "18", "20", "29"})


def parse(stem: str) -> NameFacts | None:
    """Text is the statement's number; take is intensity and repetition, as "02-01"."""
    match = NAME.fullmatch(stem)
    if not match:
        return None
    rest, emotion, intensity, statement, repetition, speaker = match.groups()
    take = f"{intensity}-{repetition}"
    return NameFacts(speaker, DIGITS[emotion], statement, take, f"03-{rest}")


def proper_names(_: Collection[str]) -> frozenset[str]:
    """The 1467 published names: 27 of the 34 speakers also spoke neutrally."""
    return frozenset(
        f"03-01-{emotion}-{INTENSITIES[emotion]}-{statement}-{repetition}-{speaker}"
        for emotion, statement, repetition, speaker in product(
            DIGITS, REPEATS, REPEATS, CORPUS.speakers
        )
        if not (DIGITS[emotion] == "neutral" and speaker in WITHOUT_NEUTRAL)
    )


CORPUS = Corpus(
    name="BanglaSER",
    title="BanglaSER: a speech emotion recognition dataset for the Bangla language",
    language="Bangla",
    labels={"happy": 306, "sad": 306, "angry": 306, "surprised": 306, "neutral": 243},
    speakers={  # odd numbers are men, even numbers women
        f"{n:02d}": Speaker("m" if n % 2 else "f", 36 if f"{n:02d}" in WITHOUT_NEUTRAL else 45)
        for n in range(1, 35)
    },
    terms="as its Mendeley page states",
    home_page="https://data.mendeley.com/datasets/t9h6p943xy/5",
    citation=(
        "R. K. Das, N. Islam, M. R. Ahmed, S. Islam, S. Shatabda, A. K. M. M. Islam: BanglaSER: "
        "A speech emotion recognition dataset for the Bangla language, Data in Brief 42, 108091, "
        "2022, doi:10.1016/j.dib.2022.108091"
    ),
    how_to_get="open https://data.mendeley.com/datasets/t9h6p943xy/5 and choose Download All",
    parse=parse,
    proper_names=proper_names,
    known=KnownDefects(
        misnamed=frozenset(f"01-01-04-02-03-{repetition}-15" for repetition in REPEATS),
        duplicates=frozenset(
            {
                frozenset({"03-01-01-01-01-01-17", "03-01-01-01-01-03-17"}),
                frozenset({"03-01-01-01-03-01-15", "03-01-01-01-03-03-15"}),
            }
        ),
        missing=frozenset({"03-01-05-01-01-03-19"}),
    ),
)
