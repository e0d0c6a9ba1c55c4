"""The graph as an ONNX file, node by node.

Float is plain ONNX. INT8 is written in ONNX's and onnxruntime's integer operators, on the
graph's own grids.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convert.channel_groups import in_groups
from convert.graph import (
    BiLstm,
    ChannelConv,
    Concat,
    Conv1d,
    Dense,
    Dequantize,
    Graph,
    Grid,
    MaxPool,
    MeanOverTime,
    Operator,
    Quantize,
    ScaleChannels,
    Sigmoid,
    Value,
    Weight,
)
from convert.scheme import QMIN
from firmware_host.contract import METADATA_KEY

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]

OPSET, CONTRIB_OPSET, IR_VERSION = 13, 1, 7
"""Low, so that an old onnxruntime reads the files."""

CONTRIB = "com.microsoft"
"""Domain of onnxruntime's own operators: its integer kernels are there."""

GATES = ("i", "f", "c", "o")
"""LSTM gates (input, forget, candidate, output) in the graph's order of rows."""

ONNX_GATES = ("i", "o", "f", "c")
"""The same in ONNX's order."""

LARGEST_MEAN_FACTOR = 128
"""In steps of a mean's grid, what one step of one of its values may count in the mean at most for
it to be taken in integers: onnxruntime's QLinearGlobalAveragePool refuses 256 and more. A learned
scale becomes so small where a network's attention has lost its effect."""

TO_UINT8 = 128
"""From an int8 grid to the same grid in uint8."""


def write_onnx(graph: Graph, contract_json: str | None) -> bytes:
    """The ONNX file of a graph; the same bytes every time.

    Args:
        graph: float or quantised.
        contract_json: goes into the file's metadata; None leaves it out.

    Returns:
        The file: input `features` float32 (1, window_frames, n_features), output `logits`
        float32 (1, n_labels).

    Raises:
        ValueError: when the graph has a form that `convert.build` never gives it.
    """
    from onnx import TensorProto, helper

    writer = _Int8Writer(graph) if graph.quantised else _FloatWriter(graph)
    writer.write()
    ends = [
        helper.make_tensor_value_info(value.name, TensorProto.FLOAT, (1, *value.shape))
        for value in (graph.inputs[0], graph.outputs[0])
    ]
    opsets = [helper.make_opsetid("", OPSET)]
    if graph.quantised:
        opsets.append(helper.make_opsetid(CONTRIB, CONTRIB_OPSET))
    model = helper.make_model(
        helper.make_graph(writer.nodes, graph.name, ends[:1], ends[1:], writer.initializers),
        opset_imports=opsets,
        ir_version=IR_VERSION,
        producer_name="edge-ser",
    )
    if contract_json is not None:
        helper.set_model_props(model, {METADATA_KEY: contract_json})
    return bytes(model.SerializeToString(deterministic=True))


class _Writer:
    """Nodes and constants as they pile up; activations keep the graph's names."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._constants: dict[str, Array] = {}

    def write(self) -> None:
        """Append the nodes of every operator, in order."""
        for operator in self.graph.operators:
            self.lower(operator)

    def lower(self, operator: Operator) -> None:
        """Append the nodes of one operator."""
        raise ValueError(f"{type(operator).__name__} has no place in this graph")

    def node(self, kind: str, inputs: Sequence[str], out: str, **attributes: Any) -> str:
        """Append a node, with its domain before its kind where it is not ONNX's own."""
        from onnx import helper

        domain, _, kind = kind.rpartition(".")
        self.nodes.append(
            helper.make_node(kind, inputs, [out], domain=domain or None, **attributes)
        )
        return out

    def constant(self, name: str, values: Array) -> str:
        """An initializer, written once for all that name it."""
        from onnx import numpy_helper

        if name not in self._constants:
            self._constants[name] = values
            self.initializers.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        elif not np.array_equal(self._constants[name], values):
            raise ValueError(f"two different constants are called {name}")
        return name

    def reshape(self, x: str, out: str, *shape: int) -> str:
        """Another shape for the same numbers; -1 stands for what is left."""
        name = ",".join(map(str, shape))
        return self.node("Reshape", [x, self.constant(name, np.array(shape, np.int64))], out)

    def flat(self, x: Value, out: str) -> str:
        """A vector as the row that a matrix product reads, which `Dense` already leaves."""
        dense = {other.out.name for other in self.graph.operators if isinstance(other, Dense)}
        return x.name if x.name in dense else self.reshape(x.name, f"{out}.x", 1, -1)

    def is_lstm(self, x: Value) -> bool:
        """Whether an LSTM made this value."""
        return any(isinstance(o, BiLstm) and o.out == x for o in self.graph.operators)

    def check_order_of_time(self, operator: BiLstm) -> None:
        """ONNX turns the backward rows into the order of time; the graph leaves them as they are.

        A mean over time does not mind. Nothing else may read them.
        """
        name = operator.out.name
        readers = [other for other in self.graph.operators if operator.out in _read_by(other)]
        if operator.out in self.graph.outputs or not all(
            isinstance(reader, MeanOverTime) for reader in readers
        ):
            raise ValueError(
                f"{name} is read by something else than a mean over time: its backward rows "
                "are in reversed order of time, which ONNX's LSTM does not give"
            )


class _FloatWriter(_Writer):
    """Images one pixel high: a sequence is (1, channels, 1, time), a vector (1, channels, 1, 1).

    For two dimensions onnxruntime has kernels that it lacks for one: the whole network takes
    13 % less time on x86 with AVX-512, and 3 % fewer instructions on Arm.
    """

    def write(self) -> None:
        """As `_Writer.write`, the window turned into an image first."""
        self.source = self.graph.inputs[0]
        self.node("Transpose", [self.source.name], f"{self.source.name}.t", perm=[0, 2, 1])
        self.reshape(
            f"{self.source.name}.t", self._image(self.source), 1, -1, 1, self.source.shape[0]
        )
        super().write()

    def lower(self, operator: Operator) -> None:
        """As `_Writer.lower`."""
        out = operator.out.name
        match operator:
            case Conv1d():
                weight = _as_image(operator.weight)
                inputs = [self._image(operator.x), *self._weight(out, weight)]
                self.node("Conv", inputs, f"{out}.sum", **_same_length(weight))
                self.node("Relu", [f"{out}.sum"], out)
            case MaxPool():
                factor = [1, operator.factor]
                x = [self._image(operator.x)]
                self.node("MaxPool", x, out, kernel_shape=factor, strides=factor)
            case MeanOverTime() if self.is_lstm(operator.x):
                self.node("ReduceMean", [operator.x.name], f"{out}.row", axes=[0], keepdims=0)
                self.reshape(f"{out}.row", out, 1, -1, 1, 1)
            case MeanOverTime():
                self.node("GlobalAveragePool", [self._image(operator.x)], out)
            case ChannelConv():
                row = self.reshape(operator.x.name, f"{out}.x", 1, 1, -1)
                kernel = self.constant(f"{out}.w", operator.weight.values[None])
                self.node("Conv", [row, kernel], out, **_same_length(operator.weight))
            case Sigmoid():
                self.node("Sigmoid", [operator.x.name], f"{out}.row")
                self.reshape(f"{out}.row", out, 1, -1, 1, 1)
            case ScaleChannels():
                self.node("Mul", [self._image(operator.x), operator.factors.name], out)
            case BiLstm():
                self._lstm(operator)
            case Concat():
                self.node("Concat", [part.name for part in operator.parts], out, axis=1)
            case Dense():
                total = f"{out}.sum" if operator.relu else out
                inputs = [self.flat(operator.x, out), *self._weight(out, operator.weight)]
                self.node("Gemm", inputs, total, transB=1)
                if operator.relu:
                    self.node("Relu", [total], out)
            case _:
                super().lower(operator)

    def _image(self, x: Value) -> str:
        return f"{x.name}.i" if x == self.source else x.name

    def _weight(self, name: str, weight: Weight) -> list[str]:
        bias = [] if weight.bias is None else [self.constant(f"{name}.b", weight.bias)]
        return [self.constant(f"{name}.w", weight.values), *bias]

    def _lstm(self, operator: BiLstm) -> None:
        """Leaves (time, direction, 1, hidden)."""
        self.check_order_of_time(operator)
        out, hidden = operator.out.name, operator.hidden
        directions = (operator.forward, operator.backward)
        bias = np.stack([_onnx_rows(_there(d.input.bias)) for d in directions])
        self.node("Transpose", [self._image(operator.x)], f"{out}.t", perm=[3, 0, 1, 2])
        inputs = [
            self.reshape(f"{out}.t", f"{out}.x", -1, 1, operator.x.shape[1]),
            self.constant(f"{out}.w", _onnx_weights([d.input for d in directions])),
            self.constant(f"{out}.r", _onnx_weights([d.recurrent for d in directions])),
            self.constant(f"{out}.b", np.concatenate([bias, np.zeros_like(bias)], axis=1)),
        ]
        self.node("LSTM", inputs, out, hidden_size=hidden, direction="bidirectional")


class _Int8Writer(_Writer):
    """Time before channels: a sequence is (1, time, channels), a vector (1, 1, channels).

    Convolutions and pools, which ONNX wants the other way round, stand between transpositions.
    onnxruntime, whose kernels want time first too, cancels them: 37 nodes of the
    default network run, where 43 did that was written channels first, and products by channels run
    along the rows in memory.

    A step q of the graph's int8 grids is stored as the uint8 q + 128: the same grid. With signed
    activations the network takes seven times as long on x86, where onnxruntime has fast kernels
    for unsigned times int8 only; on Arm it has both, and signed ones would save 5 % of the
    instructions.

    x86 without VNNI adds two such products in 16 bits, which saturate and give other labels.
    The session option `session.x64quantprecision` cures it: onnxruntime then shifts the weights
    of ONNX's own QLinearConv, of QGemm and of DynamicQuantizeLSTM to uint8 when it loads, which
    is exact and takes twice as long. It leaves com.microsoft's QLinearConv alone, which could
    be written time first: so convolutions are ONNX's.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self._grids: dict[Grid, str] = {}

    def lower(self, operator: Operator) -> None:
        """As `_Writer.lower`."""
        out = operator.out.name
        match operator:
            case Quantize():
                inputs = [operator.x.name, *self._grid(operator.out)]
                self.node("QuantizeLinear", inputs, out)
            case Dequantize():
                self.node("DequantizeLinear", self._on_grid(operator.x), out)
            case Conv1d():
                _check_relu(operator.out)
                weight = self._weight(out, operator.weight.values, operator.weight)
                inputs = [*self._grid(operator.x), *weight, *self._grid(operator.out)]
                inputs += [self._bias(out, operator.weight)]
                shape = _same_length(operator.weight)
                self._channels_first("QLinearConv", operator.x.name, inputs, out, **shape)
            case ChannelConv():
                self._channel_conv(operator)
            case MaxPool():
                factor = [operator.factor]
                shape = {"kernel_shape": factor, "strides": factor}
                self._channels_first("MaxPool", operator.x.name, [], out, **shape)
            case MeanOverTime():
                self._mean(operator)
            case Sigmoid():
                inputs = [*self._on_grid(operator.x), *self._grid(operator.out)]
                self.node(f"{CONTRIB}.QLinearSigmoid", inputs, out)
            case ScaleChannels():
                factors = [*self._on_grid(operator.x), *self._on_grid(operator.factors)]
                self.node(f"{CONTRIB}.QLinearMul", [*factors, *self._grid(operator.out)], out)
            case BiLstm():
                self._lstm(operator)
            case Concat():
                self.node("Concat", [part.name for part in operator.parts], out, axis=2)
            case Dense():
                self._dense(operator)
            case _:
                super().lower(operator)

    def _mean(self, operator: MeanOverTime) -> None:
        """In integers, where onnxruntime's kernel takes the two grids."""
        out = operator.out.name
        if _mean_factor(operator) > LARGEST_MEAN_FACTOR:
            # Not by GlobalAveragePool: onnxruntime would make the integer kernel of it again.
            self.node("DequantizeLinear", self._on_grid(operator.x), f"{out}.floats")
            self.node("ReduceMean", [f"{out}.floats"], f"{out}.mean", axes=[1], keepdims=1)
            self.node("QuantizeLinear", [f"{out}.mean", *self._grid(operator.out)], out)
            return
        inputs = [*self._grid(operator.x), *self._grid(operator.out)]
        mean = f"{CONTRIB}.QLinearGlobalAveragePool"
        self._channels_first(mean, operator.x.name, inputs, out)

    def _channel_conv(self, operator: ChannelConv) -> None:
        """In groups of channels: one alone would be transposed twice."""
        out, n_channels = operator.out.name, operator.x.shape[0]
        weight, group = in_groups(operator.weight, n_channels)
        kernel = np.moveaxis(weight.values, 2, 1)  # (out, in, width)
        inputs = [*self._grid(operator.x), *self._weight(out, kernel, weight)]
        groups = self.reshape(operator.x.name, f"{out}.groups", 1, -1, group)
        self._channels_first(
            "QLinearConv",
            groups,
            [*inputs, *self._grid(operator.out)],
            f"{out}.grouped",
            **_same_length(replace(weight, values=kernel)),
        )
        self.reshape(f"{out}.grouped", out, 1, 1, -1)

    def _channels_first(
        self, kind: str, x: str, inputs: Sequence[str], out: str, **attributes: Any
    ) -> None:
        """A node of x and further inputs that reads and leaves (1, channels, time)."""
        self.node("Transpose", [x], f"{out}.x", perm=[0, 2, 1])
        self.node(kind, [f"{out}.x", *inputs], f"{out}.y", **attributes)
        self.node("Transpose", [f"{out}.y"], out, perm=[0, 2, 1])

    def _grid(self, value: Value) -> tuple[str, str]:
        """Scale and zero point; values on one grid share them."""
        grid = value.int8_grid
        scale = f"{self._grids.setdefault(grid, value.name)}.s"
        zero_point = grid.zero_point + TO_UINT8
        return (
            self.constant(scale, np.array(grid.scale, np.float32)),
            self.constant(f"u{zero_point}", np.array(zero_point, np.uint8)),
        )

    def _on_grid(self, value: Value) -> tuple[str, str, str]:
        return value.name, *self._grid(value)

    def _weight(self, name: str, values: Array, weight: Weight) -> tuple[str, str, str]:
        """Values, in whatever shape the node wants them, scales and zero points."""
        return (
            self.constant(f"{name}.w", values),
            self.constant(f"{name}.ws", _there(weight.scale)),
            self._zeros(f"{name}.wz", len(values)),
        )

    def _zeros(self, name: str, *shape: int) -> str:
        """Zero points of a weight; its own, as `session.x64quantprecision` shifts them with it."""
        return self.constant(name, np.zeros(shape, np.int8))

    def _bias(self, name: str, weight: Weight) -> str:
        """The bias, or ONNX's name of an input that is left out."""
        return "" if weight.bias is None else self.constant(f"{name}.b", weight.bias)

    def _dense(self, operator: Dense) -> None:
        if operator.relu:
            _check_relu(operator.out)
        out, weight = operator.out.name, operator.weight
        x = self.flat(operator.x, out)
        inputs = [
            *(x, *self._grid(operator.x)),
            *self._weight(out, weight.values, weight),
            self._bias(out, weight),
            *self._grid(operator.out),
        ]
        self.node(f"{CONTRIB}.QGemm", inputs, out, transB=1)

    def _lstm(self, operator: BiLstm) -> None:
        """int8 weights with the graph's scales; onnxruntime quantises what they multiply.

        The node knows no fixed grids: it takes each step's own range for the hidden state,
        and keeps gates and cell in float32. Its output goes onto the graph's grid, but is
        rounded less on the way than the integer reference's.
        """
        from onnx import TensorProto

        self.check_order_of_time(operator)
        out, x, hidden = operator.out.name, operator.x, operator.hidden
        inputs = [operator.forward.input, operator.backward.input]
        recurrent = [operator.forward.recurrent, operator.backward.recurrent]
        self.node("DequantizeLinear", self._on_grid(x), f"{out}.f")
        self.reshape(f"{out}.f", f"{out}.x", -1, 1, x.shape[1])  # (time, 1, channels)
        input_scale = self._by_gate(f"{out}.ws", [_there(w.scale) for w in inputs])
        recurrent_scale = self._by_gate(f"{out}.rs", [_there(w.scale) for w in recurrent])
        # The node wants the bias in float32, and a second one for the recurrent product. What
        # follows depends on constants alone: onnxruntime computes it once, when it loads.
        steps = self._by_gate(f"{out}.b", [_there(w.bias) for w in inputs])
        self.node("Cast", [steps], f"{out}.b0", to=TensorProto.FLOAT)
        self.node("Mul", [f"{out}.b0", input_scale], f"{out}.b1")
        self.node("Mul", [f"{out}.b1", self._grid(x)[0]], f"{out}.b2")
        pads = self.constant(f"{out}.pads", np.array([0, 0, 0, 4 * hidden], np.int64))
        self.node("Pad", [f"{out}.b2", pads], f"{out}.b3")
        input_zeros, recurrent_zeros = (
            self._zeros(f"{out}.{key}", 2, 4 * hidden) for key in ("wz", "rz")
        )
        names = [
            f"{out}.x",
            self.constant(f"{out}.w", _onnx_weights(inputs).transpose(0, 2, 1)),
            self.constant(f"{out}.r", _onnx_weights(recurrent).transpose(0, 2, 1)),
            f"{out}.b3",
            *("", "", "", ""),  # lengths, initial states, peepholes
            *(input_scale, input_zeros, recurrent_scale, recurrent_zeros),
        ]
        attributes = {"hidden_size": hidden, "direction": "bidirectional"}
        self.node(f"{CONTRIB}.DynamicQuantizeLSTM", names, f"{out}.y", **attributes)
        # (time, direction, 1, hidden) onto the grid, and to (1, time, 2 * hidden)
        self.node("QuantizeLinear", [f"{out}.y", *self._grid(operator.out)], f"{out}.q")
        self.reshape(f"{out}.q", out, 1, -1, 2 * hidden)

    def _by_gate(self, name: str, directions: Sequence[Array]) -> str:
        """Rows (direction, 4 * hidden) in ONNX's order of gates, stored gate by gate.

        Each stays so small that a float constant over a kilobyte can only be a weight.
        """
        parts = _split(np.stack(directions), axis=1)
        names = [self.constant(f"{name}.{gate}", parts[gate]) for gate in ONNX_GATES]
        return self.node("Concat", names, name, axis=1)


def _split(rows: Array, axis: int) -> dict[str, Array]:
    return dict(zip(GATES, np.split(rows, len(GATES), axis=axis), strict=True))


def _onnx_rows(rows: Array) -> Array:
    """The graph's rows (4 * hidden, ...) in ONNX's order of gates."""
    parts = _split(rows, axis=0)
    return np.concatenate([parts[gate] for gate in ONNX_GATES])


def _onnx_weights(weights: Sequence[Weight]) -> Array:
    return np.stack([_onnx_rows(weight.values) for weight in weights])


def _there(part: Array | None) -> Array:
    """A scale or bias that `convert.build` always gives."""
    if part is None:
        raise ValueError("a weight lacks its scale or its bias")
    return part


def _check_relu(out: Value) -> None:
    """In integers, a ReLU is nothing but the lower end of its output's grid."""
    if out.grid is None or out.grid.zero_point != QMIN:
        raise ValueError(f"{out.name} follows a ReLU, and its grid does not begin at 0")


def _mean_factor(operator: MeanOverTime) -> float:
    """In steps of the mean's grid, what one step of one value counts in it."""
    x, out = operator.x, operator.out
    return x.int8_grid.scale / (out.int8_grid.scale * x.shape[0])


def _as_image(weight: Weight) -> Weight:
    return Weight(weight.values[:, :, None], weight.scale, weight.bias)


def _same_length(weight: Weight) -> dict[str, list[int]]:
    """Padding that keeps the last axis's length, and none before it. Kernel (out, in, ...)."""
    kernel = list(weight.values.shape[2:]) or [weight.values.shape[-1]]
    return {"kernel_shape": kernel, "pads": [size // 2 for size in kernel] * 2}


def _read_by(operator: Operator) -> tuple[Value, ...]:
    match operator:
        case Concat():
            return operator.parts
        case ScaleChannels():
            return (operator.x, operator.factors)
        case _:
            return (operator.x,)
