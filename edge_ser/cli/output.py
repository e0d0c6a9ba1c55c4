"""Where results are printed: as wide as the terminal, and wide where there is none."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_WITHOUT_TERMINAL = 160  # a table in a file or a pipe is not broken at 80 columns


def output_console() -> "Console":
    """A console on standard output; the variable COLUMNS sets its width, as everywhere."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH_WITHOUT_TERMINAL
    return console
