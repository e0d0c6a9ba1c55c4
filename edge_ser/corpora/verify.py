"""Is a corpus whole and sound? Counts against the published figures, and every defect by name.

A defect that copies of the corpus are known to have is told apart from one that nobody
expects, so that a sound copy passes and a damaged one does not.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ser.corpora import CORPORA, Corpus, corpus_folder
from edge_ser.corpora.corpus import Recordings, find_recordings
from edge_ser.corpora.inspection import Inspection, inspect

RAW_SAMPLES = "raw_samples"
"""A folder of this name beside the corpora holds untouched originals, one folder a corpus."""

WORKERS = 2  # decoding and hashing release the interpreter's lock

Progress = Callable[[int, int], None]
"""Called with how many recordings are read, and how many there are."""


@dataclass(frozen=True)
class Finding:
    """A defect.

    Args:
        kind: "unreadable", "duplicate", "misnamed", "missing", "format", "unknown name",
            "conflict" or "count".
        known: copies of this corpus are known to have it.
        files: names of the files concerned, relative to the corpus's folder; of a missing
            one, its proper name.
    """

    kind: str
    known: bool
    message: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class CorpusReport:
    """What was found of one corpus.

    Args:
        files, speakers: how many are here, and how many are published.
        labels: canonical emotion to how many are here, and how many are published.
        originals: these are samples in `raw_samples`, of which nobody expects completeness.
        notes: what is worth knowing and no defect.
    """

    corpus: str
    folder: Path
    files: tuple[int, int]
    speakers: tuple[int, int]
    labels: Mapping[str, tuple[int, int]]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    originals: bool = False

    @property
    def ok(self) -> bool:
        """Nothing but known defects."""
        return all(finding.known for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "corpus": self.corpus,
            "folder": str(self.folder),
            "originals": self.originals,
            "ok": self.ok,
            "files": _pair(self.files),
            "speakers": _pair(self.speakers),
            "labels": {label: _pair(counts) for label, counts in self.labels.items()},
            "findings": [
                {
                    "kind": finding.kind,
                    "known": finding.known,
                    "message": finding.message,
                    "files": list(finding.files),
                }
                for finding in self.findings
            ],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class _Job:
    """A folder to search as a corpus; `originals` are samples, not expected to be complete."""

    corpus: Corpus
    folder: Path
    recordings: Recordings
    originals: bool

    @property
    def paths(self) -> list[Path]:
        clips = [clip.path for clip in self.recordings.clips]
        copies = [path for path, _ in self.recordings.copies]
        return [*clips, *copies, *self.recordings.strangers]


def verify(
    data_dir: Path, corpora: Sequence[Corpus] = (), progress: Progress | None = None
) -> tuple[CorpusReport, ...]:
    """Read every recording of the corpora, and of `raw_samples` where that folder is there.

    Args:
        data_dir: the folder that holds the corpora.
        corpora: which; by default all that are there.

    Raises:
        EdgeSerError: when a corpus that is asked for is not there.
    """
    jobs = [_job(corpus, corpus_folder(data_dir, corpus)) for corpus in corpora]
    if not corpora:
        present = [(corpus, corpus.folder(data_dir)) for corpus in CORPORA.values()]
        jobs = [_job(corpus, folder) for corpus, folder in present if folder]
    for corpus in corpora or CORPORA.values():
        if folder := corpus.folder(data_dir / RAW_SAMPLES):
            jobs.append(_job(corpus, folder, originals=True))
    inspected = _inspect_all([path for job in jobs for path in job.paths], progress)
    return tuple(_report(job, inspected) for job in jobs)


def _job(corpus: Corpus, folder: Path, originals: bool = False) -> _Job:
    return _Job(corpus, folder, find_recordings(folder, corpus), originals)


def _inspect_all(paths: Sequence[Path], progress: Progress | None) -> dict[Path, Inspection]:
    out = {}
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for done, inspection in enumerate(pool.map(inspect, paths), start=1):
                out[inspection.path] = inspection
                if progress:
                    progress(done, len(paths))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # Ctrl-C ends it now, not after the last file
            raise
    return out


def _report(job: _Job, inspected: Mapping[Path, Inspection]) -> CorpusReport:
    corpus, recordings = job.corpus, job.recordings
    labels = Counter(clip.emotion for clip in recordings.clips)
    speakers = {clip.speaker for clip in recordings.clips}
    findings = [
        *_unreadable(job, inspected),
        *_wrong_containers(job, inspected),
        *_duplicates(job, inspected),
        *_misnamed(job),
        *_strangers(job),
        *_conflicts(job, inspected),
    ]
    if not job.originals:
        missing = _missing(recordings, corpus)
        findings += [*_missing_findings(missing, job), *_counts(missing, job)]
    return CorpusReport(
        corpus=corpus.name,
        folder=job.folder,
        files=(len(recordings.clips), corpus.n_files),
        speakers=(len(speakers), len(corpus.speakers)),
        labels={emotion: (labels[emotion], n) for emotion, n in corpus.labels.items()},
        # The unexpected first: they are what somebody must look at.
        findings=tuple(sorted(findings, key=lambda finding: finding.known)),
        notes=tuple(_notes(job, inspected)),
        originals=job.originals,
    )


def _unreadable(job: _Job, inspected: Mapping[Path, Inspection]) -> Iterable[Finding]:
    for path in job.paths:
        if error := inspected[path].error:
            yield Finding("unreadable", False, f"cannot be read: {error}", _names(job, [path]))


def _wrong_containers(job: _Job, inspected: Mapping[Path, Inspection]) -> Iterable[Finding]:
    for path in job.paths:
        container = inspected[path].container
        if inspected[path].contradicts_suffix:
            known = path.stem in job.corpus.known.aiff and container == "AIFF"
            message = f"holds {container} under the name {path.suffix}"
            yield Finding("format", known, message, _names(job, [path]))


def _duplicates(job: _Job, inspected: Mapping[Path, Inspection]) -> Iterable[Finding]:
    groups: dict[str, list[int]] = {}
    for index, clip in enumerate(job.recordings.clips):
        if digest := inspected[clip.path].digest:
            groups.setdefault(digest, []).append(index)
    for group in groups.values():
        if len(group) < 2:
            continue
        clips = [job.recordings.clips[index] for index in group]
        names = frozenset(job.recordings.proper_names[index] for index in group)
        agree = len({(clip.speaker, clip.emotion) for clip in clips}) == 1
        yield Finding(
            "duplicate",
            any(names <= known for known in job.corpus.known.duplicates),
            "hold the same samples" + ("" if agree else ", under different labels"),
            _names(job, [clip.path for clip in clips]),
        )


def _misnamed(job: _Job) -> Iterable[Finding]:
    for clip, proper in zip(job.recordings.clips, job.recordings.proper_names, strict=True):
        if clip.path.stem.lower() != proper.lower():
            known = clip.path.stem in job.corpus.known.misnamed
            message = f"should be named {proper}; loaded as speaker {clip.speaker}, {clip.emotion}"
            yield Finding("misnamed", known, message, _names(job, [clip.path]))


def _strangers(job: _Job) -> Iterable[Finding]:
    if strangers := job.recordings.strangers:
        message = f"{len(strangers)} with no name of {job.corpus.name}'s scheme: left out"
        yield Finding("unknown name", False, message, _names(job, strangers))


def _conflicts(job: _Job, inspected: Mapping[Path, Inspection]) -> Iterable[Finding]:
    for copy, kept in job.recordings.copies:
        if inspected[copy].digest != inspected[kept].digest:
            message = "are different recordings under one name; the first is used"
            yield Finding("conflict", False, message, _names(job, [kept, copy]))


def _missing(recordings: Recordings, corpus: Corpus) -> frozenset[str]:
    """Published names that are not here, as far as the corpus's scheme can tell them."""
    if corpus.proper_names is None:
        return frozenset()
    return corpus.proper_names(recordings.proper_names) - frozenset(recordings.proper_names)


def _missing_findings(missing: frozenset[str], job: _Job) -> Iterable[Finding]:
    for known, names in (
        (False, missing - job.corpus.known.missing),
        (True, missing & job.corpus.known.missing),
    ):
        if names:
            message = f"{len(names)} not here" + (", as in some other copies" if known else "")
            yield Finding("missing", known, message, tuple(sorted(names)))


def _counts(missing: frozenset[str], job: _Job) -> Iterable[Finding]:
    """Speakers and labels whose figures are off by more than the missing names explain."""
    corpus, clips = job.corpus, job.recordings.clips
    lost = [facts for name in missing if (facts := corpus.parse(name))]
    speakers = Counter(clip.speaker for clip in clips)
    accounted = speakers + Counter(facts.speaker for facts in lost)
    for name, speaker in corpus.speakers.items():
        if accounted[name] != speaker.n_files:
            yield Finding(
                "count", False, f"speaker {name} has {speakers[name]} of {speaker.n_files} files"
            )
    labels = Counter(clip.emotion for clip in clips)
    accounted = labels + Counter(facts.emotion for facts in lost)
    for emotion, published in corpus.labels.items():
        if accounted[emotion] != published:
            yield Finding("count", False, f"{emotion} has {labels[emotion]} of {published} files")


def _notes(job: _Job, inspected: Mapping[Path, Inspection]) -> Iterable[str]:
    clips = [inspected[clip.path] for clip in job.recordings.clips]
    formats = Counter((clip.rate, clip.channels) for clip in clips if clip.digest)
    for (rate, channels), number in sorted(formats.items()):
        layout = {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")
        yield f"{number} at {rate} Hz {layout}"
    if silent := sum(clip.mostly_silent for clip in clips):
        yield f"{silent} are more than half near-digital silence"
    if clipped := sum(clip.clipped for clip in clips):
        yield f"{clipped} clip (ten samples or more at full scale)"
    if copies := job.recordings.copies:
        yield f"{len(copies)} second copies of a name in other folders: left out"
    if other := job.recordings.other_parts:
        yield f"{len(other)} of parts that are not used (songs, other modalities): left out"


def _names(job: _Job, paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(path.relative_to(job.folder).as_posix() for path in paths)


def _pair(counts: tuple[int, int]) -> dict[str, int]:
    return {"found": counts[0], "published": counts[1]}
