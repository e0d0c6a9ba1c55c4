"""`python -m pi_emulator.count_stream [--no-gate | MINUTES]`: count a second of a stream, by part.

Runs in the emulated Python. Fed 250 ms at a time, which is the hop of the boxed model. With
--no-gate only what needs no speech gate is counted. With MINUTES nothing is: that much sound is
fed, gate and resampler on. Prints resident memory as JSON.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware_host.decisions import DecisionConfig
from firmware_host.features import FeatureExtractor
from firmware_host.golden import golden_waveform
from firmware_host.recognizer import EmotionRecognizer
from firmware_host.speech_gate import SpeechGate
from firmware_host.stream import EmotionStream
from pi_emulator.guest_rss import guest_rss
from pi_emulator.regions import count_region

FEATURES, BUT_MODEL, WHOLE, GATE, GATED_48K = range(1, 6)
PORTIONS = 4  # a second


class NoModel:
    """An engine that costs nothing."""

    name = "none"

    def __init__(self, n_labels: int) -> None:
        self._logits = np.arange(n_labels, dtype=np.float32)

    def infer(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same logits for everything."""
        return self._logits


def main() -> None:
    """Count every part, or feed MINUTES; print resident memory."""
    recognizer = EmotionRecognizer()
    match sys.argv[1:]:
        case []:
            found = count_ungated(recognizer) | count_gated(recognizer)
        case ["--no-gate"]:
            found = count_ungated(recognizer)
        case [minutes]:
            found = long_run(recognizer, float(minutes))
    print(json.dumps(found))


def count_ungated(recognizer: EmotionRecognizer) -> dict[str, int]:
    """A stream without resampler and gate, in all and by part; its resident memory."""
    ungated = DecisionConfig(gate=False)
    whole = recognizer.stream(16_000, ungated)
    count_region(second_of(whole, 16_000), WHOLE)
    found = {"resident_bytes": guest_rss()}
    contract = recognizer.contract
    rest = EmotionStream(contract, NoModel(len(contract.labels)), 16_000, ungated)
    count_region(second_of(rest, 16_000), BUT_MODEL)
    extractor, signal = FeatureExtractor(contract.features), golden_waveform(1, 16_000)
    count_region(in_portions(signal, extractor.feed), FEATURES)
    return found


def count_gated(recognizer: EmotionRecognizer) -> dict[str, int]:
    """The gate, and a stream with all that there is; its resident memory."""
    gate, signal = SpeechGate(), golden_waveform(1, 16_000)

    def listen() -> None:
        gate.feed(signal)
        gate.share(10**9, 10**9)  # forgets, as the next window does

    count_region(listen, GATE)
    gated = recognizer.stream(48_000, DecisionConfig(gate=True))
    count_region(second_of(gated, 48_000), GATED_48K)
    return {"resident_bytes_gated_48k": guest_rss()}


def long_run(recognizer: EmotionRecognizer, minutes: float) -> dict[str, int]:
    """Resident memory after half a minute, and at the end."""
    stream = recognizer.stream(48_000, DecisionConfig(gate=True))
    second = second_of(stream, 48_000)
    found: dict[str, int] = {}
    for n in range(round(60 * minutes)):
        second()
        if n == 30:
            found["resident_bytes_at_30_s"] = guest_rss()
    return found | {"resident_bytes_at_end": guest_rss()}


def second_of(stream: EmotionStream, rate: int) -> Callable[[], None]:
    """Feeds a second; the stream has heard four, so that each portion completes a window."""
    pcm = (golden_waveform(1, rate) * 32_768).astype(np.int16)
    feed = in_portions(pcm, stream.feed)
    for _ in range(4):
        feed()
    return feed


def in_portions(
    samples: NDArray[Any], feed: Callable[[NDArray[Any]], object]
) -> Callable[[], None]:
    """Feeds a second's samples in its `PORTIONS`."""
    size = len(samples) // PORTIONS
    portions = [samples[at : at + size] for at in range(0, len(samples), size)]

    def second() -> None:
        for portion in portions:
            feed(portion)

    return second


if __name__ == "__main__":
    main()
