"""Stored features on disk: computed once a corpus and augmentation, mapped into every training.

`FeatureStore.read` stands in for `edge_ser.dataset.read_clips` and gives the same bits. The
first who asks for some clips of a corpus computes all of the corpus; from then on a fold takes
its share without touching audio. The key is a digest of everything that determines a feature:
samples, names, constants, augmentation, seed, sources and versions.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from edge_ser.augment import AugmentConfig
from edge_ser.corpora.clip import Clip
from edge_ser.dataset import STORED_KINDS, ClipFeatures, Float16, Progress, read_clips
from edge_ser.evaluation.sources import sources_digest
from edge_ser.folders import made_once
from firmware_host.errors import EdgeSerError
from firmware_host.features import FeatureConfig

FRAMES_FILE, INDEX_FILE = "frames.f16", "index.json"
CLIPS_AT_ONCE = 256  # held in memory while a corpus is computed


class FeatureStore:
    """Features of some recordings, kept under a folder.

    Args:
        clips: all that may be asked for; those of a corpus are computed together.
        digests: of the samples of each, as `duplicates.sample_digests` gives them.
        cache: the folder.
    """

    def __init__(self, clips: Sequence[Clip], digests: Mapping[Path, str], cache: Path) -> None:
        self._by_corpus: dict[str, list[Clip]] = {}
        for clip in clips:
            self._by_corpus.setdefault(clip.corpus, []).append(clip)
        self._digests, self._cache = digests, cache

    def read(
        self,
        clips: Sequence[Clip],
        labels: Sequence[int],
        features: FeatureConfig,
        augment: AugmentConfig | None = None,
        seed: int = 0,
        at_least_frames: int = 0,
        jobs: int = 1,
        progress: Progress | None = None,
    ) -> list[ClipFeatures]:
        """As `edge_ser.dataset.read_clips`, which see for the arguments.

        Raises:
            EdgeSerError: when a recording cannot be read, or is none of the store's.
        """
        if augment is not None and augment.copies == 0:
            augment = None  # the recordings alone, which no seed changes
        opened = {
            corpus: self._open(corpus, features, augment, seed, at_least_frames, jobs, progress)
            for corpus in dict.fromkeys(clip.corpus for clip in clips)
        }
        out = []
        for clip, label in zip(clips, labels, strict=True):
            copies = opened[clip.corpus].get(clip.path)
            if copies is None:
                raise EdgeSerError(f"{clip.path} is none of the recordings of this evaluation")
            out.append(ClipFeatures(clip, label, copies))
        if progress:
            progress(len(out), len(clips))
        return out

    def _open(
        self,
        corpus: str,
        features: FeatureConfig,
        augment: AugmentConfig | None,
        seed: int,
        at_least: int,
        jobs: int,
        progress: Progress | None,
    ) -> dict[Path, tuple[Float16, ...]]:
        """Every clip's recording and copies, mapped into memory."""
        clips = self._by_corpus.get(corpus, [])
        stored = replace(features, kinds=STORED_KINDS)  # what a model uses of them is cut later
        told = {
            "clips": [[clip.path.name, self._digests[clip.path]] for clip in clips],
            "features": stored.to_dict(),
            "augment": asdict(augment) if augment else None,
            "seed": seed if augment else None,
            "at_least": at_least,
            "sources": sources_digest(),
        }
        key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]

        def make(folder: Path) -> None:
            index: list[list[int]] = []
            with (folder / FRAMES_FILE).open("wb") as file:
                for start in range(0, len(clips), CLIPS_AT_ONCE):
                    some = clips[start : start + CLIPS_AT_ONCE]

                    def tell(done: int, _: int, start: int = start) -> None:
                        if progress:
                            progress(start + done, len(clips))

                    for read in read_clips(
                        some, [0] * len(some), stored, augment, seed, at_least, jobs, tell
                    ):
                        index.append([len(copy) for copy in read.copies])
                        for copy in read.copies:
                            file.write(np.ascontiguousarray(copy).tobytes())
            (folder / INDEX_FILE).write_text(json.dumps(index))

        folder = made_once(self._cache / f"features-{corpus}-{key}", make)
        index = json.loads((folder / INDEX_FILE).read_text())
        ends = list(accumulate((n for lengths in index for n in lengths), initial=0))
        # Copy on write, as torch wants memory that may be written; the file never changes.
        frames = np.memmap(
            folder / FRAMES_FILE, np.float16, "c", shape=(ends[-1], stored.n_features)
        )
        out, number = {}, 0
        for clip, lengths in zip(clips, index, strict=True):
            own = range(number, number + len(lengths))
            out[clip.path] = tuple(np.asarray(frames[ends[i] : ends[i + 1]]) for i in own)
            number += len(lengths)
        return out
