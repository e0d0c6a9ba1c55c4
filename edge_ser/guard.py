"""The guard: nothing that is tested on may be trained on, unless a protocol says that it is.

A leak has a name here, a `Breach`. A division is searched for all of them, pair of sides by
pair of sides; one that its protocol does not declare ends everything. So a leaking figure can
be made, but not without its label.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from pathlib import Path

from edge_ser.corpora.clip import Clip
from firmware_host.errors import EdgeSerError

COPY_MARK = re.compile(r"~(\d+)$")
"""Ends the name of an augmented copy's file, before the suffix: NAME~2.flac is NAME's second."""


class Breach(StrEnum):
    """A way in which what is tested on touches what is trained or validated on."""

    SPEAKERS = "speakers"
    """Test speakers are trained on."""
    TAKES = "takes"
    """Other takes of a text, by the same speaker, are on the validation and training sides."""
    DUPLICATES = "duplicates"
    """One recording under two names is on two sides."""
    COPIES = "copies"
    """Augmented copies of one recording, or it and its copy, are on two sides."""
    SELECTION = "selection"
    """The epoch is chosen on the recordings that are tested on."""
    FILES = "files"
    """One file is on two sides."""


LEAKS = frozenset({Breach.DUPLICATES, Breach.COPIES, Breach.SELECTION, Breach.FILES})
"""Breaches that make a figure worthless as a figure of recognition."""

IN_WORDS: Mapping[Breach, str] = {
    Breach.SPEAKERS: "the speakers are heard in training too",
    Breach.TAKES: "the epoch is chosen on speakers and texts that are trained on",
    Breach.DUPLICATES: "exact duplicates of test recordings are trained on",
    Breach.COPIES: "augmented copies of test recordings are trained on",
    Breach.SELECTION: "the epoch is chosen on the test recordings",
    Breach.FILES: "test recordings are trained on",
}


@dataclass(frozen=True)
class Split:
    """The recordings of the three sides.

    Args:
        pretraining: what is trained on first, all of it, where something is: other corpora's.
    """

    train: tuple[Clip, ...]
    validation: tuple[Clip, ...]
    test: tuple[Clip, ...]
    pretraining: tuple[Clip, ...] = ()

    @property
    def sides(self) -> dict[str, tuple[Clip, ...]]:
        """The three by name, and what comes before them where there is something."""
        sides = {"train": self.train, "validation": self.validation, "test": self.test}
        return sides | ({"pretraining": self.pretraining} if self.pretraining else {})


def check_disjoint(
    divided: Split, declared: Collection[Breach] = (), digests: Mapping[Path, str] | None = None
) -> frozenset[Breach]:
    """Refuse a division in which sides touch that may not.

    Training and validation may share a speaker only if they share none of that speaker's
    texts; no file, duplicate or augmented copy may be on two sides.

    Args:
        declared: what the protocol says of itself; anything else is refused.
        digests: of the decoded samples of each file, which tells exact duplicates. Without
            them only a file under two names (a link) is found.

    Returns:
        The breaches found, all of them declared.

    Raises:
        EdgeSerError: naming the speaker, text or file that touches two sides.
    """
    found: set[Breach] = set()
    for breach, sentence in _breaches(divided, digests or {}):
        if breach not in declared:
            raise EdgeSerError(sentence)
        found.add(breach)
    return frozenset(found)


def speakers_of(clips: Iterable[Clip]) -> dict[str, list[str]]:
    """Who speaks in some recordings, corpus by corpus, sorted."""
    speakers: dict[str, set[str]] = {}
    for clip in clips:
        speakers.setdefault(clip.corpus, set()).add(clip.speaker)
    return {corpus: sorted(names) for corpus, names in sorted(speakers.items())}


def recording_name(path: Path) -> str:
    """The name, without suffix, of the recording that a file is, or is an augmented copy of.

    >>> recording_name(Path("03a01Fa~2.flac")), recording_name(Path("03a01Fa.wav"))
    ('03a01Fa', '03a01Fa')
    """
    return COPY_MARK.sub("", path.stem)


def copy_number(path: Path) -> int:
    """Which augmented copy a file is; 0 of a recording.

    >>> copy_number(Path("03a01Fa~2.flac")), copy_number(Path("03a01Fa.wav"))
    (2, 0)
    """
    match = COPY_MARK.search(path.stem)
    return int(match[1]) if match else 0


def _breaches(divided: Split, digests: Mapping[Path, str]) -> Iterator[tuple[Breach, str]]:
    """Every kind of breach, each pair of sides at most once a kind, with its sentence."""
    tested = {(clip.corpus, clip.speaker) for clip in divided.test}
    for clip in (*divided.pretraining, *divided.train, *divided.validation):
        if (clip.corpus, clip.speaker) in tested:
            yield (
                Breach.SPEAKERS,
                f"speaker {clip.speaker} of {clip.corpus} is tested on and also trained on or "
                "validated on: use folds whose speakers are disjoint",
            )
            break
    trained_texts = {(clip.corpus, clip.speaker, clip.text) for clip in divided.train}
    for clip in divided.validation:
        if (clip.corpus, clip.speaker, clip.text) in trained_texts:
            yield (
                Breach.TAKES,
                f"text {clip.text} by speaker {clip.speaker} of {clip.corpus} is trained on and "
                "validated on: hold out further speakers or texts",
            )
            break
    for (one, here), (other, there) in combinations(divided.sides.items(), 2):
        yield from _between(one, here, other, there, digests)


def _between(
    one: str,
    here: Sequence[Clip],
    other: str,
    there: Sequence[Clip],
    digests: Mapping[Path, str],
) -> Iterator[tuple[Breach, str]]:
    # Resolved, so that a link to a file is that file.
    files = {clip.path.resolve(): clip for clip in here}
    names = {(clip.corpus, recording_name(clip.path)): clip for clip in here}
    contents = {digests[clip.path]: clip for clip in here if clip.path in digests}
    once: dict[Breach, str] = {}
    for clip in there:
        path = clip.path.resolve()
        if path in files:
            # Validating on the test side is a breach of its own; training on it never goes.
            kind = Breach.SELECTION if {one, other} == {"validation", "test"} else Breach.FILES
            once.setdefault(
                kind, f"{clip.path} is on two sides of the division: give each file once"
            )
            continue
        if (twin := contents.get(digests.get(clip.path, ""))) is not None:
            once.setdefault(
                Breach.DUPLICATES,
                f"{clip.path.name} ({other}) holds the same samples as {twin.path.name} ({one}) "
                f"of {clip.corpus}: keep exact duplicates on one side",
            )
        named = names.get((clip.corpus, recording_name(clip.path)))
        if named is not None and (copy_number(clip.path) or copy_number(named.path)):
            once.setdefault(
                Breach.COPIES,
                f"{clip.path.name} ({other}) and {named.path.name} ({one}) of {clip.corpus} are "
                "one recording, augmented: keep a recording and its copies on one side",
            )
    yield from once.items()
