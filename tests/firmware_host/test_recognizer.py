"""A stream hears what the model computes, whatever the portions, and only its own samples."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import LABELS, reference_logits, tiny_contract, write_onnx, write_tflite

from firmware_host import EdgeSerError, EmotionRecognizer
from firmware_host.audio import resample
from firmware_host.decisions import EACH_WINDOW
from firmware_host.engines import installed_engines
from firmware_host.features import extract
from firmware_host.golden import golden_waveform
from firmware_host.recognizer import BOXED_ONNX, BOXED_TFLITE, UNCERTAIN, EmotionStream

CONTRACT = tiny_contract()
WINDOW, HOP = CONTRACT.window_samples, CONTRACT.hop_samples
SPEECH = golden_waveform(11, 50_000)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tflite(tmp_path_factory.mktemp("model") / "tiny.tflite", CONTRACT)


@pytest.fixture(scope="module")
def recognizer(model: Path) -> EmotionRecognizer:
    return EmotionRecognizer(model)


def test_windows_are_the_models_view_of_the_signal(recognizer: EmotionRecognizer) -> None:
    """Every window, computed another way: offline features, cut out, normalised, by hand."""
    heard = recognizer.recognize(SPEECH, 16_000).windows
    frames = extract(SPEECH, CONTRACT.features)
    assert len(heard) == 1 + (SPEECH.size - WINDOW) // HOP
    for index, emotion in enumerate(heard):
        wanted = reference_logits(CONTRACT.normalise(frames[index * 25 : index * 25 + 40]))
        assert np.allclose(emotion.logits, wanted, atol=1e-3)
        assert emotion.window == index
        assert emotion.start_seconds == index * HOP / 16_000
        assert emotion.end_seconds == (index * HOP + WINDOW) / 16_000
        powers = np.exp(np.array(emotion.logits, np.float64) / CONTRACT.temperature)
        probabilities = powers / powers.sum()
        assert np.allclose(list(emotion.probabilities.values()), probabilities)
        assert tuple(emotion.probabilities) == LABELS
        assert emotion.label == LABELS[int(np.argmax(probabilities))]
        assert emotion.probability == max(emotion.probabilities.values())


def test_a_recording_is_the_mean_of_its_windows(recognizer: EmotionRecognizer) -> None:
    heard = recognizer.recognize(SPEECH, 16_000)
    for label in LABELS:
        mean = np.mean([window.probabilities[label] for window in heard.windows])
        assert heard.probabilities[label] == pytest.approx(mean)
    assert heard.label == max(LABELS, key=lambda label: heard.probabilities[label])
    assert heard.probability == heard.probabilities[heard.label]
    assert heard.duration_seconds == 50_000 / 16_000


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 48_000), min_size=1, max_size=8))
def test_chunking_changes_no_bit(sizes: list[int], recognizer: EmotionRecognizer) -> None:
    """The device fed by a microphone must hear what evaluation heard in the file."""
    signal = SPEECH[:20_000]
    wanted = list(recognizer.recognize(signal, 16_000).windows)
    assert feed_in_portions(recognizer.stream(decisions=EACH_WINDOW), signal, sizes) == wanted


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_chunking_changes_no_bit_at_other_rates(rate: int, recognizer: EmotionRecognizer) -> None:
    whole = recognizer.recognize(SPEECH, rate)
    for sizes in ([1, 2, 3, 1_000], [4_410], [48_000, 7]):
        stream = recognizer.stream(rate, EACH_WINDOW)
        assert feed_in_portions(stream, SPEECH, sizes) == list(whole.windows)


def test_long_recordings_are_fed_in_portions(
    recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving memory must change nothing."""
    whole = recognizer.recognize(SPEECH, 48_000)
    monkeypatch.setattr("firmware_host.recognizer.FEED_SECONDS", 1)
    assert (
        recognizer.recognize(SPEECH[:48_001], 48_000).windows == whole.windows[: 1 + 9_601 // HOP]
    )
    assert recognizer.recognize(SPEECH, 48_000) == whole


def test_emotions_come_as_soon_as_their_window_is_full(recognizer: EmotionRecognizer) -> None:
    """Not one sample later: latency is what a listener feels."""
    stream = recognizer.stream(decisions=EACH_WINDOW)
    assert stream.feed(SPEECH[: WINDOW - 1]) == []
    assert len(stream.feed(SPEECH[WINDOW - 1 : WINDOW])) == 1
    assert stream.feed(SPEECH[WINDOW : WINDOW + HOP - 1]) == []
    assert len(stream.feed(SPEECH[WINDOW + HOP - 1 : WINDOW + 3 * HOP])) == 3
    assert stream.feed([]) == []


def test_a_clip_shorter_than_a_window_is_followed_by_silence(
    recognizer: EmotionRecognizer,
) -> None:
    """As in training: zeros, not a repeated or a stretched clip."""
    for length in (1, 399, 5_000, WINDOW - 1):
        padded = np.zeros(WINDOW, np.float32)
        padded[:length] = SPEECH[:length]
        short = recognizer.recognize(SPEECH[:length], 16_000)
        assert short.windows == recognizer.recognize(padded, 16_000).windows
        assert len(short.windows) == 1
        assert short.duration_seconds == length / 16_000


def test_any_type_and_channels_are_the_same_speech(recognizer: EmotionRecognizer) -> None:
    """int16, float64 and a doubled channel carry the same samples."""
    wanted = recognizer.recognize(SPEECH, 16_000)
    assert recognizer.recognize((SPEECH * 32768).astype(np.int16), 16_000) == wanted
    assert recognizer.recognize(SPEECH.astype(np.float64), 16_000) == wanted
    assert recognizer.recognize(np.stack([SPEECH, SPEECH], axis=1), 16_000) == wanted


def test_other_rates_are_heard_alike(recognizer: EmotionRecognizer) -> None:
    """48 kHz speech is the 16 kHz speech that it becomes."""
    direct = recognizer.recognize(resample(SPEECH, 48_000), 16_000)
    assert recognizer.recognize(SPEECH, 48_000).windows == direct.windows


def test_streams_share_nothing_but_the_model(recognizer: EmotionRecognizer) -> None:
    """Two callers at once must not hear each other."""
    signals = [golden_waveform(seed, 20_000) for seed in (1, 2, 3)]
    alone = [list(recognizer.recognize(signal, 16_000).windows) for signal in signals]
    streams = [recognizer.stream(decisions=EACH_WINDOW) for _ in signals]
    together: list[list[object]] = [[] for _ in signals]
    for start in range(0, 20_000, 700):
        for signal, stream, heard in zip(signals, streams, together, strict=True):
            heard.extend(stream.feed(signal[start : start + 700]))
    assert together == alone


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_flush_and_reset_make_a_stream_new(rate: int, recognizer: EmotionRecognizer) -> None:
    """Nothing of the last utterance may be heard in the next one."""
    wanted = list(recognizer.recognize(SPEECH[:30_000], rate).windows)
    stream = recognizer.stream(rate, EACH_WINDOW)
    for end in (stream.flush, stream.reset):
        stream.feed(golden_waveform(5, 40_001))
        end()
        assert feed_in_portions(stream, SPEECH[:30_000], [9_999]) == wanted
    assert stream.flush() == []


def test_refused_samples_leave_the_stream_as_it_was(recognizer: EmotionRecognizer) -> None:
    """A driver's one bad block must not end or poison a stream."""
    stream = recognizer.stream(decisions=EACH_WINDOW)
    heard = stream.feed(SPEECH[:12_345])
    for bad in (np.array([0.1, np.nan]), np.array([3000.0]), np.zeros(3, np.int32)):
        with pytest.raises(EdgeSerError):
            stream.feed(bad)
    heard += stream.feed(SPEECH[12_345:])
    assert heard == list(recognizer.recognize(SPEECH, 16_000).windows)


def test_below_the_threshold_nothing_is_claimed(tmp_path: Path) -> None:
    """A device that acts on emotions must be able to hear 'I do not know'."""
    model = write_tflite(tmp_path / "a.tflite", CONTRACT)
    sure = EmotionRecognizer(model).recognize(SPEECH, 16_000)
    weakest = min(window.probability for window in sure.windows)
    strongest = max(window.probability for window in sure.windows)
    threshold = (weakest + strongest) / 2
    contract = tiny_contract(rejection_threshold=threshold)
    model = write_tflite(tmp_path / "b.tflite", contract)
    unsure = EmotionRecognizer(model).recognize(SPEECH, 16_000)
    assert {window.label for window in unsure.windows} > {UNCERTAIN}
    for before, after in zip(sure.windows, unsure.windows, strict=True):
        assert after.probabilities == before.probabilities
        assert after.label == (before.label if before.probability >= threshold else UNCERTAIN)
    assert (unsure.label == UNCERTAIN) == (sure.probability < threshold)


def test_wrong_input_is_refused(recognizer: EmotionRecognizer, tmp_path: Path) -> None:
    with pytest.raises(EdgeSerError, match="no samples"):
        recognizer.recognize([], 16_000)
    with pytest.raises(EdgeSerError, match="NaN"):
        recognizer.recognize([np.nan], 16_000)
    with pytest.raises(EdgeSerError, match="sample rate of 0 Hz"):
        recognizer.recognize(SPEECH, 0)
    with pytest.raises(EdgeSerError, match="sample rate"):
        recognizer.stream(16)
    # A file of floats that were never scaled: the sentence must name it.
    soundfile.write(tmp_path / "loud.wav", SPEECH * 32768, 16_000, subtype="FLOAT")
    with pytest.raises(EdgeSerError, match=r"loud\.wav: .*full scale is 1"):
        recognizer.recognize_file(tmp_path / "loud.wav")


def test_files_of_any_format(recognizer: EmotionRecognizer, tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, SPEECH, 16_000, subtype="PCM_16")
        assert recognizer.recognize_file(tmp_path / name) == recognizer.recognize(SPEECH, 16_000)


@pytest.mark.parametrize("write", [write_onnx, write_tflite])
def test_self_test_measures_this_device(write: Callable[..., Path], tmp_path: Path) -> None:
    """Right on a right model; not fooled by one whose weights are others."""
    right = EmotionRecognizer(write(tmp_path / "right", CONTRACT)).self_test()
    assert right.features < 1e-3
    assert right.logits < 1e-3
    vector = CONTRACT.golden[0]
    wrong = tuple(logit + 1 for logit in vector.logits)
    contract = tiny_contract(golden=(type(vector)(1, vector.rows, vector.features, wrong),))
    assert EmotionRecognizer(write(tmp_path / "wrong", contract)).self_test().logits > 0.9
    contract = tiny_contract(golden=())
    with pytest.raises(EdgeSerError, match="no golden vectors"):
        EmotionRecognizer(write(tmp_path / "none", contract)).self_test()


def test_results_are_plain_json(recognizer: EmotionRecognizer) -> None:
    heard = recognizer.recognize(SPEECH, 16_000).to_dict()
    assert heard["windows"][0]["probabilities"].keys() == set(LABELS)
    assert type(heard["probability"]) is float


def test_importing_stays_light() -> None:
    """A Pi starts slowly enough: no library is loaded before it is used."""
    program = """
import sys, firmware_host
assert "numpy" not in sys.modules
firmware_host.EmotionRecognizer
heavy = {"torch", "onnx", "onnxruntime", "ai_edge_litert", "soundfile", "soxr", "scipy", "typer"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert all(hasattr(firmware_host, name) for name in firmware_host.__all__)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


@pytest.fixture(scope="module", params=[BOXED_TFLITE, BOXED_ONNX], ids=["tflite", "onnx"])
def boxed(request: pytest.FixtureRequest, need: Callable[[str], None]) -> EmotionRecognizer:
    if not request.param.is_file():
        need(f"{request.param.name} is not in the package")
    if not installed_engines(tflite=request.param == BOXED_TFLITE):
        need(f"no engine that reads {request.param.name} is installed")
    return EmotionRecognizer(request.param)


def test_boxed_model_computes_its_golden_vectors(boxed: EmotionRecognizer) -> None:
    """What is shipped must do on this machine what it did where it was made."""
    result = boxed.self_test()
    assert result.features < 0.01  # standard deviations: the rounding of other BLAS libraries
    spread = max(np.ptp(vector.logits) for vector in boxed.contract.golden)
    assert result.logits < 0.1 * spread  # a few int8 steps between kernels
    for vector in boxed.contract.golden:
        signal = golden_waveform(vector.seed, boxed.contract.window_samples)
        heard = boxed.recognize(signal, 16_000)
        assert int(np.argmax(heard.windows[0].logits)) == int(np.argmax(vector.logits))


def test_boxed_model_streams_as_it_recognises(boxed: EmotionRecognizer) -> None:
    """With the real, quantised, recurrent model: the same bits, and no state between windows."""
    signal = golden_waveform(21, 80_000)
    wanted = list(boxed.recognize(signal, 16_000).windows)
    assert len(wanted) > 3
    assert (
        feed_in_portions(boxed.stream(decisions=EACH_WINDOW), signal, [1_600, 3, 20_000]) == wanted
    )
    assert list(boxed.recognize(signal, 16_000).windows) == wanted
    offset = boxed.contract.hop_samples
    later = boxed.recognize(signal[offset:], 16_000).windows
    assert [window.logits for window in later] == [window.logits for window in wanted[1:]]


def test_without_a_path_the_boxed_model_is_taken(need: Callable[[str], None]) -> None:
    if not BOXED_TFLITE.is_file():
        need(f"{BOXED_TFLITE.name} is not in the package")
    recognizer = EmotionRecognizer()
    assert recognizer.model == BOXED_TFLITE
    assert len(recognizer.labels) == 7


def feed_in_portions(stream: EmotionStream, signal: np.ndarray, sizes: list[int]) -> list[object]:
    """All emotions of a signal fed in portions of these sizes, over and over, and flushed."""
    heard: list[object] = []
    start = count = 0
    while start < signal.size:
        size = sizes[count % len(sizes)]
        heard += stream.feed(signal[start : start + size])
        start, count = start + size, count + 1
    return heard + list(stream.flush())
