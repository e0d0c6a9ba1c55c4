"""How `edge-ser listen` shows what it hears: lines, JSON, or bars that move on a terminal."""

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from edge_ser.cli.sources import Portion

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from firmware_host.recognizer import Emotion

REDRAW_SECONDS = 0.08  # at most so often: a file is heard much faster than it can be drawn


class View(Protocol):
    """What `listen` tells, and to whom."""

    def portion(self, portion: Portion, rate: int) -> None:
        """These samples came, at `rate` Hz; what they complete is told next."""

    def emotion(self, emotion: "Emotion") -> None:
        """This was heard."""

    def status(self, sentence: str) -> None:
        """The microphone or the broker is gone, or back; from any thread."""


def open_view(as_json: bool, stack: ExitStack, device: str, stream: str) -> View:
    """JSON if asked for, bars on a terminal, lines elsewhere.

    Args:
        stack: restores the terminal.
        device, stream: what events name as where they were heard.
    """
    errors = stack.enter_context(_standard_error())
    if as_json:
        return JsonLines(errors, device, stream)
    from rich.console import Console

    console = Console()
    return Bars(errors, console, stack) if console.is_terminal else Lines(errors)


def _standard_error() -> TextIO:
    """A way of our own to standard error, which the microphone closes for moments.

    It keeps PortAudio's libraries quiet so (`firmware_host.portaudio.quiet`), and what a broker
    has to say must not fall into such a moment: it is said once.
    """
    try:
        return os.fdopen(os.dup(2), "w", errors="backslashreplace")
    except OSError:  # there is none
        return Path(os.devnull).open("w")


class Lines:
    """A line of text for each emotion."""

    def __init__(self, errors: TextIO) -> None:
        self._errors = errors

    def portion(self, portion: Portion, rate: int) -> None:
        """Nothing: only emotions are told."""

    def emotion(self, emotion: "Emotion") -> None:
        """When, what, and how sure."""
        print(
            f"{emotion.end_seconds:8.2f} s  {emotion.label}  {emotion.probability:.2f}", flush=True
        )

    def status(self, sentence: str) -> None:
        """A line on standard error."""
        print(f"edge-ser: {sentence}", file=self._errors, flush=True)


class JsonLines(Lines):
    """A JSON object on a line of its own for each emotion."""

    def __init__(self, errors: TextIO, device: str, stream: str) -> None:
        super().__init__(errors)
        self._device, self._stream = device, stream

    def emotion(self, emotion: "Emotion") -> None:
        """All that is known of it."""
        from firmware_host.events import event_json

        event = event_json(emotion, device=self._device, stream=self._stream)
        print(json.dumps(event), flush=True)


class Bars:
    """Time, level and a bar for each emotion, drawn in place."""

    def __init__(self, errors: TextIO, console: "Console", stack: ExitStack) -> None:
        self._errors, self._console, self._stack = errors, console, stack
        self._live: Live | None = None  # from the first sample on: an error before stands alone
        self._emotion: Emotion | None = None
        self._level: float | None = None
        self._frames = 0
        self._seconds = 0.0
        self._drawn = float("-inf")

    def portion(self, portion: Portion, rate: int) -> None:
        """Move time and level."""
        from edge_ser.level import level_dbfs

        self._frames += portion.lost_samples + len(portion.samples)
        self._seconds = self._frames / rate
        if len(portion.samples):
            self._level = level_dbfs(portion.samples)
        if time.monotonic() - self._drawn >= REDRAW_SECONDS:
            self._draw()

    def emotion(self, emotion: "Emotion") -> None:
        """Move the bars."""
        self._emotion, self._seconds = emotion, emotion.end_seconds
        self._draw()

    def status(self, sentence: str) -> None:
        """A line above what moves; on standard error where that is no terminal."""
        if self._live is None or not self._errors.isatty():
            print(f"edge-ser: {sentence}", file=self._errors, flush=True)
        else:
            self._live.console.print(sentence)

    def _draw(self) -> None:
        from rich.live import Live

        from edge_ser.cli.display import listening

        picture: Any = listening(self._seconds, self._emotion, self._level)
        if self._live is None:
            self._live = self._stack.enter_context(
                Live(picture, console=self._console, auto_refresh=False, redirect_stderr=False)
            )
        self._live.update(picture, refresh=True)
        self._drawn = time.monotonic()
