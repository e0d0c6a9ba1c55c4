"""A microphone: sound as it is captured, with every sample that was lost accounted for.

PortAudio calls back from a thread of its own, where samples are only copied into a ring
buffer; who iterates over the microphone takes them from there. A device that is unplugged is
waited for, and the time without it is counted as lost.
"""

import time
from collections.abc import Callable, Iterator
from threading import Event
from types import TracebackType
from typing import Any, Self

import numpy as np

from firmware_host import portaudio
from firmware_host.capture import Captured
from firmware_host.errors import EdgeSerError
from firmware_host.portaudio import Device, list_devices
from firmware_host.ring import RingBuffer

__all__ = ["Device", "Microphone", "list_devices"]

BLOCK_SECONDS = 0.1  # captured at once: far below a hop, and a callback costs next to nothing
BUFFER_SECONDS = 10.0  # how long whoever listens may be busy before samples are lost
LOOK_SECONDS = 0.2  # between looks at whether the device is still there
SILENT_SECONDS = 3.0  # without a block: the device is gone. A sound server may need one to begin.
RETRY_SECONDS = 1.0  # between attempts to open a device that is gone


class Microphone:
    """A device that captures sound, and an iterator over what it captures.

    >>> with Microphone("usb") as microphone:                         # doctest: +SKIP
    ...     stream = recognizer.stream(microphone.rate)
    ...     for captured in microphone:
    ...         emotions = stream.feed(captured.samples)

    Args:
        device: its number; a part of its name, in any case; None for the system's default.
        on_status: called with a sentence when the device is gone, and when it is back, from
            the thread that iterates.
        buffer_seconds: how much is kept for a listener who is busy.

    Raises:
        EdgeSerError: when there is no such device, it cannot be opened, or PyAudio is not
            installed.
    """

    def __init__(
        self,
        device: str | int | None = None,
        *,
        on_status: Callable[[str], None] | None = None,
        buffer_seconds: float = BUFFER_SECONDS,
    ) -> None:
        self._wanted = device
        self._on_status = on_status or (lambda sentence: None)
        self._came = Event()  # set by the callback: there is something to read
        self._stopping = False
        self._gone = False
        self._heard_until: float | None = None  # all before it was captured or counted as lost
        self._resumed = False
        self._audio: Any = portaudio.start()
        self._stream: Any = None
        try:
            with portaudio.quiet():
                info = portaudio.find_device(self._audio, device)
                self.name = str(info["name"])
                self.rate, self._channels = portaudio.choose_format(self._audio, info)
            self._ring = RingBuffer(round(buffer_seconds * self.rate), self._channels, self.rate)
            try:
                self._open(info)
            except OSError as error:
                raise EdgeSerError(
                    f"the microphone {self.name!r} cannot be opened ({portaudio.reason(error)}): "
                    "end the program that uses it, or name another device"
                ) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Captured]:
        """What is captured, as it comes, until `stop` is called.

        While the device is gone, a portion without samples comes every second or so, and
        tells how many were lost.
        """
        while True:
            # In this order: what comes after the last read wakes the wait.
            self._came.clear()
            while not self._stopping and (captured := self._ring.read()) is not None:
                if self._gone and captured.samples.size:
                    self._gone = False
                    self._on_status(f"the microphone {self.name!r} is back")
                yield captured
            if self._stopping:
                return
            if not self._came.wait(LOOK_SECONDS):
                self._look_after_device()

    def stop(self) -> None:
        """End the iteration, within a moment; for any thread, and for a signal handler."""
        # Nothing but this: a handler that took the lock of an Event could wait for itself.
        self._stopping = True

    def close(self) -> None:
        """Give the device back."""
        self._stopping = True
        self._close_device()

    def _open(self, info: dict[str, Any]) -> None:
        """Start capturing; an OSError when the device does not let us."""
        import pyaudio

        self._resumed = True
        self._begun = time.monotonic()
        with portaudio.quiet():
            self._stream = self._audio.open(
                rate=self.rate,
                channels=self._channels,
                format=pyaudio.paInt16,
                input=True,
                input_device_index=info["index"],
                frames_per_buffer=round(BLOCK_SECONDS * self.rate),
                stream_callback=self._callback,
            )

    def _callback(
        self, data: bytes, n_frames: int, time_info: object, flags: int
    ) -> tuple[None, int]:
        """Copy a block into the ring; PortAudio's thread, which must not be kept waiting.

        PortAudio says that samples were lost before a block, but not how many: the clock
        does, to within the jitter of these calls. At least one, since it says so.
        """
        import pyaudio

        now = time.monotonic()
        overflow = bool(flags & pyaudio.paInputOverflow)
        lost = 0
        if self._heard_until is not None and (overflow or self._resumed):
            missing = round((now - self._heard_until) * self.rate) - n_frames
            lost = max(missing, int(overflow))
        frames = np.frombuffer(data, np.int16).reshape(n_frames, self._channels)
        self._ring.write(frames, now, lost)
        self._heard_until, self._resumed = now, False
        self._came.set()
        return None, pyaudio.paContinue

    def _look_after_device(self) -> None:
        """Nothing came for a while: is the device gone, or back?"""
        now = time.monotonic()
        if self._stream is not None:
            last = max(self._begun, self._heard_until or 0.0)
            if self._is_active() and now - last < SILENT_SECONDS:
                return
            self._close_device()
            if not self._gone:
                self._gone = True
                self._on_status(f"the microphone {self.name!r} is gone; waiting for it")
        elif now - self._begun < RETRY_SECONDS:
            return
        self._begun = now
        # The callback is not running: only here may another thread than its own write.
        if self._heard_until is not None:
            lost = max(0, round((now - self._heard_until) * self.rate))
            self._ring.write(np.empty((0, self._channels), np.int16), now, lost)
            self._heard_until = now
        self._open_again()

    def _is_active(self) -> bool:
        try:
            return bool(self._stream.is_active())
        except OSError:  # the device went away in the middle of the question
            return False

    def _open_again(self) -> None:
        """Look for the device in a new list of devices, and open it if it is there."""
        wanted = self._wanted
        if isinstance(wanted, int):  # its number may be another's now
            # "USB Audio (hw:1,0)": so may the number of its card.
            wanted = self.name.split(" (hw:")[0]
        try:
            self._audio = portaudio.start()
            with portaudio.quiet():
                info = portaudio.find_device(self._audio, wanted)
            self._open(info)
        except (EdgeSerError, OSError):
            self._close_device()

    def _close_device(self) -> None:
        stream, self._stream = self._stream, None
        audio, self._audio = self._audio, None
        if stream is not None:
            with portaudio.quiet():
                stream.close()
        if audio is not None:
            portaudio.stop(audio)
