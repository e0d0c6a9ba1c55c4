"""What the owner of a device types first, with the package and nothing beside it installed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import edge_ser
from firmware_host import EmotionRecognizer
from firmware_host.golden import golden_waveform

CLIP = Path(edge_ser.__file__).parent / "assets" / "demo.flac"


def run(*arguments: str | Path, given: bytes = b"") -> str:
    """Standard output of the program, which has nothing to complain of."""
    command = [sys.executable, "-m", "edge_ser", *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def test_a_recording_is_heard_as_the_library_hears_it() -> None:
    heard = EmotionRecognizer().recognize_file(CLIP)
    data = json.loads(run("recognize", "--json", "--windows", CLIP))
    assert data == json.loads(json.dumps({"file": str(CLIP)} | heard.to_dict()))
    assert run("recognize", CLIP).startswith(f"{CLIP}  {heard.label}  {heard.probability:.2f}")


def test_samples_from_a_pipe_are_heard_as_they_come() -> None:
    """As from `arecord`: the logits of the same samples fed to a stream."""
    samples = np.round(golden_waveform(3, 60_000) * 32768).astype("<i2")
    recognizer = EmotionRecognizer()
    wanted = recognizer.recognize(samples.astype(np.int16), 16_000).windows
    lines = run("listen", "--input", "-", "--json", given=samples.tobytes()).splitlines()
    assert [json.loads(line)["logits"] for line in lines] == [list(w.logits) for w in wanted]
    assert len(lines) > 1
