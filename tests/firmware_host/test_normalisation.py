"""Normalisation: what a microphone adds to every frame alike is not heard."""

import numpy as np
import pytest
from tiny_models import tiny_contract

from firmware_host.features import FeatureConfig
from firmware_host.normalisation import Normalisation

NORMALISATION = tiny_contract().normalisation
ZCR = 63
WINDOW = np.random.default_rng(0).normal(-30, 10, (40, 64)).astype(np.float32)


def test_it_is_what_it_says_in_float32() -> None:
    """Training, conversion and device share this; float64 in between would give other bits."""
    result = NORMALISATION(WINDOW)
    assert result.dtype == np.float32
    std = np.array(NORMALISATION.std)
    wanted = (WINDOW - WINDOW.mean(axis=0)) / (WINDOW.std(axis=0) + NORMALISATION.std_floor * std)
    wanted[:, ZCR] = (WINDOW[:, ZCR] - NORMALISATION.mean[ZCR]) / std[ZCR]
    np.testing.assert_allclose(result, wanted, atol=1e-5)


def test_a_microphones_level_and_colour_change_nothing() -> None:
    """Decibels added to every frame alike are gone."""
    colour = np.random.default_rng(1).normal(0, 20, 64).astype(np.float32)
    colour[ZCR] = 0.0
    np.testing.assert_allclose(NORMALISATION(WINDOW + colour), NORMALISATION(WINDOW), atol=1e-4)


def test_silence_stays_small() -> None:
    """A window that hardly changes is hardly heard, and nothing is divided by zero."""
    still = np.full((40, 64), -80.0, np.float32)
    assert not NORMALISATION(still)[:, :ZCR].any()
    rustle = still + np.random.default_rng(2).normal(0, 1e-3, still.shape).astype(np.float32)
    assert np.abs(NORMALISATION(rustle)[:, :ZCR]).max() < 0.1


@pytest.mark.parametrize("kinds", [("mfcc",), ("log_mel", "mfcc", "rms"), ("rms", "zcr")])
def test_only_zero_crossings_may_say_where_they_lie(kinds: tuple[str, ...]) -> None:
    features = FeatureConfig(kinds=kinds)
    numbers = (1.0,) * features.n_features
    by_window = Normalisation.of(features, numbers, numbers).by_window
    assert len(by_window) == features.n_features
    assert list(by_window).count(False) == ("zcr" in kinds)
