"""Stored features and batches: what training sees is what the runtime computes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_models import tiny_contract
from tone_corpus import write_tone_corpus

from edge_ser.augment import AugmentConfig, FeatureAugmenter, add_cepstra, augment_waveform
from edge_ser.augment import limit_range as limit_in_training
from edge_ser.corpora import Clip, load_corpus
from edge_ser.dataset import (
    STORED_KINDS,
    ClipFeatures,
    Normaliser,
    TrainingBatches,
    limited,
    normalisation_of,
    read_clips,
    recognition_windows,
)
from edge_ser.surroundings import SurroundingsConfig
from firmware_host.audio import read_audio
from firmware_host.features import KINDS, FeatureConfig, extract, limit_range
from firmware_host.normalisation import Normalisation

FEATURES, WINDOW, HOP = FeatureConfig(), 320, 25
HALF_PRECISION_DB = 0.05  # of a log-mel value up to 80 dB, stored as float16


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return load_corpus(write_tone_corpus(tmp_path_factory.mktemp("corpora")), "RAVDESS")[:12]


def test_cepstra_derived_from_stored_features_are_those_of_the_signal(clips: list[Clip]) -> None:
    samples, _ = read_audio(clips[0].path)
    stored = torch.from_numpy(extract(samples, replace(FEATURES, kinds=STORED_KINDS)))
    np.testing.assert_allclose(
        add_cepstra(stored, FEATURES).numpy(), extract(samples, FEATURES), atol=1e-3
    )


def test_validation_windows_are_the_runtimes(tmp_path: Path) -> None:
    """A short clip is followed by silence; a long one is covered at the hop."""
    random = np.random.default_rng(0)
    for seconds, windows in ((1.0, 1), (3.215, 1), (3.5, 2), (5.0, 8)):
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, 0.1 * random.standard_normal(int(seconds * 16_000)), 16_000)
        clip = Clip("RAVDESS", path, "01", "m", "happy", "01", "01")
        (read,) = read_clips([clip], [0], FEATURES, at_least_frames=WINDOW)
        got = limited(recognition_windows(read, WINDOW, HOP), FEATURES)
        assert got.shape == (windows, WINDOW, 64)
        samples, _ = read_audio(path)
        padded = np.pad(samples, (0, max(0, FEATURES.samples_for(WINDOW) - samples.size)))
        whole = extract(padded, FEATURES)
        expected = np.stack([whole[HOP * i : HOP * i + WINDOW] for i in range(windows)])
        expected = np.stack([limit_range(window, FEATURES) for window in expected])
        log_mel = slice(0, FEATURES.n_mels)
        np.testing.assert_allclose(
            got.numpy()[..., log_mel], expected[..., log_mel], atol=HALF_PRECISION_DB
        )


@pytest.mark.parametrize("kinds", [KINDS, ("mfcc",), ("log_mel", "zcr")])
def test_training_limits_and_normalises_as_the_device_does(kinds: tuple[str, ...]) -> None:
    features = FeatureConfig(kinds=kinds)
    some = np.linspace(1, 20, features.n_features).tolist()
    how = Normalisation.of(features, tuple(some), tuple(some))
    contract = tiny_contract(features=features, normalisation=how, golden=())
    stored = torch.from_numpy(np.random.default_rng(0).normal(-30, 10, (3, 40, 42)))
    frames = add_cepstra(stored.float(), features)
    limited = add_cepstra(limit_in_training(stored.float(), features), features)
    assert torch.equal(limited, frames) == ("log_mel" not in kinds)
    ours = Normaliser.of(contract.normalisation)(limited)
    wanted = np.stack([contract.normalise(window) for window in frames.numpy()])
    np.testing.assert_allclose(ours.numpy(), wanted, atol=1e-5)


def test_an_epoch_is_determined_by_seed_and_number(clips: list[Clip]) -> None:
    augment = AugmentConfig(copies=1)
    read = read_clips(clips, [0, 1, 2] * 4, FEATURES, augment)
    normalisation = normalisation_of(read, FEATURES)

    def make(seed: int) -> TrainingBatches:
        return TrainingBatches(read, FEATURES, WINDOW, normalisation, augment, 4, seed)

    first, again = list(make(0).epoch(3)), list(make(0).epoch(3))
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.inputs, other.inputs) and torch.equal(one.labels, other.labels)
    assert not torch.equal(first[0].inputs, next(make(0).epoch(4)).inputs)
    assert not torch.equal(first[0].inputs, next(make(1).epoch(3)).inputs)


def test_many_people_count_for_more_than_many_recordings() -> None:
    """One voice of class 0 and sixteen of class 1, as many recordings of each."""
    frames = np.zeros((WINDOW, FEATURES.n_mels + 2), np.float16)
    some = [
        ClipFeatures(Clip("TESS", Path(f"{n}.wav"), who, "f", "happy", "", ""), label, (frames,))
        for n in range(64)
        for label, who in ((0, "YAF"), (1, f"{n % 16:02}"))
    ]
    normalisation = normalisation_of(some, FEATURES)
    quiet = AugmentConfig(copies=0, mixup=0.0).undisturbed
    batches = TrainingBatches(some, FEATURES, WINDOW, normalisation, quiet, 64, 0)
    drawn = torch.cat([batch.labels for number in range(8) for batch in batches.epoch(number)])
    # The root of 64 recordings, and sixteen times that of four: a fifth, of 1,024 draws.
    deviation = (0.2 * 0.8 / len(drawn)) ** 0.5
    assert abs(float((drawn == 0).float().mean()) - 0.2) < 4 * deviation


def test_what_teachers_are_asked_about_comes_beside_and_changes_no_label(
    clips: list[Clip],
) -> None:
    """Undisturbed and normalised as one's own; others anew in every epoch, also where few."""
    quiet = AugmentConfig(copies=1, mixup=0.0, time_masks=0, mel_masks=0, max_gain_db=0.0)
    noisy = replace(quiet, surroundings=SurroundingsConfig(noise_share=1.0, band_share=0.0))
    read = read_clips(clips, [0, 1, 2] * 4, FEATURES, noisy)
    normalisation = normalisation_of(read, FEATURES)

    def make(some: list[ClipFeatures], augment: AugmentConfig, floor: float) -> TrainingBatches:
        own = replace(normalisation, std_floor=floor)
        return TrainingBatches(some, FEATURES, WINDOW, own, augment, 2, 0)

    alone = make(read, noisy, 1.0)
    plain = list(alone.epoch(0))
    silent = list(make(read, quiet.undisturbed, 1.0).epoch(0))
    for some in (read[:3], [*read, *read]):
        others = make(some, noisy, 9.0)
        both = alone.for_pupil(others)
        seen = [batch.inputs[2:] for number in (0, 1) for batch in both.epoch(number)]
        assert len({float(one.sum()) for one in seen}) == len(seen) == 2 * len(plain)
        first = next(both.epoch(0))
        assert torch.equal(first.inputs[:2], plain[0].inputs)
        assert torch.equal(first.labels, plain[0].labels) and len(first.inputs) == 4
        assert torch.equal(first.inputs[2:], next(make(some, noisy, 1.0).epoch(0)).inputs)
        assert not torch.equal(first.inputs[2:], next(others.epoch(0)).inputs)
        assert first.undisturbed is not None and first.undisturbed.shape == first.inputs.shape
        assert torch.equal(first.undisturbed[:2], silent[0].inputs)
        assert not torch.equal(first.undisturbed, first.inputs)
        assert torch.equal(next(both.alone().epoch(0)).inputs, plain[0].inputs)
        assert next(both.alone().epoch(0)).undisturbed is None


def test_only_training_clips_have_copies(clips: list[Clip]) -> None:
    """A clip for validation or test is the recording itself and nothing else."""
    assert all(len(c.copies) == 1 for c in read_clips(clips[:2], [0, 0], FEATURES))
    augmented = read_clips(clips[:2], [0, 0], FEATURES, AugmentConfig(copies=3))
    assert all(len(c.copies) == 4 for c in augmented)
    again = read_clips(clips[:2], [0, 0], FEATURES, AugmentConfig(copies=3), jobs=2)
    for one, other in zip(augmented, again, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.copies, other.copies, strict=True))


def test_a_waveform_copy_keeps_the_speech_and_full_scale() -> None:
    time = np.arange(16_000) / 16_000
    tone = (0.9 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    for seed in range(10):
        copy = augment_waveform(tone, 16_000, AugmentConfig(), seed)
        assert np.abs(copy).max() <= 1.0 and np.isfinite(copy).all()
        assert 0.85 * tone.size < copy.size < 1.15 * tone.size
        peak_hz = np.abs(np.fft.rfft(copy)).argmax() * 16_000 / copy.size
        assert 440 * 0.85 < peak_hz < 440 * 1.15


def test_a_change_of_level_is_the_features_of_the_louder_signal() -> None:
    """The augmenter's gain on stored features equals a gain on the waveform."""
    samples = np.random.default_rng(0).normal(0, 0.05, 51_440).astype(np.float32)
    kinds = replace(FEATURES, kinds=STORED_KINDS)
    only_gain = AugmentConfig(
        time_masks=0,
        mel_masks=0,
        max_gain_db=6.0,
        surroundings=SurroundingsConfig(noise_share=0.0, band_share=0.0),
    )
    stored = torch.from_numpy(extract(samples, kinds))[None]
    got = FeatureAugmenter(only_gain, FEATURES)(stored, torch.Generator().manual_seed(1))[0]
    gain_db = float((got[0, 0] - stored[0, 0, 0]).item())
    assert 0.1 < abs(gain_db) <= 6.0
    louder = extract(samples * np.float32(10 ** (gain_db / 20)), kinds)
    np.testing.assert_allclose(got.numpy(), louder, rtol=1e-3, atol=1e-3)
