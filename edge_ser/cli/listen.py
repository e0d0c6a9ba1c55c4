"""`edge-ser listen`: emotions in a stream of samples, as they are heard."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_ser.cli.app import app
from edge_ser.cli.options import EngineOption, JsonOption, ModelOption
from firmware_host.errors import EdgeSerError

if TYPE_CHECKING:
    from firmware_host.recognizer import Emotion

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
DEFAULT_RATE = 16_000
PORTION_SECONDS = 0.1  # of samples asked for at once: far below a hop, so nothing comes late


class SampleFormat(StrEnum):
    """How raw samples are written: little-endian 16-bit integers or 32-bit floats."""

    S16LE = "s16le"
    F32LE = "f32le"

    @property
    def dtype(self) -> str:
        """As numpy writes it."""
        return {"s16le": "<i2", "f32le": "<f4"}[self.value]


@app.command()
def listen(
    source: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="FILE|-",
            help="An audio file; or '-' for raw mono samples from standard input.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            "--rate",
            metavar="HZ",
            help="Rate of raw samples. Default: 16000.",
            show_default=False,
        ),
    ] = None,
    sample_format: Annotated[
        SampleFormat | None,
        typer.Option(
            "--format",
            help="Format of raw samples; given, a FILE is read as raw too. Default: s16le for '-'.",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = None,
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Listen to a stream of samples and print each emotion as it is heard.

    The first comes as soon as one window is full (about 3 s), then one every
    hop (250 ms). Ends with the stream, or with Ctrl-C.

    Examples:

    • edge-ser listen --input interview.wav

    • arecord -q -t raw -f S16_LE -r 16000 -c 1 | edge-ser listen --input -

    • ffmpeg -i URL -f s16le -ac 1 -ar 16000 - | edge-ser listen --input -

    • edge-ser listen --input mic.f32 --format f32le --rate 48000 --json
    """
    from firmware_host.recognizer import EmotionRecognizer

    if source is None:
        raise EdgeSerError(
            "this version of edge-ser does not listen to a microphone itself: give --input FILE, "
            "or --input - with raw samples on standard input"
        )
    with ExitStack() as stack:
        try:
            stream_rate, portions = _open_source(source, rate, sample_format, stack)
            stream = EmotionRecognizer(model, engine).stream(stream_rate)
            show = _json_line if as_json else _display(stack)
            for portion in portions:
                for emotion in stream.feed(portion):
                    show(emotion)
            for emotion in stream.flush():
                show(emotion)
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None


def _open_source(
    source: str, rate: int | None, sample_format: SampleFormat | None, stack: ExitStack
) -> tuple[int, Iterator[Any]]:
    """(sample rate, portions of samples as they come) of whatever --input names."""
    from firmware_host.audio import check_rate, read_audio

    if source != "-" and sample_format is None:
        if rate is not None:
            raise EdgeSerError(
                f"--rate is for raw samples, but {source} is read as an audio file, which states "
                "its own rate: leave it out, or give --format for a raw file"
            )
        samples, own_rate = read_audio(source)
        portion = max(1, int(own_rate * PORTION_SECONDS))
        return own_rate, (samples[i : i + portion] for i in range(0, len(samples), portion))
    rate = check_rate(DEFAULT_RATE if rate is None else rate)
    if source == "-" and sys.stdin.isatty():
        raise EdgeSerError(
            "--input - reads raw samples from standard input, but that is a terminal: pipe "
            "samples in, as in `arecord -t raw -f S16_LE -r 16000 -c 1 | edge-ser listen --input -`"
        )
    try:
        # Unbuffered: a buffer would hold samples back until it is full.
        file = io.FileIO(sys.stdin.fileno() if source == "-" else source, closefd=source != "-")
    except OSError as error:
        raise EdgeSerError(
            f"{source}: cannot be read ({error.strerror}); name a file of raw samples"
        ) from error
    stack.callback(file.close)
    return rate, _raw_portions(file, rate, sample_format or SampleFormat.S16LE)


def _raw_portions(file: io.FileIO, rate: int, sample_format: SampleFormat) -> Iterator[Any]:
    """Samples as they arrive; a read may end in the middle of one, which waits for the next."""
    import numpy as np

    dtype = np.dtype(sample_format.dtype)
    wanted = max(1, int(rate * PORTION_SECONDS)) * dtype.itemsize
    rest = b""
    while data := file.read(wanted):
        data = rest + data
        whole = len(data) - len(data) % dtype.itemsize
        rest = data[whole:]
        # In the machine's own byte order, whatever it is.
        yield np.frombuffer(data[:whole], dtype).astype(dtype.newbyteorder("="))


def _json_line(emotion: "Emotion") -> None:
    print(json.dumps(emotion.to_dict()), flush=True)


def _text_line(emotion: "Emotion") -> None:
    print(f"{emotion.end_seconds:8.2f} s  {emotion.label}  {emotion.probability:.2f}", flush=True)


def _display(stack: ExitStack) -> "Callable[[Emotion], None]":
    """How to show an emotion: bars that move on a terminal, a line each elsewhere."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from edge_ser.cli.display import listening

    console = Console()
    if not console.is_terminal:
        return _text_line
    live = stack.enter_context(
        Live(Text("listening ..."), console=console, auto_refresh=False, redirect_stderr=False)
    )

    def show(emotion: "Emotion") -> None:
        live.update(listening(emotion.end_seconds, emotion), refresh=True)

    return show
