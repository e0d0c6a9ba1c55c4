"""A microphone without a sound card: a PulseAudio of its own, and what is played into it.

What is played is captured sample by sample: sink and source have the rate of the files.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

RATE = 16_000  # Hz, of the sink and so of what it is to be played
PROGRAMS = ("pulseaudio", "pactl", "paplay")
SINK = f"module-null-sink sink_name=played rate={RATE} channels=1 format=s16le"
SOURCE = "module-remap-source source_name=microphone master=played.monitor"
ALSA_CONFIG = """
pcm.!default { type pulse }
ctl.!default { type pulse }
"""
START_SECONDS = 30.0  # for the daemon to answer, on a machine that is busy


def missing() -> str | None:
    """What is not there that a capture needs, or None."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        import pyaudio  # noqa: F401
    except ImportError:
        return "PyAudio is not installed"
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

    def play(self, path: Path) -> None:
        """Play a file to its end."""
        subprocess.run(
            ["paplay", "--device=played", str(path)], env=self.env, check=True, timeout=300
        )

    def stop(self) -> None:
        """End the daemon and remove what it left."""
        self._daemon.kill()
        self._daemon.wait()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(["pactl", "info"], env=self.env, capture_output=True).returncode:
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                log = (self._folder / "pulseaudio.log").read_text(errors="replace")
                raise RuntimeError(f"PulseAudio does not start: {log}")
            time.sleep(0.05)

    def _pactl(self, *arguments: str) -> None:
        subprocess.run(["pactl", *arguments], env=self.env, check=True, capture_output=True)
