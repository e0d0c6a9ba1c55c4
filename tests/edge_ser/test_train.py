"""Training as a person runs it: it learns, it survives kill -9, it says what is wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_evaluation import write_subesco
from tone_corpus import write_tone_corpus

from convert.build import build_graph
from convert.checkpoint import Checkpoint, read_checkpoint
from convert.pipeline import contract_of
from convert.reference import run as run_reference
from edge_ser.augment import AugmentConfig
from edge_ser.corpora import load_corpus
from edge_ser.dataset import normalisation_of, read_clips
from edge_ser.folds import get_fold, split
from edge_ser.heads import Heads, own_heads
from edge_ser.model import EmotionNet
from edge_ser.surroundings import SurroundingsConfig
from edge_ser.train import validation_of
from edge_ser.trainer import TrainConfig
from firmware_host.audio import read_audio
from firmware_host.features import extract

OPTIONS = [
    "--corpus",
    "ravdess",
    "--size",
    "tiny",
    "--epochs",
    "24",
    "--qat-epochs",
    "4",
    "--batch-size",
    "15",
    "--learning-rate",
    "5e-3",
]
PATIENCE_SECONDS = 120  # of a test that waits for a subprocess; only a hang reaches it


def command(data: Path, run: Path, *more: str) -> list[str]:
    base = [sys.executable, "-m", "edge_ser", "train", "--data", str(data), "-o", str(run)]
    return [*base, *OPTIONS, *more]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tone_corpus(tmp_path_factory.mktemp("corpora"))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a training that nobody disturbed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    done = subprocess.run(
        command(data, run), check=True, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    return Path(done.stdout.strip())


def test_it_learns_what_can_be_learned_and_int8_keeps_it(data: Path, trained: Path) -> None:
    """Speakers never heard are recognised, by the int8 graph that the checkpoint holds."""
    checkpoint = read_checkpoint(trained)
    graph = build_graph(checkpoint, quantised=True)
    contract = contract_of(checkpoint, graph)
    test = split(load_corpus(data, "RAVDESS"), get_fold("RAVDESS", 1)).test
    right = 0
    for clip in test:
        samples, _ = read_audio(clip.path)
        needed = checkpoint.features.samples_for(checkpoint.window_frames)
        frames = extract(np.pad(samples, (0, needed - samples.size)), checkpoint.features)
        logits = run_reference(graph, contract.normalise(frames))
        right += checkpoint.labels[int(np.argmax(logits))] == clip.emotion
    assert right >= 0.9 * len(test)


def test_the_checkpoint_says_who_was_held_out(trained: Path) -> None:
    checkpoint = read_checkpoint(trained)
    facts = checkpoint.training
    assert checkpoint.labels == ("neutral", "happy", "angry")
    assert facts["corpora"] == ["RAVDESS"] and facts["fold"] == 1
    assert facts["test_speakers"] == {"RAVDESS": ["02", "05", "14", "15", "16"]}
    assert "CC BY-NC-SA" in facts["terms"]["RAVDESS"]
    assert facts["seed"] == 0
    assert {"torch", "numpy", "python"} <= set(facts["versions"])


def test_killed_and_resumed_it_ends_with_the_same_bits(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    """kill -9 during float training and again during QAT loses at most an epoch's work."""
    run = tmp_path / "killed"
    for stage, epoch in (("float", 5), ("qat", 2)):
        process = subprocess.Popen(
            command(data, run, "--name", "ravdess-1-tiny"), stderr=subprocess.DEVNULL
        )
        try:
            wait_for(run, stage, epoch)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    done = subprocess.run(
        command(data, run, "--name", "ravdess-1-tiny"),
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert Path(done.stdout.strip()).read_bytes() == trained.read_bytes()
    assert not list(run.glob("*.partial")) or os.name == "nt"


def test_teachers_are_trained_first_and_outlive_kills_too(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    """Killed in a teacher's, the rehearsal's, a refit's and the pupil's training: the same bits."""
    taught = (
        "--teachers",
        "2",
        "--teacher-size",
        "small",
        "--refit-epochs",
        "8",
        "--pupil-epochs",
        "30",
        "--qat-epochs",
        "1",
        "--name",
        "ravdess-1-tiny",
    )
    refit = "8-epoch-refit-of-teacher-2"
    logs = ("teacher-2/log.jsonl", "rehearsal/log.jsonl", f"{refit}/log.jsonl", "log.jsonl")
    ends = killed_and_left_alone(data, tmp_path, (*taught, "--rehearse"), logs)
    one, other = (read_checkpoint(Path(end.stdout.strip())) for end in ends)
    assert "teacher 1: epoch 1 of 24" in ends[1].stderr
    assert "teacher 1" not in ends[0].stderr  # it was ready
    assert "float training: epoch 1 of 30" in ends[1].stderr
    weights = {name: value.tobytes() for name, value in one.float_tensors.items()}
    assert weights == {name: value.tobytes() for name, value in other.float_tensors.items()}
    alone = read_checkpoint(trained).float_tensors
    assert weights["output.weight"] != alone["output.weight"].tobytes()
    assert one.training["config"]["teachers"] == 2
    # The teachers were judged on speakers whom the pupil then heard too.
    assert set(one.training["validation_uar"]) == {"teacher 1", "teacher 2", "rehearsal"}
    assert one.training["clips"] == read_checkpoint(trained).training["clips"] + 4 * 3
    # A rehearsal changes how sure the model is, and not what it answers.
    unrehearsed = trained_anew(data, tmp_path / "unrehearsed", *taught)
    assert weights == {n: value.tobytes() for n, value in unrehearsed.float_tensors.items()}
    # A refit changes what it answers; how sure it is, its teachers say before they hear the judges.
    not_refitted = trained_anew(data, tmp_path / "not", *taught, "--refit-epochs", "0")
    assert weights["output.weight"] != not_refitted.float_tensors["output.weight"].tobytes()
    decisions = [
        (c.temperature, c.rejection_threshold) for c in (one, other, unrehearsed, not_refitted)
    ]
    assert decisions[0] == decisions[1] != decisions[2] == decisions[3]
    assert set(unrehearsed.training["validation_uar"]) == {"teacher 1", "teacher 2"}


def trained_anew(data: Path, run: Path, *options: str) -> Checkpoint:
    done = subprocess.run(
        command(data, run, *options),
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    return read_checkpoint(Path(done.stdout.strip()))


def test_pretraining_comes_first_and_outlives_kills_too(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    """Killed in it and after it, the same bits; below the output layer other ones than without."""
    write_subesco(tmp_path)
    (tmp_path / "RAVDESS").symlink_to(data / "RAVDESS")
    first = ["--pretrain", "subesco", "--pretraining-epochs", "12", "--qat-epochs", "1"]
    first += ["--name", "ravdess-1-tiny"]
    ends = killed_and_left_alone(
        tmp_path, tmp_path, first, ("pretraining/*/log.jsonl", "log.jsonl")
    )
    one, other = (read_checkpoint(Path(end.stdout.strip())) for end in ends)
    assert "pretraining of the model: epoch 1 of 12" in ends[1].stderr
    assert "pretraining of" not in ends[0].stderr  # it was done
    weights = {name: value.tobytes() for name, value in one.float_tensors.items()}
    assert weights == {name: value.tobytes() for name, value in other.float_tensors.items()}
    alone = read_checkpoint(trained).float_tensors
    assert all(alone[name].tobytes() != value for name, value in weights.items())
    assert one.training["pretrained_on"] == ["SUBESCO"] and "SUBESCO" in one.training["terms"]


def test_fast_training_learns_the_same(
    data: Path, trained: Path, tmp_path: Path, need: Callable[[str], None]
) -> None:
    """Other last bits, the same answers; without a compiler it says what is missing."""
    if not any(map(shutil.which, ("g++", "clang++"))):
        need("fast training needs g++ or clang++")
    fast = command(data, tmp_path, "--fast", "--name", "ravdess-1-tiny")
    nowhere = {**os.environ, "PATH": str(tmp_path), "CXX": ""}
    refused = subprocess.run(
        fast, env=nowhere, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert refused.returncode == 2 and "without --fast" in refused.stderr
    done = subprocess.run(
        fast, check=True, capture_output=True, text=True, timeout=2 * PATIENCE_SECONDS
    )
    one, other = read_checkpoint(Path(done.stdout.strip())), read_checkpoint(trained)
    assert one.training["validation_uar"]["qat"] >= other.training["validation_uar"]["qat"] - 0.1
    weight = "alfb.0.weight"
    assert not np.array_equal(one.float_tensors[weight], other.float_tensors[weight])


def test_more_weight_decay_leaves_smaller_weights(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    """Of layers that no batch norm follows, whose size counts."""
    decayed = trained_anew(data, tmp_path, "--weight-decay", "5", "--qat-epochs", "0")
    for name, weight in read_checkpoint(trained).float_tensors.items():
        if name.startswith(("gfb", "hidden", "output")) and not name.endswith("bias"):
            assert np.linalg.norm(decayed.float_tensors[name]) < np.linalg.norm(weight), name
    assert decayed.training["config"]["weight_decay"] == 5.0


def killed_and_left_alone(
    data: Path, folder: Path, options: Sequence[str], logs: Sequence[str]
) -> list[subprocess.CompletedProcess[str]]:
    """Ends of a training killed in the third epoch of each log, and of one that nobody killed."""
    killed, whole = folder / "killed", folder / "whole"
    for log in logs:
        process = subprocess.Popen(command(data, killed, *options), stderr=subprocess.DEVNULL)
        try:
            wait_for(killed, "float", 3, log)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    return [
        subprocess.run(
            command(data, run, *options),
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        for run in (killed, whole)
    ]


def wait_for(run: Path, stage: str, epoch: int, log: str = "log.jsonl") -> None:
    """Until a log of that name says that this epoch is done."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        lines = [line for path in run.glob(log) for line in path.read_text().splitlines()]
        # The last line may be half written.
        reports = [json.loads(line) for line in lines if line.endswith("}")]
        if any(r["stage"] == stage and r["epoch"] >= epoch for r in reports):
            return
        time.sleep(0.02)
    pytest.fail(f"no epoch {epoch} of stage {stage} in {run / log}")


def test_without_qat_the_checkpoint_is_float_alone(data: Path, tmp_path: Path) -> None:
    """And a second start of the finished training ends with the same bits."""
    contents = set()
    for _ in range(2):
        done = subprocess.run(
            command(data, tmp_path, "--epochs", "2", "--qat-epochs", "0"),
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        path = Path(done.stdout.strip())
        contents.add(path.read_bytes())
        assert "--calibrate" in done.stderr
    assert len(contents) == 1
    checkpoint = read_checkpoint(path)
    assert checkpoint.float_tensors and not checkpoint.qat_tensors
    assert set(checkpoint.training["validation_uar"]) == {"float"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--corpus", "crema-d"], "crema-d"),
        (["--corpus", "EmoDB"], "EmoDB"),  # not in the folder
        (["--corpus", "ravdess", "--fold", "9"], "fold 9"),
        (["--corpus", "ravdess", "--size", "huge"], "huge"),
        (["--corpus", "ravdess", "--device", "tpu"], "tpu"),
        (["--corpus", "ravdess", "--name", "x" * 65], "shorter --name"),
        (["--corpus", "ravdess", "--no-alfb", "--no-gfb"], "ALFB"),
        (["--corpus", "ravdess", "--pretrain", "RAVDESS"], "leave one of the two out"),
        (["--corpus", "ravdess", "--rehearse"], "give --teachers"),
        (["--corpus", "ravdess", "--refit-epochs", "9"], "give --teachers"),
    ],
)
def test_wrong_input_gets_one_sentence(
    data: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    base = [sys.executable, "-m", "edge_ser", "train", "--data", str(data), "-o", str(tmp_path)]
    done = subprocess.run(
        [*base, *options], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_folder_of_another_training_is_left_alone(data: Path, trained: Path) -> None:
    before = trained.read_bytes()
    done = subprocess.run(
        command(data, trained.parent, "--seed", "5"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 2 and "other settings" in done.stderr
    assert trained.read_bytes() == before


def test_a_rehearsal_is_heard_as_it_is_and_among_other_sounds(data: Path) -> None:
    """Each clip twice, and the second time only what training puts around it tells them apart."""
    heads = Heads(own_heads(clips := load_corpus(data, "RAVDESS")))
    config, labels = TrainConfig(), [heads.row_of(clip) or 0 for clip in clips]
    read = read_clips(clips, labels, config.features, at_least_frames=config.window_frames)
    normalisation = normalisation_of(read, config.features)
    net = EmotionNet(replace(config.model, n_labels=len(heads))).eval()

    def logits(elsewhere: bool, noise_share: float) -> list[NDArray[np.float32]]:
        surroundings = SurroundingsConfig(noise_share=noise_share, band_share=0.0)
        changed = replace(config, augment=AugmentConfig(surroundings=surroundings))
        judge = validation_of(heads, read, changed, normalisation, elsewhere)
        return judge.logits(net, "cpu")

    quiet = logits(elsewhere=False, noise_share=1.0)
    assert len(quiet) == len(clips)
    for noise_share in (0.0, 1.0):
        both = logits(elsewhere=True, noise_share=noise_share)
        assert len(both) == 2 * len(clips)
        for own, first, second in zip(quiet, both, both[len(clips) :], strict=False):
            np.testing.assert_allclose(first, own, atol=1e-5)
            same = np.allclose(second, own, atol=1e-5)
            assert same == (noise_share == 0.0)
