"""What is published about a corpus, and how its folder is searched for recordings.

A corpus is recognised by its publisher's file names alone, wherever in its folder the files
lie: so an unpacked archive, a mirror's doubled folders and a flat copy all load alike.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_ser.corpora.clip import Clip

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".aif", ".aiff"})


@dataclass(frozen=True)
class NameFacts:
    """What a publisher's file name says.

    `proper_name` is the name (without suffix) that the publisher's own scheme gives this
    recording; it differs from the file's name where the publisher misnamed it.
    """

    speaker: str
    emotion: str
    text: str
    take: str
    proper_name: str


@dataclass(frozen=True)
class Speaker:
    """A speaker's gender, "f" or "m", and how many recordings of theirs are published."""

    gender: str
    n_files: int


@dataclass(frozen=True)
class Archive:
    """A publisher's archive; size and md5 only where the publisher states them."""

    url: str
    file_name: str
    size: int | None = None
    md5: str | None = None


@dataclass(frozen=True)
class KnownDefects:
    """Defects that copies of the corpus are known to have; file names without suffix.

    Args:
        misnamed: names that break the publisher's own scheme; they load all the same.
        duplicates: groups of names that hold one and the same recording.
        missing: recordings that copies in circulation lack.
        aiff: files named .wav that hold AIFF.
    """

    misnamed: frozenset[str] = frozenset()
    duplicates: frozenset[frozenset[str]] = frozenset()
    missing: frozenset[str] = frozenset()
    aiff: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Corpus:
    """A corpus as published.

    Args:
        name: also the name of its folder, in any case.
        title, language, citation, home_page, terms: for people and model cards.
        how_to_get: the steps by hand, one sentence.
        labels: canonical emotion to the number of published recordings.
        speakers: the publisher's name of each speaker.
        parse: file name without suffix to what it says; None for no recording of these.
        proper_names: all published names, given those that are here (some schemes hold a
            word or a first name that only the files tell); None where they do not form a grid.
        is_other_part: names of parts of the publication that edge-ser leaves out (songs).
        archive: what `edge-ser corpora download` fetches; None where a person must.
    """

    name: str
    title: str
    language: str
    labels: Mapping[str, int]
    speakers: Mapping[str, Speaker]
    terms: str
    home_page: str
    citation: str
    how_to_get: str
    parse: Callable[[str], NameFacts | None]
    proper_names: Callable[[Collection[str]], frozenset[str]] | None = None
    is_other_part: Callable[[str], bool] = lambda _: False
    archive: Archive | None = None
    known: KnownDefects = field(default_factory=KnownDefects)

    @property
    def emotions(self) -> tuple[str, ...]:
        """The corpus's own classes, by their canonical names."""
        return tuple(self.labels)

    @property
    def n_files(self) -> int:
        """Published recordings."""
        return sum(self.labels.values())

    def folder(self, data_dir: Path) -> Path | None:
        """The corpus's folder under `data_dir`, its name in any case; None when absent."""
        if not data_dir.is_dir():
            return None
        named = [p for p in sorted(data_dir.iterdir()) if p.name.lower() == self.name.lower()]
        # The exact name wins on file systems where several cases can stand side by side.
        named.sort(key=lambda path: path.name != self.name)
        return next((path for path in named if path.is_dir()), None)


@dataclass(frozen=True)
class Recordings:
    """What a search found.

    Args:
        clips: sorted by their proper names, so that every layout gives the same order.
        proper_names: of each clip, in that order.
        copies: (second copy, the file that is used instead), as of doubled folders.
        other_parts: recordings of the publication that edge-ser leaves out.
        strangers: audio whose name says nothing that the corpus knows.
    """

    clips: tuple[Clip, ...]
    proper_names: tuple[str, ...]
    copies: tuple[tuple[Path, Path], ...]
    other_parts: tuple[Path, ...]
    strangers: tuple[Path, ...]


def find_recordings(folder: Path, corpus: Corpus) -> Recordings:
    """Search a folder and everything below it for a corpus's recordings."""
    used: dict[str, tuple[Path, NameFacts]] = {}
    copies: list[tuple[Path, Path]] = []
    other_parts: list[Path] = []
    strangers: list[Path] = []
    for path in _audio_files(folder):
        facts = corpus.parse(path.stem)
        if facts is None:
            (other_parts if corpus.is_other_part(path.stem) else strangers).append(path)
        elif facts.proper_name in used:
            copies.append((path, used[facts.proper_name][0]))
        else:
            used[facts.proper_name] = (path, facts)
    found = sorted(used.values(), key=lambda item: item[1].proper_name)
    return Recordings(
        clips=tuple(
            Clip(
                corpus=corpus.name,
                path=path,
                speaker=facts.speaker,
                gender=corpus.speakers[facts.speaker].gender,
                emotion=facts.emotion,
                text=facts.text,
                take=facts.take,
            )
            for path, facts in found
        ),
        proper_names=tuple(facts.proper_name for _, facts in found),
        copies=tuple(copies),
        other_parts=tuple(other_parts),
        strangers=tuple(strangers),
    )


def _audio_files(folder: Path) -> list[Path]:
    """Audio below a folder, the shallowest first; what archivers and systems hide is skipped."""
    files = []
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        if path.suffix.lower() in AUDIO_SUFFIXES and not hidden and path.is_file():
            files.append((len(parts), path.as_posix(), path))
    return [path for _, _, path in sorted(files)]
