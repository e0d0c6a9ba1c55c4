"""A program for another environment: what its engine hears, in a file for the tests to read.

    python recognize_elsewhere.py ENGINE MODEL RECORDINGS.npz HEARD.npz

RECORDINGS: samples at 16 kHz by name. HEARD: by name, the logits of each window,
(n_windows, n_labels), and under NAME.label what the recording was taken for.
"""

import sys
from typing import Any

import numpy as np

from firmware_host.recognizer import EmotionRecognizer

SAMPLE_RATE = 16_000


def main() -> None:
    """Recognise every recording."""
    engine, model, recordings, heard_file = sys.argv[1:]
    recognizer = EmotionRecognizer(model, engine)
    heard: dict[str, Any] = {}
    for name, samples in np.load(recordings).items():
        recognition = recognizer.recognize(samples, SAMPLE_RATE)
        heard[name] = np.array([window.logits for window in recognition.windows], np.float32)
        heard[f"{name}.label"] = np.array(recognition.label)
    np.savez(heard_file, **heard)


if __name__ == "__main__":
    main()
