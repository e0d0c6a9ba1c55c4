"""A program for another environment: what its engine hears, in a file for the tests to read.

    python recognize_elsewhere.py ENGINE RECORDINGS.npz MODEL HEARD.npz [MODEL HEARD.npz ...]

RECORDINGS: samples at 16 kHz by name. HEARD, one for each MODEL: by name, the logits of each
window, (n_windows, n_labels), and under NAME.label what the recording was taken for.
"""

import sys
from typing import Any

import numpy as np

from firmware_host.recognizer import EmotionRecognizer

SAMPLE_RATE = 16_000


def main() -> None:
    """Recognise every recording by every model."""
    engine, recordings, *files = sys.argv[1:]
    for model, heard_file in zip(files[::2], files[1::2], strict=True):
        recognizer = EmotionRecognizer(model, engine)
        heard: dict[str, Any] = {}
        for name, samples in np.load(recordings).items():
            recognition = recognizer.recognize(samples, SAMPLE_RATE)
            heard[name] = np.array([window.logits for window in recognition.windows], np.float32)
            heard[f"{name}.label"] = np.array(recognition.label)
        np.savez(heard_file, **heard)


if __name__ == "__main__":
    main()
