"""On real speech of people never trained on, every INT8 file says what the QAT network says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from convert.agreement import golden_recordings, label_of
from convert.checkpoint import read_checkpoint
from convert.pipeline import boxed_checkpoint
from convert.recordings import Recording, read_recording
from edge_ser.corpora import load_corpus
from edge_ser.folds import joint_split
from edge_ser.qat import QuantizedEmotionNet
from firmware_host.contract import read_contract
from firmware_host.engines import load_engine
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


def test_int8_files_and_the_qat_network_agree_on_real_speech(clips: list[Recording]) -> None:
    checkpoint = read_checkpoint(boxed_checkpoint())
    tensors = {name: torch.from_numpy(value) for name, value in checkpoint.qat_tensors.items()}
    net = QuantizedEmotionNet.from_export(checkpoint.model, tensors).eval()

    def by_qat(windows: Float32) -> Float32:
        with torch.no_grad():
            return np.asarray(net(torch.from_numpy(windows)))

    def by_file(path: Path) -> Callable[[Float32], Float32]:
        engine = load_engine(path)
        return lambda windows: np.stack([engine.infer(window) for window in windows])

    qat, tflite, onnx = (
        labels_of(clips, infer, checkpoint.temperature)
        for infer in (by_qat, by_file(BOXED_TFLITE), by_file(BOXED_ONNX))
    )
    assert len(set(qat)) == len(checkpoint.labels)  # no network that always says the same
    assert np.mean(tflite == qat) >= AGREEMENT
    assert np.mean(onnx == qat) >= AGREEMENT
    assert np.mean((tflite == onnx) & (onnx == qat)) >= AGREEMENT


@pytest.mark.parametrize("kernels", STEPS)
def test_the_boxed_tflite_file_gives_its_golden_logits_under_all_kernels(kernels: str) -> None:
    contract = read_contract(BOXED_TFLITE)
    checkpoint = read_checkpoint(boxed_checkpoint())
    step = float(checkpoint.qat_tensors["activation.logits.scale"][0])
    engine = load_engine(BOXED_TFLITE, reference_kernels=kernels == "reference kernels")
    for vector, recording in zip(contract.golden, golden_recordings(contract), strict=True):
        off = np.abs(engine.infer(recording.window(0)) - vector.logits).max()
        assert off <= 1.01 * STEPS[kernels] * step
