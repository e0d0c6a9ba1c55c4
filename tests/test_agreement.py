"""On real speech of people never trained on, every INT8 file says what the QAT network says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from convert.checkpoint import read_checkpoint
from convert.pipeline import boxed_checkpoint
from edge_ser.corpora import load_corpus
from edge_ser.folds import joint_split
from edge_ser.qat import QuantizedEmotionNet
from firmware_host.audio import read_audio
from firmware_host.contract import Contract, read_contract
from firmware_host.engines import load_engine
from firmware_host.features import extract
from firmware_host.recognizer import BOXED_ONNX, BOXED_TFLITE

CLIPS = 500
AGREEMENT = 0.99

Float32 = NDArray[np.float32]


def windows_of(path: Path, contract: Contract) -> Float32:
    """The normalised windows that the runtime recognises. Shape: (windows, frames, features)."""
    samples, _ = read_audio(path)
    samples = np.pad(samples, (0, max(0, contract.window_samples - samples.size)))
    frames = contract.normalise(extract(samples, contract.features))
    starts = range(0, len(frames) - contract.window_frames + 1, contract.hop_frames)
    return np.stack([frames[s : s + contract.window_frames] for s in starts])


@pytest.fixture(scope="module")
def clips(corpora_dir: Path) -> list[Float32]:
    """500 clips of test speakers of the four corpora, drawn with a fixed seed."""
    names = ("RAVDESS", "EmoDB", "BanglaSER", "TESS")
    everything = [clip for name in names for clip in load_corpus(corpora_dir, name)]
    test = joint_split(everything).test
    chosen = np.random.default_rng(0).choice(len(test), CLIPS, replace=False)
    contract = read_contract(BOXED_TFLITE)
    return [windows_of(test[index].path, contract) for index in chosen]


def label(logits: Float32) -> int:
    """The label of a clip: the largest mean probability over its windows."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return int((powers / powers.sum(axis=1, keepdims=True)).mean(axis=0).argmax())


def test_int8_files_and_the_qat_network_agree_on_real_speech(clips: list[Float32]) -> None:
    checkpoint = read_checkpoint(boxed_checkpoint())
    tensors = {name: torch.from_numpy(value) for name, value in checkpoint.qat_tensors.items()}
    net = QuantizedEmotionNet.from_export(checkpoint.model, tensors).eval()
    with torch.no_grad():
        of_qat = [label(net(torch.from_numpy(windows)).numpy()) for windows in clips]
    of_file = {}
    for path in (BOXED_TFLITE, BOXED_ONNX):
        engine = load_engine(path)
        of_file[path.suffix] = [
            label(np.stack([engine.infer(window) for window in windows])) for windows in clips
        ]
    tflite, onnx = of_file[".tflite"], of_file[".onnx"]
    assert len(set(of_qat)) == len(checkpoint.labels)  # no network that always says the same
    assert np.mean(np.equal(tflite, of_qat)) >= AGREEMENT
    assert np.mean(np.equal(onnx, of_qat)) >= AGREEMENT
    assert np.mean([a == b == c for a, b, c in zip(tflite, onnx, of_qat, strict=True)]) >= AGREEMENT
