"""The model in the package is heard alike in tflite-runtime and in TensorFlow.

Both need environments of their own (see engine_environments.py), which cost a minute and
gigabytes: they are made where EDGE_SER_ENGINE_ENVS=1 asks for them.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_environments import (
    ENVIRONMENTS,
    LOGIT_STEPS,
    REPOSITORY,
    THIS_PYTHON,
    WANTED,
    grid_step,
    make,
)

from firmware_host.audio import read_audio, resample
from firmware_host.golden import golden_waveform
from firmware_host.recognizer import BOXED_TFLITE, EmotionRecognizer

PROGRAM = REPOSITORY / "tests" / "helpers" / "recognize_elsewhere.py"
CLIP = REPOSITORY / "edge_ser" / "assets" / "demo.flac"
SAMPLE_RATE = 16_000
N_RECORDINGS = 40  # of real speech, spread over the corpora
# So a recording between two emotions may fall to the other side: one in three hundred did.
SAME_LABELS = 0.95


@pytest.fixture(scope="module", params=ENVIRONMENTS, ids=lambda environment: environment.engine)
def engine(request: pytest.FixtureRequest, need: Callable[[str], None]) -> tuple[str, Path]:
    """An engine's name, and the Python of the environment that it is installed in."""
    environment = request.param
    if not environment.has_wheels:
        version = ".".join(map(str, THIS_PYTHON))
        pytest.skip(f"there is no {environment.engine} for Python {version}")
    if not WANTED:
        need("EDGE_SER_ENGINE_ENVS is not 1: other engines' environments take a minute to make")
    if not BOXED_TFLITE.is_file():
        need(f"{BOXED_TFLITE.name} is not in the package")
    return environment.engine, make(environment)


def test_synthetic_sounds(engine: tuple[str, Path], tmp_path: Path) -> None:
    """Golden waveforms and the clip in the package; these need nothing from elsewhere."""
    samples, _ = read_audio(CLIP)
    golden = {f"golden {seed}": golden_waveform(seed, 4 * SAMPLE_RATE) for seed in (1, 2, 3)}
    compare(engine, golden | {"clip": samples}, tmp_path)


def test_real_speech(engine: tuple[str, Path], corpora_dir: Path, tmp_path: Path) -> None:
    """Recordings of people, of every corpus that is there."""
    paths = sorted(path for path in corpora_dir.rglob("*") if path.suffix in (".flac", ".wav"))
    chosen = paths[:: max(1, len(paths) // N_RECORDINGS)]
    assert chosen
    recordings = {str(path): resample(*read_audio(path)) for path in chosen}
    same = compare(engine, recordings, tmp_path)
    assert np.mean(same) >= SAME_LABELS


def compare(engine: tuple[str, Path], recordings: dict[str, Any], folder: Path) -> list[bool]:
    """Every logit close to ai-edge-litert's; which recordings have the same label."""
    heard = hear_elsewhere(*engine, recordings, folder)
    recognizer = EmotionRecognizer(BOXED_TFLITE, "litert")
    here = {
        name: recognizer.recognize(samples, SAMPLE_RATE) for name, samples in recordings.items()
    }
    logits = {name: np.array([window.logits for window in here[name].windows]) for name in here}
    step = grid_step(np.concatenate(list(logits.values())))
    for name in recordings:
        assert logits[name].shape == heard[name].shape
        assert np.abs(logits[name] - heard[name]).max() <= LOGIT_STEPS * step, name
    return [here[name].label == str(heard[f"{name}.label"]) for name in recordings]


def hear_elsewhere(
    engine: str, python: Path, recordings: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """What `recognize_elsewhere.py` writes, run by that Python."""
    given, heard = folder / "recordings.npz", folder / "heard.npz"
    np.savez(given, **recordings)
    done = subprocess.run(
        [python, PROGRAM, engine, given, BOXED_TFLITE, heard],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    with np.load(heard) as arrays:
        return dict(arrays)
