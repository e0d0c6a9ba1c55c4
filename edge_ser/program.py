"""The `edge-ser` program: its short way into recognising, and what becomes of an error.

Typer, and what it is built on, take longer to import than a recording takes to be recognised.
So the plain forms of `edge-ser recognize` are understood here; whatever else is written on the
command line, and every mistake and every --help, is left to the whole command line.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_ser.extras import BROUGHT_BY, install_command
from firmware_host.errors import EdgeSerError

EXIT_USER_CAN_MEND = 2
EXIT_OTHER = 1
DEBUG_VARIABLE = "EDGE_SER_DEBUG"


@dataclass(frozen=True)
class PlainLine:
    """What a plain command line asks `edge-ser recognize` for."""

    files: tuple[Path, ...]
    model: Path | None
    engine: str | None
    as_json: bool
    windows: bool


def main() -> None:
    """The program `edge-ser`, which ends as `run` says."""
    run(_program)


def run(program: Callable[[], object]) -> None:
    """Run a command line; every failure ends in one sentence on standard error.

    Exit codes: 2 for what the person can mend, 1 for the rest (set EDGE_SER_DEBUG=1 for
    the traceback), 130 after Ctrl-C.
    """
    try:
        program()
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


def plain_line(arguments: Sequence[str]) -> PlainLine | None:
    """What the arguments ask for; None unless they are a plain `recognize`, without mistakes.

    >>> plain_line(["recognize", "--json", "a.wav"]).as_json
    True
    >>> plain_line(["recognize", "--help"]) is None
    True
    """
    if arguments[:1] != ["recognize"]:
        return None
    files: list[Path] = []
    values: dict[str, str] = {}
    switches: set[str] = set()
    rest = iter(arguments[1:])
    for word in rest:
        if word in ("--json", "--windows"):
            switches.add(word)
        elif word in ("--model", "--engine") and word not in values:
            value = next(rest, "")
            if not value or value.startswith("-"):
                return None
            values[word] = value
        elif word and not word.startswith("-"):
            files.append(Path(word))
        else:
            return None
    if not files:
        return None
    return PlainLine(
        files=tuple(files),
        model=Path(values["--model"]) if "--model" in values else None,
        engine=values.get("--engine"),
        as_json="--json" in switches,
        windows="--windows" in switches,
    )


def _program() -> None:
    line = plain_line(sys.argv[1:])
    if line is None:
        from edge_ser.cli import app

        app()
        return
    from edge_ser.recognition import recognize_files

    if not recognize_files(line.files, line.model, line.engine, line.as_json, line.windows):
        sys.exit(EXIT_USER_CAN_MEND)


def _fail(sentence: str, code: int) -> None:
    print(f"edge-ser: {sentence}", file=sys.stderr)
    sys.exit(code)
