"""The float network on given grids: int8 weights, int32 biases, every scale written down.

It is how quantization-aware training writes down what it learned, and how post-training
quantization makes an int8 network of a float one.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.architecture import ModelConfig, activations, biased_weight, input_grid
from convert.graph import Grid
from convert.scheme import INT32_MAX, INT32_MIN, SMALLEST_WEIGHT_SCALE, WEIGHT_QMAX

Float32 = NDArray[np.float32]
BIAS = ".bias"


def quantise_network(
    config: ModelConfig, tensors: Mapping[str, Float32], grids: Mapping[str, Grid]
) -> dict[str, NDArray[Any]]:
    """What the INT8 files hold.

    Args:
        tensors: the folded float network (`checkpoint.Checkpoint.float_tensors`).
        grids: of every activation that `architecture.activations` names.

    Returns:
        For each weight NAME its int8 tensor and `NAME_scale` (float32, one an output channel);
        for each bias its int32 tensor; for each activation `activation.NAME.scale` (float32)
        and `.zero_point` (int32), both of shape (1,).
    """
    out: dict[str, NDArray[Any]] = {}
    for name, tensor in tensors.items():
        if not name.endswith(BIAS):
            out[name], out[f"{name}_scale"] = quantise_weight(tensor, config.rows_a_scale(name))
    for name, tensor in tensors.items():
        if name.endswith(BIAS):
            layer = name.removesuffix(BIAS)
            weight = biased_weight(layer)
            step = np.float32(grids[input_grid(config, layer)].scale)
            steps = np.rint(tensor / (out[f"{weight}_scale"] * step)).astype(np.float64)
            out[name] = np.clip(steps, INT32_MIN, INT32_MAX).astype(np.int32)
    for name in activations(config):
        out[f"activation.{name}.scale"] = np.array([grids[name].scale], np.float32)
        out[f"activation.{name}.zero_point"] = np.array([grids[name].zero_point], np.int32)
    return out


def quantise_weight(weight: Float32, rows_a_scale: int = 1) -> tuple[NDArray[np.int8], Float32]:
    """A weight's int8 steps and scales: the largest magnitude of a channel is 127 steps.

    Args:
        rows_a_scale: so many output channels in a row have one scale, the largest of theirs.

    Shape:
        - weight: (out, ...), or (n,) for a kernel of one output channel
        - returns: the weight's; (out,)
    """
    rows = weight.reshape(1, -1) if weight.ndim == 1 else weight.reshape(len(weight), -1)
    largest = np.abs(rows).reshape(len(rows) // rows_a_scale, -1).max(axis=1)
    scales = np.maximum(largest / np.float32(WEIGHT_QMAX), np.float32(SMALLEST_WEIGHT_SCALE))
    scale = np.repeat(scales, rows_a_scale)
    steps = np.rint(rows / scale[:, None]).clip(-WEIGHT_QMAX, WEIGHT_QMAX)
    return steps.astype(np.int8).reshape(weight.shape), scale
