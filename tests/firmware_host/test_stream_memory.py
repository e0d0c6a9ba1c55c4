"""Memory of streams, in processes of their own: little for each, and no more after an hour.

Also benchmarks/stream_cost.py and benchmarks/streams.py measure it, with the speech gate too.
"""

import subprocess
import sys
from collections.abc import Callable

import pytest

from firmware_host.recognizer import BOXED_TFLITE

STREAMS, KB_EACH = 64, 300
GROWTH_KB = 500  # allocators round; a stream that kept its features would grow by 90 MB

PROGRAM = """
import gc
import numpy as np
from firmware_host import DecisionConfig, EmotionRecognizer
from firmware_host.golden import golden_waveform

recognizer, config = EmotionRecognizer(), DecisionConfig(gate=False)

def resident_kb():
    gc.collect()
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))

def fed(rate, seconds, stream=None):
    stream = stream or recognizer.stream(rate, config)
    second = (golden_waveform(1, rate) * 32_768).astype(np.int16)
    for _ in range(seconds):
        for portion in np.split(second, 4):
            stream.feed(portion)
    return stream
"""
SEVERAL = f"""
kept = [fed(16_000, 8)]
before = resident_kb()
kept += [fed(16_000, 8) for _ in range({STREAMS})]
print(resident_kb() - before)
"""
AN_HOUR = """
stream = fed(48_000, 60)
before = resident_kb()
fed(48_000, 3_540, stream)
print(resident_kb() - before)
"""


@pytest.fixture
def grown_kb(need: Callable[[str], None]) -> Callable[[str], int]:
    if not BOXED_TFLITE.is_file():
        need(f"{BOXED_TFLITE.name} is not in the package")

    def run(program: str) -> int:
        command = [sys.executable, "-c", PROGRAM + program]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return int(done.stdout)

    return run


def test_many_streams_share_what_is_large(grown_kb: Callable[[str], int]) -> None:
    assert grown_kb(SEVERAL) <= STREAMS * KB_EACH


def test_an_hour_of_sound_leaves_nothing_behind(grown_kb: Callable[[str], int]) -> None:
    """At 48 kHz, with resampler, smoothing and the model in the package."""
    assert grown_kb(AN_HOUR) <= GROWTH_KB
