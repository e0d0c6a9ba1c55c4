"""A microphone without a sound card: a PulseAudio of its own, and what is played into it.

What is played is captured sample by sample: sink and source have the rate of the files.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

RATE = 16_000  # Hz, of the sink and so of what it is to be played
PROGRAMS = ("pulseaudio", "pactl", "pacat")
SINK = f"module-null-sink sink_name=played rate={RATE} channels=1 format=s16le"
SOURCE = "module-remap-source source_name=microphone master=played.monitor"
ALSA_CONFIG = """
pcm.!default { type pulse }
ctl.!default { type pulse }
"""
SILENCE = np.zeros(RATE // 20, np.int16)
PIPE_BYTES = 2**14  # half a second
START_SECONDS = 30.0  # for the daemon to answer, on a machine that is busy


def missing() -> str | None:
    """What is not there that a capture needs, or None."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        import pyaudio  # noqa: F401
    except ImportError:
        return "PyAudio is not installed (make test MIC=1 does it)"
    return None


class VirtualMicrophone:
    """A source named `microphone` that hears what `play` plays; the default of ALSA in `env`.

    A context manager: at its end the daemon is stopped.
    """

    def __init__(self) -> None:
        # Short: the name of a socket has at most 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="mic-"))
        alsa = self._folder / "asound.conf"
        alsa.write_text(ALSA_CONFIG)
        home, run = self._folder / "home", self._folder / "run"
        home.mkdir()
        run.mkdir(mode=0o700)
        self.env = os.environ | {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(run),
            "XDG_CONFIG_HOME": str(home),
            "PULSE_RUNTIME_PATH": str(run / "pulse"),
            "ALSA_CONFIG_PATH": str(alsa),
        }
        for variable in ("PULSE_SERVER", "PULSE_SOURCE", "PULSE_SINK"):
            self.env.pop(variable, None)
        self._log = (self._folder / "pulseaudio.log").open("wb")
        self._daemon = subprocess.Popen(
            [
                *("pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"),
                *("--realtime=no", "--high-priority=no", "--log-target=stderr"),
                *("-L", "module-native-protocol-unix"),
            ],
            env=self.env,
            stdout=self._log,
            stderr=self._log,
        )
        try:
            self._wait_until_it_answers()
            self.plug_in()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def plug_in(self) -> None:
        """Load the source; it is the default from now on."""
        self._pactl("load-module", *SINK.split())
        self._pactl("load-module", *SOURCE.split())
        self._pactl("set-default-source", "microphone")

    def unplug(self) -> None:
        """Remove the source; no other is left to fall back to."""
        self._pactl("unload-module", "module-remap-source")
        self._pactl("unload-module", "module-null-sink")

    def player(self) -> "Player":
        """Something that plays into it, silence at first; a context manager."""
        return Player(self.env)

    def stop(self) -> None:
        """End the daemon and remove what it left."""
        self._daemon.kill()
        self._daemon.wait()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self._try_pactl("info").returncode:
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                log = (self._folder / "pulseaudio.log").read_text(errors="replace")
                raise RuntimeError(f"PulseAudio does not start: {log}")
            time.sleep(0.05)

    def _pactl(self, *arguments: str) -> None:
        self._try_pactl(*arguments).check_returncode()

    def _try_pactl(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = ["pactl", *arguments]
        return subprocess.run(command, env=self.env, check=False, capture_output=True)


class Player:
    """Plays what it is given, and silence meanwhile, without a break: positions stay exact.

    Args:
        env: of the virtual microphone.
    """

    def __init__(self, env: dict[str, str]) -> None:
        self._pacat = subprocess.Popen(
            [
                *("pacat", "--playback", "--raw", "--device=played", "--latency-msec=1000"),
                *(f"--rate={RATE}", "--channels=1", "--format=s16le"),
            ],
            env=env,
            stdin=subprocess.PIPE,
        )
        assert self._pacat.stdin is not None
        # A short queue: what is played next is heard soon.
        fcntl.fcntl(self._pacat.stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._waiting: deque[NDArray[np.int16]] = deque()
        self._position = 0  # of the next sample that is handed on
        self._thread = threading.Thread(target=self._hand_on)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._pacat.kill()
        self._thread.join()
        self._pacat.communicate()

    def play(self, samples: NDArray[np.int16], grid: int = 1, offset: int = 0) -> int:
        """Play samples as soon as may be, but only where position + offset divides by `grid`.

        Returns:
            the position of the first, counted in samples since the beginning.
        """
        with self._lock:
            end = self._position + sum(map(len, self._waiting))
            silence = -(end + offset) % grid
            self._waiting += [np.zeros(silence, np.int16), samples]
            return end + silence

    def _hand_on(self) -> None:
        assert self._pacat.stdin is not None
        while not self._ended.is_set():
            with self._lock:
                samples = self._waiting.popleft() if self._waiting else SILENCE
                self._position += len(samples)
            try:
                self._pacat.stdin.write(samples.astype("<i2").tobytes())
                self._pacat.stdin.flush()
            except BrokenPipeError:
                return
