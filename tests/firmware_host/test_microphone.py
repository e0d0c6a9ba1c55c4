"""The microphone: which device, at which rate, and what is lost, with PortAudio played by a double.

Real captures are in tests/edge_ser/test_capture.py. Devices that only know 48 kHz, that overflow
or whose number changes cannot be had without hardware: here PortAudio is a double.
"""

import os
import sys
import threading
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from firmware_host import EdgeSerError, portaudio
from firmware_host.microphone import Microphone
from firmware_host.portaudio import choose_format, find_device, list_devices

OVERFLOW = 2


class FakeStream:
    def __init__(self, callback: Any) -> None:
        self.callback, self.active = callback, True

    def is_active(self) -> bool:
        return self.active

    def close(self) -> None:
        self.active = False


class FakeAudio:
    """PyAudio with the devices that `plugged` holds: (name, channels, rates)."""

    def __init__(self, plugged: list[tuple[str, list[int], list[int]]]) -> None:
        self._plugged = list(plugged)
        self.streams: list[tuple[dict[str, Any], FakeStream]] = []

    def get_device_count(self) -> int:
        return len(self._plugged)

    def get_device_info_by_index(self, i: int) -> dict[str, Any]:
        name, channels, rates = self._plugged[i]
        most = max(channels, default=0)
        return {
            **{"index": i, "name": name, "hostApi": 0},
            **{"maxInputChannels": most, "defaultSampleRate": float(rates[-1])},
        }

    def get_default_input_device_info(self) -> dict[str, Any]:
        for i, (_, channels, _) in enumerate(self._plugged):
            if channels:
                return self.get_device_info_by_index(i)
        raise OSError("No Default Input Device Available")

    def get_host_api_info_by_index(self, i: int) -> dict[str, Any]:
        return {"name": "ALSA"}

    def is_format_supported(
        self, rate: int, input_device: int, input_channels: int, input_format: int
    ) -> bool:
        _, channels, rates = self._plugged[input_device]
        if rate not in rates or input_channels not in channels:
            raise ValueError("Invalid sample rate", -9997)
        return True

    def open(self, **options: Any) -> FakeStream:
        stream = FakeStream(options["stream_callback"])
        self.streams.append((options, stream))
        return stream

    def terminate(self) -> None:
        pass


SPEAKER = ("Loudspeaker", list[int](), [48_000])
USB = ("USB PnP Sound Device: Audio (hw:1,0)", [1], [44_100, 48_000])
I2S = ("snd_rpi_i2s: soc (hw:2,0)", [2], [16_000, 48_000])
ARRAY = ("Array: USB Audio (hw:3,0)", [6], [16_000])
DEFAULT = ("default", [1, 2, 32], [16_000, 44_100])
ALL = [SPEAKER, USB, I2S, ARRAY, DEFAULT]


@pytest.mark.parametrize(
    ("wanted", "number"),
    [(None, 1), (2, 2), ("usb pnp", 1), ("ARRAY", 3), ("default", 4), ("usb", 1), ("soc", 2)],
)
def test_a_device_is_found_by_name_or_number(wanted: str | int | None, number: int) -> None:
    """Only devices that capture count; names are matched in part and in any case."""
    assert find_device(FakeAudio(ALL), wanted)["index"] == number


@pytest.mark.parametrize("wanted", ["loudspeaker", "nothing like it", 0, 99, -1])
def test_no_such_device_ends_in_what_there_is(wanted: str | int) -> None:
    with pytest.raises(EdgeSerError, match=r"only these: 1 \(USB PnP"):
        find_device(FakeAudio(ALL), wanted)
    with pytest.raises(EdgeSerError, match="no device here that captures"):
        find_device(FakeAudio([SPEAKER]), wanted)


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize(
    ("device", "rate", "channels"),
    [(USB, 48_000, 1), (I2S, 16_000, 2), (ARRAY, 16_000, 6), (DEFAULT, 16_000, 1)],
)
def test_the_rate_is_16_khz_or_native(
    device: tuple[str, list[int], list[int]], rate: int, channels: int
) -> None:
    """And as few channels as the device has."""
    audio = FakeAudio([device])
    assert choose_format(audio, find_device(audio, 0)) == (rate, channels)


@pytest.mark.usefixtures("sound")
def test_a_device_that_is_in_use_is_refused_by_name() -> None:
    audio = FakeAudio([ARRAY])
    info = find_device(audio, None) | {"maxInputChannels": 1}  # which the double does not capture
    with pytest.raises(EdgeSerError, match=r"'Array: USB Audio .*neither at 16000 Hz nor"):
        choose_format(audio, info)


class Sound:
    """The machine's sound system: what is plugged in now, and every PyAudio made of it."""

    def __init__(self) -> None:
        self.plugged = [DEFAULT]
        self.made: list[FakeAudio] = []
        self.now = 100.0

    def start(self) -> FakeAudio:
        self.made.append(FakeAudio(self.plugged))
        return self.made[-1]

    def stream(self) -> tuple[dict[str, Any], FakeStream]:
        return self.made[-1].streams[-1]

    def block(self, seconds_later: float, samples: int, value: int = 0, flags: int = 0) -> None:
        """A block that arrives so much later than what came before."""
        self.now += seconds_later
        options, stream = self.stream()
        frames = np.full((samples, options["channels"]), value, np.int16)
        stream.callback(frames.tobytes(), samples, {}, flags)


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> Sound:
    sound = Sound()
    module = ModuleType("pyaudio")
    constants = {"paInt16": 8, "paContinue": 0, "paInputOverflow": OVERFLOW}
    vars(module).update(constants | {"PyAudio": sound.start})
    monkeypatch.setitem(sys.modules, "pyaudio", module)
    monkeypatch.setattr("time.monotonic", lambda: sound.now)
    return sound


def test_an_overflow_is_counted_by_the_clock(sound: Sound) -> None:
    """PortAudio says that samples were lost, the time that passed says how many."""
    with Microphone() as microphone:
        captured = iter(microphone)
        sound.block(0.5, 1_600, 1)  # however long the first takes, nothing was lost before it
        sound.block(0.1, 1_600, 2)
        sound.block(0.35, 1_600, 3, OVERFLOW)
        sound.block(0.09, 1_600, 4, OVERFLOW)  # no time for a loss, but there was one
        sound.block(0.11, 1_600, 5)
        heard = [next(captured) for _ in range(5)]
    assert [c.lost_samples for c in heard] == [0, 0, 4_000, 1, 0]
    assert [c.samples[0] for c in heard] == [1, 2, 3, 4, 5]
    assert [c.arrived for c in heard] == pytest.approx([100.5, 100.6, 100.95, 101.04, 101.15])


def test_a_listener_who_is_busy_loses_what_the_buffer_cannot_hold(sound: Sound) -> None:
    with Microphone(buffer_seconds=0.5) as microphone:
        for i in range(9):
            sound.block(0.1, 1_600, i)
        captured = iter(microphone)
        heard = [next(captured) for _ in range(5)]
        sound.block(0.1, 1_600, 9)
        heard.append(next(captured))
    assert [int(c.samples[0]) for c in heard] == [0, 1, 2, 3, 4, 9]
    assert [c.lost_samples for c in heard] == [0, 0, 0, 0, 0, 4 * 1_600]


def test_stereo_at_its_own_rate(sound: Sound) -> None:
    """A device without 16 kHz is captured at its native rate, two channels become their mean."""
    sound.plugged = [("stereo", [2], [48_000])]
    with Microphone() as microphone:
        assert microphone.rate == 48_000
        options, stream = sound.stream()
        assert (options["rate"], options["channels"]) == (48_000, 2)
        stream.callback(np.array([[100, 300], [-7, 8]], np.int16).tobytes(), 2, {}, 0)
        (captured,) = (next(iter(microphone)),)
    assert captured.rate == 48_000
    assert captured.samples.tolist() == [200, 0]


@pytest.mark.parametrize("wanted", ["usb", 0])
def test_an_unplugged_device_is_found_again_where_it_is_then(
    sound: Sound, monkeypatch: pytest.MonkeyPatch, wanted: str | int
) -> None:
    """Under another number, too: also who named a number gets the device that it was."""
    usb = (USB[0], [1], [16_000])
    sound.plugged = [usb, DEFAULT]
    said: list[str] = []
    monkeypatch.setattr(threading.Event, "wait", lambda self, timeout: self.is_set())
    with Microphone(wanted, on_status=said.append) as microphone:
        captured = iter(microphone)
        sound.block(0.1, 1_600, 1)
        assert next(captured).samples[0] == 1
        sound.stream()[1].active = False
        sound.plugged = [DEFAULT]
        sound.now += 0.25
        gone = [next(captured)]
        assert len(said) == 1 and "gone" in said[0] and usb[0] in said[0]
        for _ in range(2):
            sound.now += 1.0
            gone.append(next(captured))
        assert [(c.samples.size, c.lost_samples) for c in gone] == [
            *((0, 4_000), (0, 16_000), (0, 16_000))
        ]
        sound.plugged = [DEFAULT, ("USB PnP Sound Device: Audio (hw:4,0)", [1], [16_000])]
        sound.now += 1.0
        assert next(captured).lost_samples == 16_000
        assert sound.stream()[0]["input_device_index"] == 1
        assert len(said) == 1
        sound.block(0.5, 1_600, 2)
        back = next(captured)
        assert len(said) == 2 and "back" in said[1]
        assert (back.samples[0], back.lost_samples) == (2, 8_000 - 1_600)
        microphone.stop()
        assert list(captured) == []


def test_a_device_that_falls_silent_is_opened_again(
    sound: Sound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some drivers never say that the device is gone: no block for seconds says so."""
    monkeypatch.setattr(threading.Event, "wait", lambda self, timeout: self.is_set())
    with Microphone() as microphone:
        captured = iter(microphone)
        sound.block(0.1, 1_600)
        next(captured)
        first = sound.stream()[1]
        sound.now += 4.0
        assert next(captured).lost_samples == 64_000
        assert not first.active and sound.stream()[1] is not first


def test_devices_are_listed_with_their_rates(sound: Sound) -> None:
    sound.plugged = ALL
    devices = {device.number: device for device in list_devices()}
    assert sorted(devices) == [1, 2, 3, 4]
    assert [device.number for device in devices.values() if device.default] == [1]
    assert devices[1].to_dict() == {
        **{"number": 1, "name": USB[0], "host_api": "ALSA", "channels": 1},
        **{"native_rate": 48_000, "rates": [44_100, 48_000], "default": True},
    }


def test_without_pyaudio_a_sentence_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyaudio", None)
    for use in (Microphone, list_devices):
        with pytest.raises(EdgeSerError, match=r"edge-ser\[mic\].*portaudio19-dev"):
            use()


def test_libraries_are_kept_quiet_and_errors_are_not(capfd: pytest.CaptureFixture[str]) -> None:
    """What C libraries write to standard error is gone; what is said before and after stays."""
    os.write(2, b"before ")
    with portaudio.quiet():
        os.write(2, b"ALSA lib confmisc.c: cannot find card '0'\n")
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"
