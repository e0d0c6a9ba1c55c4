"""What a microphone hands on: samples, and an account of those that never came."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Captured:
    """A portion of sound as it was captured.

    Args:
        samples: mono, full scale 32768. Shape: (n,), int16; n is 0 where there is only a loss
            to tell of.
        rate: of the samples, in Hz; the same in every portion of a capture.
        lost_samples: how many were lost between the portion before and this one.
        arrived: when the last of the samples came in, in seconds of `time.monotonic`.
    """

    samples: NDArray[np.int16]
    rate: int
    lost_samples: int
    arrived: float
