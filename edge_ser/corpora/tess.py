"""TESS: two English-speaking actresses say 200 words in a carrier phrase, seven emotions."""

import re
from collections.abc import Collection
from itertools import product

from edge_ser.corpora.corpus import Corpus, KnownDefects, NameFacts, Speaker

# The F may be lacking: OA_bite_neutral is so named by the publisher.
NAME = re.compile(r"(OAF?|YAF)_([a-z]+)_(angry|disgust|fear|happy|neutral|ps|sad)", re.IGNORECASE)
CODES = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprised",  # pleasant surprise
    "sad": "sad",
}
TAKE = "1"  # every word was recorded once in each emotion


def parse(stem: str) -> NameFacts | None:
    """Text is the word; the speaker is OAF (the older actress) or YAF (the younger)."""
    match = NAME.fullmatch(stem)
    if not match:
        return None
    speaker, word, code = match[1].upper(), match[2].lower(), match[3].lower()
    speaker = "OAF" if speaker == "OA" else speaker
    return NameFacts(speaker, CODES[code], word, TAKE, f"{speaker}_{word}_{code}")


def proper_names(here: Collection[str]) -> frozenset[str]:
    """Every word that is here, by both actresses in every emotion."""
    words = {name.split("_")[1] for name in here}
    return frozenset("_".join(parts) for parts in product(CORPUS.speakers, words, CODES))


CORPUS = Corpus(
    name="TESS",
    title="Toronto Emotional Speech Set",
    language="English",
    labels=dict.fromkeys(CODES.values(), 400),
    speakers={"OAF": Speaker("f", 1400), "YAF": Speaker("f", 1400)},
    terms="CC BY-NC-ND 4.0",
    home_page="https://doi.org/10.5683/SP2/E8H2MF",
    citation=(
        "M. K. Pichora-Fuller, K. Dupuis: Toronto emotional speech set (TESS), Borealis, 2020, "
        "doi:10.5683/SP2/E8H2MF"
    ),
    how_to_get=(
        "open https://doi.org/10.5683/SP2/E8H2MF, accept the terms and choose Access Dataset, "
        "Download ZIP"
    ),
    parse=parse,
    proper_names=proper_names,
    known=KnownDefects(
        misnamed=frozenset({"OA_bite_neutral"}),
        missing=frozenset({"OAF_back_angry", "YAF_beg_sad"}),
        aiff=frozenset({"YAF_germ_angry", "YAF_neat_fear"}),
    ),
)
