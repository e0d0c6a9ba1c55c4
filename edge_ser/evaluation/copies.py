"""Augmented copies as files of their own: what the paper protocol divides beside recordings.

Elsewhere copies are made of training clips alone, inside the training. Here they are made of
every recording before anything is divided, as it is often done, and as nobody should.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from edge_ser.augment import AugmentConfig, augment_waveform
from edge_ser.corpora.clip import Clip
from edge_ser.dataset import copy_seed
from edge_ser.evaluation.sources import sources_digest
from edge_ser.folders import made_once
from firmware_host.audio import read_audio, resample


def with_copies(
    clips: Sequence[Clip],
    digests: Mapping[Path, str],
    augment: AugmentConfig,
    rate: int,
    seed: int,
    cache: Path,
    jobs: int = 1,
) -> list[Clip]:
    """The clips, and of each `augment.copies` copies after it, NAME~1.flac and so on.

    Args:
        clips: of one corpus.
        rate: of the copies' samples, in Hz.
        seed: with the clip's name it determines each copy.
        cache: folder in which the copies are kept.
        jobs: processes that make them.

    Raises:
        EdgeSerError: when a recording cannot be read.
    """
    state = [[c.path.name, digests[c.path]] for c in clips]
    told = [asdict(augment), rate, seed, state, sources_digest()]
    key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        work = partial(_write_copies, folder, augment, rate, seed)
        if jobs <= 1:
            for clip in clips:
                work(clip)
            return
        with ProcessPoolExecutor(jobs) as pool:
            list(pool.map(work, clips, chunksize=16))

    folder = made_once(cache / f"copies-{key}", make)
    out = []
    for clip in clips:
        numbers = range(1, augment.copies + 1)
        out.append(clip)
        out += [replace(clip, path=_copy_path(folder, clip, number)) for number in numbers]
    return out


def _copy_path(folder: Path, clip: Clip, number: int) -> Path:
    return folder / f"{clip.path.stem}~{number}.flac"


def _write_copies(folder: Path, augment: AugmentConfig, rate: int, seed: int, clip: Clip) -> None:
    import soundfile

    samples, own_rate = read_audio(clip.path)
    samples = resample(samples, own_rate, rate)
    for number in range(1, augment.copies + 1):
        changed = augment_waveform(samples, rate, augment, copy_seed(seed, clip, number - 1))
        soundfile.write(_copy_path(folder, clip, number), changed, rate, subtype="PCM_16")
