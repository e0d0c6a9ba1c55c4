"""The graph as a TFLite file, float or int8, for XNNPACK's kernels on small Arm cores.

Both precisions take the same operators in the same order, so that their files compare; the
int8 file has QUANTIZE first and DEQUANTIZE last besides.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.graph import (
    BiLstm,
    ChannelConv,
    Concat,
    Conv1d,
    Dense,
    Dequantize,
    Graph,
    MaxPool,
    MeanOverTime,
    Operator,
    Quantize,
    ScaleChannels,
    Sigmoid,
    Value,
)
from convert.tflite_file import TfliteFile
from convert.tflite_lstm import lower_bilstm
from convert.tflite_ops import (
    CHANNELS_AXIS,
    NONE,
    RELU,
    VALID,
    convolve,
    image,
    quantization_of,
)

Array = NDArray[Any]
IMAGE_AXES = np.array([1, 2], np.int32)
"""Axes of a mean over time: height, which is one, and width, because XNNPACK takes both."""


def write_tflite(graph: Graph) -> bytes:
    """The file, without a contract: `firmware_host.contract.embed_in_tflite` adds that.

    Every scale is the graph's, none is computed again; a bias has the scale input x weight.

    Shape of the file's ends:
        - `features`: float32 [1, window, n_features]
        - `logits`: float32 [1, n_labels]
    """
    return _Lowering().write(graph)


class _Lowering:
    """Writes one operator of the graph after the other; knows the tensor of each value."""

    def __init__(self) -> None:
        self.file = TfliteFile()
        self.tensors: dict[str, int] = {}

    def write(self, graph: Graph) -> bytes:
        source, result = graph.inputs[0], graph.outputs[0]
        features = self.file.tensor((1, *source.shape), name=source.name)
        self.tensors[source.name] = features
        if not graph.quantised:  # else Quantize and Dequantize are the ends, see `_lower`
            self.tensors[source.name] = self._reshape(features, source, image(source.shape))
        for operator in graph.operators:
            self.tensors[operator.out.name] = self._lower(operator)
        logits = self.tensors[result.name]
        if not graph.quantised:
            logits = self._reshape(logits, result, (1, *result.shape), result.name)
        return self.file.pack([features], [logits])

    def _lower(self, operator: Operator) -> int:  # noqa: PLR0911
        """Append the operator; returns the tensor of its output."""
        out = operator.out
        match operator:
            case Quantize():
                x = self.tensors[operator.x.name]
                flat = self.file.apply("QUANTIZE", [x], (1, *out.shape), quantization_of(out.grid))
                return self._reshape(flat, out, image(out.shape), out.name)
            case Dequantize():
                shape = (1, *out.shape)
                flat = self._reshape(self.tensors[operator.x.name], operator.x, shape)
                return self.file.apply("DEQUANTIZE", [flat], shape, name=out.name)
            case Conv1d():
                kernel = np.moveaxis(operator.weight.values, 1, 2)
                return self._convolve(operator, kernel, RELU)
            case Dense():
                kernel = operator.weight.values[:, None]
                return self._convolve(operator, kernel, RELU if operator.relu else NONE)
            case MaxPool():
                return self._apply(
                    "MAX_POOL_2D",
                    [operator.x],
                    out,
                    Padding=VALID,
                    StrideW=operator.factor,
                    StrideH=1,
                    FilterWidth=operator.factor,
                    FilterHeight=1,
                )
            case MeanOverTime():
                axes = self.file.constant(IMAGE_AXES)
                inputs = [self.tensors[operator.x.name], axes]
                grid = quantization_of(out.grid)
                return self.file.apply(
                    "MEAN", inputs, image(out.shape), grid, out.name, KeepDims=True
                )
            case ChannelConv():
                return self._channel_conv(operator)
            case Sigmoid():
                return self._apply("LOGISTIC", [operator.x], out)
            case ScaleChannels():
                return self._apply("MUL", [operator.x, operator.factors], out)
            case BiLstm():
                return lower_bilstm(self.file, operator, self.tensors[operator.x.name])
            case Concat():
                return self._apply("CONCATENATION", operator.parts, out, Axis=CHANNELS_AXIS)

    def _convolve(self, operator: Conv1d | Dense, kernel: Array, activation: int) -> int:
        """Shape of the kernel: (out, width, in)."""
        x, out = operator.x, operator.out
        return convolve(
            self.file,
            self.tensors[x.name],
            replace(operator.weight, values=kernel),
            (x.grid, out.grid),
            out.name,
            activation,
            out.name,
        )

    def _channel_conv(self, operator: ChannelConv) -> int:
        """The channels lie along the width, where time is elsewhere."""
        x, out = operator.x, operator.out
        n_channels = out.shape[0]
        row = self._reshape(self.tensors[x.name], x, (1, 1, n_channels, 1))
        weight = replace(operator.weight, values=operator.weight.values[:, :, None])
        scores = convolve(self.file, row, weight, (x.grid, out.grid), out.name)
        return self._reshape(scores, out, image(out.shape), out.name)

    def _apply(self, kind: str, inputs: Sequence[Value], out: Value, **options: Any) -> int:
        tensors = [self.tensors[value.name] for value in inputs]
        grid = quantization_of(out.grid)
        return self.file.apply(kind, tensors, image(out.shape), grid, out.name, **options)

    def _reshape(self, x: int, value: Value, shape: tuple[int, ...], name: str = "") -> int:
        grid = quantization_of(value.grid)
        return self.file.apply("RESHAPE", [x], shape, grid, name, NewShape=shape)
