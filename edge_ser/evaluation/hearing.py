"""Model files hear test recordings, through the recogniser that users run, and tell all of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ser.bench.recognition import Panel
from firmware_host.errors import EdgeSerError
from firmware_host.probabilities import label_of, softmax
from firmware_host.recognizer import EmotionRecognizer

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Listening:
    """What one model file heard in all recordings.

    Shape:
        - probabilities, untempered: (recordings, n_labels), at the model's temperature and at 1
        - labels: (recordings,)
    """

    probabilities: Float64
    untempered: Float64
    labels: NDArray[np.int64]


def hear(
    models: Sequence[Path],
    recordings: Sequence[Path],
    progress: Callable[[int, int], None] | None = None,
) -> list[Listening]:
    """What each model file hears in each recording; features are computed once for all.

    Args:
        models: files of one model: the same features, normalisation and windows.

    Raises:
        EdgeSerError: when a recording or a model cannot be read, or the models' inputs differ.
    """
    recognizers = [EmotionRecognizer(path) for path in models]
    first = recognizers[0].contract
    inputs = {
        (c.features.digest(), c.normalisation, c.window_frames, c.hop_frames)
        for c in (one.contract for one in recognizers)
    }
    if len(inputs) > 1:
        raise EdgeSerError(
            f"{', '.join(path.name for path in models)} differ in their input: they cannot "
            "hear together"
        )
    panel = Panel([one.engine for one in recognizers])
    recognizer = recognizers[0]
    recognizer.engine = panel
    tempered: list[list[Float64]] = [[] for _ in models]
    plain: list[list[Float64]] = [[] for _ in models]
    labels: list[list[int]] = [[] for _ in models]
    for done, path in enumerate(recordings, start=1):
        recognizer.recognize_file(path)
        for index, logits in enumerate(panel.take()):
            temperature = recognizers[index].contract.temperature
            tempered[index].append(softmax(logits, temperature).mean(axis=0))
            plain[index].append(softmax(logits).mean(axis=0))
            labels[index].append(label_of(logits, temperature))
        if progress:
            progress(done, len(recordings))
    shape = (len(recordings), len(first.labels))
    return [
        Listening(
            np.asarray(tempered[index]).reshape(shape),
            np.asarray(plain[index]).reshape(shape),
            np.asarray(labels[index], np.int64),
        )
        for index in range(len(models))
    ]
