"""How `edge-ser listen` shows what it hears: lines, JSON, or bars that move on a terminal."""

import json
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

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
        """The microphone is gone, or back."""


def open_view(as_json: bool, stack: ExitStack, device: str, stream: str) -> View:
    """JSON if asked for, bars on a terminal, lines elsewhere.

    Args:
        stack: restores the terminal.
        device, stream: what events name as where they were heard.
    """
    if as_json:
        return JsonLines(device, stream)
    from rich.console import Console

    console = Console()
    return Bars(console, stack) if console.is_terminal else Lines()


class Lines:
    """A line of text for each emotion."""

    def portion(self, portion: Portion, rate: int) -> None:
        """Nothing: only emotions are told."""

    def emotion(self, emotion: "Emotion") -> None:
        """When, what, and how sure."""
        print(
            f"{emotion.end_seconds:8.2f} s  {emotion.label}  {emotion.probability:.2f}", flush=True
        )

    def status(self, sentence: str) -> None:
        """A line on standard error."""
        print(f"edge-ser: {sentence}", file=sys.stderr, flush=True)


class JsonLines(Lines):
    """A JSON object on a line of its own for each emotion."""

    def __init__(self, device: str, stream: str) -> None:
        self._device, self._stream = device, stream

    def emotion(self, emotion: "Emotion") -> None:
        """All that is known of it."""
        from firmware_host.events import event_json

        event = event_json(emotion, device=self._device, stream=self._stream)
        print(json.dumps(event), flush=True)


class Bars:
    """Time, level and a bar for each emotion, drawn in place."""

    def __init__(self, console: "Console", stack: ExitStack) -> None:
        self._console, self._stack = console, stack
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
        if self._live is None or not sys.stderr.isatty():
            print(f"edge-ser: {sentence}", file=sys.stderr, flush=True)
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
