"""Normalisation of a model's input: by the window that it hears, or as in training."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from firmware_host.features import FeatureConfig

Float32 = NDArray[np.float32]

STD_FLOOR = 0.1
ABSOLUTE_KINDS = ("zcr",)
"""What no level and hardly a microphone changes: it may say where it lies."""


@dataclass(frozen=True)
class Normalisation:
    """How features become what the network is given.

    By the window, so that a microphone's level and colour say nothing, and a noise that fills
    the pauses says less. Nothing outside the window takes part. Source: Viikki and Laurila,
    "Cepstral domain segmental feature vector normalization for noise robust speech recognition"
    (Speech Communication 25, 1998).

    Args:
        mean, std: of each feature in training.
        by_window: of each feature, whether mean and deviation are those in the window instead.
        std_floor: which share of `std` is added to a deviation in the window, so that silence
            stays small.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    by_window: tuple[bool, ...]
    std_floor: float = STD_FLOOR

    @classmethod
    def of(
        cls, features: FeatureConfig, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> "Normalisation":
        """By the window, but for `ABSOLUTE_KINDS`."""
        by_window = tuple(kind not in ABSOLUTE_KINDS for kind in features.kind_of_each)
        return cls(mean, std, by_window)

    def __call__(self, window: Float32) -> Float32:
        """(features - mean) / deviation, in float32.

        Shape:
            - window, returns: (window_frames, n_features), float32
        """
        fixed, mean, std, floor = self._arrays
        share = np.float32(1.0 / len(window))
        centre = _ones(len(window)) @ window * share  # a third of what `mean` costs
        centre[fixed] = mean
        normalised: Float32 = window - centre
        deviation = np.sqrt(np.einsum("tf,tf->f", normalised, normalised) * share) + floor
        deviation[fixed] = std
        normalised *= 1 / deviation
        return normalised

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.intp], Float32, Float32, Float32]:
        """Which features are as in training, their mean and deviation; and every one's floor."""
        fixed = np.flatnonzero(~np.asarray(self.by_window))
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return fixed, mean[fixed], std[fixed], std * np.float32(self.std_floor)


@lru_cache(maxsize=8)
def _ones(count: int) -> Float32:
    ones = np.ones(count, np.float32)
    ones.flags.writeable = False
    return ones
