"""Normalisation of a model's input: by the window that it hears, or as in training."""

from dataclasses import dataclass
from functools import cached_property

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
        mean, std, floor, by_window = self._arrays
        own = window.mean(axis=0)
        deviation = np.sqrt(np.square(window - own).mean(axis=0)) + floor
        normalised: Float32 = window - np.where(by_window, own, mean)
        normalised /= np.where(by_window, deviation, std)
        return normalised

    @cached_property
    def _arrays(self) -> tuple[Float32, Float32, Float32, NDArray[np.bool_]]:
        std = np.asarray(self.std, np.float32)
        floor = std * np.float32(self.std_floor)
        return np.asarray(self.mean, np.float32), std, floor, np.asarray(self.by_window)
