"""Where `edge-ser listen` gets its samples: an audio file, a pipe, or a microphone."""

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from enum import StrEnum
from typing import Any, NamedTuple

from firmware_host.errors import EdgeSerError

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


class Portion(NamedTuple):
    """Samples as they come.

    Args:
        samples: (n,) or (n, channels), int16 or float32; n may be 0.
        lost_samples: how many were lost just before them.
        arrived: when they came, in seconds of `time.monotonic`; None when nobody waits for them.
    """

    samples: Any
    lost_samples: int = 0
    arrived: float | None = None


class Source(NamedTuple):
    """A stream of samples.

    Args:
        rate: in Hz.
        portions: the samples.
        stop: ends the portions soon, where waiting for them can be ended so.
    """

    rate: int
    portions: Iterator[Portion]
    stop: Callable[[], None] | None = None


def open_input(
    name: str, rate: int | None, sample_format: SampleFormat | None, stack: ExitStack
) -> Source:
    """What --input names: an audio file, a file of raw samples, or standard input.

    Args:
        name: a path, or "-".
        rate: of raw samples, in Hz.
        sample_format: of raw samples; None: a path is an audio file.
        stack: closes what is opened.

    Raises:
        EdgeSerError: when it cannot be read, or the options contradict each other.
    """
    from firmware_host.audio import check_rate, read_audio

    if name != "-" and sample_format is None:
        if rate is not None:
            raise EdgeSerError(
                f"--rate is for raw samples, but {name} is read as an audio file, which states "
                "its own rate: leave it out, or give --format for a raw file"
            )
        samples, own_rate = read_audio(name)
        n = max(1, int(own_rate * PORTION_SECONDS))
        return Source(own_rate, (Portion(samples[i : i + n]) for i in range(0, len(samples), n)))
    rate = check_rate(DEFAULT_RATE if rate is None else rate)
    if name == "-" and sys.stdin.isatty():
        raise EdgeSerError(
            "--input - reads raw samples from standard input, but that is a terminal: pipe "
            "samples in, as in `arecord -t raw -f S16_LE -r 16000 -c 1 | edge-ser listen --input -`"
        )
    try:
        # Unbuffered: a buffer would hold samples back until it is full.
        file = io.FileIO(sys.stdin.fileno() if name == "-" else name, closefd=name != "-")
    except OSError as error:
        raise EdgeSerError(
            f"{name}: cannot be read ({error.strerror}); name a file of raw samples"
        ) from error
    stack.callback(file.close)
    return Source(rate, _raw_portions(file, rate, sample_format or SampleFormat.S16LE))


def open_microphone(
    device: str | None, on_status: Callable[[str], None], stack: ExitStack
) -> Source:
    """The microphone of this name or number, or the system's default.

    Args:
        device: as it was given on the command line.
        on_status: called with a sentence when the device is gone, and when it is back.
        stack: closes the microphone.

    Raises:
        EdgeSerError: when there is none, or PyAudio is not installed.
    """
    from firmware_host.microphone import Microphone

    numbered = device is not None and device.isdecimal()
    wanted = int(device) if device is not None and numbered else device
    microphone = stack.enter_context(Microphone(wanted, on_status=on_status))
    portions = (Portion(c.samples, c.lost_samples, c.arrived) for c in microphone)
    return Source(microphone.rate, portions, microphone.stop)


def _raw_portions(file: io.FileIO, rate: int, sample_format: SampleFormat) -> Iterator[Portion]:
    """Samples as they arrive; a read may end in the middle of one, which waits for the next."""
    import numpy as np

    dtype = np.dtype(sample_format.dtype)
    wanted = max(1, int(rate * PORTION_SECONDS)) * dtype.itemsize
    rest = b""
    while data := file.read(wanted):
        arrived = time.monotonic()
        data = rest + data
        whole = len(data) - len(data) % dtype.itemsize
        rest = data[whole:]
        # In the machine's own byte order, whatever it is.
        samples = np.frombuffer(data[:whole], dtype).astype(dtype.newbyteorder("="))
        yield Portion(samples, arrived=arrived)
