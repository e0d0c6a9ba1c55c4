"""On real speech of people never trained on, every INT8 file says what the QAT network says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from convert.agreement import golden_recordings
from convert.build import build_graph
from convert.checkpoint import Checkpoint, read_checkpoint
from convert.pipeline import boxed_checkpoint, contract_of, encode
from convert.recordings import Recording, read_recording
from convert.targets import MICRO, PI
from edge_ser.corpora import load_corpus
from edge_ser.folds import joint_split
from edge_ser.qat import QuantizedEmotionNet
from firmware_host.contract import read_contract
from firmware_host.engines import load_engine
from firmware_host.probabilities import label_of
from firmware_host.recognizer import BOXED_ONNX, BOXED_TFLITE

CLIPS = 1000
AGREEMENT = 0.995
STEPS = {"reference kernels": 1.0, "XNNPACK": 2.0}
"""How far the logits of the golden vectors may be off, in steps of their grid."""

Float32 = NDArray[np.float32]


@pytest.fixture(scope="module")
def clips(corpora_dir: Path) -> list[Recording]:
    """1000 clips of test speakers of the four corpora, drawn with a fixed seed."""
    names = ("RAVDESS", "EmoDB", "BanglaSER", "TESS")
    everything = [clip for name in names for clip in load_corpus(corpora_dir, name)]
    test = joint_split(everything).test
    chosen = np.random.default_rng(0).choice(len(test), CLIPS, replace=False)
    contract = read_contract(BOXED_TFLITE)
    return [read_recording(test[index].path, contract) for index in chosen]


def labels_of(
    clips: list[Recording], infer: Callable[[Float32], Float32], temperature: float
) -> NDArray[np.int64]:
    """A network's label of each clip. `infer`: (windows, frames, features) to logits."""
    windows = (np.stack([clip.window(n) for n in range(len(clip))]) for clip in clips)
    return np.array([label_of(infer(some), temperature) for some in windows])


def by_file(path: Path, reference_kernels: bool = False) -> Callable[[Float32], Float32]:
    engine = load_engine(path, reference_kernels=reference_kernels)
    return lambda windows: np.stack([engine.infer(window) for window in windows])


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return read_checkpoint(boxed_checkpoint())


def simulated(checkpoint: Checkpoint, clips: list[Recording], target: str) -> NDArray[np.int64]:
    """What the trained network says in a target's arithmetic."""
    tensors = {name: torch.from_numpy(value) for name, value in checkpoint.qat_tensors.items()}
    net = QuantizedEmotionNet.from_export(checkpoint.model, tensors, target).eval()

    def infer(windows: Float32) -> Float32:
        with torch.no_grad():
            return np.asarray(net(torch.from_numpy(windows)))

    labels = labels_of(clips, infer, checkpoint.temperature)
    assert len(set(labels)) == len(checkpoint.labels)  # no network that always says the same
    return labels


@pytest.fixture(scope="module")
def qat(checkpoint: Checkpoint, clips: list[Recording]) -> NDArray[np.int64]:
    """What the network says that was trained."""
    return simulated(checkpoint, clips, PI)


def test_int8_files_and_the_qat_network_agree_on_real_speech(
    checkpoint: Checkpoint, clips: list[Recording], qat: NDArray[np.int64]
) -> None:
    tflite, onnx = (
        labels_of(clips, by_file(path), checkpoint.temperature)
        for path in (BOXED_TFLITE, BOXED_ONNX)
    )
    assert np.mean(tflite == qat) >= AGREEMENT
    assert np.mean(onnx == qat) >= AGREEMENT
    assert np.mean((tflite == onnx) & (onnx == qat)) >= AGREEMENT


def test_a_microcontrollers_file_agrees_with_it_too(
    checkpoint: Checkpoint, clips: list[Recording], qat: NDArray[np.int64], tmp_path: Path
) -> None:
    """With the network simulated in its arithmetic, and with the one that was trained."""
    graph = build_graph(checkpoint, quantised=True, target=MICRO)
    path = tmp_path / "micro.tflite"
    path.write_bytes(encode(graph, contract_of(checkpoint, graph), "tflite"))
    expected = simulated(checkpoint, clips, MICRO)
    for reference_kernels in (True, False):
        found = labels_of(clips, by_file(path, reference_kernels), checkpoint.temperature)
        assert np.mean(found == expected) >= AGREEMENT
        assert np.mean(found == qat) >= AGREEMENT


@pytest.mark.parametrize("kernels", STEPS)
def test_the_boxed_tflite_file_gives_its_golden_logits_under_all_kernels(
    kernels: str, checkpoint: Checkpoint
) -> None:
    contract = read_contract(BOXED_TFLITE)
    step = float(checkpoint.qat_tensors["activation.logits.scale"][0])
    engine = load_engine(BOXED_TFLITE, reference_kernels=kernels == "reference kernels")
    for vector, recording in zip(contract.golden, golden_recordings(contract), strict=True):
        off = np.abs(engine.infer(recording.window(0)) - vector.logits).max()
        assert off <= 1.01 * STEPS[kernels] * step
