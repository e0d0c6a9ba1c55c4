"""From a checkpoint's tensors to the graph, float or quantised."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.architecture import DIRECTIONS, ModelConfig, activations
from convert.checkpoint import Checkpoint
from convert.graph import (
    BiLstm,
    ChannelConv,
    Concat,
    Conv1d,
    Dense,
    Dequantize,
    Graph,
    Grid,
    LstmDirection,
    MaxPool,
    MeanOverTime,
    Operator,
    Quantize,
    ScaleChannels,
    Sigmoid,
    Value,
    Weight,
)
from convert.scheme import SIGMOID_SCALE, SIGMOID_ZERO_POINT, STATE_SCALE, STATE_ZERO_POINT
from firmware_host.errors import EdgeSerError

INPUT_NAME, OUTPUT_NAME = "features", "logits"
"""Names of a model file's one input and one output."""

FIXED_GRIDS = {
    "sigmoid": Grid(SIGMOID_SCALE, SIGMOID_ZERO_POINT),
    "state": Grid(STATE_SCALE, STATE_ZERO_POINT),
}


def build_graph(checkpoint: Checkpoint, quantised: bool) -> Graph:
    """The graph of one window.

    Args:
        quantised: the int8 graph of the tensors that quantization-aware training made, or
            the float graph of those from before it.

    Raises:
        EdgeSerError: when the checkpoint lacks a tensor, has one of another shape or type,
            or was not trained with quantization.
    """
    tensors = checkpoint.qat_tensors if quantised else checkpoint.float_tensors
    if not tensors:
        raise EdgeSerError(
            f"the checkpoint {checkpoint.name} holds no {'int8' if quantised else 'float'} "
            "network: train it with at least one epoch of each stage"
        )
    try:
        return _Builder(checkpoint, tensors, quantised).build()
    except KeyError as error:
        raise EdgeSerError(
            f"the checkpoint {checkpoint.name} lacks the tensor {error}: train it again"
        ) from error


class _Builder:
    """Appends operators one by one; `_value` makes the activation that the next one writes."""

    def __init__(
        self, checkpoint: Checkpoint, tensors: Mapping[str, NDArray[Any]], quantised: bool
    ) -> None:
        self.checkpoint, self.tensors, self.quantised = checkpoint, tensors, quantised
        self.model: ModelConfig = checkpoint.model
        self.operators: list[Operator] = []
        self.grids = dict(FIXED_GRIDS)
        for name in activations(self.model) if quantised else ():
            scale = float(tensors[f"activation.{name}.scale"][0])
            zero_point = int(tensors[f"activation.{name}.zero_point"][0])
            if not (math.isfinite(scale) and scale > 0 and -128 <= zero_point <= 127):
                raise EdgeSerError(
                    f"the checkpoint {checkpoint.name} has an impossible grid for {name}: "
                    f"scale {scale}, zero point {zero_point}; train it again"
                )
            self.grids[name] = Grid(scale, zero_point)

    def build(self) -> Graph:
        model, frames = self.model, self.checkpoint.window_frames
        source = Value(INPUT_NAME, (frames, model.n_features), None)
        x = source
        if self.quantised:
            x = self._add(Quantize(x, self._value("input", x.shape, "input")))
        x = self._local(x)
        means = []
        if model.use_alfb:
            means.append(self._mean(x, "local", "fusion"))
        if model.use_gfb:
            states = self._lstm(x)
            means.append(self._mean(states, "global", "fusion"))
        fused = means[0]
        if len(means) > 1:
            out = self._value("fusion", (sum(m.shape[0] for m in means),), "fusion")
            fused = self._add(Concat(tuple(means), out))
        hidden = self._dense(fused, "hidden", "hidden", model.head_hidden, relu=True)
        if not self.quantised:
            logits = self._dense(hidden, "output", OUTPUT_NAME, model.n_labels, relu=False)
        else:
            steps = self._dense(hidden, "output", "logits", model.n_labels, relu=False)
            logits = self._add(Dequantize(steps, Value(OUTPUT_NAME, steps.shape, None)))
        return Graph(self.checkpoint.name, (source,), (logits,), tuple(self.operators))

    def _local(self, x: Value) -> Value:
        """The attention-based local feature blocks.

        Pooling comes before rescaling: the factors are positive, so that the largest stays
        the largest, and a rescaling of fewer values gives the same.
        """
        model = self.model
        for index, (channels, pool) in enumerate(zip(model.channels, model.pools, strict=True)):
            name, frames = f"alfb.{index}", x.shape[0]
            if model.use_alfb:
                kernel = (channels, x.shape[1], model.kernels[index])
                weight = self._weight(name, kernel)
                y = self._value(f"{name}.conv", (frames, channels), f"{name}.conv")
                x = self._add(Conv1d(x, y, weight))
            y = x
            x = self._add(
                MaxPool(y, Value(f"{name}.pool", (frames // pool, y.shape[1]), y.grid), pool)
            )
            if model.use_alfb and model.use_eca:
                factors = self._attention(name, y)
                out = self._value(f"{name}.out", x.shape, f"{name}.out")
                x = self._add(ScaleChannels(x, factors, out))
        return x

    def _attention(self, name: str, y: Value) -> Value:
        mean = self._mean(y, f"{name}.mean", f"{name}.mean")
        shape = mean.shape
        kernel = self.tensors[f"{name}.eca"]
        weight = self._weight(name, (1, kernel.size), part="eca", bias=False)
        score = self._value(f"{name}.score", shape, f"{name}.score")
        self._add(ChannelConv(mean, score, weight))
        return self._add(Sigmoid(score, self._value(f"{name}.attention", shape, "sigmoid")))

    def _lstm(self, x: Value) -> Value:
        hidden, n_in = self.model.lstm_hidden, x.shape[1]
        out = self._value("gfb", (x.shape[0], 2 * hidden), "state")
        gates = self.grids["gfb.gates"] if self.quantised else None
        forward, backward = (self._direction(name, n_in) for name in DIRECTIONS)
        return self._add(BiLstm(x, out, forward, backward, gates))

    def _direction(self, name: str, n_in: int) -> LstmDirection:
        layer, hidden = f"gfb.{name}", self.model.lstm_hidden
        return LstmDirection(
            self._weight(layer, (4 * hidden, n_in), part="input"),
            self._weight(layer, (4 * hidden, hidden), part="recurrent", bias=False),
        )

    def _mean(self, x: Value, name: str, grid: str) -> Value:
        return self._add(MeanOverTime(x, self._value(name, (x.shape[1],), grid)))

    def _dense(self, x: Value, layer: str, name: str, n_out: int, relu: bool) -> Value:
        weight = self._weight(layer, (n_out, x.shape[0]))
        return self._add(Dense(x, self._value(name, (n_out,), name), weight, relu))

    def _add(self, operator: Operator) -> Value:
        self.operators.append(operator)
        return operator.out

    def _value(self, name: str, shape: tuple[int, ...], grid: str) -> Value:
        if not self.quantised:
            return Value(name, shape, None)
        # The last int8 value must not take the name of the file's output.
        name = f"{name}.int8" if name == OUTPUT_NAME else name
        return Value(name, shape, self.grids[grid])

    def _weight(
        self, layer: str, shape: tuple[int, ...], part: str = "weight", bias: bool = True
    ) -> Weight:
        """A weight, checked: a checkpoint is a file that anybody may have made."""
        values = self._tensor(f"{layer}.{part}", np.int8 if self.quantised else np.float32)
        values = values.reshape(1, -1) if values.ndim == 1 else values
        if values.shape != shape:
            raise EdgeSerError(
                f"the checkpoint {self.checkpoint.name} has {layer}.{part} of shape "
                f"{values.shape}, and its sizes need {shape}: train it again"
            )
        scale = self._tensor(f"{layer}.{part}_scale", np.float32) if self.quantised else None
        kind = np.int32 if self.quantised else np.float32
        return Weight(values, scale, self._tensor(f"{layer}.bias", kind) if bias else None)

    def _tensor(self, name: str, kind: type[np.generic]) -> NDArray[Any]:
        tensor = self.tensors[name]
        if tensor.dtype != kind:
            raise EdgeSerError(
                f"the checkpoint {self.checkpoint.name} has {name} as {tensor.dtype}, and "
                f"{np.dtype(kind)} was expected: train it again"
            )
        return tensor
