"""A microphone and a recogniser as one: emotions by callback, or as an async iterator."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

from firmware_host.capture import Captured
from firmware_host.decisions import DecisionConfig
from firmware_host.recognizer import EmotionRecognizer
from firmware_host.stream import Emotion

BUFFER_EVENTS = 40  # ten seconds of four a second: as much as a microphone's own buffer


class Listener:
    """Hears emotions in a source of sound.

    >>> with Microphone() as microphone:                               # doctest: +SKIP
    ...     Listener(recognizer, microphone, on_event=print).run()     # until `stop`

    >>> async def follow() -> None:                                    # doctest: +SKIP
    ...     async for emotion in Listener(recognizer, microphone):
    ...         print(emotion.label)

    What the source or the recogniser raises comes out of `run` or of the `async for`. A
    listener listens once.

    Args:
        recognizer: may serve other listeners at the same time.
        source: portions of sound, such as a `Microphone`. If it has a method `stop`, that is
            called to end it.
        on_event: called with each emotion as it is heard, from the thread that reads the
            source; what it raises ends the listening.
        decisions: how labels are decided; None: as `DecisionConfig` has it.
        buffer_events: how many emotions wait for an `async for` that is busy; when there are
            more, reading waits, and the source counts what it must throw away.
    """

    def __init__(
        self,
        recognizer: EmotionRecognizer,
        source: Iterable[Captured],
        on_event: Callable[[Emotion], object] | None = None,
        *,
        decisions: DecisionConfig | None = None,
        buffer_events: int = BUFFER_EVENTS,
    ) -> None:
        self._recognizer, self._source = recognizer, source
        self._on_event = on_event
        self._decisions = decisions
        self._room = threading.Semaphore(buffer_events)
        self._stopped = False

    def run(self) -> None:
        """Listen in this thread until the source ends, or `stop` is called from another."""
        for _ in self._emotions():
            pass

    def stop(self) -> None:
        """End the listening soon; for any thread."""
        self._stopped = True
        stop = getattr(self._source, "stop", None)
        if stop is not None:
            stop()
        self._room.release()  # a reader that waits for room goes on, and finds that it is over

    async def __aiter__(self) -> AsyncGenerator[Emotion, None]:
        """The emotions, read by a thread that ends with the iteration.

        Who leaves it early calls `stop`, or closes it (`contextlib.aclosing`), which waits for
        the thread.
        """
        loop = asyncio.get_running_loop()
        heard: asyncio.Queue[Emotion | BaseException | None] = asyncio.Queue()

        def hand_over(item: Emotion | BaseException | None) -> None:
            loop.call_soon_threadsafe(heard.put_nowait, item)

        def read() -> None:
            try:
                for emotion in self._emotions():
                    self._room.acquire()
                    hand_over(emotion)
            except BaseException as error:  # raised again where the emotions are awaited
                hand_over(error)
            else:
                hand_over(None)

        # A thread of its own: those of asyncio's pool are few, and awaited at the program's end.
        reader = threading.Thread(target=read, name="edge-ser-listener", daemon=True)
        reader.start()
        try:
            while (item := await heard.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                self._room.release()
                yield item
        finally:
            self.stop()
            await asyncio.to_thread(reader.join)

    def _emotions(self) -> Iterator[Emotion]:
        """What is heard, until the source ends or is stopped; at its own end all that is due."""
        stream = None
        for captured in self._source:
            if self._stopped:
                return
            if stream is None:
                stream = self._recognizer.stream(captured.rate, self._decisions)
            emotions = stream.lost(captured.lost_samples) if captured.lost_samples else []
            emotions += stream.feed(captured.samples, captured.arrived)
            yield from self._told(emotions)
        if stream is not None and not self._stopped:
            yield from self._told(stream.flush())

    def _told(self, emotions: list[Emotion]) -> Iterator[Emotion]:
        for emotion in emotions:
            if self._stopped:
                return
            if self._on_event is not None:
                self._on_event(emotion)
            yield emotion
