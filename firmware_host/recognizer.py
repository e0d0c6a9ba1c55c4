"""The recogniser: a model loaded once, and any number of streams that it listens to.

The model never changes; all that a stream remembers lives in its `EmotionStream`. A whole
recording is a stream fed from its first sample to its last, so both give the same bits.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firmware_host.audio import StreamResampler, check_rate, check_samples, read_audio
from firmware_host.contract import Contract, read_contract
from firmware_host.engines import ENGINES, Engine, installed_engines, load_engine
from firmware_host.errors import EdgeSerError
from firmware_host.features import FeatureExtractor
from firmware_host.golden import features_difference, golden_waveform
from firmware_host.probabilities import softmax

UNCERTAIN = "uncertain"
"""The label when no emotion reaches the contract's rejection threshold."""

MODELS = Path(__file__).parent / "models"
BOXED_TFLITE = MODELS / "edge-ser-small.int8.tflite"
BOXED_ONNX = MODELS / "edge-ser-small.int8.onnx"

FEED_SECONDS = 30  # a long recording is fed in portions: memory does not grow with its features


@dataclass(frozen=True)
class Emotion:
    """What was heard in one window of a stream.

    Args:
        label: the most probable emotion, or `UNCERTAIN`.
        probability: the highest of the probabilities, also when the label is `UNCERTAIN`.
        probabilities: every emotion's, softmax(logits / temperature).
        start_seconds: time of the window's first sample, from the start of the stream.
        end_seconds: time just after its last sample.
        window: which window of the stream it is, from 0.
        logits: the model's outputs, in the order of the labels.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float]
    start_seconds: float
    end_seconds: float
    window: int
    logits: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Recognition:
    """What was heard in a whole recording.

    Args:
        label: the most probable emotion, or `UNCERTAIN`.
        probability: the highest of the probabilities, also when the label is `UNCERTAIN`.
        probabilities: every emotion's, the mean over the windows.
        windows: what was heard in each window.
        duration_seconds: of the recording.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float]
    windows: tuple[Emotion, ...]
    duration_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class SelfTest:
    """How far this device is from what the model file says it should compute.

    Args:
        features: largest difference in any kept feature, in standard deviations.
        logits: largest difference in any logit.
    """

    features: float
    logits: float


class EmotionRecognizer:
    """Recognises emotion in recordings and in streams; one for the whole program is enough.

    >>> recognizer = EmotionRecognizer()                              # doctest: +SKIP
    >>> recognizer.recognize_file("angry.wav").label                  # doctest: +SKIP
    'angry'
    >>> stream = recognizer.stream(sample_rate=48_000)                # doctest: +SKIP
    >>> for emotion in stream.feed(chunk):                            # doctest: +SKIP
    ...     print(emotion.label, emotion.probability, emotion.start_seconds)

    Args:
        model: a TFLite or ONNX file made by `edge-ser convert`; None: the one in the package.
        engine: one of `engines.ENGINES`; None: the first that is installed and reads the file.
        threads: of the engine.

    Raises:
        EdgeSerError: when the model or an engine for it is not there or not usable.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        engine: str | None = None,
        threads: int = 1,
    ) -> None:
        self.model = boxed_model(engine) if model is None else Path(model)
        self.contract: Contract = read_contract(self.model)
        self.engine: Engine = load_engine(self.model, engine, threads, contract=self.contract)

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions that the model knows, in the order of its logits."""
        return self.contract.labels

    def recognize(self, samples: ArrayLike, sample_rate: int) -> Recognition:
        """What a whole recording sounds like.

        Windows follow each other at the hop from the first sample on; a recording shorter
        than one is followed by silence. What does not fill a hop at the end is not heard.

        Args:
            samples: int16, or floating-point with full scale 1.
            sample_rate: in Hz.

        Shape:
            - samples: (n,) or (n, channels)

        Raises:
            EdgeSerError: when there are no samples, or they are not what is expected.
        """
        rate = check_rate(sample_rate)
        signal = check_samples(samples)
        if not signal.size:
            raise EdgeSerError("there are no samples to recognise; give at least one")
        stream = self.stream(rate)
        portion = FEED_SECONDS * rate
        windows: list[Emotion] = []
        for start in range(0, signal.size, portion):
            windows += stream.feed(signal[start : start + portion])
        windows += stream.flush()
        mean = np.mean([list(window.probabilities.values()) for window in windows], axis=0)
        label, probability, probabilities = _judge(self.contract, mean)
        return Recognition(label, probability, probabilities, tuple(windows), signal.size / rate)

    def recognize_file(self, path: str | os.PathLike[str]) -> Recognition:
        """What an audio file of any format, rate and number of channels sounds like.

        Raises:
            EdgeSerError: when it is no audio file, or holds no usable samples.
        """
        samples, rate = read_audio(path)
        try:
            return self.recognize(samples, rate)
        except EdgeSerError as error:
            raise EdgeSerError(f"{os.fspath(path)}: {error}") from error

    def stream(self, sample_rate: int = 16_000) -> "EmotionStream":
        """A new stream, which shares nothing with any other but the model.

        Args:
            sample_rate: of the samples that it will be fed, in Hz.
        """
        return EmotionStream(self.contract, self.engine, sample_rate)

    def self_test(self) -> SelfTest:
        """Compute the golden vectors in the model file and say how far off they are.

        Raises:
            EdgeSerError: when the model file has none.
        """
        contract = self.contract
        if not contract.golden:
            raise EdgeSerError(f"{self.model}: this model file has no golden vectors to test with")
        features, logits = 0.0, 0.0
        for vector in contract.golden:
            features = max(features, features_difference(contract, vector))
            stream = EmotionStream(contract, self.engine, contract.features.sample_rate)
            (heard,) = stream.feed(golden_waveform(vector.seed, contract.window_samples))
            difference = np.subtract(heard.logits, vector.logits)
            logits = max(logits, float(np.max(np.abs(difference))))
        return SelfTest(features, logits)


class EmotionStream:
    """One stream of samples, fed in any portions, and all that is remembered of it.

    The same samples give the same logits, bit for bit, whatever the portions. Not for use
    by two threads at a time. Made by `EmotionRecognizer.stream`.
    """

    def __init__(self, contract: Contract, engine: Engine, sample_rate: int) -> None:
        self._contract, self._engine = contract, engine
        self._resampler = StreamResampler(sample_rate, contract.features.sample_rate)
        self._extractor = FeatureExtractor(contract.features)
        self.reset()

    def feed(self, samples: ArrayLike) -> list[Emotion]:
        """The windows that these samples complete, none, one or several.

        Args:
            samples: int16, or floating-point with full scale 1, at the stream's rate. When
                they are refused, the stream is as if they had not been fed.

        Shape:
            - samples: (n,) or (n, channels)

        Raises:
            EdgeSerError: when the samples are not what is expected.
        """
        return self._hear(self._resampler.feed(check_samples(samples)))

    def flush(self) -> list[Emotion]:
        """End the stream: the windows still due; after it the stream is as new.

        When less than one window was fed in all, silence fills it up.
        """
        emotions = self._hear(self._resampler.flush())
        missing = self._contract.window_samples - self._n_samples
        if self._n_samples and missing > 0:
            emotions += self._hear(np.zeros(missing, np.float32))
        self.reset()
        return emotions

    def reset(self) -> None:
        """Forget everything fed so far, and begin at time zero again."""
        self._resampler.reset()
        self._extractor.reset()
        config = self._contract.features
        # The last frames, normalised, as many as a window has; the newest at the end.
        self._frames = np.zeros((self._contract.window_frames, config.n_features), np.float32)
        self._n_samples = 0  # at the model's rate
        self._n_frames = 0
        self._n_windows = 0

    def _hear(self, samples: NDArray[np.float32]) -> list[Emotion]:
        """The windows that these samples, at the model's rate, complete."""
        contract = self._contract
        self._n_samples += samples.size
        frames = contract.normalise(self._extractor.feed(samples))
        emotions = []
        while len(frames):
            due = contract.window_frames + self._n_windows * contract.hop_frames
            now, frames = np.split(frames, [min(due - self._n_frames, len(frames))])
            self._n_frames += len(now)
            self._frames = np.concatenate([self._frames[len(now) :], now])
            if self._n_frames == due:
                emotions.append(self._recognize_window())
        return emotions

    def _recognize_window(self) -> Emotion:
        contract = self._contract
        logits = self._engine.infer(self._frames)
        shares = softmax(logits, contract.temperature)
        label, probability, probabilities = _judge(contract, shares)
        start = self._n_windows * contract.hop_samples
        window, self._n_windows = self._n_windows, self._n_windows + 1
        return Emotion(
            label=label,
            probability=probability,
            probabilities=probabilities,
            start_seconds=start / contract.features.sample_rate,
            end_seconds=(start + contract.window_samples) / contract.features.sample_rate,
            window=window,
            logits=tuple(logits.tolist()),
        )


def boxed_model(engine: str | None = None) -> Path:
    """The model that comes with the package, in the format that an installed engine reads.

    Args:
        engine: one of `engines.ENGINES`, which then decides.

    Raises:
        EdgeSerError: when the package has none.
    """
    if engine in ENGINES:
        tflite = ENGINES[engine].reads_tflite
    else:
        tflite = bool(installed_engines(tflite=True)) or not installed_engines()
    path = BOXED_TFLITE if tflite else BOXED_ONNX
    if not path.is_file():
        raise EdgeSerError(
            f"no model came with this installation ({path.name} is not there); give a model file"
        )
    return path


def _judge(
    contract: Contract, probabilities: NDArray[np.float64]
) -> tuple[str, float, dict[str, float]]:
    """(label, its probability, every label's) of one distribution, (n_labels,)."""
    best = int(np.argmax(probabilities))
    probability = float(probabilities[best])
    label = contract.labels[best] if probability >= contract.rejection_threshold else UNCERTAIN
    return label, probability, dict(zip(contract.labels, probabilities.tolist(), strict=True))
