"""Options that several commands share, so that they read and work alike everywhere."""

from pathlib import Path
from typing import Annotated

import typer

ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="FILE",
        help="TFLite or ONNX file made by `edge-ser convert`. Default: the model in the package.",
        show_default=False,
    ),
]
EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="litert, tflite-runtime, tensorflow or onnxruntime. "
        "Default: the first that is installed and reads the model.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print a line of JSON for each result.")]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder of the corpora, one folder each. Default: what EDGE_SER_CORPORA names.",
        show_default=False,
    ),
]
RefitEpochsOption = Annotated[
    int,
    typer.Option(
        "--refit-epochs",
        min=0,
        help="Epochs more of each of them once it was judged, with the speakers who judged it "
        "among those that it hears.",
    ),
]
WeightDecayOption = Annotated[
    float,
    typer.Option(
        "--weight-decay",
        min=0.0,
        help="Of float training: how fast weights shrink that the labels do not hold. More may "
        "help a network that was pretrained; pretraining itself has the default.",
    ),
]
