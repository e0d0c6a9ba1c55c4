"""`edge-ser listen` on a real microphone path: PulseAudio, ALSA, PortAudio, PyAudio; no sound card.

The path is lossless, so what is heard can be held against the file that was played, bit for bit.
"""

import json
import os
import pty
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import soundfile
from virtual_microphone import RATE, VirtualMicrophone, missing

from edge_ser.demo import CLIP
from firmware_host import UNCERTAIN, EmotionRecognizer, FeatureExtractor
from firmware_host.audio import INT16_SCALE, read_audio, resample

EVENT_SECONDS = 60.0  # until the next event: that of a busy machine, whose hop is 0.25 s
CORPORA = ("RAVDESS", "EmoDB", "TESS", "BanglaSER")


@pytest.fixture
def microphone(need: Callable[[str], None]) -> Iterator[VirtualMicrophone]:
    if why := missing():
        need(why)
    with VirtualMicrophone() as microphone:
        yield microphone


class Listener:
    """`edge-ser listen` on a virtual microphone: its events and what it says, as they come."""

    def __init__(self, microphone: VirtualMicrophone, *arguments: str) -> None:
        command = [sys.executable, "-m", "edge_ser", "listen", *arguments]
        # A shell's background job would hand on that Ctrl-C is ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.process = subprocess.Popen(
            command,
            env=microphone.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        signal.signal(signal.SIGINT, before)
        self._lines = {name: queue.Queue[str | None]() for name in ("stdout", "stderr")}
        self._threads = [threading.Thread(target=self._read, args=(name,)) for name in self._lines]
        for thread in self._threads:
            thread.start()

    def _read(self, name: str) -> None:
        for line in getattr(self.process, name):
            self._lines[name].put(line)
        self._lines[name].put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        for thread in self._threads:
            thread.join()
        self.process.communicate()

    def event(self) -> dict[str, Any]:
        """The next."""
        line = self._lines["stdout"].get(timeout=EVENT_SECONDS)
        assert line is not None, f"it ended: {self.said()}"
        event: dict[str, Any] = json.loads(line)
        return event

    def said(self) -> list[str]:
        """What it has said on standard error since the last look."""
        return self._rest("stderr")

    def wait_for(self, word: str) -> None:
        """Until it says something with this word on standard error."""
        line: str | None = ""
        while line is not None and word not in line:
            line = self._lines["stderr"].get(timeout=EVENT_SECONDS)
        assert line is not None, "it ended"

    def end(self, number: signal.Signals) -> tuple[int, list[str], list[str]]:
        """(exit code, what was left on standard output, and on standard error) after a signal."""
        self.process.send_signal(number)
        code = self.process.wait(timeout=EVENT_SECONDS)
        for thread in self._threads:
            thread.join()
        return code, self._rest("stdout"), self._rest("stderr")

    def _rest(self, name: str) -> list[str]:
        lines = []
        while not self._lines[name].empty():
            lines.append(self._lines[name].get())
        return [line for line in lines if line is not None]


def clips(corpora_dir: Path) -> list[Path]:
    """The demo's clip, and of each corpus the file in the middle: a rule that knows no label."""
    chosen = [CLIP]
    for name in CORPORA:
        files = sorted((corpora_dir / name).rglob("*.flac"))
        chosen.append(files[len(files) // 2])
    return chosen


def test_what_is_played_is_recognised_like_its_file(
    microphone: VirtualMicrophone, corpora_dir: Path, tmp_path: Path
) -> None:
    """A clip that begins where a window begins is heard with the very logits of `recognize`.

    A marker tells where the listener's windows begin among the samples that are played; each
    clip is then played so that it begins with one, as it does in `recognize`.
    """
    recognizer = EmotionRecognizer()
    hop, window = recognizer.contract.hop_samples, recognizer.contract.window_samples
    marker = Marker(recognizer)
    with microphone.player() as player, Listener(microphone, "--json") as listener:
        silence = listener.event()["logits"]
        marked = player.play(marker.samples)
        while (event := listener.event())["logits"] == silence:
            pass
        heard = marker.samples_heard(event, iter(listener.event, None))
        offset = event["window"] * hop + window - heard - marked  # from played to heard

        for i, clip in enumerate(clips(corpora_dir)):
            samples, rate = read_audio(clip)
            played = np.rint(resample(samples, rate) * 32_767).clip(-32_768, 32_767)
            path = tmp_path / f"{i}.wav"
            soundfile.write(path, played.astype(np.int16), RATE)
            expected = recognized(path)
            # Silence after it, as `recognize` hears after what is shorter than a window.
            padded = np.append(played, np.zeros(max(0, window - played.size)))
            start = player.play(padded.astype(np.int16), hop, offset) + offset
            first, n = start // hop, len(expected["windows"])
            events: list[dict[str, Any]] = []
            while len(events) < n:
                event = listener.event()
                if event["window"] >= first:
                    events.append(event)
            for event, wanted in zip(events, expected["windows"], strict=True):
                assert event["logits"] == wanted["logits"], clip
                assert event["probabilities"] == wanted["probabilities"], clip
            mean = np.mean([list(event["probabilities"].values()) for event in events], axis=0)
            sure = mean.max() >= recognizer.contract.rejection_threshold
            label = recognizer.labels[int(mean.argmax())] if sure else UNCERTAIN
            assert label == expected["label"], clip
        assert listener.end(signal.SIGTERM)[0] == 0


def recognized(path: Path) -> dict[str, Any]:
    """What `edge-ser recognize` says of a file."""
    command = [sys.executable, "-m", "edge_ser", "recognize", "--json", "--windows", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=60)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


class Marker:
    """Noise that tells where a window stands: how many of its samples a window ends with.

    Args:
        recognizer: that the windows were heard by; before the noise there was silence.
    """

    def __init__(self, recognizer: EmotionRecognizer) -> None:
        self._contract, self._engine = recognizer.contract, recognizer.engine
        self._extractor = FeatureExtractor(self._contract.features)
        n = self._contract.window_samples
        self._silence = self._extractor.feed(np.zeros(n, np.float32))
        generator = np.random.default_rng(0)
        self.samples = generator.integers(-8_000, 8_000, n, np.int16)

    def samples_heard(self, first: dict[str, Any], following: Iterator[dict[str, Any]]) -> int:
        """How many samples of the noise the window of the event `first` ends with.

        It is the first that heard any. Some counts give the same int8 logits by chance: the
        events after it decide.
        """
        hop = self._contract.hop_samples
        found = list(range(1, hop + self._contract.features.frame_length))
        event, later = first, 0
        while True:
            found = [n for n in found if self._logits(n + later) == event["logits"]]
            assert found, "the marker is not heard as it was played"
            if len(found) == 1:
                return found[0]
            event, later = next(following), later + hop

    def _logits(self, n: int) -> list[float]:
        """Of a window of silence that ends with n samples of the noise."""
        features = self._contract.features
        frames = self._silence.copy()
        n_new = n // features.hop_length + 4  # frames that heard the noise; the rest is known
        tail = np.zeros(features.samples_for(n_new), np.float32)
        tail[tail.size - n :] = self.samples[:n] * INT16_SCALE
        self._extractor.reset()
        frames[-n_new:] = self._extractor.feed(tail)
        logits: list[float] = self._engine.infer(self._contract.normalise(frames)).tolist()
        return logits


def test_an_unplugged_microphone_is_waited_for(microphone: VirtualMicrophone) -> None:
    """The source is removed and comes back: events go on, the time without it counts as lost."""
    noise = np.random.default_rng(0).integers(-8_000, 8_000, 20 * RATE, np.int16)
    with Listener(microphone, "--json") as listener:
        events = [listener.event()]
        silence = events[0]["logits"]
        assert listener.said() == []
        microphone.unplug()
        listener.wait_for("gone")
        microphone.plug_in()
        listener.wait_for("back")
        with microphone.player() as player:
            player.play(noise)
            while events[-1]["logits"] == silence:
                events.append(listener.event())
        code, _, said = listener.end(signal.SIGTERM)
    assert (code, said) == (0, [])
    # Noise is heard again in a window that lost nothing, or no more than its beginning.
    gaps = [event["gap_ms"] for event in events]
    assert gaps[0] == 0.0 and max(gaps) > 0.0
    assert gaps[-1] < 1_000 * (events[-1]["end_seconds"] - events[-1]["start_seconds"])
    ends = [event["end_seconds"] for event in events]
    assert ends == sorted(set(ends))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_in_order(
    microphone: VirtualMicrophone, number: signal.Signals, code: int
) -> None:
    """Whole lines, nothing on standard error, and the exit code of who ended it."""
    with Listener(microphone, "--json", "--device", "DEF") as listener:
        listener.event()
        ended, rest, said = listener.end(number)
    assert (ended, said) == (code, [])
    assert all(json.loads(line)["window"] > 0 for line in rest)


def test_devices_are_listed(microphone: VirtualMicrophone) -> None:
    """As a table and as JSON, and without a word from ALSA or JACK."""
    command = [sys.executable, "-m", "edge_ser", "listen", "--list-devices"]
    table, lines = (
        subprocess.run(
            [*command, *more], env=microphone.env, capture_output=True, text=True, check=True
        )
        for more in ([], ["--json"])
    )
    assert (table.stderr, lines.stderr) == ("", "")
    devices = [json.loads(line) for line in lines.stdout.splitlines()]
    (default,) = (device for device in devices if device["default"])
    assert RATE in default["rates"]
    (row,) = (row for row in table.stdout.splitlines() if row.startswith("default"))
    assert default["name"] in row and str(RATE) in row


def test_the_level_moves_on_a_terminal(microphone: VirtualMicrophone) -> None:
    """Before the first window is full the level shows that something is heard."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_ser", "listen"],
        env=microphone.env | {"TERM": "xterm", "COLUMNS": "80", "LINES": "25"},
        stdout=slave,
        stderr=subprocess.PIPE,
    )
    os.close(slave)
    screen = b""
    noise = np.random.default_rng(0).integers(-3_276, 3_276, 600 * RATE, np.int16)
    with process, microphone.player() as player:
        player.play(noise)
        while b"-25 dBFS" not in screen:  # uniform noise up to a tenth of full scale
            screen += os.read(master, 4096)
        process.terminate()
        try:
            while part := os.read(master, 4096):
                screen += part
        except OSError:  # how a terminal says that nobody writes to it any more
            pass
        assert process.wait(timeout=EVENT_SECONDS) == 0
        assert process.stderr is not None and process.stderr.read() == b""
    os.close(master)
    assert screen.rstrip().endswith(b"\x1b[?25h"), "the cursor is hidden"
