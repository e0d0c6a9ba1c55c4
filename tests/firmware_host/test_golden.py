"""Golden waveforms are the same everywhere and sound enough like speech to test with."""

import hashlib

import numpy as np
import pytest

from firmware_host.features import FeatureConfig
from firmware_host.golden import golden_features, golden_waveform

WINDOW = FeatureConfig().samples_for(320)


@pytest.mark.parametrize(
    ("seed", "digest"),
    [
        (1, "9adcade5893018608a61b1aaff20975f302342dde897b7da81791ed1946d0263"),
        (2**64 - 1, "c8d3ccf946bd857e7e0aaea4e7e20259b1ccead0ed1250a8c6c9e7f5ab9e6d17"),
    ],
)
def test_same_bytes_on_every_machine(seed: int, digest: str) -> None:
    """Model files in the world hold logits for these very samples: they must never change."""
    samples = golden_waveform(seed, WINDOW)
    assert hashlib.sha256(samples.astype("<f4").tobytes()).hexdigest() == digest


def test_level_and_pauses_are_like_speech() -> None:
    """A golden vector only tests what a recording would: peaks about 0.3, and pauses."""
    for seed in range(20):
        samples = golden_waveform(seed, WINDOW)
        assert samples.dtype == np.float32
        assert 0.15 < np.abs(samples).max() < 0.4
        blocks = np.abs(samples[: WINDOW // 400 * 400]).reshape(-1, 400).max(axis=1)
        assert 0.005 < np.mean(blocks < 0.002) < 0.8, seed


def test_samples_are_exact_16_bit_values() -> None:
    """So that the waveform survives a 16-bit WAV file unchanged."""
    scaled = golden_waveform(7, 10_000) * 32768
    assert np.array_equal(scaled, np.round(scaled))


def test_seeds_differ_and_no_length_fails() -> None:
    assert not np.array_equal(golden_waveform(1, 5_000), golden_waveform(2, 5_000))
    for length in (0, 1, 399, 1_600, 1_601, 100_000):
        assert golden_waveform(3, length).shape == (length,)


def test_features_vary_over_the_window() -> None:
    """Constant features would hide an error in any of them."""
    features = golden_features(1, FeatureConfig(), 320)
    assert features.shape == (320, 64)
    assert (features.std(axis=0) > 0).all()
