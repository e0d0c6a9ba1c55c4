"""Log-mel, MFCC, RMS and zero-crossing rate, streaming and offline by the same code.

One framing and one FFT serve all four. Definitions and constants are librosa's
(`librosa.feature.*` with `center=False`, Slaney mel scale and norm, periodic Hann window,
DCT-II ortho) except that nothing looks at a whole utterance: a frame has `log_floor`, and
`top_db` is below the loudest of a window (`limit_range`). Every frame is computed on its own,
by products whose shape does not depend on how many frames are there, so that the bits do not
depend on the chunking.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware_host.errors import EdgeSerError

Float32 = NDArray[np.float32]

KINDS = ("log_mel", "mfcc", "rms", "zcr")
"""The features there are, in the order in which they stand in a frame."""

ZERO_CROSSING_THRESHOLD = np.float32(1e-10)  # librosa.zero_crossings' default: smaller is zero
DECIBELS = np.float32(10.0 / math.log(10.0))  # of a power's natural logarithm
MAX_FRAMES_AT_ONCE = 1024  # about 10 s: bounds the memory of a long offline signal


@dataclass(frozen=True)
class FeatureConfig:
    """Every constant of the features; part of the contract of a model file.

    Args:
        sample_rate: of the samples, in Hz.
        frame_length: samples per frame, and the length of the FFT (25 ms).
        hop_length: samples from one frame to the next (10 ms).
        n_mels: mel bands.
        n_mfcc: cepstral coefficients kept, from the zeroth.
        fmin, fmax: edges of the mel bands, in Hz.
        log_floor: mel power below it counts as it (so 1e-8 is -80 dB).
        top_db: mel power of a window that is further below its loudest counts as so much below.
        kinds: which of `KINDS` make up a frame, in that order.

    Raises:
        EdgeSerError: when a constant is impossible.
    """

    sample_rate: int = 16_000
    frame_length: int = 400
    hop_length: int = 160
    n_mels: int = 40
    n_mfcc: int = 22
    fmin: float = 50.0
    fmax: float = 8_000.0
    log_floor: float = 1e-8
    top_db: float = 40.0
    kinds: tuple[str, ...] = KINDS

    def __post_init__(self) -> None:
        def check(holds: bool, expected: str) -> None:
            if not holds:
                raise EdgeSerError(f"impossible feature constants: expected {expected}, got {self}")

        check(self.sample_rate > 0, "a positive sample rate")
        check(
            0 < self.hop_length <= self.frame_length <= 2**15, "0 < hop <= frame <= 32768 samples"
        )
        check(0 <= self.fmin < self.fmax <= self.sample_rate / 2, "0 <= fmin < fmax <= rate / 2")
        check(0 < self.n_mels <= self.frame_length // 2, "at least one mel band")
        check(0 < self.n_mfcc <= self.n_mels, "1 to n_mels coefficients")
        check(0 < self.log_floor < 1, "a log floor between 0 and 1")
        check(self.top_db > 0, "a top_db above 0")
        known = tuple(kind for kind in KINDS if kind in self.kinds)
        check(bool(known) and known == self.kinds, f"kinds out of {KINDS}, in that order")

    @property
    def kind_of_each(self) -> tuple[str, ...]:
        """Of which kind each number of a frame is."""
        return tuple(kind for kind in self.kinds for _ in range(self._size(kind)))

    @property
    def n_features(self) -> int:
        """Numbers per frame."""
        return sum(map(self._size, self.kinds))

    def _size(self, kind: str) -> int:
        return {"log_mel": self.n_mels, "mfcc": self.n_mfcc}.get(kind, 1)

    def samples_for(self, n_frames: int) -> int:
        """Samples that make exactly `n_frames` frames."""
        return self.frame_length + (n_frames - 1) * self.hop_length

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self) | {"kinds": list(self.kinds)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "FeatureConfig":
        """The inverse of `to_dict`.

        Raises:
            EdgeSerError: when a constant is missing, unknown, of another type or impossible.
        """
        expected = {field.name: field for field in fields(cls)}
        if set(data) != set(expected):
            odd = ", ".join(map(repr, sorted(set(data) ^ set(expected))))
            raise EdgeSerError(f"feature constants do not match this version of edge-ser: {odd}")
        defaults = cls()
        values: dict[str, Any] = {}
        for name, value in data.items():
            like = getattr(defaults, name)
            if name == "kinds":
                right = isinstance(value, list | tuple) and all(isinstance(k, str) for k in value)
                values[name] = tuple(value) if right else value
            elif isinstance(like, int):
                right = isinstance(value, int) and not isinstance(value, bool)
                values[name] = value
            else:
                right = isinstance(value, int | float) and math.isfinite(value)
                values[name] = float(value) if right else value
            if not right:
                raise EdgeSerError(f"feature constant {name} has an impossible value: {value!r}")
        return cls(**values)

    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON of all constants."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class FeatureExtractor:
    """Features of a stream of samples, fed in any portions.

    >>> extractor = FeatureExtractor(FeatureConfig())
    >>> extractor.feed(np.zeros(399, np.float32)).shape
    (0, 64)
    >>> extractor.feed(np.zeros(161, np.float32)).shape
    (2, 64)
    """

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config
        self._pending: Float32 = np.empty(0, np.float32)

    def feed(self, samples: Float32) -> Float32:
        """The frames that these samples complete.

        Args:
            samples: float32, one-dimensional, at `config.sample_rate`, full scale 1.

        Shape:
            - samples: (n,)
            - returns: (frames, config.n_features), float32, not normalised
        """
        config = self.config
        signal = np.concatenate([self._pending, np.asarray(samples, np.float32)])
        n_frames = max(0, 1 + (signal.size - config.frame_length) // config.hop_length)
        # Copied, so that a stream keeps its few pending samples and not the chunk they were in.
        self._pending = signal[n_frames * config.hop_length :].copy()
        out = np.empty((n_frames, config.n_features), np.float32)
        for start in range(0, n_frames, MAX_FRAMES_AT_ONCE):
            part = out[start : start + MAX_FRAMES_AT_ONCE]
            first = start * config.hop_length
            _fill(part, signal[first : first + config.samples_for(len(part))], config)
        return out

    def reset(self) -> None:
        """Forget the samples that have not yet made a frame."""
        self._pending = np.empty(0, np.float32)


def extract(samples: Float32, config: FeatureConfig) -> Float32:
    """Features of a whole signal: the frames that lie entirely inside it.

    Shape:
        - samples: (n,), float32 at `config.sample_rate`
        - returns: (frames, config.n_features), float32, not normalised
    """
    return FeatureExtractor(config).feed(samples)


def limit_range(window: Float32, config: FeatureConfig) -> Float32:
    """A window's features without what is too soft beside its loudest to be of the voice.

    A quiet room, a noisy recorder, the zeros around a short recording and a soft voice near the
    log floor are alike after it. Log-mel is limited and the cepstra are derived from it again;
    without log-mel among the features the loudest is not known, and nothing is limited.
    Source: `top_db` of `librosa.power_to_db`, there over a whole recording.

    Shape:
        - window, returns: (frames, n_features), float32, not normalised
    """
    if "log_mel" not in config.kinds:
        return window
    lowest = np.full(window.shape[1], -np.inf, np.float32)
    lowest[: config.n_mels] = window[:, : config.n_mels].max() - np.float32(config.top_db)
    limited: Float32 = np.maximum(window, lowest)  # whole rows: half of what parts of them cost
    if "mfcc" in config.kinds:
        _, _, dct = _tables(config)
        columns = slice(config.n_mels, config.n_mels + config.n_mfcc)
        limited[:, columns] = (dct @ limited[:, : config.n_mels].T).T  # cheaper this way round
    return limited


def mel_filters(config: FeatureConfig) -> Float32:
    """Triangular filters on the Slaney mel scale, each of unit area.

    Source: M. Slaney, Auditory Toolbox (1998); the same as `librosa.filters.mel`.

    Shape:
        - returns: (frame_length // 2 + 1, n_mels), float32
    """
    bins = np.arange(config.frame_length // 2 + 1) * config.sample_rate / config.frame_length
    low, high = _hz_to_mel(config.fmin), _hz_to_mel(config.fmax)
    edges = _mel_to_hz(np.linspace(low, high, config.n_mels + 2))
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.ascontiguousarray(triangles * (2.0 / (edges[2:] - edges[:-2])), np.float32)


def dct_matrix(n_inputs: int, n_outputs: int) -> Float32:
    """Orthonormal DCT-II: cepstral coefficients are `log_mel @ dct_matrix(n_mels, n_mfcc)`.

    Shape:
        - returns: (n_inputs, n_outputs), float32
    """
    n, k = np.arange(n_inputs)[:, None] + 0.5, np.arange(n_outputs)
    matrix = np.sqrt(2.0 / n_inputs) * np.cos(np.pi / n_inputs * n * k)
    matrix[:, 0] = np.sqrt(1.0 / n_inputs)
    return np.ascontiguousarray(matrix, np.float32)


_SLANEY_LINEAR_HZ = 200.0 / 3.0  # Hz per mel below 1 kHz
_SLANEY_KNEE_HZ = 1000.0
_SLANEY_KNEE_MEL = _SLANEY_KNEE_HZ / _SLANEY_LINEAR_HZ
_SLANEY_LOG_STEP = math.log(6.4) / 27.0  # above the knee, mels are logarithmic


def _hz_to_mel(hz: float) -> float:
    if hz < _SLANEY_KNEE_HZ:
        return hz / _SLANEY_LINEAR_HZ
    return _SLANEY_KNEE_MEL + math.log(hz / _SLANEY_KNEE_HZ) / _SLANEY_LOG_STEP


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _SLANEY_KNEE_HZ * np.exp(_SLANEY_LOG_STEP * (mel - _SLANEY_KNEE_MEL))
    return np.where(mel < _SLANEY_KNEE_MEL, mel * _SLANEY_LINEAR_HZ, above)


@lru_cache(maxsize=8)
def _tables(config: FeatureConfig) -> tuple[Float32, Float32, Float32]:
    """Window, mel filters and DCT of a configuration, made once and read-only.

    The filters and the DCT have a row for each output: a product of such a matrix with one
    frame costs about half of what the product of the frame with the other form does.
    """
    # Periodic Hann (scipy's fftbins=True), as librosa uses for spectra.
    n = np.arange(config.frame_length)
    window = (0.5 - 0.5 * np.cos(2.0 * np.pi * n / config.frame_length)).astype(np.float32)
    filters = np.ascontiguousarray(mel_filters(config).T)
    dct = np.ascontiguousarray(dct_matrix(config.n_mels, config.n_mfcc).T)
    tables = (window, filters, dct)
    for table in tables:
        table.flags.writeable = False
    return tables


def _fill(out: Float32, signal: Float32, config: FeatureConfig) -> None:
    """Compute into `out` (n, n_features) the features of exactly the n frames of `signal`."""
    frames = _framed(signal, len(out), config)
    column = 0
    if "log_mel" in config.kinds or "mfcc" in config.kinds:
        window, filters, dct = _tables(config)
        spectrum = np.fft.rfft(frames * window)
        power = np.square(spectrum.real, dtype=np.float32)
        power += np.square(spectrum.imag, dtype=np.float32)
        mel = _each(filters, power)
        np.maximum(mel, np.float32(config.log_floor), out=mel)
        log_mel = np.log(mel)  # half of what log10 costs
        log_mel *= DECIBELS
        if "log_mel" in config.kinds:
            out[:, : config.n_mels] = log_mel
            column = config.n_mels
        if "mfcc" in config.kinds:
            out[:, column : column + config.n_mfcc] = _each(dct, log_mel)
            column += config.n_mfcc
    if "rms" in config.kinds:
        energy = np.add.reduce(_framed(np.square(signal), len(out), config), axis=1)
        out[:, column] = np.sqrt(energy / np.float32(config.frame_length))
        column += 1
    if "zcr" in config.kinds:
        out[:, column] = _crossings(signal, config) / np.float32(config.frame_length)


def _framed(signal: Float32, n_frames: int, config: FeatureConfig) -> Float32:
    """The frames of a signal, (n_frames, frame_length), as a view of it."""
    # numpy's sliding_window_view gives the same at a fifth of the cost of all the FFTs.
    size = signal.itemsize
    return np.ndarray(
        (n_frames, config.frame_length),
        np.float32,
        np.ascontiguousarray(signal),
        strides=(config.hop_length * size, size),
    )


def _each(matrix: Float32, rows: Float32) -> Float32:
    """The matrix times each row: (m, k) and (n, k) to (n, m).

    A stack of products of one shape, whatever n is. One product of n rows would give other
    last bits for other n.
    """
    product: Float32 = np.matmul(matrix, rows[:, :, None])
    return product[:, :, 0]


def _crossings(signal: Float32, config: FeatureConfig) -> NDArray[np.int32]:
    """How often the sign changes inside each frame of a signal that is exactly its frames."""
    negative = signal < -ZERO_CROSSING_THRESHOLD
    # Frames overlap, so that it is cheaper to count once and subtract than to count each.
    count = np.zeros(signal.size, np.int32)
    np.cumsum(negative[1:] != negative[:-1], out=count[1:])
    last = config.frame_length - 1
    return count[last :: config.hop_length] - count[: signal.size - last : config.hop_length]
