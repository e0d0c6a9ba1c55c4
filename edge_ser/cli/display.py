"""How a stream looks on a terminal: the time, how loud it is, a bar for each emotion."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from firmware_host.recognizer import Emotion

BAR_WIDTH = 30
NAME_WIDTH = 11  # "  surprised", the longest: bars do not move when the names appear
QUIETEST_DBFS = -60.0  # where the level meter begins


def listening(
    seconds: float, emotion: "Emotion | None", level_dbfs: float | None = None
) -> "Group":
    """What a stream sounds like at a moment.

    Args:
        seconds: from the start of the stream.
        emotion: the last that was heard, or None when no window is full yet.
        level_dbfs: loudness in dB below full scale, for a meter.
    """
    from rich.console import Group
    from rich.text import Text

    label = "listening ..." if emotion is None else emotion.label
    table = _grid()
    if level_dbfs is not None:
        shown = min(1.0, max(0.0, 1.0 - level_dbfs / QUIETEST_DBFS))
        value = f"{level_dbfs:.0f} dBFS" if level_dbfs > QUIETEST_DBFS else "silence"
        _add_bar(table, "level", shown, value, "cyan")
    if emotion is not None:
        _add_emotions(table, emotion.probabilities)
    return Group(Text(f"{seconds:6.2f} s  {label}", "bold"), table)


def emotion_bars(probabilities: Mapping[str, float]) -> "Table":
    """A row per emotion: its name, a bar, its probability; the highest stands out."""
    table = _grid()
    _add_emotions(table, probabilities)
    return table


def _grid() -> "Table":
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=NAME_WIDTH)
    return table


def _add_emotions(table: "Table", probabilities: Mapping[str, float]) -> None:
    best = max(probabilities, key=lambda label: probabilities[label])
    for label, probability in probabilities.items():
        style = "bold green" if label == best else "dim"
        _add_bar(table, label, probability, f"{probability:.2f}", style)


def _add_bar(table: "Table", name: str, share: float, value: str, style: str) -> None:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    bar = ProgressBar(
        total=1.0, completed=share, width=BAR_WIDTH, complete_style=style, finished_style=style
    )
    table.add_row(Text("  " + name, style), bar, Text(value, style))
