"""`edge-ser demo`: the whole way in under a minute: convert, listen to a clip, compare."""

import json
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_ser.cli.app import app
from edge_ser.cli.output import output_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edge_ser.demo import Clip, Comparison, Event, Moment
    from firmware_host.recognizer import EmotionRecognizer

SPEED = 4.0  # times real time, when drawn: a clip of 14 s takes 3.5 s
VOICE_NOTE = (
    "The clip is a synthetic voice (espeak-ng). It carries no real emotion: the labels below "
    "demonstrate the mechanism, not the accuracy."
)
ACCURACY_NOTE = (
    "Accuracy is measured on recordings of people: README.md has the figures, and `edge-ser bench` "
    "measures them."
)


@app.command()
def demo(
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            metavar="CHECKPOINT",
            help="What `edge-ser train` wrote, to be converted. Default: the one in the package.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Keep the converted files in this folder. Default: they are removed at the end.",
            show_default=False,
        ),
    ] = None,
    animation: Annotated[
        bool,
        typer.Option(
            "--animation/--no-animation",
            help="Draw the stream as it is heard; only ever done on a terminal.",
        ),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, and nothing else.")
    ] = False,
) -> None:
    """Convert the model in the package, listen to a clip with it, set INT8 beside float.

    Takes less than a minute and needs no PyTorch. The clip is a synthetic
    voice: its labels demonstrate the mechanism, not the accuracy.

    Examples:

    • edge-ser demo

    • edge-ser demo --json | jq '.comparison[] | .format, .latency_ratio'

    • edge-ser demo --model runs/mine/mine.safetensors -o models
    """
    from edge_ser.demo import check_packages

    check_packages()
    from rich.console import Console

    from convert.pipeline import boxed_checkpoint, convert
    from convert.report import render
    from edge_ser.demo import compare, read_clip, streamed_file
    from firmware_host.recognizer import EmotionRecognizer

    console, progress = output_console(), Console(stderr=True)
    console.quiet = as_json
    checkpoint = model or boxed_checkpoint()
    clip = read_clip()
    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-ser-")))

        _heading(console, f"1. Convert {checkpoint.name}")
        with progress.status("converting") as status:
            conversion = convert(checkpoint, folder, on_step=status.update)
        console.print()
        console.print(render(conversion.report))

        recognizer = EmotionRecognizer(streamed_file(conversion.files))
        _heading(console, f"2. Listen with {recognizer.model.name} on {recognizer.engine.name}")
        _paragraph(console, VOICE_NOTE)
        stream = _listen(
            console, recognizer, clip, animation and console.is_terminal and not as_json
        )

        _heading(console, "3. Set INT8 beside float")
        with progress.status("measuring"):
            comparisons = compare(conversion.files)
        console.print()
        console.print(comparison_table(comparisons))
        _paragraph(console, measuring_note(comparisons))
        _paragraph(console, ACCURACY_NOTE)
        if out is not None:
            _paragraph(console, f"The files are in {out}.")
    if as_json:
        result = {
            "conversion": conversion.report,
            "clip": {"seconds": clip.seconds, "notes": [VOICE_NOTE, ACCURACY_NOTE]},
            "stream": stream,
            "comparison": [comparison.to_dict() for comparison in comparisons],
        }
        print(json.dumps(result))


def _listen(
    console: "Console", recognizer: "EmotionRecognizer", clip: "Clip", drawn: bool
) -> dict[str, Any]:
    """Show a stream, and give what a program would want to know of it."""
    from edge_ser.demo import events_of, listen_to

    moments = listen_to(recognizer, clip)
    heard = list(draw(console, moments) if drawn else moments)
    emotions = [emotion for moment in heard for emotion in moment.emotions]
    compute = sum(moment.compute_seconds for moment in heard)
    console.print()
    console.print(events_table(events_of(emotions)))
    contract = recognizer.contract
    rate = contract.features.sample_rate
    _paragraph(
        console,
        f"A label is of the {contract.window_samples / rate:.1f} s before it, and comes every "
        f"{contract.hop_samples / rate:g} s. Features and model took {compute:.2f} s for "
        f"{clip.seconds:.1f} s of sound: {compute / clip.seconds:.1%} of one core.",
    )
    return {
        "file": recognizer.model.name,
        "engine": recognizer.engine.name,
        "compute_seconds": compute,
        "windows": [emotion.to_dict() for emotion in emotions],
    }


def draw(console: "Console", moments: "Iterable[Moment]", speed: float = SPEED) -> list["Moment"]:
    """Draw a stream as it goes on, at `speed` times real time; returns what was drawn."""
    from rich.live import Live

    from edge_ser.cli.display import listening

    drawn, emotion = [], None
    began = time.monotonic()
    console.print()
    with Live(console=console, auto_refresh=False) as live:
        for moment in moments:
            emotion = moment.emotions[-1] if moment.emotions else emotion
            live.update(listening(moment.seconds, emotion, moment.level_dbfs), refresh=True)
            drawn.append(moment)
            time.sleep(max(0.0, began + moment.seconds / speed - time.monotonic()))
    return drawn


def events_table(events: "Sequence[Event]") -> "Table":
    """A row per event, in the order of the stream."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2))
    table.add_column("heard from", justify="right")
    table.add_column("to", justify="right")
    table.add_column("label")
    table.add_column("probability", justify="right")
    table.add_column("windows", justify="right")
    for event in events:
        table.add_row(
            f"{event.start_seconds:.2f} s",
            f"{event.end_seconds:.2f} s",
            event.label,
            f"{event.probability:.2f}",
            str(event.windows),
        )
    return table


def comparison_table(comparisons: "Sequence[Comparison]") -> "Table":
    """Two rows per format, size and latency: float, INT8 and the ratio."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2))
    table.add_column("")
    for heading in ("float32", "INT8", "INT8 is"):
        table.add_column(heading, justify="right")
    for comparison in comparisons:
        float32, int8 = comparison.float32, comparison.int8
        table.add_row(
            f"{comparison.format} size",
            f"{float32.bytes / 1000:,.0f} kB",
            f"{int8.bytes / 1000:,.0f} kB",
            _times(comparison.size_ratio, "smaller", "larger"),
        )
        table.add_row(
            f"{comparison.format} latency, p50",
            f"{float32.p50_ms:.2f} ms",
            f"{int8.p50_ms:.2f} ms",
            _times(comparison.latency_ratio, "faster", "slower"),
        )
    return table


def measuring_note(comparisons: "Sequence[Comparison]") -> str:
    """How the latencies came about, in a sentence."""
    engines = " and ".join(f"{c.format} on {c.engine}" for c in comparisons)
    runs = min(comparison.runs for comparison in comparisons)
    return (
        f"Latency is the median (p50) of {runs} runs on a window, features not counted: "
        f"{engines}, 1 thread each, all models by turns in one process on this machine."
    )


def _times(ratio: float, more: str, less: str) -> str:
    return f"{ratio:.1f} times {more}" if ratio >= 1 else f"{1 / ratio:.1f} times {less}"


def _heading(console: "Console", text: str) -> None:
    console.print()
    console.print(text, style="bold", markup=False, highlight=False)


def _paragraph(console: "Console", text: str) -> None:
    console.print()
    console.print(text, markup=False, highlight=False)
