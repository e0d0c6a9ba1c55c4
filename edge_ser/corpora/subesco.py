"""SUBESCO: twenty professional Bangla actors, ten sentences, seven emotions, five takes."""

import re
from collections.abc import Collection
from itertools import product

from edge_ser.corpora.corpus import Archive, Corpus, KnownDefects, NameFacts, Speaker

# gender_number_name_S_sentence_emotion_take; one published name has a stray bracket at its end.
NAME = re.compile(
    r"([FM])_(0[1-9]|10)_([A-Z]+)_S_(10|[1-9])_"
    r"(ANGRY|DISGUST|FEAR|HAPPY|NEUTRAL|SAD|SURPRISE)_([1-5])\]?",
    re.IGNORECASE,
)
WORDS = {
    "ANGRY": "angry",
    "DISGUST": "disgust",
    "FEAR": "fearful",
    "HAPPY": "happy",
    "NEUTRAL": "neutral",
    "SAD": "sad",
    "SURPRISE": "surprised",
}
SENTENCES = [str(n) for n in range(1, 11)]
TAKES = [str(n) for n in range(1, 6)]


def parse(stem: str) -> NameFacts | None:
    """The speaker is gender and number, as "F01"; text is the sentence's number."""
    match = NAME.fullmatch(stem)
    if not match:
        return None
    gender, number, name, sentence, word, take = (group.upper() for group in match.groups())
    proper = f"{gender}_{number}_{name}_S_{sentence}_{word}_{take}"
    return NameFacts(gender + number, WORDS[word], sentence, take, proper)


def proper_names(here: Collection[str]) -> frozenset[str]:
    """Every recording of each speaker that is here; first names are known from the files."""
    people = {name.partition("_S_")[0] for name in here}
    return frozenset(
        f"{person}_S_{sentence}_{word}_{take}"
        for person, sentence, word, take in product(people, SENTENCES, WORDS, TAKES)
    )


CORPUS = Corpus(
    name="SUBESCO",
    title="SUST Bangla Emotional Speech Corpus",
    language="Bangla",
    labels=dict.fromkeys(WORDS.values(), 1000),
    speakers={
        f"{gender}{n:02d}": Speaker(gender.lower(), 350) for gender in "FM" for n in range(1, 11)
    },
    terms="CC BY 4.0",
    home_page="https://zenodo.org/records/4526477",
    citation=(
        "S. Sultana, M. S. Rahman, M. R. Selim, M. Z. Iqbal: SUST Bangla Emotional Speech Corpus "
        "(SUBESCO), PLoS ONE 16(4), e0250173, 2021, doi:10.1371/journal.pone.0250173"
    ),
    how_to_get="fetch SUBESCO.zip from https://zenodo.org/records/4526477",
    parse=parse,
    proper_names=proper_names,
    archive=Archive(
        url="https://zenodo.org/records/4526477/files/SUBESCO.zip?download=1",
        file_name="SUBESCO.zip",
        size=1_664_512_929,
        md5="13d702cf944bf54d70d66bffc036ed7a",
    ),
    known=KnownDefects(misnamed=frozenset({"F_02_MONIKA_S_2_SURPRISE_3]"})),
)
