"""How grids and matrix products of the graph stand in a TFLite file.

Time lies along the width of images of height one: (time, channels) is [1, 1, time, channels]
and a vector (channels,) is [1, 1, 1, channels]. Every matrix product is a CONV_2D, whose
int8 weights may have a scale per output channel in every runtime; those of FULLY_CONNECTED
may in recent ones only.
"""

import numpy as np
from numpy.typing import NDArray

from convert.graph import Grid, Weight
from convert.tflite_file import Quantization, TfliteFile

SAME, VALID = 0, 1  # schema.fbs: Padding
NONE, RELU = 0, 1  # schema.fbs: ActivationFunctionType
TIME_AXIS, CHANNELS_AXIS = 2, 3


def image(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A graph's shape as that of an image of height one."""
    return (1,) * (4 - len(shape)) + shape


def quantization_of(grid: Grid | None) -> Quantization | None:
    """None stays None: float32."""
    return Quantization((grid.scale,), grid.zero_point) if grid else None


def convolve(
    file: TfliteFile,
    x: int,
    weight: Weight,
    grids: tuple[Grid | None, Grid | None],
    layer: str,
    activation: int = NONE,
    name: str = "",
) -> int:
    """A CONV_2D along the width, zero-padded to the same; returns the index of its output.

    Args:
        weight: its values of shape (out, kernel, in), or (out, kernel, in / groups).
        grids: of input and output.
        layer: what weight and bias are called after.
        name: of the output.

    Shape:
        - x: [1, 1, width, in]; returns [1, 1, width, out]
    """
    shape = (*file.tensors[x].shape[:-1], len(weight.values))
    inputs = [x, _kernel(file, weight, layer), _bias(file, weight, grids[0], layer)]
    return file.apply(
        "CONV_2D",
        inputs,
        shape,
        quantization_of(grids[1]),
        name,
        Padding=SAME,
        StrideW=1,
        StrideH=1,
        FusedActivationFunction=activation,
    )


def _kernel(file: TfliteFile, weight: Weight, layer: str) -> int:
    scale = None if weight.scale is None else Quantization(_floats(weight.scale))
    return file.constant(weight.values[:, None], scale, f"{layer}.weight")


def _bias(file: TfliteFile, weight: Weight, x_grid: Grid | None, layer: str) -> int:
    bias, scale = weight.bias, None
    if bias is None:  # the kernels insist on one
        kind = np.float32 if weight.scale is None else np.int32
        bias = np.zeros(len(weight.values), kind)
    if weight.scale is not None and x_grid is not None:
        scale = Quantization(_floats(weight.scale * np.float32(x_grid.scale)))
    return file.constant(bias, scale, f"{layer}.bias")


def _floats(values: NDArray[np.float32]) -> tuple[float, ...]:
    return tuple(map(float, values))
