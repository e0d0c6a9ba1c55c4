"""The `edge-ser` program: its commands, and how an error becomes one sentence and an exit code."""

import os
import sys

import typer

from edge_ser.extras import BROUGHT_BY, install_command
from firmware_host.errors import EdgeSerError

EXIT_USER_CAN_MEND = 2
EXIT_OTHER = 1
DEBUG_VARIABLE = "EDGE_SER_DEBUG"

app = typer.Typer(
    name="edge-ser",
    help="Speech emotion recognition for small devices: train, quantise, convert, listen, measure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def main() -> None:
    """Run the command line; every failure ends in one sentence on standard error.

    Exit codes: 2 for what the person can mend, 1 for the rest (set EDGE_SER_DEBUG=1 for
    the traceback), 130 after Ctrl-C.
    """
    try:
        app()
    except EdgeSerError as error:
        _fail(str(error), EXIT_USER_CAN_MEND)
    except BrokenPipeError:
        # The reader of our output went away (`edge-ser ... | head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        module = (getattr(error, "name", None) or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and module in BROUGHT_BY:
            _fail(
                f"this command needs {module}, which is not installed: "
                f"`{install_command([module])}` brings it",
                EXIT_USER_CAN_MEND,
            )
        if os.environ.get(DEBUG_VARIABLE):
            raise
        _fail(
            f"internal error: {type(error).__name__}: {error} "
            f"(set {DEBUG_VARIABLE}=1 to see where, and please report it)",
            EXIT_OTHER,
        )


def _fail(sentence: str, code: int) -> None:
    print(f"edge-ser: {sentence}", file=sys.stderr)
    sys.exit(code)
