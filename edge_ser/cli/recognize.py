"""`edge-ser recognize`: the emotion in each of some audio files."""

from pathlib import Path
from typing import Annotated

import typer

from edge_ser.cli.app import app
from edge_ser.cli.options import EngineOption, JsonOption, ModelOption
from edge_ser.program import EXIT_USER_CAN_MEND


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
    from edge_ser.recognition import recognize_files

    if not recognize_files(files, model, engine, as_json, windows):
        raise typer.Exit(EXIT_USER_CAN_MEND)
