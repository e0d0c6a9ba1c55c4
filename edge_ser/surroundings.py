"""Noise, other voices and narrow bands, worked into stored features instead of samples.

Powers of independent sounds add, so a noise can be added to log-mel features after the fact,
anew in every epoch and for next to nothing. The level follows the power in all bands; the
zero-crossing rate follows the normalised autocorrelation of one sample's lag, which is a
mean weighted by power, as it does in Gaussian signals (S. O. Rice, "Mathematical Analysis of
Random Noise", 1945; cos(pi * rate) is that autocorrelation).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from firmware_host.features import FeatureConfig, mel_filters

ACTIVE_SHARE = 0.03  # of the loudest frame's power: what is less is no speech (-15 dB)
SMALLEST_POWER = 1e-12
SLOPE_DB = (-1.0, 7.0)  # a noise's spectrum falls by so much an octave
BUMPS, BUMP_DB = 6, 4.0  # places over the mel bands, and deviation of what stands out there
SWELLS, SWELL_DB = 9, 4.0  # places over a window, and largest deviation of a noise's level there
BURSTS = 6  # of something that clatters in a window, at most
BURST_FRAMES, BURST_DB = (3.0, 60.0), (5.0, 25.0)  # how long, and how far they stand out
WINDOW_HZ = 60.0  # effective width of a Hann window of 25 ms: narrower bands all fluctuate alike
FLUCTUATION_DB = 5.6  # deviation in dB of the power of Gaussian noise in one such width
VOICES = 4  # that talk at once
HIGHEST_HZ, LOWEST_HZ = (3_000.0, 7_500.0), (50.0, 350.0)  # where a band ends
STEEPNESS_DB = (24.0, 96.0)  # an octave, beyond the ends
DEEPEST_DB = 90.0  # that is left of nothing


@dataclass(frozen=True)
class SurroundingsConfig:
    """How often training clips are heard elsewhere.

    Args:
        noise_share: of the windows, with something else to be heard.
        voices_share: of those, with other speakers instead of noise.
        min_snr_db, max_snr_db: of active speech over it.
        band_share: of the windows, from a narrower band than 0 to 8 kHz.
        clatter_share: of the noises, those out of which something stands for a moment.
        ending_share: of noise and voices, what ends where a short recording does, as in a file:
            silence follows it, where a room goes on.

    The defaults are mild. Shares of 0.4 and 0.2 with levels from 0 dB recognised clean clips of
    validation speakers worse after the same number of epochs, by 4 to 7 points.
    """

    noise_share: float = 0.15
    voices_share: float = 0.3
    min_snr_db: float = 5.0
    max_snr_db: float = 35.0
    band_share: float = 0.05
    clatter_share: float = 0.0
    ending_share: float = 0.0


class Surroundings:
    """Puts windows of stored features into other places."""

    def __init__(self, config: SurroundingsConfig, features: FeatureConfig) -> None:
        self.config, self.n_mels = config, features.n_mels
        filters = torch.from_numpy(mel_filters(features)).double()
        hz = torch.from_numpy(np.fft.rfftfreq(features.frame_length, 1 / features.sample_rate))
        inside = filters.sum(dim=1) > 0
        # With which weights the bands together hear every frequency once.
        ones = torch.ones(int(inside.sum()), 1, dtype=torch.float64)
        self._widths = torch.linalg.lstsq(filters[inside], ones).solution[:, 0].clamp(min=0).float()
        window = np.hanning(features.frame_length + 1)[:-1]  # periodic, as the features' is
        # Parseval: the sum over half a spectrum, of a frame of mean square 1.
        self._level_to_power = float(np.square(window).sum()) * features.frame_length / 2
        shares = filters / filters.sum(dim=0)
        self._centres = (shares * hz[:, None]).sum(dim=0).float()
        lag = torch.cos(2 * torch.pi * hz / features.sample_rate)
        self._autocorrelation = (shares * lag[:, None]).sum(dim=0).float()
        silent = torch.full((features.n_mels,), features.log_floor)
        self._silent = 1.01 * float(self._whole(silent))  # a little more: it is stored in float16
        self._fluctuation_db = FLUCTUATION_DB / (self._widths / WINDOW_HZ).clamp(min=1.0).sqrt()

    def __call__(self, stored: Tensor, generator: torch.Generator) -> Tensor:
        """The same windows, some of them elsewhere.

        Shape:
            - stored and returned: (batch, frames, n_mels + 2)
        """
        config, n = self.config, self.n_mels
        noisy = torch.rand(len(stored), generator=generator) < config.noise_share
        narrow = torch.rand(len(stored), generator=generator) < config.band_share
        some = (noisy | narrow).nonzero()[:, 0]  # most windows stay, and cost nothing
        if not len(some):
            return stored.clone()
        noisy, narrow = noisy[some], narrow[some]
        power = _power(stored[some, :, :n])
        heard = power.clone()
        heard[noisy] += self._other_sounds(power[noisy], stored, generator)
        heard[narrow] *= self._passed(int(narrow.sum()), generator)[:, None]
        return stored.index_copy(0, some, self._changed(stored[some], power, heard))

    def heard(self, stored: Tensor, heard: Tensor) -> Tensor:
        """The features of signals of which another power is heard than what is stored.

        Shape:
            - stored and returned: (batch, frames, n_mels + 2)
            - heard: (batch, frames, n_mels), mel power
        """
        return self._changed(stored, _power(stored[..., : self.n_mels]), heard)

    def _changed(self, stored: Tensor, power: Tensor, heard: Tensor) -> Tensor:
        """As `heard`, with the mel power of what is stored."""
        n = self.n_mels
        before, after = self._whole(power), self._whole(heard)
        # Power in the spectrum's units, of which the bands miss what is below the lowest.
        own = self._level_to_power * stored[..., n].square()
        now = own * (after / before).clamp(max=1.0) + (after - before).clamp(min=0.0)
        level = (now / self._level_to_power).sqrt()
        lag = own * torch.cos(torch.pi * stored[..., n + 1])
        lag = lag + self._lagged(heard) - self._lagged(power)
        lag = (lag / now.clamp(min=SMALLEST_POWER)).clamp(-1.0, 1.0)
        rate = torch.arccos(lag) / torch.pi
        log_mel = 10.0 * torch.log10(heard.clamp(min=SMALLEST_POWER))
        return torch.cat([log_mel, level[..., None], rate[..., None]], dim=-1)

    def _whole(self, power: Tensor) -> Tensor:
        """Power in all bands. Shape: (..., n_mels) to (...)."""
        return torch.matmul(power, self._widths).clamp(min=SMALLEST_POWER)

    def _lagged(self, power: Tensor) -> Tensor:
        """Autocorrelation at a lag of one sample. Shape: (..., n_mels) to (...)."""
        return torch.matmul(power, self._widths * self._autocorrelation)

    def _other_sounds(self, power: Tensor, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Power of what else is heard in some windows: noise, or others of the batch at once.

        Shape:
            - power and returned: (windows, frames, n_mels)
            - batch: (batch, frames, n_mels + 2)
        """
        config, windows = self.config, len(power)
        whole = self._whole(power)
        active = whole > ACTIVE_SHARE * whole.amax(dim=1, keepdim=True)
        speech = (whole * active).sum(dim=1) / active.sum(dim=1)
        snr_db = _uniform(windows, config.min_snr_db, config.max_snr_db, generator)
        voices = torch.rand(windows, generator=generator) < config.voices_share
        who = torch.randint(len(batch), (int(voices.sum()), VOICES), generator=generator)
        sound = torch.empty_like(power)
        sound[voices] = _power(batch[who][..., : self.n_mels]).mean(dim=1)
        sound[~voices] = self._noise(power[~voices].shape, generator)
        gain = speech * _power(-snr_db) / self._whole(sound).mean(dim=1)
        heard = sound * gain[:, None, None]
        if config.ending_share:
            ends = torch.rand(windows, generator=generator) < config.ending_share
            outside = (whole <= self._silent) & ends[:, None]
            heard = torch.where(outside[:, :, None], 0.0, heard)
        return heard

    def _noise(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Noises of random colour that swell and fade. Shape: (batch, frames, n_mels)."""
        batch, frames, n_mels = shape
        slope_db = _uniform(batch, *SLOPE_DB, generator)
        colour = -slope_db[:, None] * torch.log2(self._centres / 1_000.0)
        colour = colour + BUMP_DB * _curve(batch, BUMPS, n_mels, generator)
        swell = _uniform(batch, 0.0, SWELL_DB, generator)[:, None]
        swell = swell * _curve(batch, SWELLS, frames, generator)
        if self.config.clatter_share:
            swell = swell + _bursts(batch, frames, self.config.clatter_share, generator)
        db = colour[:, None, :] + swell[:, :, None]
        db = db + self._fluctuation_db * torch.randn(shape, generator=generator)
        return _power(db)

    def _passed(self, windows: int, generator: torch.Generator) -> Tensor:
        """Share of the power that each band lets through. Shape: (windows, n_mels)."""
        high = _uniform(windows, *HIGHEST_HZ, generator)[:, None]
        low = _uniform(windows, *LOWEST_HZ, generator)[:, None]
        steepness_db = _uniform(windows, *STEEPNESS_DB, generator)[:, None]
        octaves = torch.log2(self._centres / high).clamp(min=0.0)
        octaves = octaves + torch.log2(low / self._centres).clamp(min=0.0)
        return _power(-(steepness_db * octaves).clamp(max=DEEPEST_DB))


def _power(db: Tensor) -> Tensor:
    return torch.pow(10.0, db / 10.0)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def _bursts(batch: int, frames: int, share: float, generator: torch.Generator) -> Tensor:
    """How far the level of that share stands out at times, in dB. Shape: (batch, frames)."""
    shape = (batch, BURSTS, 1)
    clatters = torch.rand(batch, 1, 1, generator=generator) < share
    there = clatters & (torch.rand(shape, generator=generator) < 0.5)
    start = torch.rand(shape, generator=generator) * frames
    length = _uniform(batch * BURSTS, *BURST_FRAMES, generator).view(shape)
    height_db = _uniform(batch * BURSTS, *BURST_DB, generator).view(shape)
    since = torch.arange(frames) - start
    return ((there & (since >= 0) & (since < length)) * height_db).amax(dim=1)


def _curve(batch: int, places: int, length: int, generator: torch.Generator) -> Tensor:
    """Straight lines between random values of deviation 1. Shape: (batch, length)."""
    values = torch.randn(batch, 1, places, generator=generator)
    return functional.interpolate(values, length, mode="linear", align_corners=True)[:, 0]
