"""Make the clip that `edge-ser demo` listens to, `edge_ser/assets/demo.flac`, from scratch.

espeak-ng speaks four sentences of our own, each with another voice, pitch, range, speed and
loudness, so that the labels have something to follow. No person is heard, and no emotion.

    python benchmarks/demo_clip.py             # needs the program espeak-ng
    python benchmarks/demo_clip.py --check     # compare with the clip that is there
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firmware_host.audio import read_audio, resample

CLIP = Path(__file__).parent.parent / "edge_ser" / "assets" / "demo.flac"
RATE = 16_000  # Hz
PAUSE_SECONDS = 0.25
SILENCE = 10 ** (-50 / 20)  # of full scale: what espeak-ng adds before and after is below it


@dataclass(frozen=True)
class Sentence:
    """What is said, and how.

    Args:
        text: of our own.
        voice: of espeak-ng, a language and a variant.
        pitch: 0 to 99, as `espeak-ng -p`.
        pitch_range: in percent of the voice's own; 0 is a monotone.
        speed: words a minute, as `espeak-ng -s`.
        peak_dbfs: level of the largest sample.
    """

    text: str
    voice: str
    pitch: int
    pitch_range: int
    speed: int
    peak_dbfs: float


SENTENCES = (
    Sentence("This voice is a machine. It reads whatever it is given.", "en-gb", 45, 70, 165, -9),
    Sentence("The rain went on all week, and nobody came.", "en-gb", 20, 10, 125, -17),
    Sentence("Look, it works! It really works! Come here and see!", "en-us+f3", 85, 190, 210, -3),
    Sentence("No! I told you twice! Leave that door shut!", "en-gb+m3", 30, 170, 185, -1),
)


def make_clip() -> NDArray[np.int16]:
    """The sentences one after another, pauses around each; (n,), int16, 16 kHz."""
    pause = np.zeros(int(PAUSE_SECONDS * RATE), np.float32)
    parts = [pause]
    for sentence in SENTENCES:
        spoken = trim(resample(*speak(sentence), RATE))
        level = np.float32(10 ** (sentence.peak_dbfs / 20))
        parts += [spoken * (level / np.max(np.abs(spoken))), pause]
    clip: NDArray[np.int16] = np.rint(np.concatenate(parts) * 32_767).astype(np.int16)
    return clip


def speak(sentence: Sentence) -> tuple[NDArray[np.float32], int]:
    """(samples, rate) of the sentence, as espeak-ng says it."""
    # Only SSML can set the range of the pitch.
    text = f'<speak><prosody range="{sentence.pitch_range}%">{sentence.text}</prosody></speak>'
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sentence.wav"
        command = ["espeak-ng", "-m", "-v", sentence.voice, "-p", str(sentence.pitch)]
        command += ["-s", str(sentence.speed), "-w", str(path), text]
        try:
            subprocess.run(command, check=True)
        except FileNotFoundError:
            sys.exit("demo_clip: espeak-ng is not installed; `apt-get install espeak-ng` brings it")
        return read_audio(path)


def trim(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without the silence before and after."""
    (loud,) = np.nonzero(np.abs(samples) > SILENCE)
    return samples[loud[0] : loud[-1] + 1]


def main() -> None:
    """Write the clip, or compare it with the one that is there."""
    import soundfile

    parser = argparse.ArgumentParser(description="Make the clip of `edge-ser demo`.")
    parser.add_argument("--output", type=Path, default=CLIP, help=f"default: {CLIP}")
    parser.add_argument("--check", action="store_true", help="compare with it, write nothing")
    arguments = parser.parse_args()
    clip = make_clip()
    if not arguments.check:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        # The most compressed of FLAC's levels, so that the bytes depend on no default.
        soundfile.write(arguments.output, clip, RATE, "PCM_16", format="FLAC", compression_level=1)
        size = arguments.output.stat().st_size
        print(f"{arguments.output}: {len(clip) / RATE:.2f} s, {size} bytes")
        return
    there, rate = soundfile.read(arguments.output, dtype="int16")
    if rate != RATE or there.shape != clip.shape:
        sys.exit(f"{arguments.output}: another length or rate; another espeak-ng made it")
    difference = int(np.max(np.abs(there.astype(np.int32) - clip)))
    print(f"{arguments.output}: largest difference {difference} of 32768")
    sys.exit(difference > 0)


if __name__ == "__main__":
    main()
