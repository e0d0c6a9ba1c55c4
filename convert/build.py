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
    FusedBiLstm,
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
from convert.scheme import (
    N_GATES,
    SIGMOID_SCALE,
    SIGMOID_ZERO_POINT,
    STATE_SCALE,
    STATE_ZERO_POINT,
)
from convert.targets import MICRO, PI
from firmware_host.errors import EdgeSerError

INPUT_NAME, OUTPUT_NAME = "features", "logits"
"""Names of a model file's one input and one output."""

FIXED_GRIDS = {
    "sigmoid": Grid(SIGMOID_SCALE, SIGMOID_ZERO_POINT),
    "state": Grid(STATE_SCALE, STATE_ZERO_POINT),
}

COARSEST_CELL_EXPONENT = -9
"""Of a fused kernel's cell: TFLite's tanh takes at most 6 integer bits of its 15."""


def build_graph(checkpoint: Checkpoint, quantised: bool, target: str = PI) -> Graph:
    """The graph of one window.

    Args:
        quantised: the int8 graph of the tensors that quantization-aware training made, or
            the float graph of those from before it.
        target: whose kernels an int8 graph is for, one of `targets.TARGETS`.

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
        return _Builder(checkpoint, tensors, quantised, target).build()
    except KeyError as error:
        raise EdgeSerError(
            f"the checkpoint {checkpoint.name} lacks the tensor {error}: train it again"
        ) from error


def one_scale_a_gate(direction: LstmDirection) -> LstmDirection:
    """The weights with the rows of each gate on one scale, the largest of theirs.

    Where training had them so, not a bit changes. Rows trained on scales of their own are
    rounded once more, by at most half a step of the gate's scale.
    """

    def regrid(weight: Weight) -> Weight:
        assert weight.scale is not None
        rows = weight.scale.reshape(N_GATES, -1)
        scale = np.broadcast_to(rows.max(axis=1, keepdims=True), rows.shape).ravel()
        share = weight.scale.astype(np.float64) / scale
        values = np.rint(weight.values * share[:, None]).astype(weight.values.dtype)
        bias = weight.bias
        if bias is not None:
            bias = np.rint(bias * share).astype(bias.dtype)
        return Weight(values, scale.astype(np.float32), bias)

    return LstmDirection(regrid(direction.input), regrid(direction.recurrent))


def cell_exponent(n_steps: int) -> int:
    """The finest power of two that an int16 cell can be at and not overflow in so many steps.

    A step adds at most one, by which the cell of `n_steps` steps stays within `n_steps`. One
    of more than 64 steps saturates at 64.
    """
    integer_bits = max(0, math.ceil(math.log2(n_steps + 1)))
    return min(integer_bits - 15, COARSEST_CELL_EXPONENT)


class _Builder:
    """Appends operators one by one; `_value` makes the activation that the next one writes."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        tensors: Mapping[str, NDArray[Any]],
        quantised: bool,
        target: str,
    ) -> None:
        self.checkpoint, self.tensors, self.quantised = checkpoint, tensors, quantised
        self.target = target if quantised else PI
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
        micro, float_ends = self.target == MICRO, self.quantised and self.target != MICRO
        grid = self.grids["input"] if micro else None
        x = source = Value(INPUT_NAME, (frames, model.n_features), grid)
        if float_ends:
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
        logits = self._dense(hidden, "output", OUTPUT_NAME, model.n_labels, relu=False)
        if float_ends:
            logits = self._add(Dequantize(logits, Value(OUTPUT_NAME, logits.shape, None)))
        operators = tuple(self.operators)
        return Graph(self.checkpoint.name, (source,), (logits,), operators, self.target)

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
        if self.target == MICRO:
            forward, backward = (
                one_scale_a_gate(self._direction(name, n_in)) for name in DIRECTIONS
            )
            exponent = cell_exponent(x.shape[0])
            return self._add(FusedBiLstm(x, out, forward, backward, exponent))
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
        if name == OUTPUT_NAME and self.target != MICRO:
            name = f"{name}.int8"  # it is not the last: DEQUANTIZE follows
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
