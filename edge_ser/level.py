"""How loud some samples are."""

import numpy as np
from numpy.typing import NDArray

from firmware_host.audio import INT16_SCALE

SILENCE_DBFS = -120.0  # stands for minus infinity, which JSON does not have


def level_dbfs(samples: NDArray[np.float32] | NDArray[np.int16]) -> float:
    """Root mean square in dB below full scale; at least `SILENCE_DBFS`.

    Args:
        samples: (n,), n > 0.
    """
    scale = float(INT16_SCALE) if samples.dtype == np.int16 else 1.0
    rms = scale * float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    return max(SILENCE_DBFS, 20.0 * float(np.log10(rms))) if rms > 0 else SILENCE_DBFS
