"""The features: librosa's definition, and the same bits under any chunking."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from firmware_host.errors import EdgeSerError
from firmware_host.features import (
    KINDS,
    FeatureConfig,
    FeatureExtractor,
    dct_matrix,
    extract,
    limit_range,
)

CONFIG = FeatureConfig()
COLUMNS = {
    "log_mel": slice(0, 40),
    "mfcc": slice(40, 62),
    "rms": slice(62, 63),
    "zcr": slice(63, 64),
}
RELATIVE_TOLERANCE = 1e-4


def speechlike(seconds: float, seed: int) -> NDArray[np.float32]:
    """A gliding harmonic tone under syllables, with noise and a pause of digital silence."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16_000)) / 16_000
    pitch = 120 + 60 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / 16_000
    tone = sum(np.sin(k * phase) / k for k in range(1, 20))
    signal = 0.1 * tone * np.abs(np.sin(2 * np.pi * 2 * time)) + 0.001 * random.normal(
        size=time.size
    )
    signal[: time.size // 8] = 0
    return np.asarray(signal, np.float32)


def librosa_features(signal: NDArray[np.float32], config: FeatureConfig) -> NDArray[np.float32]:
    """The same features by librosa's own functions and the same constants."""
    librosa = pytest.importorskip("librosa")  # a device has none
    framing = {"hop_length": config.hop_length, "center": False}
    mel = librosa.feature.melspectrogram(
        y=signal,
        sr=config.sample_rate,
        n_fft=config.frame_length,
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax,
        **framing,
    )
    log_mel = librosa.power_to_db(mel, amin=config.log_floor, top_db=None)
    mfcc = librosa.feature.mfcc(S=log_mel, n_mfcc=config.n_mfcc)
    rms = librosa.feature.rms(y=signal, frame_length=config.frame_length, **framing)
    zcr = librosa.feature.zero_crossing_rate(signal, frame_length=config.frame_length, **framing)
    return np.asarray(np.concatenate([log_mel, mfcc, rms, zcr]).T, np.float32)


def assert_equal_to_librosa(signal: NDArray[np.float32]) -> None:
    ours, theirs = extract(signal, CONFIG), librosa_features(signal, CONFIG)
    assert ours.shape == theirs.shape
    for kind, columns in COLUMNS.items():
        # Relative to the value itself, or, where a value passes through zero (decibels,
        # cepstra), to the feature's own mean magnitude: zero has no relative error.
        scale = float(np.abs(theirs[:, columns]).mean())
        np.testing.assert_allclose(
            ours[:, columns],
            theirs[:, columns],
            rtol=RELATIVE_TOLERANCE,
            atol=RELATIVE_TOLERANCE * scale,
            err_msg=kind,
        )


@pytest.mark.parametrize("seed", range(3))
def test_features_equal_librosas_on_a_synthetic_signal(seed: int) -> None:
    assert_equal_to_librosa(speechlike(3.0, seed))


def test_features_equal_librosas_on_real_speech(corpora_dir: Path) -> None:
    for name in (
        "EmoDB/03a01Fa.flac",
        "RAVDESS/Actor_01/03-01-05-02-01-01-01.flac",  # much digital silence
        "BanglaSER/03-01-01-01-01-01-03.flac",
        "noise/running_tap.flac",
    ):
        signal, _ = soundfile.read(corpora_dir / name, dtype="float32")
        assert_equal_to_librosa(signal)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 8_000), min_size=1, max_size=40), st.integers(0, 2**16))
def test_any_chunking_gives_the_same_bits(chunks: list[int], seed: int) -> None:
    signal = speechlike(1.5, seed)
    whole = extract(signal, CONFIG)
    extractor, parts, position = FeatureExtractor(CONFIG), [], 0
    for size in [*chunks, signal.size]:
        parts.append(extractor.feed(signal[position : position + size]))
        position += size
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@given(st.integers(0, 100))
@settings(deadline=None, max_examples=20)
def test_a_frame_does_not_depend_on_where_it_stands(first: int) -> None:
    """A window cut out of a stream has the same bits as the same samples on their own."""
    signal = speechlike(2.0, 7)
    whole = extract(signal, CONFIG)
    assert extract(signal[first * 160 :], CONFIG).tobytes() == whole[first:].tobytes()


def test_reset_forgets_the_pending_samples() -> None:
    extractor = FeatureExtractor(CONFIG)
    extractor.feed(np.ones(300, np.float32))
    extractor.reset()
    signal = speechlike(0.5, 1)
    assert extractor.feed(signal).tobytes() == extract(signal, CONFIG).tobytes()


def test_a_model_may_use_some_of_the_features() -> None:
    signal = speechlike(1.0, 2)
    whole = extract(signal, CONFIG)
    for kind in KINDS:
        some = extract(signal, FeatureConfig(kinds=(kind,)))
        np.testing.assert_array_equal(some, whole[:, COLUMNS[kind]])


def test_digital_silence_is_the_floor_and_finite() -> None:
    features = extract(np.zeros(16_000, np.float32), CONFIG)
    np.testing.assert_allclose(features[:, COLUMNS["log_mel"]], -80.0, rtol=1e-6)
    assert np.isfinite(features).all()


def test_a_windows_range_is_limited_below_its_loudest() -> None:
    """As librosa's `top_db`, with the cepstra of what is left; the rest stays."""
    window = extract(speechlike(1.0, 3), CONFIG)
    limited = limit_range(window, CONFIG)
    log_mel, mfcc = window[:, COLUMNS["log_mel"]], limited[:, COLUMNS["mfcc"]]
    wanted = np.maximum(log_mel, log_mel.max() - CONFIG.top_db)
    assert (wanted > log_mel).any()
    np.testing.assert_array_equal(limited[:, COLUMNS["log_mel"]], wanted)
    np.testing.assert_allclose(mfcc, wanted @ dct_matrix(CONFIG.n_mels, CONFIG.n_mfcc), atol=1e-3)
    for kind in ("rms", "zcr"):
        np.testing.assert_array_equal(limited[:, COLUMNS[kind]], window[:, COLUMNS[kind]])


def test_zeros_a_quiet_room_and_a_soft_voice_are_alike_when_limited() -> None:
    """What surrounds a recording says nothing, nor does a level that log-mel's floor would see."""
    speech = speechlike(1.0, 4)
    room = np.random.default_rng(0).normal(0, 1e-4 * np.abs(speech).max(), 24_000)
    log_mel = COLUMNS["log_mel"]

    def heard(signal: NDArray[np.floating]) -> Any:
        limited = limit_range(extract(signal.astype(np.float32), CONFIG), CONFIG)[:, log_mel]
        return limited - limited.max()

    surrounded = np.zeros(24_000, np.float32)
    surrounded[:16_000] = speech
    np.testing.assert_allclose(heard(surrounded + room), heard(surrounded), atol=0.5)
    np.testing.assert_allclose(heard(0.1 * surrounded), heard(surrounded), atol=1e-3)


def test_without_log_mel_nothing_is_limited() -> None:
    config = FeatureConfig(kinds=("mfcc", "rms"))
    window = extract(speechlike(1.0, 3), config)
    assert limit_range(window, config) is window


def test_constants_survive_json_and_any_change_changes_the_digest() -> None:
    again = FeatureConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict())))
    assert again == CONFIG and again.digest() == CONFIG.digest()
    assert FeatureConfig(n_mels=41).digest() != CONFIG.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"fmax": 9_000.0},
        {"hop_length": 0},
        {"kinds": ["zcr", "rms"]},
        {"n_mels": "40"},
        {"log_floor": float("nan")},
        {"top_db": 0.0},
        {"surprise": 1},
    ],
)
def test_impossible_constants_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(EdgeSerError):
        FeatureConfig.from_dict(CONFIG.to_dict() | change)
