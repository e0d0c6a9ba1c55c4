"""The recogniser: a model loaded once, and any number of streams that it listens to.

The model never changes; all that a stream remembers lives in its `EmotionStream`. A whole
recording is a stream fed from its first sample to its last, so both give the same bits; only
that a stream's labels are smoothed as they come, and a recording's windows are not.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from firmware_host.audio import check_rate, check_samples, read_audio
from firmware_host.contract import Contract, read_contract
from firmware_host.decisions import EACH_WINDOW, NO_SPEECH, UNCERTAIN, Decider, DecisionConfig
from firmware_host.engines import ENGINES, Engine, installed_engines, load_engine
from firmware_host.errors import EdgeSerError
from firmware_host.golden import features_difference, golden_waveform
from firmware_host.stream import Emotion, EmotionStream

__all__ = [
    "NO_SPEECH",
    "UNCERTAIN",
    "Emotion",
    "EmotionRecognizer",
    "EmotionStream",
    "Recognition",
    "SelfTest",
    "boxed_model",
]

MODELS = Path(__file__).parent / "models"
BOXED_TFLITE = MODELS / "edge-ser-small.int8.tflite"
BOXED_ONNX = MODELS / "edge-ser-small.int8.onnx"

FEED_SECONDS = 30  # a long recording is fed in portions: memory does not grow with its features


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

        Its probabilities are the mean over its windows, each judged by itself. Windows follow
        each other at the hop from the first sample on; a recording shorter than one is followed
        by silence. What does not fill a hop at the end is not heard.

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
        stream = self.stream(rate, EACH_WINDOW)
        portion = FEED_SECONDS * rate
        windows: list[Emotion] = []
        for start in range(0, signal.size, portion):
            windows += stream.feed_signal(signal[start : start + portion], arrived=None)
        windows += stream.flush()
        mean = np.mean([list(window.probabilities.values()) for window in windows], axis=0)
        duration = signal.size / rate
        contract = self.contract
        decider = Decider(EACH_WINDOW, contract.labels, contract.rejection_threshold)
        whole = decider.decide(mean, duration)
        return Recognition(
            whole.label, whole.probability, contract.by_label(mean), tuple(windows), duration
        )

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

    def stream(
        self, sample_rate: int = 16_000, decisions: DecisionConfig | None = None
    ) -> EmotionStream:
        """A new stream, which shares nothing with any other but the model.

        Args:
            sample_rate: of the samples that it will be fed, in Hz.
            decisions: how its labels are decided; None: as `DecisionConfig` has it.

        Raises:
            EdgeSerError: for an impossible rate, or when a speech gate is asked for and not there.
        """
        return EmotionStream(self.contract, self.engine, sample_rate, decisions)

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
            stream = self.stream(contract.features.sample_rate, EACH_WINDOW)
            (heard,) = stream.feed(golden_waveform(vector.seed, contract.window_samples))
            difference = np.subtract(heard.logits, vector.logits)
            logits = max(logits, float(np.max(np.abs(difference))))
        return SelfTest(features, logits)


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
