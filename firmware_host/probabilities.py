"""From logits to probabilities, and from a recording's windows to its label."""

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> Float64:
    """softmax(logits / temperature) over the last axis, in double precision."""
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    out: Float64 = powers / powers.sum(axis=-1, keepdims=True)
    return out


def label_of(logits: NDArray[np.floating], temperature: float = 1.0) -> int:
    """A recording's label: the highest mean probability over its windows.

    Shape:
        - logits: (windows, n_labels)
    """
    return int(softmax(logits, temperature).mean(axis=0).argmax())
