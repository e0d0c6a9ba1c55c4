"""A trained model as one safetensors file: tensors, and as metadata all that a contract needs.

Tensors stand under `float.` (the float network, batch norm folded, before quantization-aware
training) and, when that training was done, under `qat.` (int8 weights, int32 biases and
every scale). Nothing is ever unpickled.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.architecture import ModelConfig
from firmware_host.errors import EdgeSerError
from firmware_host.features import FeatureConfig
from firmware_host.files import write_whole
from firmware_host.normalisation import Normalisation

FORMAT_VERSION = 2
METADATA_KEY = "edge_ser"
Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and what is known of it.

    Args:
        name: of the model; output files are called after it.
        model: sizes and switches.
        labels: emotion names, in the order of the logits.
        features, window_frames, hop_frames, normalisation: what the network's input is.
        temperature, rejection_threshold: how logits become a decision.
        training: corpora, speakers held out, seed, versions, terms.
        scores: what it scored under which protocol.
        float_tensors: the folded float network (names as in `edge_ser.qat.fold`).
        qat_tensors: the quantised network (as in `QuantizedEmotionNet.export`), or empty.
    """

    name: str
    model: ModelConfig
    labels: tuple[str, ...]
    features: FeatureConfig
    window_frames: int
    hop_frames: int
    normalisation: Normalisation
    temperature: float
    rejection_threshold: float
    training: Mapping[str, Any]
    scores: tuple[Mapping[str, Any], ...]
    float_tensors: Tensors
    qat_tensors: Tensors


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the file is never half there.

    Raises:
        EdgeSerError: when it cannot be written.
    """
    from safetensors.numpy import save

    tensors = {f"float.{name}": value for name, value in checkpoint.float_tensors.items()}
    tensors |= {f"qat.{name}": value for name, value in checkpoint.qat_tensors.items()}
    metadata = {
        "format_version": FORMAT_VERSION,
        "name": checkpoint.name,
        "model": checkpoint.model.to_dict(),
        "labels": list(checkpoint.labels),
        "features": checkpoint.features.to_dict(),
        "window_frames": checkpoint.window_frames,
        "hop_frames": checkpoint.hop_frames,
        "normalisation": asdict(checkpoint.normalisation),
        "temperature": checkpoint.temperature,
        "rejection_threshold": checkpoint.rejection_threshold,
        "training": checkpoint.training,
        "scores": list(checkpoint.scores),
    }
    write_whole(path, save(tensors, {METADATA_KEY: json.dumps(metadata)}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `write_checkpoint` wrote.

    Raises:
        EdgeSerError: when there is no such file, or it is no checkpoint of edge-ser, is
            damaged, or was written by a newer version.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise EdgeSerError(
            f"no checkpoint at {path}: expected a .safetensors file that `edge-ser train` wrote"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise EdgeSerError(
            f"{path} is not a whole safetensors file ({error}): train or copy it again"
        ) from error
    if text is None:
        raise EdgeSerError(
            f"{path} is a safetensors file, but not one that `edge-ser train` wrote: "
            "its metadata has no entry of edge-ser"
        )
    try:
        return _checkpoint(json.loads(text), tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EdgeSerError(
            f"{path} has damaged metadata ({type(error).__name__}: {error}): train it again"
        ) from error


def _checkpoint(data: Mapping[str, Any], tensors: Tensors) -> Checkpoint:
    if data["format_version"] != FORMAT_VERSION:
        raise EdgeSerError(
            f"the checkpoint has format version {data['format_version']}, and this edge-ser "
            f"reads version {FORMAT_VERSION}: install the version that wrote it"
        )
    normalised_by = data["normalisation"]
    return Checkpoint(
        name=str(data["name"]),
        model=ModelConfig.from_dict(data["model"]),
        labels=tuple(data["labels"]),
        features=FeatureConfig.from_dict(data["features"]),
        window_frames=int(data["window_frames"]),
        hop_frames=int(data["hop_frames"]),
        normalisation=Normalisation(
            mean=tuple(map(float, normalised_by["mean"])),
            std=tuple(map(float, normalised_by["std"])),
            by_window=tuple(map(bool, normalised_by["by_window"])),
            std_floor=float(normalised_by["std_floor"]),
        ),
        temperature=float(data["temperature"]),
        rejection_threshold=float(data["rejection_threshold"]),
        training=dict(data["training"]),
        scores=tuple(data["scores"]),
        float_tensors=_under("float.", tensors),
        qat_tensors=_under("qat.", tensors),
    )


def _under(prefix: str, tensors: Tensors) -> dict[str, NDArray[Any]]:
    return {
        name.removeprefix(prefix): np.asarray(value)
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
