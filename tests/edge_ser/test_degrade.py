"""Degradations do what they say, measured on what comes out."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ser.degrade import (
    RATE,
    Float32,
    add_noise,
    change_gain,
    clip_peaks,
    coloured_noise,
    measure_decay,
    narrow,
    reverberate,
    room_response,
    speech_rms,
    telephone,
)
from firmware_host.audio import resample
from firmware_host.errors import EdgeSerError

NOISE = coloured_noise(3 * RATE, 3.0, seed=9) * np.float32(0.01)
DEGRADATIONS: dict[str, Callable[[Float32], Float32]] = {
    "noise": partial(add_noise, noise=NOISE, snr_db=0.0, seed=5),
    "louder": partial(change_gain, gain_db=20.0),
    "quieter": partial(change_gain, gain_db=-20.0),
    "clipped": partial(clip_peaks, share=0.1),
    "8 kHz": narrow,
    "telephone": telephone,
    "room": partial(reverberate, decay_seconds=0.5, direct_to_reverberant_db=0.0, seed=5),
}


def voice(seconds: float = 2.0, level: float = 0.1, seed: int = 0) -> Float32:
    """Syllables of noise with pauses between them."""
    time = np.arange(int(seconds * RATE)) / RATE
    syllables = np.sin(2 * np.pi * 2 * time) > 0
    noise = np.random.default_rng(seed).normal(0, level, time.size)
    return np.asarray(noise * syllables, np.float32)


def tone(hertz: float, seconds: float = 1.0) -> Float32:
    time = np.arange(int(seconds * RATE)) / RATE
    return np.asarray(0.3 * np.sin(2 * np.pi * hertz * time), np.float32)


def rms(samples: Float32) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def decibels(ratio: float) -> float:
    return 20 * float(np.log10(ratio))


@pytest.mark.parametrize("name", DEGRADATIONS)
@settings(max_examples=15, deadline=None)
@given(
    n_samples=st.integers(1, 5_000),
    level=st.sampled_from([0.0, 1e-4, 0.1, 1.0]),
    seed=st.integers(0, 3),
)
def test_as_many_finite_samples_come_out_and_the_same_ones_again(
    name: str, n_samples: int, level: float, seed: int
) -> None:
    samples = np.random.default_rng(seed).uniform(-level, level, n_samples).astype(np.float32)
    before = samples.copy()
    out = DEGRADATIONS[name](samples)
    assert out.shape == samples.shape
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert np.array_equal(out, DEGRADATIONS[name](samples))
    assert np.array_equal(samples, before)  # the recording itself stays


def test_silence_stays_silent() -> None:
    """Noise too has its level from the voice, and a telephone's code has a zero."""
    for change in DEGRADATIONS.values():
        assert not change(np.zeros(1000, np.float32)).any()


# --- noise -------------------------------------------------------------------------------


@pytest.mark.parametrize("snr_db", [20, 10, 5, 0])
def test_the_mixture_has_the_ratio_asked_for(snr_db: int) -> None:
    """Active speech over noise, of what was added; levels of either are nothing."""
    speech = voice(level=0.05)
    active = speech[speech != 0.0]
    for scale in (1e-3, 1.0, 30.0):
        added = add_noise(speech, NOISE * np.float32(scale), snr_db, seed=3) - speech
        assert decibels(rms(active) / rms(added)) == pytest.approx(snr_db, abs=0.3)


def test_pauses_do_not_make_a_voice_quieter() -> None:
    """Half a minute of silence around a sentence changes neither its level nor the noise's."""
    speech = voice(seconds=4)
    padded = np.pad(speech, 15 * RATE)
    assert decibels(speech_rms(padded) / speech_rms(speech)) == pytest.approx(0, abs=0.05)
    assert decibels(rms(padded) / speech_rms(speech)) < -8
    steady = tone(440)
    assert speech_rms(steady) == pytest.approx(rms(steady), rel=1e-3)


def test_a_mixture_above_full_scale_is_turned_down_and_not_cut() -> None:
    speech = voice(level=0.3)
    loud = add_noise(speech, NOISE, -10.0, seed=0)
    assert np.abs(loud).max() == pytest.approx(1.0)
    # Both were turned down alike: some multiple of it is the voice and a piece of the noise.
    quiet = add_noise(speech * np.float32(0.01), NOISE, -10.0, seed=0)
    assert np.corrcoef(loud, quiet)[0, 1] == pytest.approx(1.0, abs=1e-6)


def test_the_seed_picks_the_piece_of_a_noise() -> None:
    speech = voice()
    one, two = (add_noise(speech, NOISE, 5.0, seed) for seed in (1, 2))
    assert not np.array_equal(one, two)
    short = NOISE[: RATE // 2]  # goes round
    added = add_noise(speech, short, 5.0, 1) - speech
    assert added[: -short.size] == pytest.approx(added[short.size :], abs=1e-6)


def test_noise_that_is_none_is_refused_and_a_pause_in_it_is_not() -> None:
    for nothing in (np.empty(0, np.float32), np.zeros(100, np.float32)):
        with pytest.raises(EdgeSerError, match="silent"):
            add_noise(voice(), nothing, 5.0, 0)
    click = np.zeros(10 * RATE, np.float32)
    click[-1] = 1.0
    speech = voice(seconds=0.1)
    for seed in range(5):
        assert np.isfinite(added := add_noise(speech, click, 0.0, seed)).all()
        assert not np.array_equal(added, speech)


@pytest.mark.parametrize("slope_db", [0.0, 3.0, 6.0])
def test_synthetic_noise_falls_as_steeply_as_asked(slope_db: float) -> None:
    power = np.square(np.abs(np.fft.rfft(coloured_noise(2**18, slope_db, seed=0))))
    octaves = [power[2**k : 2 ** (k + 1)].mean() for k in range(8, 17)]
    slope = np.polyfit(range(len(octaves)), 10 * np.log10(octaves), 1)[0]
    assert slope == pytest.approx(-slope_db, abs=0.15)


# --- levels ------------------------------------------------------------------------------


def test_gain_is_exact_until_full_scale() -> None:
    speech = voice(level=0.05)
    assert decibels(rms(change_gain(speech, -20)) / rms(speech)) == pytest.approx(-20, abs=0.01)
    loud = change_gain(speech, 40)
    assert np.abs(loud).max() == 1.0
    inside = np.abs(speech) < 0.01
    assert loud[inside] == pytest.approx(100 * speech[inside], rel=1e-5)


def test_clipping_is_at_the_share_of_the_peak() -> None:
    speech = voice()
    cut = clip_peaks(speech, 0.3)
    limit = np.float32(0.3) * np.abs(speech).max()
    assert np.abs(cut).max() == pytest.approx(limit)
    assert np.array_equal(cut[np.abs(speech) < limit], speech[np.abs(speech) < limit])
    assert np.array_equal(clip_peaks(speech, 1.0), speech)
    with pytest.raises(EdgeSerError, match="share"):
        clip_peaks(speech, 0.0)


# --- bands -------------------------------------------------------------------------------


def attenuation(change: Callable[[Float32], Float32], hertz: float) -> float:
    """By how many decibels a steady tone comes out weaker, edges aside."""
    edge = RATE // 10
    before = tone(hertz)
    return -decibels((rms(change(before)[edge:-edge]) + 1e-9) / rms(before[edge:-edge]))


def test_a_telephone_passes_its_band_alone() -> None:
    assert attenuation(telephone, 1_000) == pytest.approx(0, abs=0.5)
    assert attenuation(telephone, 300) == pytest.approx(3, abs=0.7)
    assert attenuation(telephone, 100) > 30
    assert attenuation(telephone, 3_800) > 6
    assert attenuation(telephone, 6_000) > 60


def test_a_telephone_adds_the_codes_noise_and_not_more() -> None:
    """Mu-law's signal-to-quantization ratio is about 38 dB over a wide range of levels."""
    for level in (1.0, 0.1):
        heard = telephone(tone(1_000) * np.float32(level))[RATE // 10 : -RATE // 10]
        spectrum = np.square(np.abs(np.fft.rfft(heard * np.hanning(heard.size))))
        peak = int(spectrum.argmax())
        signal = spectrum[peak - 3 : peak + 4].sum()
        ratio = 10 * np.log10(signal / (spectrum.sum() - signal))
        assert 30 < ratio < 45


def test_a_source_of_8_khz_is_what_the_recogniser_makes_of_one() -> None:
    """Bit for bit: the runtime resamples such a recording by the same code."""
    speech = voice()
    there = resample(speech, RATE, 8_000)
    assert np.array_equal(narrow(speech), resample(there, 8_000, RATE)[: speech.size])
    assert attenuation(narrow, 3_000) == pytest.approx(0, abs=0.1)
    assert attenuation(narrow, 6_000) > 60


# --- rooms -------------------------------------------------------------------------------


@pytest.mark.parametrize(("decay_seconds", "direct_db"), [(0.2, 10.0), (0.5, 0.0), (0.8, -3.0)])
def test_a_room_has_the_decay_and_the_level_asked_for(
    decay_seconds: float, direct_db: float
) -> None:
    for room in range(3):
        response = room_response(decay_seconds, direct_db, room)
        tail = response.copy()
        tail[0] = 0.0
        assert response[0] == 1.0
        assert -10 * np.log10(np.sum(np.square(tail))) == pytest.approx(direct_db, abs=0.01)
        assert measure_decay(tail) == pytest.approx(decay_seconds, rel=0.05)


def test_a_decay_is_measured_as_it_is() -> None:
    """Of noise that falls by 60 dB in a known time."""
    time = np.arange(2 * RATE) / RATE
    noise = np.random.default_rng(0).normal(size=time.size) * 10 ** (-3 * time / 0.7)
    assert measure_decay(noise) == pytest.approx(0.7, rel=0.03)


def test_what_is_heard_in_a_room_is_its_response() -> None:
    """An impulse comes out as the response; a voice lasts longer than it was spoken."""
    click = np.zeros(RATE, np.float32)
    click[100] = 0.5
    heard = reverberate(click, 0.4, 6.0, seed=2)
    response = room_response(0.4, 6.0, 2)
    assert heard[100 : 100 + response.size] == pytest.approx(0.5 * response, abs=1e-5)
    assert heard[:100] == pytest.approx(0, abs=1e-6)
    speech = voice(level=0.02)
    pause = slice(RATE // 4 + 400, RATE // 4 + 2_000)
    assert not speech[pause].any()
    assert rms(reverberate(speech, 0.8, 0.0, seed=1)[pause]) > 0.1 * speech_rms(speech)


def test_rooms_differ_by_their_seed() -> None:
    speech = voice(level=0.02)
    one, two = (reverberate(speech, 0.4, 0.0, seed) for seed in (0, 1))
    assert not np.allclose(one, two, atol=1e-3)
