"""`edge-ser convert`: a checkpoint becomes ONNX and TFLite files."""

from pathlib import Path
from typing import Annotated

import typer

from edge_ser.cli.app import app
from edge_ser.cli.options import JsonOption
from edge_ser.cli.output import output_console
from firmware_host.errors import EdgeSerError


@app.command()
def convert(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(help="What `edge-ser train` wrote; without it, the one in the package."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the files; made if missing.")
    ] = Path("models"),
    int8: Annotated[
        bool,
        typer.Option(
            "--int8/--no-int8", help="Write the INT8 files too (the scales that training learned)."
        ),
    ] = True,
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(
            "--calibrate",
            metavar="DIR",
            help="Also quantise the float network after training, on grids that fit these "
            "recordings: a folder of audio files, or one; give it several times for more. At most "
            "512 windows, evenly spread, are heard. Writes NAME.ptq.int8 files.",
            show_default=False,
        ),
    ] = None,
    clips: Annotated[
        list[Path] | None,
        typer.Option(
            "--clips",
            metavar="DIR",
            help="Hold every file against the reference on these recordings too: a folder of "
            "audio files, or one; give it several times for more.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            help="What the INT8 files are for: pi (onnxruntime, or TFLite with XNNPACK), micro "
            "(TensorFlow Lite Micro: integers only, int8 in and out, NAME.micro.int8.tflite), "
            "or all.",
        ),
    ] = "pi",
    c_array: Annotated[
        bool,
        typer.Option(
            "--c-array",
            help="Write the micro file as C too, with what firmware must know to feed it: "
            "NAME.micro.c and NAME.micro.h.",
        ),
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Write NAME.float32 and NAME.int8 files of a checkpoint, each as ONNX and as TFLite.

    In the INT8 files the convolutions, the BiLSTM's matrix products and the dense layers
    compute in int8 with the scales that quantization-aware training learned. Each file is
    measured against a numpy reference of its network; report.json says by how much it is off,
    and what is in it. Needs no torch.

    A checkpoint that was trained without quantization becomes INT8 files by a calibration on
    recordings, best on some that it was trained with.

    Examples:

    • edge-ser convert --int8 runs/ravdess-1/ravdess-1.safetensors -o models

    • edge-ser convert --int8 --calibrate recordings/ runs/mine/mine.safetensors

    • edge-ser convert --int8 --target micro --c-array -o firmware
    """
    import json
    import sys

    from rich.console import Console

    from convert.agreement import render as render_agreement
    from convert.pipeline import boxed_checkpoint
    from convert.pipeline import convert as run_conversion
    from convert.report import render

    if calibrate and not int8:
        raise EdgeSerError("--calibrate makes INT8 files: leave --no-int8 out")
    errors = Console(stderr=True)
    with errors.status("converting") as status:
        conversion = run_conversion(
            checkpoint or boxed_checkpoint(),
            out,
            int8,
            status.update,
            calibrate or (),
            clips or (),
            target,
            c_array,
        )
    if json_output:
        json.dump(conversion.report, sys.stdout, indent=2)
        print()
        return
    console = output_console()
    console.print(render(conversion.report))
    console.print(render_agreement(conversion.report))
    console.print(f"written to {out}/, with report.json")
