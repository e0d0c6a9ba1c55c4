"""The corpora of emotional speech that edge-ser knows, and how to load them."""

import os
from collections.abc import Mapping
from pathlib import Path

from edge_ser.corpora import banglaser, emodb, ravdess, subesco, tess
from edge_ser.corpora.clip import Clip
from edge_ser.corpora.corpus import Corpus, find_recordings
from firmware_host.errors import EdgeSerError

__all__ = [
    "CORPORA",
    "DATA_VARIABLE",
    "Clip",
    "Corpus",
    "corpora_root",
    "corpus_folder",
    "find_corpus",
    "load_corpus",
]

DATA_VARIABLE = "EDGE_SER_CORPORA"
CORPORA: Mapping[str, Corpus] = {
    module.CORPUS.name: module.CORPUS for module in (tess, ravdess, banglaser, subesco, emodb)
}


def find_corpus(name: str) -> Corpus:
    """The corpus of that name, in any case.

    Raises:
        EdgeSerError: when there is none.
    """
    for corpus in CORPORA.values():
        if corpus.name.lower() == name.lower():
            return corpus
    raise EdgeSerError(f"there is no corpus {name!r}: choose one of {', '.join(CORPORA)}")


def corpora_root(data: Path | None = None, create: bool = False) -> Path:
    """The folder that holds the corpora: `data`, or what EDGE_SER_CORPORA names.

    Args:
        create: make the folder when it does not exist.

    Raises:
        EdgeSerError: when neither is given, or it is no folder.
    """
    named = data or (Path(value) if (value := os.environ.get(DATA_VARIABLE)) else None)
    if named is None:
        raise EdgeSerError(f"no folder of corpora was given: add --data DIR or set {DATA_VARIABLE}")
    named = named.expanduser()
    if create:
        try:
            named.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EdgeSerError(
                f"{named} cannot be made ({error.strerror}): choose a folder that you may write to"
            ) from error
    if not named.is_dir():
        raise EdgeSerError(
            f"{named} is no folder: give the folder that holds the corpora with --data DIR "
            f"or {DATA_VARIABLE}"
        )
    return named


def corpus_folder(data_dir: Path, corpus: Corpus) -> Path:
    """The folder of a corpus under `data_dir`.

    Raises:
        EdgeSerError: when it is not there.
    """
    folder = corpus.folder(data_dir)
    if folder is None:
        raise EdgeSerError(
            f"{data_dir} has no folder {corpus.name}: `edge-ser corpora download {corpus.name}` "
            "fetches it or says how to get it"
        )
    return folder


def load_corpus(data_dir: Path, name: str) -> list[Clip]:
    """Every recording of a corpus, sorted by file name.

    Args:
        data_dir: the folder that holds the corpora, one folder each.
        name: a key of `CORPORA`, in any case.

    Raises:
        EdgeSerError: when the corpus is unknown, its folder is missing or has no recordings.
    """
    corpus = find_corpus(name)
    folder = corpus_folder(data_dir, corpus)
    clips = find_recordings(folder, corpus).clips
    if not clips:
        raise EdgeSerError(
            f"{folder} holds no recordings of {corpus.name} under the publisher's file names: "
            f"unpack the publisher's archive there, or {corpus.how_to_get}"
        )
    return list(clips)
