"""Augmentation of training clips: on the waveform once a copy, on the features once an epoch.

The waveform copies of a clip differ in speed, spectral tilt and room; they are made once,
before training, each from its own seed. What is cheap on features happens anew in every epoch:
noise and narrow bands (`surroundings`), level, masks over time and frequency (SpecAugment,
arXiv 1904.08779) and mixup (arXiv 1710.09412). Nothing here ever sees a validation or test clip.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_ser.surroundings import Surroundings, SurroundingsConfig
from firmware_host.features import FeatureConfig, dct_matrix

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class AugmentConfig:
    """How far augmentation goes.

    The defaults are mild: about twice these strengths recognised RAVDESS's validation
    speakers worse after the same number of epochs.

    Args:
        copies: waveform copies of a clip beside the recording itself.
        max_speed_change: relative; speed changes pitch and formants with the tempo.
        max_tilt: of the spectrum, in the pre-emphasis coefficient.
        room_share: share of copies in a synthetic room.
        surroundings: noise, other voices and narrow bands.
        max_gain_db: level change of a clip in either direction.
        time_masks, time_mask_frames, mel_masks, mel_mask_bands: SpecAugment's counts and
            largest widths.
        mixup: parameter of the Beta distribution; 0 turns it off.
    """

    copies: int = 4
    max_speed_change: float = 0.1
    max_tilt: float = 0.2
    room_share: float = 0.1
    surroundings: SurroundingsConfig = field(default_factory=SurroundingsConfig)
    max_gain_db: float = 6.0
    time_masks: int = 1
    time_mask_frames: int = 30
    mel_masks: int = 1
    mel_mask_bands: int = 8
    mixup: float = 0.2

    @property
    def undisturbed(self) -> "AugmentConfig":
        """The same where nothing else is heard, and levels differ mildly at most."""
        quiet = replace(self.surroundings, noise_share=0.0, band_share=0.0)
        level = min(self.max_gain_db, AugmentConfig.max_gain_db)
        return replace(self, surroundings=quiet, max_gain_db=level)


def augment_waveform(samples: Float32, rate: int, config: AugmentConfig, seed: int) -> Float32:
    """One copy of a clip, determined by its seed.

    Shape:
        - samples: (n,), float32 at `rate` Hz
        - returns: (about n,), float32, peak at most 1
    """
    import soxr
    from scipy.signal import lfilter

    random = np.random.default_rng(seed)
    speed = 1.0 + random.uniform(-config.max_speed_change, config.max_speed_change)
    out = np.asarray(soxr.resample(samples, rate * speed, rate), np.float32)
    tilt = random.uniform(-config.max_tilt, config.max_tilt)
    out = np.asarray(lfilter([1.0, -tilt], [1.0], out), np.float32)
    if random.random() < config.room_share:
        out = _in_a_room(out, rate, random)
    peak = float(np.abs(out).max(initial=0.0))
    return np.asarray(out / max(1.0, peak), np.float32)


def _in_a_room(samples: Float32, rate: int, random: np.random.Generator) -> Float32:
    """The direct sound and an exponentially decaying tail of a random length and strength."""
    from scipy.signal import oaconvolve

    reverberation_seconds = random.uniform(0.1, 0.6)  # to -60 dB
    time = np.arange(int(reverberation_seconds * rate)) / rate
    decay = 10.0 ** (-3.0 * time / reverberation_seconds)
    response = random.standard_normal(time.size) * decay
    response *= random.uniform(0.1, 0.7) / np.sqrt(np.sum(np.square(response)))
    response[0] = 1.0
    return np.asarray(oaconvolve(samples, response)[: samples.size], np.float32)


class FeatureAugmenter:
    """Changes batches of features in place of new recordings, once an epoch.

    Works on the stored features (log-mel, RMS, zero-crossing rate) before the cepstra are
    derived from the log-mel, so that a mask or a level change reaches both alike.
    """

    def __init__(self, config: AugmentConfig, features: FeatureConfig) -> None:
        self.config, self.features = config, features
        self.surroundings = Surroundings(config.surroundings, features)

    def __call__(self, stored: Tensor, generator: torch.Generator) -> Tensor:
        """Surroundings, level and masks.

        Shape:
            - stored and returned: (batch, frames, n_mels + 2)
        """
        surrounded = self.surroundings(stored, generator)
        return change(surrounded, *self.draw(stored, generator), self.features)

    def draw(self, stored: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Level and masks for as many windows, at random.

        Shape:
            - returns: dB (batch, 1, 1), masked bands (batch, n_mels), frames (batch, frames)
        """
        config, (batch, frames, _) = self.config, stored.shape
        gain_db = (torch.rand(batch, 1, 1, generator=generator) * 2 - 1) * config.max_gain_db
        bands = torch.zeros(batch, self.features.n_mels, dtype=torch.bool)
        for _ in range(config.mel_masks):
            bands |= _spans(batch, self.features.n_mels, config.mel_mask_bands, generator)
        times = torch.zeros(batch, frames, dtype=torch.bool)
        for _ in range(config.time_masks):
            times |= _spans(batch, frames, config.time_mask_frames, generator)
        return gain_db, bands, times


def change(
    stored: Tensor, gain_db: Tensor, bands: Tensor, times: Tensor, features: FeatureConfig
) -> Tensor:
    """Windows at another level, with bands and then frames that are like the average.

    Shape:
        - stored and returned: (batch, frames, n_mels + 2); the others as `draw` returns them
    """
    n_mels, floor_db = features.n_mels, 10.0 * math.log10(features.log_floor)
    log_mel = torch.clamp(stored[:, :, :n_mels] + gain_db, min=floor_db)
    mean = log_mel.mean(dim=(1, 2), keepdim=True)
    log_mel = torch.where(bands[:, None, :], mean, log_mel)
    level = stored[:, :, n_mels : n_mels + 1] * 10.0 ** (gain_db / 20.0)
    out = torch.cat([log_mel, level, stored[:, :, n_mels + 1 :]], dim=2)
    return torch.where(times[:, :, None], out.mean(dim=1, keepdim=True), out)


def _spans(batch: int, length: int, longest: int, generator: torch.Generator) -> Tensor:
    """A random span of at most `longest` places in each row. Shape: (batch, length), bool."""
    width = torch.rand(batch, 1, generator=generator) * longest
    start = torch.rand(batch, 1, generator=generator) * (length - width)
    place = torch.arange(length)[None, :]
    return (place >= start) & (place < start + width)


def limit_range(stored: Tensor, features: FeatureConfig) -> Tensor:
    """What `firmware_host.features.limit_range` makes of each of these windows.

    Shape:
        - stored and returned: (n, frames, n_mels + 2)
    """
    if "log_mel" not in features.kinds:
        return stored
    log_mel = stored[..., : features.n_mels]
    lowest = log_mel.amax(dim=(1, 2), keepdim=True) - features.top_db
    return torch.cat([torch.maximum(log_mel, lowest), stored[..., features.n_mels :]], dim=-1)


def add_cepstra(stored: Tensor, features: FeatureConfig) -> Tensor:
    """Full features from the stored ones: the MFCC are the DCT of the log-mel.

    Shape:
        - stored: (..., n_mels + 2): log-mel, RMS, zero-crossing rate
        - returns: (..., n_features), the kinds that the configuration names
    """
    n_mels = features.n_mels
    log_mel = stored[..., :n_mels]
    columns = {
        "log_mel": log_mel,
        "mfcc": log_mel @ torch.from_numpy(dct_matrix(n_mels, features.n_mfcc)).to(stored.device),
        "rms": stored[..., n_mels : n_mels + 1],
        "zcr": stored[..., n_mels + 1 :],
    }
    return torch.cat([columns[kind] for kind in features.kinds], dim=-1)
