"""The graph as a TFLite file: float or int8 for XNNPACK's kernels, or for a microcontroller.

Both precisions take the same operators in the same order, so that their files compare; the
int8 file has QUANTIZE first and DEQUANTIZE last besides. A microcontroller's has int8 ends, a
fused LSTM, and only operators that TensorFlow Lite Micro has (`targets.MICRO_OPERATORS`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.channel_groups import in_groups, one_by_one
from convert.graph import (
    BiLstm,
    ChannelConv,
    Concat,
    Conv1d,
    Dense,
    Dequantize,
    FusedBiLstm,
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
from convert.tflite_fused_lstm import lower_fused_bilstm
from convert.tflite_lstm import lower_bilstm
from convert.tflite_ops import (
    NONE,
    RELU,
    VALID,
    convolve,
    image,
    join,
    quantization_of,
    reshape,
)

Array = NDArray[Any]
CHANNELS_AXIS = 3
IMAGE_AXES = np.array([1, 2], np.int32)
"""Axes of a mean over time: height, which is one, and width, because XNNPACK takes both."""


def write_tflite(graph: Graph) -> bytes:
    """The file, without a contract: `firmware_host.contract.embed_in_tflite` adds that.

    Every scale is the graph's, none is computed again; a bias has the scale input x weight.

    Shape of the file's ends, which are float32, or int8 in a microcontroller's file:
        - `features`: [1, window, n_features]
        - `logits`: [1, n_labels]
    """
    return _Lowering(graph).write()


class _Lowering:
    """Writes one operator of the graph after the other; knows the tensor of each value."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.file = TfliteFile()
        # Of an int8 network: they are `_lower`ed, with the reshaping that belongs to them.
        self.float_ends = isinstance(graph.operators[0], Quantize)
        self.tensors: dict[str, int] = {}

    def write(self) -> bytes:
        graph, source, result = self.graph, self.graph.inputs[0], self.graph.outputs[0]
        features = self.file.tensor(
            (1, *source.shape), quantization_of(source.grid), name=source.name
        )
        self.tensors[source.name] = features
        if not self.float_ends:
            self.tensors[source.name] = reshape(self.file, features, image(source.shape))
        for operator in graph.operators:
            self.tensors[operator.out.name] = self._lower(operator)
        logits = self.tensors[result.name]
        if not self.float_ends:
            logits = reshape(self.file, logits, (1, *result.shape), result.name)
        return self.file.pack([features], [logits])

    def _lower(self, operator: Operator) -> int:  # noqa: PLR0911
        """Append the operator; returns the tensor of its output."""
        out = operator.out
        match operator:
            case Quantize():
                x = self.tensors[operator.x.name]
                flat = self.file.apply("QUANTIZE", [x], (1, *out.shape), quantization_of(out.grid))
                return reshape(self.file, flat, image(out.shape), out.name)
            case Dequantize():
                shape = (1, *out.shape)
                flat = reshape(self.file, self.tensors[operator.x.name], shape)
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
            case FusedBiLstm():
                return lower_fused_bilstm(self.file, operator, self.tensors[operator.x.name])
            case Concat():
                parts = [self.tensors[part.name] for part in operator.parts]
                return join(self.file, parts, CHANNELS_AXIS, out.name)

    def _convolve(self, operator: Conv1d | Dense, kernel: Array, activation: int) -> int:
        """Shape of the kernel: (out, width, in)."""
        x, out = operator.x, operator.out
        name = "" if out == self.graph.outputs[0] else out.name
        return convolve(
            self.file,
            self.tensors[x.name],
            replace(operator.weight, values=kernel),
            (x.grid, out.grid),
            out.name,
            activation,
            name,
        )

    def _channel_conv(self, operator: ChannelConv) -> int:
        """The channels lie along the width, where time is elsewhere; for XNNPACK in groups."""
        x, out = operator.x, operator.out
        n_channels, for_xnnpack = out.shape[0], self.graph.inputs[0].grid is None
        kernel, group = one_by_one(operator.weight), 1
        if for_xnnpack:
            kernel, group = in_groups(operator.weight, n_channels)
        means = reshape(self.file, self.tensors[x.name], (1, 1, n_channels // group, group))
        scores = convolve(self.file, means, kernel, (x.grid, out.grid), out.name)
        return reshape(self.file, scores, image(out.shape), out.name)

    def _apply(self, kind: str, inputs: Sequence[Value], out: Value, **options: Any) -> int:
        tensors = [self.tensors[value.name] for value in inputs]
        grid = quantization_of(out.grid)
        return self.file.apply(kind, tensors, image(out.shape), grid, out.name, **options)
