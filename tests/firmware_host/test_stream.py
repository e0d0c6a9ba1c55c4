"""A stream's events: the same whatever the portions, true in time, and none of what was lost."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_models import tiny_contract, write_tflite

from firmware_host.audio import resample
from firmware_host.decisions import EACH_WINDOW, NO_SPEECH, DecisionConfig
from firmware_host.errors import EdgeSerError
from firmware_host.golden import golden_waveform
from firmware_host.recognizer import EmotionRecognizer
from firmware_host.stream import Emotion, EmotionStream

CONTRACT = tiny_contract(rejection_threshold=0.4)
WINDOW, HOP = CONTRACT.window_samples, CONTRACT.hop_samples
RATE = 16_000
PCM = (golden_waveform(31, 90_000) * 32_768).astype(np.int16)
RATES = [8_000, 11_025, 16_000, 22_050, 24_414, 44_100, 48_000, 96_000]


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> EmotionRecognizer:
    return EmotionRecognizer(write_tflite(tmp_path_factory.mktemp("m") / "a.tflite", CONTRACT))


def feed(stream: EmotionStream, signal: NDArray[np.generic], sizes: list[int]) -> list[Emotion]:
    """Every event of a signal in portions of these sizes, over and over, and flushed."""
    events: list[Emotion] = []
    start = count = 0
    while start < signal.size:
        events += stream.feed(signal[start : start + sizes[count % len(sizes)]])
        start, count = start + sizes[count % len(sizes)], count + 1
    return events + stream.flush()


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 48_000), min_size=1, max_size=8).filter(lambda x: sum(x) > 500),
    rate=st.one_of(st.sampled_from(RATES), st.integers(4_000, 100_000)),
    as_float=st.booleans(),
    length=st.integers(1, PCM.size),
)
def test_the_events_are_the_same_whatever_the_portions(
    sizes: list[int], rate: int, as_float: bool, length: int, recognizer: EmotionRecognizer
) -> None:
    """Labels, probabilities, logits and times, bit for bit, at every rate and in both types."""
    whole = feed(recognizer.stream(rate), PCM[:length], [length])
    signal = PCM[:length] / np.float32(32_768) if as_float else PCM[:length]
    assert feed(recognizer.stream(rate), signal, sizes) == whole


@settings(max_examples=20, deadline=None)
@given(rate=st.sampled_from(RATES), sizes=st.lists(st.integers(500, 9_000), min_size=1))
def test_each_window_is_what_it_is_alone(
    rate: int, sizes: list[int], recognizer: EmotionRecognizer
) -> None:
    """Cut out of the stream at its own times and recognised offline: the same logits."""
    events = feed(recognizer.stream(rate), PCM, sizes)
    at_model_rate = resample(PCM.astype(np.float32) / np.float32(32_768), rate)
    for event in events[:: max(1, len(events) // 4)]:
        start, end = (round(at * RATE) for at in (event.start_seconds, event.end_seconds))
        (alone,) = recognizer.recognize(at_model_rate[start:end], RATE).windows
        assert alone.logits == event.logits
        assert alone.probabilities == event.probabilities


def test_times_are_exact(recognizer: EmotionRecognizer) -> None:
    for rate in (16_000, 44_100):
        for number, event in enumerate(feed(recognizer.stream(rate), PCM, [4_000])):
            assert event.window == number
            assert event.start_seconds == number * HOP / RATE
            assert event.end_seconds == (number * HOP + WINDOW) / RATE


def test_latency_is_from_the_last_samples_arrival(recognizer: EmotionRecognizer) -> None:
    stream = recognizer.stream()
    stream.feed(PCM[: WINDOW - 10], arrived=time.monotonic() - 100)
    second = stream.feed(PCM[WINDOW - 10 : WINDOW + HOP], arrived=time.monotonic() - 7)
    assert len(second) == 2
    for event in second:
        assert event.latency_ms is not None
        assert 7_000 <= event.latency_ms < 60_000
    (live,) = stream.feed(PCM[WINDOW + HOP : WINDOW + 2 * HOP])
    assert live.latency_ms is not None
    assert 0 <= live.latency_ms < 7_000
    windows = recognizer.recognize(PCM, RATE).windows
    assert all(event.latency_ms is None for event in windows), "a recording was there all the time"


def test_what_the_resampler_holds_back_counts_as_latency(recognizer: EmotionRecognizer) -> None:
    """A window that comes out with a later portion is as late as its own last sample says."""
    stream = recognizer.stream(48_000)
    end = 3 * WINDOW
    signal = np.resize(PCM, end + 48_000)
    assert stream.feed(signal[:end], arrived=time.monotonic() - 50) == []
    (event,) = stream.feed(signal[end : end + 6_000], arrived=time.monotonic())
    assert event.latency_ms is not None
    assert event.latency_ms >= 50_000


@settings(max_examples=25, deadline=None)
@given(
    rate=st.sampled_from([16_000, 22_050, 48_000]),
    before=st.integers(0, 60_000),
    lost=st.integers(0, 30_000),
)
def test_lost_samples_are_silence_in_the_right_place(
    rate: int, before: int, lost: int, recognizer: EmotionRecognizer
) -> None:
    """What is heard is what would be heard had silence arrived; and each event owns up."""
    stream = recognizer.stream(rate, EACH_WINDOW)
    events = stream.feed(PCM[:before]) + stream.lost(lost) + feed(stream, PCM[before:], [5_000])
    filled = np.concatenate([PCM[:before], np.zeros(lost, np.int16), PCM[before:]])
    wanted = {w.window: w for w in recognizer.recognize(filled, rate).windows}
    first, last = before / rate, (before + lost) / rate
    assert [event.window for event in events] == list(wanted)
    for event in events:
        assert event.logits == wanted[event.window].logits
        inside = min(event.end_seconds, last) - max(event.start_seconds, first)
        assert event.gap_ms == pytest.approx(1_000 * max(0.0, inside), abs=1e-6)
        nothing = event.gap_ms == 1_000 * (WINDOW / RATE)
        assert nothing == (first <= event.start_seconds and event.end_seconds <= last)
        assert (event.label == NO_SPEECH) == nothing


@pytest.mark.parametrize("rate", [16_000, 44_100, 24_414])
def test_an_hour_lost_costs_no_hour(rate: int, recognizer: EmotionRecognizer) -> None:
    """The device was unplugged: few events meanwhile, and afterwards the time is right."""
    seconds = 3_600
    stream = recognizer.stream(rate, EACH_WINDOW)
    stream.feed(PCM[:20_000])
    fed = count_feeds(stream)
    during = stream.lost(seconds * rate)
    assert sum(fed) < 60 * RATE
    assert len(during) < 60 * RATE / HOP
    assert {event.label for event in during if event.gap_ms == 1_000 * (WINDOW / RATE)} == {
        NO_SPEECH
    }
    after = feed(stream, PCM, [4_000])
    assert all(event.start_seconds > seconds - 3 for event in after)
    alone = [event for event in after if event.gap_ms == 0]
    # What is heard then is what is heard after a shorter loss that ends on the same grid.
    less = 16 * (seconds * RATE // (16 * HOP) - 3) * HOP * rate // RATE
    short = recognizer.stream(rate, EACH_WINDOW)
    short.feed(PCM[:20_000])
    short.lost(seconds * rate - less)
    again = [event for event in feed(short, PCM, [4_000]) if event.gap_ms == 0]
    assert [event.logits for event in alone] == [event.logits for event in again]


def count_feeds(stream: EmotionStream) -> list[int]:
    """The sizes, filled as they come, of what the features are computed of."""
    sizes: list[int] = []
    real = stream._extractor.feed

    def counted(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        sizes.append(samples.size)
        return real(samples)

    stream._extractor.feed = counted  # type: ignore[method-assign]
    return sizes


def test_a_negative_loss_is_refused(recognizer: EmotionRecognizer) -> None:
    with pytest.raises(EdgeSerError, match="-1 lost samples"):
        recognizer.stream().lost(-1)


def test_flush_and_reset_forget_losses_and_decisions(recognizer: EmotionRecognizer) -> None:
    config = DecisionConfig(smoothing_seconds=60.0, margin=0.5, hold_seconds=60.0)
    fresh = feed(recognizer.stream(decisions=config), PCM, [4_000])
    stream = recognizer.stream(decisions=config)
    for end in (stream.flush, stream.reset):
        stream.feed(PCM[::-1].copy())
        stream.lost(10_000)
        end()
        assert feed(stream, PCM, [4_000]) == fresh


def test_decisions_change_labels_and_nothing_else(recognizer: EmotionRecognizer) -> None:
    plain = feed(recognizer.stream(decisions=EACH_WINDOW), PCM, [4_000])
    calm = DecisionConfig(smoothing_seconds=2.0, hold_seconds=5.0, threshold=0.0, gate=False)
    smoothed = feed(recognizer.stream(decisions=calm), PCM, [4_000])
    assert len({event.label for event in smoothed}) < len({event.label for event in plain})
    for one, other in zip(plain, smoothed, strict=True):
        assert one.probabilities == one.smoothed == other.probabilities
        assert one.logits == other.logits
        assert other.probability == other.smoothed[other.label]


def test_events_are_plain_json(recognizer: EmotionRecognizer) -> None:
    (event, *_) = recognizer.stream().feed(PCM)
    data = event.to_dict()
    assert data["smoothed"].keys() == set(CONTRACT.labels)
    assert type(data["latency_ms"]) is float
    assert data["gap_ms"] == 0.0


def test_a_stream_does_not_grow(recognizer: EmotionRecognizer) -> None:
    """After a minute it remembers no more than after ten seconds, whatever was lost meanwhile."""
    stream = recognizer.stream(48_000)

    def remembered() -> int:
        for _ in range(60):
            stream.feed(PCM[:8_000])
            stream.lost(100)
        clock = stream._clock
        gate = stream._gate
        return len(clock._arrivals) + len(clock._gaps) + (len(gate._speech) if gate else 0)

    counts = [remembered() for _ in range(6)]
    assert max(counts[1:]) <= counts[0] + 5
