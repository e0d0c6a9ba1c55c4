"""The robustness benchmark on real model files, with tones for speech."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tone_corpus import write_tone_corpus

from convert.checkpoint import Checkpoint, write_checkpoint
from convert.pipeline import convert
from edge_ser.corpora import load_corpus
from edge_ser.degrade import RATE, change_gain, coloured_noise
from edge_ser.emotions import SEVEN_FROM_CANONICAL
from edge_ser.folds import get_fold
from edge_ser.outcomes import make_outcomes
from firmware_host.audio import read_audio
from firmware_host.errors import EdgeSerError
from firmware_host.features import FeatureConfig, extract
from firmware_host.normalisation import Normalisation
from firmware_host.recognizer import EmotionRecognizer
from robustness import measure, read_results, write_results
from robustness_conditions import (
    CLEAN,
    PIECES,
    SNRS_DB,
    Condition,
    conditions,
    noise_sources,
)
from robustness_report import to_markdown

CORPORA = ("RAVDESS",)
TRAINED = {"corpora": ["RAVDESS"], "fold": 1, "label_of": dict(SEVEN_FROM_CANONICAL)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones, and a noise beside them."""
    root = write_tone_corpus(tmp_path_factory.mktemp("data"))
    (root / "noise").mkdir()
    hiss = 0.01 * coloured_noise(RATE, 0.0, seed=0)
    soundfile.write(root / "noise" / "a_hiss.flac", hiss, RATE)
    return root


@pytest.fixture(scope="module")
def models(checkpoint: Checkpoint, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `edge-ser convert --int8` writes, of an untrained network that tells tones apart."""
    folder = tmp_path_factory.mktemp("models")
    tones = [read_audio(clip.path)[0] for clip in load_corpus(data, "RAVDESS")[::5]]
    frames = extract(np.concatenate(tones), FeatureConfig())
    named = replace(
        checkpoint,
        name="hear-me",
        normalisation=Normalisation.of(
            FeatureConfig(),
            tuple(map(float, frames.mean(axis=0))),
            tuple(map(float, frames.std(axis=0) + 1e-3)),
        ),
        training=TRAINED,
    )
    write_checkpoint(folder / "hear-me.safetensors", named)
    convert(folder / "hear-me.safetensors", folder)
    return folder


@pytest.fixture(scope="module")
def wanted(data: Path) -> list[Condition]:
    """Clean, and some of every group."""
    every = conditions(noise_sources(data))
    groups = {condition.group for condition in every}
    assert groups == {CLEAN, "noise", "gain", "clipping", "room", "band"}
    names = ("clean", "a hiss, 0 dB", "gain -20 dB", "gain +20 dB", "telephone")
    return [condition for condition in every if condition.name in names]


def quiet(_: str) -> None:
    """Progress that nobody reads."""


def test_every_file_hears_what_a_user_would_hear(
    models: Path, data: Path, wanted: Sequence[Condition], tmp_path: Path
) -> None:
    """UAR of degraded recordings is that of the recogniser fed with them, one by one."""
    summary = measure(models, data, CORPORA, wanted, tmp_path, tell=quiet)
    clips = [
        clip
        for clip in load_corpus(data, "RAVDESS")
        if clip.speaker in get_fold("RAVDESS", 1).test_speakers
    ]
    by_name = {row["name"]: row for row in summary["conditions"]}
    assert list(by_name) == [condition.name for condition in wanted]
    for name, gain_db in (("clean", 0.0), ("gain -20 dB", -20.0), ("gain +20 dB", 20.0)):
        for precision in ("float32", "int8"):
            recognizer = EmotionRecognizer(models / f"hear-me.{precision}.tflite")
            truth, probabilities = [], []
            for clip in clips:
                samples, rate = read_audio(clip.path)
                heard = recognizer.recognize(change_gain(samples, gain_db), rate)
                probabilities.append([*heard.probabilities.values()])
                truth.append(recognizer.labels.index(SEVEN_FROM_CANONICAL[clip.emotion]))
            alone = make_outcomes(truth, probabilities, ["x"] * len(clips)).score().uar
            assert by_name[name]["corpora"]["RAVDESS"][precision] == pytest.approx(alone)
    noisy = by_name["a hiss, 0 dB"]["corpora"]["RAVDESS"]
    recognizer = EmotionRecognizer(models / "hear-me.int8.tflite")
    right = []
    for change in next(one for one in wanted if one.group == "noise").changes:
        assert change is not None
        for clip in clips:
            heard = recognizer.recognize(change(read_audio(clip.path)[0], clip.path), RATE)
            right.append(heard.label == SEVEN_FROM_CANONICAL[clip.emotion])
    assert noisy["int8_accuracy"] == pytest.approx(np.mean(right))
    facts = summary["corpora"]["RAVDESS"]
    assert (facts["clips"], facts["status"]) == (len(clips), "held out")
    counts = Counter(SEVEN_FROM_CANONICAL[clip.emotion] for clip in clips)
    assert facts["rarest_clips"] == counts[facts["rarest"]] == min(counts.values())
    assert facts["rarest_points"] == pytest.approx(100 / (len(counts) * min(counts.values())))
    certainty = summary["all_clean"]
    assert certainty["clips"] == len(clips)
    assert certainty["accuracy"] == by_name["clean"]["mean"]["int8_accuracy"]


def test_what_was_heard_is_not_heard_again(
    models: Path, data: Path, wanted: Sequence[Condition], tmp_path: Path
) -> None:
    """Interrupted after some parts, it hears the others, and ends with the same figures."""
    parts, out = tmp_path / "parts", tmp_path / "out"
    first = measure(models, data, CORPORA, wanted, parts, limit=4, tell=quiet)
    files = sorted(parts.rglob("*.json"))
    assert len(files) == len(wanted)
    for lost in files[1:3]:
        lost.unlink()
    told: list[str] = []
    second = measure(models, data, CORPORA, wanted, parts, limit=4, tell=told.append)
    assert len(told) == 1 + 2
    assert second["conditions"] == first["conditions"]
    # Other recordings are other parts.
    told.clear()
    measure(models, data, CORPORA, wanted, parts, limit=3, tell=told.append)
    assert len(told) == 1 + len(wanted)
    write_results(second, out)
    assert sorted(path.suffix for path in out.iterdir()) == [".json", ".md", ".png", ".svg"]
    read = json.loads((out / "robustness.json").read_text())
    assert to_markdown(read) == (out / "robustness.md").read_text()
    assert (out / "robustness.png").stat().st_size > 10_000


def test_processes_change_nothing(
    models: Path, data: Path, wanted: Sequence[Condition], tmp_path: Path
) -> None:
    """Degradations are determined by the recording, whoever computes them."""
    one, two = (
        measure(models, data, CORPORA, wanted[:2], tmp_path / str(jobs), 4, jobs, quiet)
        for jobs in (1, 2)
    )
    assert one["conditions"] == two["conditions"]


def test_without_recorded_noises_there_are_synthetic_ones(tmp_path: Path) -> None:
    found = conditions(noise_sources(tmp_path))
    noises = {condition.noise for condition in found if condition.noise}
    assert noises == {"white (synthetic)", "pink (synthetic)"}
    levels = [c.snr_db for c in found if c.noise == "pink (synthetic)"]
    assert levels == list(SNRS_DB)
    samples = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    for condition in found[1:]:
        heard = [samples]
        for change in condition.changes:
            assert change is not None
            changed = change(samples, Path("a.wav"))
            assert changed.shape == samples.shape
            assert not any(np.array_equal(changed, one) for one in heard)
            heard.append(changed)
        assert len(heard) == 1 + (PIECES if condition.group == "noise" else 1)


def test_a_folder_without_both_precisions_is_refused(
    models: Path, data: Path, wanted: Sequence[Condition], tmp_path: Path
) -> None:
    (tmp_path / "m.float32.tflite").write_bytes((models / "hear-me.float32.tflite").read_bytes())
    with pytest.raises(EdgeSerError, match="0 pairs"):
        measure(tmp_path, data, CORPORA, wanted, tmp_path, tell=quiet)


def test_results_of_an_earlier_version_are_refused_in_a_sentence(tmp_path: Path) -> None:
    assert read_results(tmp_path) is None
    (tmp_path / "robustness.json").write_text('{"model": "edge-ser-small"}')
    with pytest.raises(EdgeSerError, match=r"measure again with `python benchmarks/robustness.py`"):
        read_results(tmp_path)
