"""What the commands share: the app that each of them registers itself on."""

import typer

from edge_ser.program import run

app = typer.Typer(
    name="edge-ser",
    help="Speech emotion recognition for small devices: train, quantise, convert, listen, measure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def main() -> None:
    """Run the whole command line, which ends as `edge_ser.program.run` says."""
    run(app)
