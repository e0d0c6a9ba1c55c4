"""A stream that the recogniser listens to, and what it hears in each window of it."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firmware_host.audio import StreamResampler, check_samples
from firmware_host.contract import Contract
from firmware_host.decisions import Decider, DecisionConfig
from firmware_host.engines import Engine
from firmware_host.errors import EdgeSerError
from firmware_host.features import FeatureExtractor
from firmware_host.probabilities import softmax
from firmware_host.speech_gate import CHUNK_SAMPLES, RATE, SpeechGate, gate_installed
from firmware_host.stream_clock import StreamClock

SETTLING_SECONDS = 1.0  # of silence, after which a resampler holds nothing else any more


@dataclass(frozen=True)
class Emotion:
    """What was heard in one window of a stream.

    Args:
        label: what was decided: an emotion, `UNCERTAIN` or `NO_SPEECH`.
        probability: smoothed, of the label; of the most probable emotion where it is none.
        probabilities: every emotion's in this window alone, softmax(logits / temperature).
        start_seconds: time of the window's first sample, from the start of the stream.
        end_seconds: time just after its last sample.
        window: which window of the stream it is, from 0.
        logits: the model's outputs, in the order of the labels.
        smoothed: every emotion's probability as the decision saw it.
        speech: share of the window that is speech; None when no gate listened.
        gap_ms: how much of the window was lost before it got here.
        latency_ms: from the arrival of the window's last sample until now; None when the
            samples did not arrive but were there. Two events are equal whatever it is.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float]
    start_seconds: float
    end_seconds: float
    window: int
    logits: tuple[float, ...]
    smoothed: Mapping[str, float] = field(default_factory=dict)
    speech: float | None = None
    gap_ms: float = 0.0
    latency_ms: float | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


class EmotionStream:
    """One stream of samples, fed in any portions, and all that is remembered of it.

    The same samples give the same events, bit for bit, whatever the portions. Not for use
    by two threads at a time. Made by `EmotionRecognizer.stream`.

    Args:
        decisions: how labels are decided; None: as `DecisionConfig` has it.

    Raises:
        EdgeSerError: for an impossible rate, or when the gate is asked for and not there.
    """

    def __init__(
        self,
        contract: Contract,
        engine: Engine,
        sample_rate: int,
        decisions: DecisionConfig | None = None,
    ) -> None:
        config, model_rate = decisions or DecisionConfig(), contract.features.sample_rate
        self._contract, self._engine = contract, engine
        self._resampler = StreamResampler(sample_rate, model_rate)
        self._extractor = FeatureExtractor(contract.features)
        self._clock = StreamClock(self._resampler.rate_in, model_rate)
        self._decider = Decider(config, contract.labels, contract.rejection_threshold)
        self._gate = _open_gate(config, model_rate)
        self.reset()

    @property
    def gated(self) -> bool:
        """Whether a speech gate listens too."""
        return self._gate is not None

    def feed(self, samples: ArrayLike, arrived: float | None = None) -> list[Emotion]:
        """The windows that these samples complete, none, one or several.

        Args:
            samples: int16, or floating-point with full scale 1, at the stream's rate. When
                they are refused, the stream is as if they had not been fed.
            arrived: when the last of them came in, in seconds of `time.monotonic`; None: now.

        Shape:
            - samples: (n,) or (n, channels)

        Raises:
            EdgeSerError: when the samples are not what is expected.
        """
        return self.feed_signal(samples, time.monotonic() if arrived is None else arrived)

    def feed_signal(self, samples: ArrayLike, arrived: float | None) -> list[Emotion]:
        """As `feed`, but None for samples that were there all the time, as in a file."""
        signal = check_samples(samples)
        self._clock.arrive(signal.size, arrived, self._due_samples())
        return self._hear(self._resampler.feed(signal))

    def lost(self, n_samples: int) -> list[Emotion]:
        """The windows that come due with samples that were lost on their way here.

        They count as silence, so that the stream's time stays true, and every event says how
        much of its window they are. A window of which nothing arrived is one without speech,
        gate or not. A loss of any length takes bounded time: of the windows in the middle of
        one much longer than a window nothing is told.

        Args:
            n_samples: how many, at the stream's rate.

        Raises:
            EdgeSerError: for a negative number.
        """
        if n_samples < 0:
            raise EdgeSerError(f"{n_samples} lost samples were given, but 0 or more is expected")
        rate, contract = self._resampler.rate_in, self._contract
        self._clock.lose(n_samples)
        # After a window of silence only time changes, which can be set forward in steps after
        # which windows, frames, gate and resampler stand as before: an hour costs no more
        # than a window does.
        seconds = contract.window_samples / contract.features.sample_rate + SETTLING_SECONDS
        settled = min(n_samples, math.ceil(seconds * rate))
        emotions = self._hear_silence(settled)
        step_hops, step_samples = self._whole_step()
        steps = (n_samples - settled) // step_samples
        self._skip(steps * step_hops)
        return emotions + self._hear_silence(n_samples - settled - steps * step_samples)

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
        self._clock.reset()
        self._decider.reset()
        if self._gate is not None:
            self._gate.reset()
        config = self._contract.features
        # The last frames, as many as a window has; the newest at the end.
        self._frames = np.zeros((self._contract.window_frames, config.n_features), np.float32)
        self._n_samples = 0  # at the model's rate
        self._n_frames = 0
        self._n_windows = 0

    def _hear(self, samples: NDArray[np.float32]) -> list[Emotion]:
        """The windows that these samples, at the model's rate, complete."""
        contract = self._contract
        self._n_samples += samples.size
        if self._gate is not None:
            self._gate.feed(samples)
        frames = self._extractor.feed(samples)
        emotions = []
        while len(frames):
            due = contract.window_frames + self._n_windows * contract.hop_frames
            missing = due - self._n_frames
            now, frames = frames[:missing], frames[missing:]
            self._n_frames += len(now)
            self._frames = np.concatenate([self._frames[len(now) :], now])
            if self._n_frames == due:
                emotions.append(self._recognize_window())
        return emotions

    def _recognize_window(self) -> Emotion:
        """The event of the window that is full now."""
        contract, rate = self._contract, self._contract.features.sample_rate
        start = self._n_windows * contract.hop_samples
        end = start + contract.window_samples
        window, self._n_windows = self._n_windows, self._n_windows + 1
        speech = None if self._gate is None else self._gate.share(start, end)
        arrived, lost = self._clock.arrived(end), self._clock.lost_seconds(start, end)
        logits = self._engine.infer(contract.normalise(self._frames))
        probabilities = softmax(logits, contract.temperature)
        nothing = lost == contract.window_samples / rate
        decision = self._decider.decide(probabilities, end / rate, 0.0 if nothing else speech)
        return Emotion(
            label=decision.label,
            probability=decision.probability,
            probabilities=contract.by_label(probabilities),
            start_seconds=start / rate,
            end_seconds=end / rate,
            window=window,
            logits=tuple(logits.tolist()),
            smoothed=contract.by_label(decision.smoothed),
            speech=speech,
            gap_ms=1_000 * lost,
            latency_ms=None if arrived is None else 1_000 * (time.monotonic() - arrived),
        )

    def _due_samples(self) -> int:
        """End of the next window, in samples at the model's rate."""
        return self._n_windows * self._contract.hop_samples + self._contract.window_samples

    def _hear_silence(self, n_samples: int) -> list[Emotion]:
        return self._hear(self._resampler.feed(np.zeros(n_samples, np.float32)))

    def _whole_step(self) -> tuple[int, int]:
        """The fewest hops that are a whole number of the gate's chunks and of samples.

        Returns:
            them, and the samples at the stream's rate that they are.
        """
        hop, model_rate = self._contract.hop_samples, self._contract.features.sample_rate
        rate = self._resampler.rate_in
        hops = math.lcm(
            CHUNK_SAMPLES // math.gcd(hop, CHUNK_SAMPLES),
            model_rate // math.gcd(hop * rate, model_rate),
        )
        return hops, hops * hop * rate // model_rate

    def _skip(self, n_hops: int) -> None:
        """Set the time forward, in silence."""
        n_samples = n_hops * self._contract.hop_samples
        self._n_samples += n_samples
        self._n_frames += n_hops * self._contract.hop_frames
        self._n_windows += n_hops
        if self._gate is not None:
            self._gate.skip(n_samples)


def _open_gate(config: DecisionConfig, rate: int) -> SpeechGate | None:
    """The gate that is asked for; of itself where it is installed and made for this rate."""
    if config.gate is None:
        return SpeechGate() if rate == RATE and gate_installed() else None
    if config.gate and rate != RATE:
        raise EdgeSerError(
            f"the speech gate listens at {RATE} Hz, but this model's rate is {rate} Hz; "
            "turn the gate off"
        )
    return SpeechGate() if config.gate else None
