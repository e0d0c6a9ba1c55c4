"""The degradations that benchmarks/robustness.py measures, and what each makes of a recording."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ser import degrade
from edge_ser.bench.recognition import Change
from firmware_host.audio import read_audio, resample

CLEAN, NOISE = "clean", "noise"
SNRS_DB = (20, 10, 5, 0)
HEADLINE_SNR_DB = 10
PIECES = 4  # of a noise, beside which a recording is heard: where one is loud, another is not
GAINS_DB = (-20, 20)
CLIPPED_AT = (0.3, 0.1)  # of a recording's peak
ROOMS = ((0.4, 5.0), (0.8, 0.0))  # seconds of decay, and dB of direct to reverberant sound
SYNTHETIC_SLOPES_DB = {"white (synthetic)": 0.0, "pink (synthetic)": 3.0}
SYNTHETIC_SECONDS = 20

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Condition:
    """One way to hear every recording.

    Args:
        name: of it, also in file names.
        group: what kind of degradation it is.
        changes: what becomes of the samples, once for each; None: nothing.
        noise, snr_db: which noise, how far below the voice.
        source: the file of the noise, where it has one.
    """

    name: str
    group: str
    changes: tuple[Change | None, ...]
    noise: str | None = None
    snr_db: int | None = None
    source: Path | None = None


def noise_sources(data: Path) -> dict[str, Path | None]:
    """The recorded noises by name; without any, the synthetic ones, which have no file."""
    recorded = sorted((data / NOISE).glob("*.flac"))
    if recorded:
        return {path.stem.replace("_", " "): path for path in recorded}
    return dict.fromkeys(SYNTHETIC_SLOPES_DB)


def conditions(noises: Mapping[str, Path | None]) -> list[Condition]:
    """Clean first, then every degradation."""
    out = [Condition(CLEAN, CLEAN, (None,))]
    for name, path in noises.items():
        for snr_db in SNRS_DB:
            beside = partial(_with_noise, noise=path or name, snr_db=snr_db)
            pieces = tuple(partial(beside, piece=piece) for piece in range(PIECES))
            out.append(Condition(f"{name}, {snr_db} dB", NOISE, pieces, name, snr_db, path))
    for gain_db in GAINS_DB:
        change = partial(_louder, gain_db=gain_db)
        out.append(Condition(f"gain {gain_db:+d} dB", "gain", (change,)))
    for share in CLIPPED_AT:
        change = partial(_clipped, share=share)
        out.append(Condition(f"clipped at {share:.0%} of the peak", "clipping", (change,)))
    for seconds, direct_db in ROOMS:
        change = partial(_in_a_room, seconds=seconds, direct_db=direct_db)
        out.append(Condition(f"room, T60 {seconds} s, D/R {direct_db:.0f} dB", "room", (change,)))
    out.append(Condition("8 kHz source", "band", (_narrow,)))
    out.append(Condition("telephone", "band", (_telephone,)))
    return out


# --- pickled by name, computed in the process that hears the recording ----------------------


def seed_of(path: Path) -> int:
    """A recording's own seed: the same in every condition, and wherever the corpora lie."""
    return int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:4], "little")


def _with_noise(
    samples: Float32, path: Path, noise: Path | str, snr_db: float, piece: int
) -> Float32:
    return degrade.add_noise(samples, _noise(noise), snr_db, seed_of(path) + piece)


@lru_cache(maxsize=16)
def _noise(noise: Path | str) -> Float32:
    if isinstance(noise, Path):
        return resample(*read_audio(noise), degrade.RATE)
    slope = SYNTHETIC_SLOPES_DB[noise]
    return degrade.coloured_noise(SYNTHETIC_SECONDS * degrade.RATE, slope, seed=0)


def _louder(samples: Float32, _: Path, gain_db: float) -> Float32:
    return degrade.change_gain(samples, gain_db)


def _clipped(samples: Float32, _: Path, share: float) -> Float32:
    return degrade.clip_peaks(samples, share)


def _in_a_room(samples: Float32, path: Path, seconds: float, direct_db: float) -> Float32:
    return degrade.reverberate(samples, seconds, direct_db, seed_of(path))


def _narrow(samples: Float32, _: Path) -> Float32:
    return degrade.narrow(samples)


def _telephone(samples: Float32, _: Path) -> Float32:
    return degrade.telephone(samples)
