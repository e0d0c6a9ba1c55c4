"""PortAudio's devices, found by name or number, and its chatter kept off the terminal.

PyAudio is optional and compiled against PortAudio, so it is imported only when it is used.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from firmware_host.audio import MODEL_RATE
from firmware_host.errors import EdgeSerError
from firmware_host.standard_error import turned_aside

COMMON_RATES = (16_000, 32_000, 44_100, 48_000)  # Hz, what sound cards offer
CHANNELS = (1, 2)  # tried before all that a device has: a Pi's I2S microphones are stereo only
DEBUG_VARIABLE = "EDGE_SER_DEBUG"


@dataclass(frozen=True)
class Device:
    """Something that captures sound.

    Args:
        number: in PortAudio's list; it may change when devices come and go.
        name: as PortAudio calls it.
        host_api: "ALSA", "JACK Audio Connection Kit" ...
        channels: how many it has at most.
        native_rate: that it prefers, in Hz.
        rates: of `COMMON_RATES` and the native one, those that it captures at now; none while
            another program keeps it to itself.
        default: is it what is listened to when none is named?
    """

    number: int
    name: str
    host_api: str
    channels: int
    native_rate: int
    rates: tuple[int, ...]
    default: bool

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self) | {"rates": list(self.rates)}


def list_devices() -> list[Device]:
    """Every device that can capture sound now, in PortAudio's order.

    Raises:
        EdgeSerError: when PyAudio is not installed.
    """
    with port_audio() as audio:
        default = _default_number(audio)
        return [
            Device(
                number=number,
                name=str(info["name"]),
                host_api=str(audio.get_host_api_info_by_index(info["hostApi"])["name"]),
                channels=int(info["maxInputChannels"]),
                native_rate=round(info["defaultSampleRate"]),
                rates=tuple(
                    rate
                    for rate in sorted({*COMMON_RATES, round(info["defaultSampleRate"])})
                    if any(_captures_at(audio, info, rate, n) for n in _channels(info))
                ),
                default=number == default,
            )
            for number, info in _inputs(audio).items()
        ]


def find_device(audio: Any, wanted: str | int | None) -> dict[str, Any]:
    """PortAudio's account of the device that a person means.

    Args:
        audio: a `pyaudio.PyAudio`.
        wanted: its number; a part of its name in any case, the whole name before others; or
            None for the one that the system prefers.

    Raises:
        EdgeSerError: when there is no such device; the sentence says which there are.
    """
    inputs = _inputs(audio)
    if wanted is None:
        number = _default_number(audio)
    elif isinstance(wanted, int):
        number = wanted
    else:
        name = wanted.casefold()
        named = {n: str(info["name"]).casefold() for n, info in inputs.items()}
        matches = [n for n in named if named[n] == name] or [n for n in named if name in named[n]]
        number = matches[0] if matches else None
    if number in inputs:
        return inputs[number]
    if not inputs:
        raise EdgeSerError(
            "there is no device here that captures sound: plug a microphone in, and see what "
            "`edge-ser listen --list-devices` finds"
        )
    what = "a default microphone" if wanted is None else f"a microphone {wanted!r}"
    there = ", ".join(f"{n} ({info['name']})" for n, info in inputs.items())
    raise EdgeSerError(f"{what} was asked for, but there are only these: {there}; name one of them")


def choose_format(audio: Any, info: dict[str, Any]) -> tuple[int, int]:
    """(rate in Hz, channels) to capture at: what the model needs, or else what is native.

    Raises:
        EdgeSerError: when the device captures at neither.
    """
    for rate in (MODEL_RATE, round(info["defaultSampleRate"])):
        for channels in _channels(info):
            if _captures_at(audio, info, rate, channels):
                return rate, channels
    raise EdgeSerError(
        f"the microphone {info['name']!r} captures neither at {MODEL_RATE} Hz nor at its own "
        f"{info['defaultSampleRate']:.0f} Hz now: end the program that uses it, or name another "
        "device"
    )


@contextmanager
def port_audio() -> Iterator[Any]:
    """PyAudio for a moment: with the devices that are there now, and without a word."""
    audio = start()
    try:
        with quiet():
            yield audio
    finally:
        stop(audio)


def start() -> Any:
    """A `pyaudio.PyAudio`: PortAudio lists the devices once, here, so each look takes a new one.

    Raises:
        EdgeSerError: when PyAudio is not installed, or PortAudio does not start.
    """
    try:
        import pyaudio
    except ImportError as error:  # also when PyAudio is there, but PortAudio's library is not
        raise EdgeSerError(
            "listening to a microphone needs PyAudio, which is not installed: "
            "`pip install 'edge-ser[mic]'` brings it, on Debian and Raspberry Pi OS after "
            "`sudo apt install portaudio19-dev python3-dev gcc`"
        ) from error
    try:
        with quiet():
            return pyaudio.PyAudio()
    except OSError as error:
        raise EdgeSerError(
            f"the sound system does not start ({reason(error)}): check that PortAudio and ALSA work"
        ) from error


def stop(audio: Any) -> None:
    """End what `start` began."""
    with quiet():
        audio.terminate()


def reason(error: OSError) -> str:
    """What PortAudio says of a failure, which PyAudio puts at either end of its errors."""
    return next((str(part) for part in error.args if isinstance(part, str)), str(error))


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is written to standard error meanwhile, by C libraries either.

    PortAudio tries every way to capture sound, and ALSA and JACK tell of each that is not
    there: a hundred lines where all is well. Set EDGE_SER_DEBUG=1 to see them. PortAudio takes
    one thread at a time, so it is as well that one waits for another here.
    """
    if os.environ.get(DEBUG_VARIABLE):
        yield
        return
    with Path(os.devnull).open("wb") as nowhere, turned_aside(nowhere.fileno()):
        yield


def _inputs(audio: Any) -> dict[int, dict[str, Any]]:
    """PortAudio's account of each device that captures, by its number."""
    every = [audio.get_device_info_by_index(i) for i in range(audio.get_device_count())]
    return {int(info["index"]): info for info in every if info["maxInputChannels"] > 0}


def _default_number(audio: Any) -> int | None:
    try:
        return int(audio.get_default_input_device_info()["index"])
    except OSError:
        return None


def _channels(info: dict[str, Any]) -> list[int]:
    """How many channels to try, the least first."""
    most = int(info["maxInputChannels"])
    return sorted({n for n in CHANNELS if n <= most} | {most})


def _captures_at(audio: Any, info: dict[str, Any], rate: int, channels: int) -> bool:
    import pyaudio

    try:
        audio.is_format_supported(
            rate,
            input_device=info["index"],
            input_channels=channels,
            input_format=pyaudio.paInt16,
        )
    except ValueError:  # PyAudio's way to say no
        return False
    return True
