"""How emotions look on a terminal: a bar for each."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

BAR_WIDTH = 30


def emotion_bars(probabilities: Mapping[str, float]) -> "Table":
    """A row per emotion: its name, a bar, its probability; the highest stands out."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    best = max(probabilities, key=lambda label: probabilities[label])
    table = Table.grid(padding=(0, 2, 0, 0))
    for label, probability in probabilities.items():
        style = "bold green" if label == best else "dim"
        bar = ProgressBar(
            total=1.0,
            completed=probability,
            width=BAR_WIDTH,
            complete_style=style,
            finished_style=style,
        )
        table.add_row(Text("  " + label, style), bar, Text(f"{probability:.2f}", style))
    return table
