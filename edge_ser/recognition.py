"""What `edge-ser recognize` does and prints; in a module of its own, so that it starts quickly."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from firmware_host.errors import EdgeSerError
from firmware_host.recognizer import EmotionRecognizer, Recognition


def recognize_files(
    files: Sequence[Path],
    model: Path | None = None,
    engine: str | None = None,
    as_json: bool = False,
    windows: bool = False,
) -> bool:
    """Print what each file sounds like; False when one of them could not be read.

    Such a file is reported on standard error, and the others are still done.

    Args:
        files: audio of any format.
        model: a model file; None: the one in the package.
        engine: one of `engines.ENGINES`; None: the first that is installed.
        as_json: a line of JSON for each file.
        windows: also what was heard in each window.

    Raises:
        EdgeSerError: when the model or an engine for it is not there or not usable.
    """
    recognizer = EmotionRecognizer(model, engine)
    show = _print_json if as_json else _print_text
    all_read = True
    for file in files:
        try:
            heard = recognizer.recognize_file(file)
        except EdgeSerError as error:
            print(f"edge-ser: {error}", file=sys.stderr, flush=True)
            all_read = False
        else:
            show(file, heard, windows)
    return all_read


def _print_json(file: Path, heard: Recognition, windows: bool) -> None:
    data = {"file": str(file)} | heard.to_dict()
    if not windows:
        del data["windows"]
    print(json.dumps(data), flush=True)


def _print_text(file: Path, heard: Recognition, windows: bool) -> None:
    count = f"{len(heard.windows)} window" + ("s" if len(heard.windows) > 1 else "")
    print(
        f"{file}  {heard.label}  {heard.probability:.2f}  ({heard.duration_seconds:.1f} s, {count})"
    )
    if windows:
        for window in heard.windows:
            print(
                f"  {window.start_seconds:7.2f} s to {window.end_seconds:7.2f} s  "
                f"{window.label}  {window.probability:.2f}"
            )
    sys.stdout.flush()
    if sys.stdout.isatty():
        from rich.console import Console

        from edge_ser.cli.display import emotion_bars

        Console().print(emotion_bars(heard.probabilities))
