"""`Listener`: the same emotions by callback and by `async for`, in order, and a clean end."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing

import numpy as np
import pytest
from tiny_models import tiny_contract, write_tflite

from firmware_host import Captured, Emotion, EmotionRecognizer, Listener
from firmware_host.golden import golden_waveform

CONTRACT = tiny_contract()
RATE = CONTRACT.features.sample_rate
PORTION = RATE // 10
SOUND = (golden_waveform(2, 5 * RATE) * 32768).astype(np.int16)


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> EmotionRecognizer:
    return EmotionRecognizer(
        write_tflite(tmp_path_factory.mktemp("listener") / "tiny.onnx", CONTRACT)
    )


def portions(lost: int = 0) -> Iterator[Captured]:
    """The sound as a microphone hands it on; with so many samples lost in its middle."""
    for start in range(0, SOUND.size, PORTION):
        gap = lost if start == 20 * PORTION else 0
        yield Captured(SOUND[start : start + PORTION], RATE, gap, start / RATE)


class Endless:
    """A source that ends when it is told to, and counts what was read of it."""

    def __init__(self) -> None:
        self.stopped = False
        self.read = 0

    def __iter__(self) -> Iterator[Captured]:
        while not self.stopped:
            self.read += 1
            yield Captured(SOUND[:PORTION], RATE, 0, 0.0)

    def stop(self) -> None:
        self.stopped = True


class BrokenError(Exception):
    """What a source may raise."""


def broken() -> Iterator[Captured]:
    yield from list(portions())[:20]
    raise BrokenError("unplugged")


def heard(recognizer: EmotionRecognizer, lost: int = 0) -> list[Emotion]:
    """What a stream says, fed by hand."""
    stream = recognizer.stream(RATE)
    emotions = []
    for captured in portions(lost):
        emotions += stream.lost(captured.lost_samples) if captured.lost_samples else []
        emotions += stream.feed(captured.samples, captured.arrived)
    return emotions + stream.flush()


async def collect(listener: Listener) -> list[Emotion]:
    return [emotion async for emotion in listener]


@pytest.mark.parametrize("lost", [0, RATE // 3])
def test_every_way_hears_the_same(recognizer: EmotionRecognizer, lost: int) -> None:
    """What a stream that is fed by hand says; losses are accounted for."""
    expected = heard(recognizer, lost)
    assert len(expected) > 10
    assert any(emotion.gap_ms for emotion in expected) == bool(lost)
    told: list[Emotion] = []
    Listener(recognizer, portions(lost), on_event=told.append).run()
    assert told == expected
    told.clear()
    listener = Listener(recognizer, portions(lost), on_event=told.append, buffer_events=1)
    assert asyncio.run(collect(listener)) == expected
    assert told == expected


def test_what_goes_wrong_comes_out(recognizer: EmotionRecognizer) -> None:
    """Of the source and of the callback; what was heard before it is told."""
    told: list[Emotion] = []
    with pytest.raises(BrokenError, match="unplugged"):
        Listener(recognizer, broken(), on_event=told.append).run()
    assert told

    async def follow() -> list[Emotion]:
        got = []
        with pytest.raises(BrokenError, match="unplugged"):
            async for emotion in Listener(recognizer, broken()):
                got.append(emotion)
        return got

    assert asyncio.run(follow()) == told

    def refuse(emotion: Emotion) -> None:
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        asyncio.run(collect(Listener(recognizer, portions(), on_event=refuse)))


def test_who_is_busy_makes_the_reader_wait(recognizer: EmotionRecognizer) -> None:
    """No more is read than there is room for, however long somebody is busy; none is lost."""

    async def follow() -> None:
        source = Endless()
        listener = Listener(recognizer, source, buffer_events=4)
        async with aclosing(aiter(listener)) as emotions:
            windows = [(await anext(emotions)).window]
            before = -1
            while source.read != before:  # until the reader stands still
                before = source.read
                await asyncio.sleep(0.1)
            per_event = CONTRACT.hop_samples // PORTION + 1
            assert source.read <= CONTRACT.window_samples // PORTION + 1 + per_event * 6
            windows += [(await anext(emotions)).window for _ in range(20)]
            assert windows == list(range(21))

    asyncio.run(follow())


def test_an_iteration_that_is_left_ends_its_thread_and_its_source(
    recognizer: EmotionRecognizer,
) -> None:
    """By leaving, by being cancelled, and while the reader waits for room."""

    async def leave() -> Endless:
        source = Endless()
        async with aclosing(aiter(Listener(recognizer, source, buffer_events=1))) as emotions:
            async for _ in emotions:
                break
        return source

    async def cancel() -> Endless:
        source = Endless()
        started = asyncio.Event()

        async def follow() -> None:
            async with aclosing(aiter(Listener(recognizer, source))) as emotions:
                async for _ in emotions:
                    started.set()

        task = asyncio.create_task(follow())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return source

    for way in (leave, cancel):
        assert asyncio.run(way()).stopped
        names = [thread.name for thread in threading.enumerate()]
        assert "edge-ser-listener" not in names, way.__name__


def test_stop_ends_it_from_another_thread(recognizer: EmotionRecognizer) -> None:
    told = threading.Event()
    listener = Listener(recognizer, Endless(), on_event=lambda emotion: told.set())
    thread = threading.Thread(target=listener.run)
    thread.start()
    assert told.wait(30)
    listener.stop()
    thread.join(30)
    assert not thread.is_alive()
