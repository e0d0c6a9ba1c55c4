"""Audio on its way to the features: reading files, checking samples, changing the rate.

What leaves here is mono float32 at full scale 1. libsndfile reads the files, judging each by
its content and not by its name; libsoxr changes the rate, in a stream and at once by the
same code and with the same bits.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firmware_host.errors import EdgeSerError

Float32 = NDArray[np.float32]

MODEL_RATE = 16_000  # Hz, what the features of every model so far are made of
RATES = (1_000, 768_000)  # Hz; outside it somebody mixed up numbers
MAX_CHANNELS = 64  # more columns than this are time, not channels
# Floating-point samples may overshoot full scale, but not by 30 dB: those are int16 values
# that somebody cast to float, and would saturate every feature.
FLOAT_LIMIT = 32.0
INT16_SCALE = np.float32(1.0 / 2**15)
READ_FRAMES = 2**16  # a header may claim any length; memory grows only with what is there


def read_audio(path: str | os.PathLike[str]) -> tuple[Float32, int]:
    """An audio file, mixed to mono, at its own rate.

    Args:
        path: any format that libsndfile reads: WAV, AIFF, FLAC, Ogg, MP3 ...

    Returns:
        the samples, (n,), float32, n > 0, full scale 1; and their rate in Hz.

    Raises:
        EdgeSerError: when there is no such file, it is no audio, has no samples, or samples
            that are not finite.
    """
    import soundfile

    path = Path(path)
    if not path.exists():
        raise EdgeSerError(f"{path}: there is no such audio file; check the path")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise EdgeSerError(f"{path}: expected an audio file, but this is {kind}; name a file")
    parts = []
    try:
        if path.stat().st_size == 0:
            raise EdgeSerError(f"{path}: the file is empty (0 bytes); record or copy it again")
        with soundfile.SoundFile(path) as file:
            rate = int(file.samplerate)
            while len(block := file.read(READ_FRAMES, dtype="float32", always_2d=True)):
                parts.append(_mono(block))
    except soundfile.LibsndfileError as error:
        raise EdgeSerError(
            f"{path}: not readable as audio ({error.error_string.rstrip('.')}); give a WAV, AIFF, "
            "FLAC, Ogg or MP3 file"
        ) from error
    except TypeError as error:  # how soundfile says that a file named .raw has no header
        raise EdgeSerError(
            f"{path}: raw samples say neither rate nor format; give a WAV, AIFF, FLAC, Ogg or MP3 "
            "file, or let `edge-ser listen` read it with --format and --rate"
        ) from error
    except OSError as error:
        raise EdgeSerError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not parts:
        raise EdgeSerError(f"{path}: there are no samples in this audio file; record it again")
    samples = np.concatenate(parts)
    if not np.isfinite(samples).all():
        raise EdgeSerError(
            f"{path}: some samples are NaN or infinite; write the file again from finite samples"
        )
    return samples, rate


def check_samples(samples: ArrayLike) -> Float32:
    """Samples from anywhere as mono float32 at full scale 1.

    Args:
        samples: int16, or floating-point with full scale 1.

    Shape:
        - samples: (n,) or (n, channels), which are averaged
        - returns: (n,), float32

    Raises:
        EdgeSerError: for another shape or type, NaN or infinity, or values far beyond full scale.
    """
    array: NDArray[Any] = np.asarray(samples)
    if array.ndim not in (1, 2) or (array.ndim == 2 and not 1 <= array.shape[1] <= MAX_CHANNELS):
        raise EdgeSerError(
            f"samples of shape {array.shape} were given, but (n,) or (n, channels) with at most "
            f"{MAX_CHANNELS} channels is expected; transpose or split the array"
        )
    if array.size == 0:
        return np.empty(0, np.float32)
    if array.dtype == np.int16:
        return _mono(array.astype(np.float32) * INT16_SCALE)
    if not np.issubdtype(array.dtype, np.floating):
        raise EdgeSerError(
            f"samples of type {array.dtype} were given, but int16 or floating-point samples are "
            "expected; convert them"
        )
    # float64 may hold numbers that are infinite as float32: judge them before converting.
    peak = float(np.max(np.abs(array)))
    if not np.isfinite(peak):
        raise EdgeSerError("some samples are NaN or infinite; give finite samples")
    if peak > FLOAT_LIMIT:
        raise EdgeSerError(
            f"floating-point samples up to {peak:.6g} were given, but full scale is 1; pass int16 "
            "values as dtype int16, or divide by 32768"
        )
    return _mono(np.asarray(array, np.float32))


def check_rate(rate: float) -> int:
    """A sample rate in Hz.

    Raises:
        EdgeSerError: when it is no whole number, or nobody's sample rate.
    """
    low, high = RATES
    if isinstance(rate, bool) or not low <= rate <= high or rate != int(rate):
        raise EdgeSerError(
            f"a sample rate of {rate} Hz was given, but a whole number from {low} to {high} is "
            "expected; check the unit"
        )
    return int(rate)


def resample(samples: Float32, rate_in: int, rate_out: int = MODEL_RATE) -> Float32:
    """A whole signal at another rate: the same bits that `StreamResampler` gives.

    Shape:
        - samples: (n,), float32
        - returns: (about n * rate_out / rate_in,), float32
    """
    resampler = StreamResampler(rate_in, rate_out)
    return np.concatenate([resampler.feed(samples), resampler.flush()])


class StreamResampler:
    """Changes the rate of a stream fed in any portions; equal rates pass through untouched.

    libsoxr at its very high quality: linear phase, so output sample i is at time i / rate_out,
    and passes up to 0.9 of the narrower band. Its filter looks ahead, so the output lags
    behind what was fed by up to 0.1 s.

    Args:
        rate_in: of the samples fed, in Hz.
        rate_out: of the samples given back, in Hz.

    Raises:
        EdgeSerError: for an impossible rate.
    """

    def __init__(self, rate_in: int, rate_out: int = MODEL_RATE) -> None:
        self.rate_in, self.rate_out = check_rate(rate_in), check_rate(rate_out)
        self._soxr: Any = None
        if self.rate_in != self.rate_out:
            import soxr

            self._soxr = soxr.ResampleStream(self.rate_in, self.rate_out, 1, "float32", "VHQ")

    def feed(self, samples: Float32) -> Float32:
        """What these samples complete. Shape: (n,) to (m,), both float32."""
        return self._convert(samples, last=False)

    def flush(self) -> Float32:
        """The rest, (m,), float32; after it the resampler is as new."""
        rest = self._convert(np.empty(0, np.float32), last=True)
        self.reset()
        return rest

    def reset(self) -> None:
        """Forget everything fed so far."""
        if self._soxr is not None:
            self._soxr.clear()

    def _convert(self, samples: Float32, last: bool) -> Float32:
        if self._soxr is None:
            return samples
        converted: Float32 = self._soxr.resample_chunk(np.ascontiguousarray(samples), last)
        return converted


def _mono(samples: Float32) -> Float32:
    """The mean of the channels; one channel is left as it is."""
    if samples.ndim == 1:
        return samples
    return samples[:, 0].copy() if samples.shape[1] == 1 else samples.mean(axis=1)
