"""`edge-ser recognize`: the emotion in each of some audio files."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_ser.cli.app import EXIT_USER_CAN_MEND, app
from edge_ser.cli.options import EngineOption, JsonOption, ModelOption
from firmware_host.errors import EdgeSerError

if TYPE_CHECKING:
    from firmware_host.recognizer import Recognition


@app.command()
def recognize(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Audio of any format, rate and number of channels."),
    ],
    model: ModelOption = None,
    engine: EngineOption = None,
    as_json: JsonOption = False,
    windows: Annotated[
        bool, typer.Option("--windows", help="Also print what was heard in each window.")
    ] = False,
) -> None:
    """Recognise the emotion in audio files.

    A file that cannot be read is reported on standard error, the others are
    still done, and the exit code is 2 at the end.

    Examples:

    • edge-ser recognize happy.wav sad.flac

    • edge-ser recognize --windows --model my-model.int8.tflite interview.mp3

    • edge-ser recognize --json recordings/*.wav | jq -r '.file + " " + .label'
    """
    from firmware_host.recognizer import EmotionRecognizer

    recognizer = EmotionRecognizer(model, engine)
    failed = False
    for file in files:
        try:
            heard = recognizer.recognize_file(file)
        except EdgeSerError as error:
            print(f"edge-ser: {error}", file=sys.stderr, flush=True)
            failed = True
            continue
        if as_json:
            _print_json(file, heard, windows)
        else:
            _print_text(file, heard, windows)
    if failed:
        raise typer.Exit(EXIT_USER_CAN_MEND)


def _print_json(file: Path, heard: "Recognition", windows: bool) -> None:
    data = {"file": str(file)} | heard.to_dict()
    if not windows:
        del data["windows"]
    print(json.dumps(data), flush=True)


def _print_text(file: Path, heard: "Recognition", windows: bool) -> None:
    from rich.console import Console

    from edge_ser.cli.display import emotion_bars

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
    console = Console()
    if console.is_terminal:
        console.print(emotion_bars(heard.probabilities))
