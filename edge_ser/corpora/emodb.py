"""Emo-DB, the Berlin database: ten German actors, ten sentences, seven emotions."""

import re

from edge_ser.corpora.corpus import Archive, Corpus, NameFacts, Speaker

# Characters 1 and 2 are the speaker, 3 to 5 the text, 6 the emotion, 7 the version.
NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-z]?)")
LETTERS = {  # of the German words
    "W": "angry",  # Wut (Aerger)
    "L": "bored",  # Langeweile
    "N": "neutral",
    "F": "happy",  # Freude
    "A": "fearful",  # Angst
    "T": "sad",  # Trauer
    "E": "disgust",  # Ekel
}


def parse(stem: str) -> NameFacts | None:
    """Text is the sentence's code, as "a01"; take is the version's letter."""
    match = NAME.fullmatch(stem)
    if not match or match[1] not in CORPUS.speakers:
        return None
    speaker, text, letter, version = match.groups()
    return NameFacts(speaker, LETTERS[letter], text, version, stem)


CORPUS = Corpus(
    name="EmoDB",
    title="Berlin Database of Emotional Speech",
    language="German",
    labels={
        "angry": 127,
        "bored": 81,
        "neutral": 79,
        "happy": 71,
        "fearful": 69,
        "sad": 62,
        "disgust": 46,
    },
    speakers={
        "03": Speaker("m", 49),
        "08": Speaker("f", 58),
        "09": Speaker("f", 43),
        "10": Speaker("m", 38),
        "11": Speaker("m", 55),
        "12": Speaker("m", 35),
        "13": Speaker("f", 61),
        "14": Speaker("f", 69),
        "15": Speaker("m", 56),
        "16": Speaker("f", 71),
    },
    terms="free to use with citation",
    home_page="http://emodb.bilderbar.info",
    citation=(
        "F. Burkhardt, A. Paeschke, M. Rolfes, W. F. Sendlmeier, B. Weiss: A Database of German "
        "Emotional Speech, Interspeech 2005, doi:10.21437/Interspeech.2005-446"
    ),
    how_to_get="fetch http://emodb.bilderbar.info/download/download.zip",
    parse=parse,
    archive=Archive(
        url="http://emodb.bilderbar.info/download/download.zip", file_name="download.zip"
    ),
)
