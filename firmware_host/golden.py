"""Golden waveforms: test signals that every machine makes alike, bit for bit, from a seed.

A model file carries what it gives for such a waveform, so a device can check its own
features and its own interpreter without any audio file. Only integers are computed with,
because sines and logarithms have other last bits on other machines.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from firmware_host.features import FeatureConfig, extract

if TYPE_CHECKING:
    from firmware_host.contract import Contract, GoldenVector

# Syllables as in slow speech, and voices from low to high, in samples and Hz at 16 kHz.
SYLLABLE_SAMPLES = (1_600, 4_800)
PAUSE_EVERY = 4  # one syllable in so many is a pause
PEAK = (4_000, 11_000)  # of int16's 32768: 0.12 to 0.34
PITCH_STEP = (369, 1_024)  # 90 to 250 Hz: a turn is 65536 steps
BACKGROUND = 32  # peak of the noise under everything, -60 dB of full scale


def golden_waveform(seed: int, n_samples: int) -> NDArray[np.float32]:
    """Something like speech in level and rhythm: gliding tones, hisses and pauses.

    Each syllable is a sawtooth whose pitch glides, mixed with noise, under a triangle.

    Args:
        seed: 0 to 2**64 - 1.
        n_samples: at 16 kHz.

    Shape:
        - returns: (n_samples,), float32, multiples of 1/32768 within ±0.5
    """
    # Two sources of random numbers: one for the noise, sample by sample, one for the syllables.
    noise = _random(seed, n_samples) - 2**15
    draws = _random(seed ^ 0x5EED5EED5EED5EED, 8 * (n_samples // SYLLABLE_SAMPLES[0] + 1))
    signal = (noise * BACKGROUND) >> 15
    start, phase = 0, 0
    for r in draws.reshape(-1, 8).tolist():
        length = min(_between(SYLLABLE_SAMPLES, r[0]), n_samples - start)
        if length <= 0:
            break
        if r[1] % PAUSE_EVERY:
            n = np.arange(length, dtype=np.int64)
            low, high = _between(PITCH_STEP, r[2]), _between(PITCH_STEP, r[3])
            turns = phase + np.cumsum(low + (high - low) * n // length)
            phase = int(turns[-1]) & 0xFFFF
            tone = (turns & 0xFFFF) - 2**15
            hiss = r[4] % 129  # of 256: from a pure tone to half noise
            here = slice(start, start + length)
            source = (tone * (256 - hiss) + noise[here] * hiss) >> 8
            triangle = np.minimum(n, length - n) * 2 * _between(PEAK, r[5]) // length
            signal[here] += (triangle * source) >> 15
        start += length
    return signal.astype(np.float32) / np.float32(2**15)


def golden_features(seed: int, config: FeatureConfig, window_frames: int) -> NDArray[np.float32]:
    """The features, not normalised, of the one-window golden waveform of a seed.

    Shape:
        - returns: (window_frames, config.n_features), float32
    """
    return extract(golden_waveform(seed, config.samples_for(window_frames)), config)


def features_difference(contract: "Contract", vector: "GoldenVector") -> float:
    """Largest absolute difference between the features made here and those in the contract.

    In units of each feature's standard deviation in the window, as the model hears it.
    """
    if not vector.rows:
        return 0.0
    made = golden_features(vector.seed, contract.features, contract.window_frames)
    wanted = np.asarray(vector.features, np.float32)
    given = made.copy()
    given[list(vector.rows)] = wanted
    return float(np.max(np.abs(contract.normalise(made) - contract.normalise(given))))


def _random(seed: int, count: int) -> NDArray[np.int64]:
    """`count` numbers of 16 bits from SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    step, first, second = (
        np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
    )
    # Arrays of uint64 wrap around silently, which is what the generator asks for.
    state = np.arange(1, count + 1, dtype=np.uint64) * step + np.uint64(seed % 2**64)
    state = (state ^ (state >> np.uint64(30))) * first
    state = (state ^ (state >> np.uint64(27))) * second
    state ^= state >> np.uint64(31)
    return (state >> np.uint64(48)).astype(np.int64)


def _between(bounds: tuple[int, int], random: int) -> int:
    low, high = bounds
    return low + random % (high - low)
