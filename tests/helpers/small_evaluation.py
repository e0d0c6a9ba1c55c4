"""The smallest evaluation that is real: a tone corpus, a tiny network, an epoch of each kind."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from edge_ser.evaluation.outcome import Outcome
from edge_ser.evaluation.protocols import keys_of
from edge_ser.evaluation.run import Place
from edge_ser.evaluation.units import Settings, Unit

SETTINGS = Settings(size="tiny", epochs=1, qat_epochs=1, batch_size=15)
OPTIONS = ["--size", "tiny", "--epochs", "1", "--qat-epochs", "1", "--batch-size", "15"]
RATE = 16_000


def unit_of(protocol: str, corpus: str = "RAVDESS", fold: int = 1, **settings: object) -> Unit:
    """A fold of a protocol with these settings."""
    (key,) = keys_of(protocol, (corpus,), folds=(fold,))
    return Unit(key, 0, replace(SETTINGS, **settings))  # type: ignore[arg-type]


def place_of(folder: Path, data: Path | None) -> Place:
    """Where it is computed."""
    return Place(folder / "outcomes", folder / "work", data, "cpu")


def heard(outcome: Outcome) -> dict[str, object]:
    """What must be the same however an outcome was come by; the model files to the last bit."""
    return {
        "names": outcome.names,
        "truth": outcome.truth.tolist(),
        "breaches": outcome.breaches,
        "division": outcome.division,
        "variants": {
            name: (one.labels.tolist(), one.file["sha256"]) for name, one in outcome.heard.items()
        },
    }


def write_subesco(root: Path) -> Path:
    """`root/SUBESCO/*.wav` in its published layout: every speaker, two emotions, a take."""
    random = np.random.default_rng(0)
    time = np.arange(RATE // 2) / RATE
    folder = root / "SUBESCO"
    folder.mkdir(parents=True)
    for letter in "FM":
        for number in range(1, 11):
            for emotion, pitch in (("ANGRY", 2000.0), ("HAPPY", 700.0)):
                tone = 0.1 * np.sin(2 * np.pi * pitch * random.uniform(0.95, 1.05) * time)
                name = f"{letter}_{number:02d}_SOMEONE_S_1_{emotion}_1.wav"
                noise = 0.002 * random.standard_normal(time.size)
                soundfile.write(folder / name, tone + noise, RATE)
    return root
