"""Which recordings are the same, and which are nearly: by their samples, and by what was said.

Publishers' file names hide that a recording was published twice (RAVDESS has such a pair,
BanglaSER two). So samples are decoded and compared, whatever copy of a corpus is here.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edge_ser.corpora.clip import Clip
from edge_ser.corpora.inspection import inspect
from edge_ser.folders import made_once
from firmware_host.errors import EdgeSerError

DIGESTS_FILE = "digests.json"


def sample_digests(clips: Sequence[Clip], cache: Path, jobs: int = 1) -> dict[Path, str]:
    """A digest of each file's rate, channels and decoded samples.

    Args:
        cache: folder in which they are kept; files that have changed since, by their size or
            time, are read again with all that were asked for together.
        jobs: threads; decoding releases the interpreter's lock.

    Raises:
        EdgeSerError: when a file cannot be read.
    """
    paths = [clip.path for clip in clips]
    try:
        states = [(str(path.resolve()), *_state(path)) for path in paths]
    except OSError as error:
        raise EdgeSerError(f"{error.filename} cannot be read ({error.strerror})") from error
    key = hashlib.sha256(json.dumps(states).encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        with ThreadPoolExecutor(jobs) as pool:
            inspected = list(pool.map(inspect, paths))
        for one in inspected:
            if one.digest is None:
                raise EdgeSerError(
                    f"{one.path} cannot be read ({one.error}): see `edge-ser corpora verify`"
                )
        (folder / DIGESTS_FILE).write_text(json.dumps([one.digest for one in inspected]))

    folder = made_once(cache / f"digests-{key}", make)
    return dict(zip(paths, json.loads((folder / DIGESTS_FILE).read_text()), strict=True))


def groups_of_duplicates(
    clips: Sequence[Clip], digests: Mapping[Path, str]
) -> list[tuple[Clip, ...]]:
    """The clips, those that hold the same samples together; in their order.

    A clip without a digest stands alone.
    """
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(digests.get(clip.path, f"file {clip.path}"), []).append(clip)
    return [tuple(group) for group in groups.values()]


def near_duplicates(clips: Sequence[Clip]) -> int:
    """How many clips have another take of the same text in the same emotion by the same speaker."""
    takes = Counter((clip.corpus, clip.speaker, clip.text, clip.emotion) for clip in clips)
    return sum(n for n in takes.values() if n > 1)


def near_duplicates_across(test: Sequence[Clip], train: Sequence[Clip]) -> int:
    """How many test clips have another take of theirs in training."""
    trained = {(clip.corpus, clip.speaker, clip.text, clip.emotion) for clip in train}
    return sum((c.corpus, c.speaker, c.text, c.emotion) in trained for c in test)


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
