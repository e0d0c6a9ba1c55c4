"""How grids and matrix products of the graph stand in a TFLite file.

Time lies along the width of images of height one: (time, channels) is [1, 1, time, channels]
and a vector (channels,) is [1, 1, 1, channels]. Every matrix product is a CONV_2D, whose
int8 weights may have a scale per output channel in every runtime; those of FULLY_CONNECTED
may in recent ones only.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from convert.graph import Grid, Weight
from convert.tflite_file import Quantization, TfliteFile

SAME, VALID = 0, 1  # schema.fbs: Padding
NONE, RELU = 0, 1  # schema.fbs: ActivationFunctionType
MOST_SPLIT, MOST_JOINED = 4, 5
"""Parts that XNNPACK takes apart, or puts together, in one operator. One of more parts goes to
TFLite's own kernel, and everything crosses a border before and after it."""


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


def reshape(file: TfliteFile, x: int, shape: tuple[int, ...], name: str = "") -> int:
    """The same numbers in another shape; returns the index of the output."""
    return file.apply("RESHAPE", [x], shape, file.tensors[x].quantization, name, NewShape=shape)


def split(file: TfliteFile, x: int, axis: int, n_parts: int) -> list[int]:
    """Equal parts along an axis; returns their indices."""
    whole = file.tensors[x]
    shape = _with(whole.shape, axis, whole.shape[axis] // n_parts)
    if n_parts > MOST_SPLIT:
        return [_slice(file, x, axis, index * shape[axis], shape) for index in range(n_parts)]
    parts = [file.tensor(shape, whole.quantization) for _ in range(n_parts)]
    axis_tensor = file.constant(np.array(axis, np.int32))
    file.operator("SPLIT", [axis_tensor, x], parts, NumSplits=n_parts)
    return parts


def join(file: TfliteFile, parts: Sequence[int], axis: int, name: str = "") -> int:
    """The inverse of `split`, of parts on one grid; returns the index of the whole."""
    while len(parts) > MOST_JOINED:
        starts = range(0, len(parts), MOST_JOINED)
        parts = [join(file, parts[start : start + MOST_JOINED], axis) for start in starts]
    first = file.tensors[parts[0]]
    shape = _with(first.shape, axis, sum(file.tensors[part].shape[axis] for part in parts))
    return file.apply("CONCATENATION", parts, shape, first.quantization, name, Axis=axis)


def _slice(file: TfliteFile, x: int, axis: int, start: int, shape: tuple[int, ...]) -> int:
    begin = _with((0,) * len(shape), axis, start)
    inputs = [x, *(file.constant(np.array(vector, np.int32)) for vector in (begin, shape))]
    return file.apply("SLICE", inputs, shape, file.tensors[x].quantization)


def _with(shape: tuple[int, ...], axis: int, length: int) -> tuple[int, ...]:
    return (*shape[:axis], length, *shape[axis + 1 :])


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
