"""Surroundings: what is worked into features is what the mixed signal would have had."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from edge_ser.dataset import STORED_KINDS
from edge_ser.degrade import coloured_noise
from edge_ser.demo import read_clip
from edge_ser.surroundings import Surroundings, SurroundingsConfig
from firmware_host.features import FeatureConfig, extract

Float32 = NDArray[np.float32]
FEATURES = FeatureConfig()
N_MELS, RATE_HZ = FEATURES.n_mels, FEATURES.sample_rate
LEVEL, CROSSINGS = N_MELS, N_MELS + 1  # columns of the stored features
NOT_SILENT = -80.0  # dB: bands below it are at the floor


def stored(samples: Float32) -> torch.Tensor:
    features = replace(FEATURES, kinds=STORED_KINDS)
    return torch.from_numpy(extract(samples, features))[None]


def mel_power(features: torch.Tensor) -> torch.Tensor:
    return torch.pow(10.0, features[..., :N_MELS] / 10.0)


@pytest.fixture(scope="module")
def voice() -> Float32:
    return np.asarray(read_clip().samples[: 3 * RATE_HZ], np.float32)


@pytest.mark.parametrize("slope_db", [0.0, 3.0])
@pytest.mark.parametrize("snr_db", [20.0, 10.0, 0.0])
def test_a_noise_in_the_features_is_a_noise_in_the_signal(
    voice: Float32, slope_db: float, snr_db: float
) -> None:
    noise = coloured_noise(voice.size, slope_db, 1)
    noise = sosfilt(butter(2, 60.0, "high", fs=RATE_HZ, output="sos"), noise)
    gain = np.sqrt(np.mean(voice**2)) * 10 ** (-snr_db / 20)
    noise = np.asarray(noise * gain, np.float32)
    surroundings = Surroundings(SurroundingsConfig(), FEATURES)
    clean, truth = stored(voice), stored(voice + noise)
    got = surroundings.heard(clean, mel_power(clean) + mel_power(stored(noise)))
    off = (got - truth)[0]
    assert off[:, :N_MELS].mean().abs() < 0.3  # dB; it was 6 to 24 dB without the noise
    assert off[:, :N_MELS].std() < 2.0
    assert (got[0, :, LEVEL] / truth[0, :, LEVEL] - 1.0).abs().median() < 0.15
    assert off[:, CROSSINGS].mean().abs() < 0.05 and off[:, CROSSINGS].std() < 0.08


def low_passed(samples: Float32) -> Float32:
    return np.asarray(sosfilt(butter(8, 3_000.0, fs=RATE_HZ, output="sos"), samples), np.float32)


def test_a_narrow_band_in_the_features_is_one_in_the_signal(voice: Float32) -> None:
    """The level without its high tones follows from the bands that are left."""
    truth, clean = stored(low_passed(voice)), stored(voice)
    got = Surroundings(SurroundingsConfig(), FEATURES).heard(clean, mel_power(truth))[0]
    loud = truth[0, :, LEVEL] > 0.1 * truth[0, :, LEVEL].max()
    ratio = got[loud, LEVEL] / truth[0, loud, LEVEL]
    assert (ratio - 1.0).abs().median() < 0.1


def test_crossings_follow_the_spectrum_as_in_gaussian_signals() -> None:
    """White noise crosses zero every second sample; without its high tones much less often."""
    white = 0.1 * coloured_noise(3 * RATE_HZ, 0.0, 2)
    truth, clean = stored(low_passed(white)), stored(white)
    got = Surroundings(SurroundingsConfig(), FEATURES).heard(clean, mel_power(truth))[0]
    assert clean[0, :, CROSSINGS].mean() > 0.45 and truth[0, :, CROSSINGS].mean() < 0.3
    assert (got[:, CROSSINGS] - truth[0, :, CROSSINGS]).mean().abs() < 0.03


def test_nothing_happens_where_nothing_is_asked_for(voice: Float32) -> None:
    nothing = Surroundings(SurroundingsConfig(noise_share=0.0, band_share=0.0), FEATURES)
    windows = stored(voice).repeat(4, 1, 1)
    got = nothing(windows, torch.Generator().manual_seed(0))
    torch.testing.assert_close(got, windows, atol=1e-3, rtol=0)


def test_every_window_hears_its_own_noise_as_loud_as_asked(voice: Float32) -> None:
    config = SurroundingsConfig(1.0, 0.0, min_snr_db=10.0, max_snr_db=10.0, band_share=0.0)
    surroundings = Surroundings(config, FEATURES)
    windows = stored(voice).repeat(64, 1, 1)
    got = surroundings(windows, torch.Generator().manual_seed(0))
    assert len({round(float(v), 3) for v in got[:, 0, 0]}) > 32
    level, clean = got[..., LEVEL].square(), windows[..., LEVEL].square()
    noise = (level - clean).mean(dim=1)
    active = clean[0] > 0.03 * clean[0].max()
    snr_db = 10.0 * torch.log10(clean[0, active].mean() / noise)
    assert (snr_db - 10.0).abs().median() < 1.5
    assert got.isfinite().all() and (got[..., LEVEL] > 0).all()


def test_silence_stays_finite_in_any_surroundings() -> None:
    config = SurroundingsConfig(noise_share=1.0, band_share=1.0)
    windows = stored(np.zeros(RATE_HZ, np.float32)).repeat(8, 1, 1)
    got = Surroundings(config, FEATURES)(windows, torch.Generator().manual_seed(0))
    assert got.isfinite().all()
    assert (got[..., CROSSINGS] >= 0).all() and (got[..., CROSSINGS] <= 1).all()


def test_noise_ends_with_the_recording_or_goes_on(voice: Float32) -> None:
    """A short recording stands in silence: a file's noise ends there, a room's does not."""
    config = SurroundingsConfig(1.0, 0.0, 10.0, 10.0, band_share=0.0, ending_share=0.5)
    windows = stored(np.pad(voice, (0, RATE_HZ))).repeat(64, 1, 1)
    got = Surroundings(config, FEATURES)(windows, torch.Generator().manual_seed(0))
    after = slice(voice.size // FEATURES.hop_length + 1, None)
    silent = (got[:, after, :N_MELS] == windows[:, after, :N_MELS]).all(dim=(1, 2))
    loud = (got[:, after, LEVEL] > 1e-5).all(dim=1)
    assert 16 <= silent.sum() <= 48 and (silent ^ loud).all()


def test_some_noises_clatter(voice: Float32) -> None:
    """What stands out in one of them lasts for some frames; most noises only swell."""
    config = SurroundingsConfig(1.0, 0.0, 0.0, 0.0, band_share=0.0, clatter_share=0.4)
    windows = stored(1e-3 * voice / np.abs(voice).max()).repeat(64, 1, 1)
    got = Surroundings(config, FEATURES)(windows, torch.Generator().manual_seed(0))
    level_db = 20.0 * torch.log10(got[..., LEVEL])
    crest_db = level_db.amax(dim=1) - level_db.median(dim=1).values
    assert 8 <= (crest_db > 15.0).sum() <= 40
