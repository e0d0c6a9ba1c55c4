"""A corpus that a network can learn in seconds: tones named and laid out like RAVDESS's files.

Each emotion is a pitch and each actor a level, so that emotion can be told and speaker
cannot; enough to prove that the way from files to a model works, nothing about speech.
"""

from pathlib import Path

import numpy as np
import soundfile

EMOTION_CODES = {"neutral": "01", "happy": "03", "angry": "05"}
PITCH_HZ = {"neutral": 400.0, "happy": 1000.0, "angry": 2500.0}
ACTORS = range(1, 25)
SECONDS = 1.0


def write_tone_corpus(root: Path, rate: int = 16_000) -> Path:
    """Write `root/RAVDESS/Actor_NN/*.wav`, 72 files; return `root`."""
    time = np.arange(int(SECONDS * rate)) / rate
    for actor in ACTORS:
        folder = root / "RAVDESS" / f"Actor_{actor:02d}"
        folder.mkdir(parents=True)
        random = np.random.default_rng(actor)
        for emotion, code in EMOTION_CODES.items():
            level = random.uniform(0.05, 0.3)
            pitch = PITCH_HZ[emotion] * random.uniform(0.95, 1.05)
            tone = level * np.sin(2 * np.pi * pitch * time)
            noise = 0.003 * random.standard_normal(time.size)
            name = f"03-01-{code}-01-01-01-{actor:02d}.wav"
            soundfile.write(folder / name, tone + noise, rate)
    return root
