"""Any recording arrives as mono float32; what is none ends in one sentence."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_host.audio import StreamResampler, check_rate, check_samples, read_audio, resample
from firmware_host.errors import EdgeSerError
from firmware_host.golden import golden_waveform

SPEECH = golden_waveform(1, 8_000)


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "PCM_24"),
        ("a.wav", "FLOAT"),
        ("a.aiff", "PCM_16"),
        ("a.flac", "PCM_16"),
        ("a.au", "PCM_16"),
    ],
)
def test_lossless_formats_come_back_exactly(tmp_path: Path, name: str, subtype: str) -> None:
    path = tmp_path / name
    soundfile.write(path, SPEECH, 16_000, subtype=subtype)
    samples, rate = read_audio(path)
    assert rate == 16_000
    assert samples.dtype == np.float32
    assert np.array_equal(samples, SPEECH)


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3"])
def test_lossy_formats_are_read(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, golden_waveform(1, 48_000), 48_000)
    samples, rate = read_audio(tmp_path / name)
    assert rate == 48_000
    assert samples.ndim == 1
    assert 0.1 < np.abs(samples).max() < 0.5


def test_content_counts_and_not_the_name(tmp_path: Path) -> None:
    """Corpora hold AIFF files named .wav."""
    soundfile.write(tmp_path / "a.aiff", SPEECH, 16_000)
    shutil.move(tmp_path / "a.aiff", tmp_path / "a.wav")
    assert np.array_equal(read_audio(tmp_path / "a.wav")[0], SPEECH)


def test_channels_are_averaged(tmp_path: Path) -> None:
    stereo = np.stack([SPEECH, -0.5 * SPEECH], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, 44_100, subtype="FLOAT")
    samples, rate = read_audio(tmp_path / "a.wav")
    assert rate == 44_100
    assert np.allclose(samples, 0.25 * SPEECH, atol=1e-7)


def test_long_files_are_read_whole(tmp_path: Path) -> None:
    """Reading goes in blocks: none may be lost or doubled."""
    signal = golden_waveform(2, 200_001)
    soundfile.write(tmp_path / "a.wav", signal, 16_000, subtype="PCM_16")
    assert np.array_equal(read_audio(tmp_path / "a.wav")[0], signal)


def test_what_is_no_recording_is_refused_with_the_reason(tmp_path: Path) -> None:
    def refused(path: Path, reason: str) -> None:
        with pytest.raises(EdgeSerError, match=reason) as caught:
            read_audio(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "missing.wav", "no such audio file")
    refused(tmp_path, "a folder")
    empty = tmp_path / "empty.wav"
    empty.touch()
    refused(empty, "0 bytes")
    text = tmp_path / "text.wav"
    text.write_text("This is no audio.\n" * 20)
    refused(text, "not readable as audio")
    silent = tmp_path / "nothing.wav"
    soundfile.write(silent, np.empty(0, np.float32), 16_000)
    refused(silent, "no samples")
    for value in (np.nan, np.inf):
        soundfile.write(
            tmp_path / "nan.wav", np.array([0, value, 0], np.float32), 16_000, subtype="FLOAT"
        )
        refused(tmp_path / "nan.wav", "NaN or infinite")
    raw = tmp_path / "samples.raw"
    raw.write_bytes(b"\0" * 100)
    refused(raw, "--format and --rate")


def test_a_cut_recording_gives_what_is_there(tmp_path: Path) -> None:
    """A recorder that lost power leaves a header that promises too much."""
    soundfile.write(tmp_path / "a.wav", SPEECH, 16_000, subtype="PCM_16")
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(whole[: len(whole) // 2])
    samples, _ = read_audio(tmp_path / "a.wav")
    assert 0 < samples.size < SPEECH.size
    assert np.array_equal(samples, SPEECH[: samples.size])


def test_int16_is_scaled_exactly() -> None:
    samples = check_samples(np.array([-32768, 0, 16384, 32767], np.int16))
    assert samples.dtype == np.float32
    assert samples.tolist() == [-1.0, 0.0, 0.5, 32767 / 32768]


def test_samples_of_other_shapes_and_types() -> None:
    assert check_samples([0.5, -0.5]).dtype == np.float32
    assert check_samples(np.zeros((7, 2))).shape == (7,)
    assert check_samples(np.zeros((7, 1), np.int16)).shape == (7,)
    assert check_samples([]).shape == (0,)
    assert check_samples(np.zeros((0, 2), np.int16)).shape == (0,)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros((2, 16_000)), "transpose"),
        (np.zeros((2, 2, 2)), "shape"),
        (np.float32(0.5), "shape"),
        (np.zeros((7, 0)), "shape"),
        (np.zeros(7, np.int32), "int32"),
        (np.zeros(7, complex), "complex"),
        (["loud"], "type"),
        ([0.0, np.nan], "NaN"),
        ([0.0, -np.inf], "infinite"),
        ([1e39], "full scale is 1"),
        (np.array([0, -3_000], np.float32), "divide by 32768"),
    ],
)
def test_wrong_samples_are_refused_with_the_reason(samples: object, reason: str) -> None:
    with pytest.raises(EdgeSerError, match=reason):
        check_samples(samples)  # type: ignore[arg-type]


def test_overshoot_is_no_error() -> None:
    """A loud master clipped in a codec goes a little beyond full scale."""
    assert check_samples(np.array([1.5, -2.0], np.float32)).tolist() == [1.5, -2.0]


@pytest.mark.parametrize("rate", [0, -16_000, 16, 44_100.5, 10**7, float("nan"), True])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(EdgeSerError, match="sample rate"):
        check_rate(rate)


def test_equal_rates_pass_through_untouched() -> None:
    assert np.array_equal(resample(SPEECH, 16_000), SPEECH)
    assert StreamResampler(16_000).feed(SPEECH) is SPEECH


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_a_tone_stays_the_same_tone_at_the_same_time(rate: int) -> None:
    """Neither pitch nor level nor time may shift on the way to 16 kHz."""
    frequency = 1_000.0
    tone = np.sin(2 * np.pi * frequency * np.arange(rate) / rate).astype(np.float32)
    result = resample(tone, rate)
    wanted = np.sin(2 * np.pi * frequency * np.arange(16_000) / 16_000)
    assert result.size == 16_000
    inside = slice(1_600, -1_600)  # the ends see the silence around the signal
    assert np.abs(result[inside] - wanted[inside]).max() < 1e-4


def test_what_16_khz_cannot_hold_is_gone() -> None:
    """A 10 kHz tone at 48 kHz must not fold down to 6 kHz."""
    tone = np.sin(2 * np.pi * 10_000 * np.arange(48_000) / 48_000).astype(np.float32)
    assert np.abs(resample(tone, 48_000)[1_600:-1_600]).max() < 1e-4


@settings(max_examples=30, deadline=None)
@given(
    rate=st.sampled_from([8_000, 22_050, 44_100, 48_000]),
    sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=20),
)
def test_chunking_changes_no_bit(rate: int, sizes: list[int]) -> None:
    """A microphone's portions and a whole file must give the same samples."""
    signal = golden_waveform(3, 30_000)
    stream = StreamResampler(rate)
    cuts = np.cumsum(sizes)
    parts = [stream.feed(part) for part in np.split(signal, cuts[cuts < signal.size])]
    assert np.array_equal(np.concatenate([*parts, stream.flush()]), resample(signal, rate))
    # After flush it is as new.
    assert np.array_equal(
        np.concatenate([stream.feed(signal), stream.flush()]), resample(signal, rate)
    )
