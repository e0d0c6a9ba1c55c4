"""The graph as an ONNX file, node by node.

Float is plain ONNX. INT8 is written in onnxruntime's integer operators, on the graph's own
grids; activations stay time-major there, so that nothing is transposed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
    """Channels before time: a sequence is (1, channels, time), a vector (1, channels, 1)."""

    def write(self) -> None:
        """As `_Writer.write`, the window transposed first."""
        self.source = self.graph.inputs[0].name
        self.node("Transpose", [self.source], f"{self.source}.t", perm=[0, 2, 1])
        super().write()

    def lower(self, operator: Operator) -> None:
        """As `_Writer.lower`."""
        out = operator.out.name
        match operator:
            case Conv1d():
                inputs = [self._sequence(operator.x), *self._weight(out, operator.weight)]
                self.node("Conv", inputs, f"{out}.sum", **_same_length(operator.weight))
                self.node("Relu", [f"{out}.sum"], out)
            case MaxPool():
                self.node("MaxPool", [self._sequence(operator.x)], out, **_groups(operator))
            case MeanOverTime():
                self.node("GlobalAveragePool", [self._sequence(operator.x)], out)
            case ChannelConv():
                row = self.reshape(operator.x.name, f"{out}.x", 1, 1, -1)
                weight = self.constant(f"{out}.w", operator.weight.values[None])
                self.node("Conv", [row, weight], out, **_same_length(operator.weight))
            case Sigmoid():
                self.node("Sigmoid", [operator.x.name], f"{out}.row")
                self.reshape(f"{out}.row", out, 1, -1, 1)
            case ScaleChannels():
                self.node("Mul", [self._sequence(operator.x), operator.factors.name], out)
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

    def _sequence(self, x: Value) -> str:
        return f"{x.name}.t" if x.name == self.source else x.name

    def _weight(self, name: str, weight: Weight) -> list[str]:
        bias = [] if weight.bias is None else [self.constant(f"{name}.b", weight.bias)]
        return [self.constant(f"{name}.w", weight.values), *bias]

    def _lstm(self, operator: BiLstm) -> None:
        self.check_order_of_time(operator)
        out, hidden = operator.out.name, operator.hidden
        directions = (operator.forward, operator.backward)
        bias = np.stack([_onnx_rows(_bias(d.input)) for d in directions])
        inputs = [
            self.node("Transpose", [self._sequence(operator.x)], f"{out}.x", perm=[2, 0, 1]),
            self.constant(f"{out}.w", _onnx_weights([d.input for d in directions])),
            self.constant(f"{out}.r", _onnx_weights([d.recurrent for d in directions])),
            self.constant(f"{out}.b", np.concatenate([bias, np.zeros_like(bias)], axis=1)),
        ]
        self.node("LSTM", inputs, f"{out}.y", hidden_size=hidden, direction="bidirectional")
        # (time, direction, 1, hidden) to (1, direction, hidden, time)
        self.node("Transpose", [f"{out}.y"], f"{out}.t", perm=[2, 1, 3, 0])
        self.reshape(f"{out}.t", out, 1, 2 * hidden, -1)


class _Int8Writer(_Writer):
    """Time before channels: a sequence is (1, time, channels), a vector (1, 1, channels).

    An activation on the graph's int8 grid is stored as uint8, 128 higher: the same grid.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self._grids: dict[Grid, str] = {}

    def lower(self, operator: Operator) -> None:
        """As `_Writer.lower`."""
        out = operator.out.name
        match operator:
            case Quantize():
                self.node("QuantizeLinear", [operator.x.name, *self._grid(operator.out)], out)
            case Dequantize():
                self.node("DequantizeLinear", self._on_grid(operator.x), out)
            case Conv1d():
                _check_relu(operator.out)
                attributes = _same_length(operator.weight) | {"channels_last": 1}
                inputs = self._product(operator, operator.weight.values)
                self.node(f"{CONTRIB}.QLinearConv", inputs, out, **attributes)
            case MaxPool():
                self.node(f"{CONTRIB}.NhwcMaxPool", [operator.x.name], out, **_groups(operator))
            case MeanOverTime():
                inputs = [*self._on_grid(operator.x), *self._grid(operator.out)]
                if not self._mean_of_lstm(operator):
                    self.node(f"{CONTRIB}.QLinearGlobalAveragePool", inputs, out, channels_last=1)
            case ChannelConv():
                inputs = self._product(operator, operator.weight.values[None])
                self.node("QLinearConv", inputs, out, **_same_length(operator.weight))
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

    def _grid(self, value: Value) -> list[str]:
        """Scale and zero point; values on one grid share them."""
        grid = value.grid
        if grid is None:
            raise ValueError(f"{value.name} has no grid in a quantised graph")
        owner = self._grids.setdefault(grid, value.name)
        zero_point = grid.zero_point + TO_UINT8
        return [
            self.constant(f"{owner}.s", np.float32(grid.scale)),
            self.constant(f"{zero_point}", np.uint8(zero_point)),
        ]

    def zeros(self, *shape: int) -> str:
        """Zero points of weights."""
        return self.constant(f"0:{','.join(map(str, shape))}", np.zeros(shape, np.int8))

    def _on_grid(self, value: Value) -> list[str]:
        return [value.name, *self._grid(value)]

    def _product(self, operator: Conv1d | ChannelConv | Dense, values: Array) -> list[str]:
        """Inputs of QLinearConv, of which QGemm wants the same in another order."""
        name, weight = operator.out.name, operator.weight
        inputs = [
            *self._on_grid(operator.x),
            self.constant(f"{name}.w", values),
            self.constant(f"{name}.ws", _scale(weight)),
            self.zeros(len(values)),
            *self._grid(operator.out),
        ]
        return inputs if weight.bias is None else [*inputs, self.constant(f"{name}.b", weight.bias)]

    def _dense(self, operator: Dense) -> None:
        if operator.relu:
            _check_relu(operator.out)
        out = operator.out.name
        inputs = self._product(operator, operator.weight.values)
        inputs[0] = self.flat(operator.x, out)
        x, grid, bias = inputs[:6], inputs[6:8], inputs[8:]
        self.node(f"{CONTRIB}.QGemm", [*x, *(bias or [""]), *grid], out, transB=1)

    def _lstm(self, operator: BiLstm) -> None:
        """int8 weights with the graph's scales; the node quantises activations by itself.

        Where the graph's hidden state and gates have fixed grids, this node measures each
        step's own range, and its gates and cell are float32: it is a little closer to the
        float network than the integer reference is.
        """
        self.check_order_of_time(operator)
        from onnx import TensorProto

        out, hidden = operator.out.name, operator.hidden
        directions = (operator.forward, operator.backward)
        inputs = [direction.input for direction in directions]
        recurrent = [direction.recurrent for direction in directions]
        x = self.node("DequantizeLinear", self._on_grid(operator.x), f"{out}.f")
        x = self.reshape(x, f"{out}.x", -1, 1, operator.x.shape[1])
        names = [x]
        names += [
            self.constant(f"{out}.{key}", np.transpose(_onnx_weights(weights), (0, 2, 1)))
            for key, weights in (("w", inputs), ("r", recurrent))
        ]
        input_scale = self._by_gate(f"{out}.ws", np.stack([_scale(w) for w in inputs]))
        recurrent_scale = self._by_gate(f"{out}.rs", np.stack([_scale(w) for w in recurrent]))
        bias = self._by_gate(f"{out}.b", np.stack([_bias(w) for w in inputs]))
        # int32 to float32; nothing here depends on the window, so loading computes it once.
        bias = self.node("Cast", [bias], f"{out}.bf", to=TensorProto.FLOAT)
        bias = self.node("Mul", [bias, input_scale], f"{out}.bw")
        bias = self.node("Mul", [bias, self._grid(operator.x)[0]], f"{out}.bx")
        pads = self.constant(f"{out}.pads", np.array([0, 0, 0, 4 * hidden], np.int64))
        bias = self.node("Pad", [bias, pads], f"{out}.bias")
        zeros = self.zeros(2, 4 * hidden)
        names += [bias, "", "", "", "", input_scale, zeros, recurrent_scale, zeros]
        attributes = {"hidden_size": hidden, "direction": "bidirectional"}
        self.node(f"{CONTRIB}.DynamicQuantizeLSTM", names, out, **attributes)

    def _by_gate(self, name: str, rows: Array) -> str:
        """Rows of (direction, 4 * hidden), stored by gate, put into ONNX's order."""
        parts = dict(zip(GATES, np.split(rows, len(GATES), axis=1), strict=True))
        names = [self.constant(f"{name}.{gate}", parts[gate]) for gate in ONNX_GATES]
        return self.node("Concat", names, name, axis=1)

    def _mean_of_lstm(self, operator: MeanOverTime) -> bool:
        """The mean of an LSTM's float32 output (time, direction, 1, hidden), if this is one."""
        x, out = operator.x, operator.out.name
        if not any(isinstance(o, BiLstm) and o.out == x for o in self.graph.operators):
            return False
        mean = self.node("ReduceMean", [x.name], f"{out}.f", axes=[0], keepdims=0)
        row = self.reshape(mean, f"{out}.x", 1, 1, -1)
        self.node("QuantizeLinear", [row, *self._grid(operator.out)], out)
        return True


def _onnx_rows(rows: Array) -> Array:
    """The graph's rows (4 * hidden, ...) in ONNX's order of gates."""
    parts = dict(zip(GATES, np.split(rows, len(GATES)), strict=True))
    return np.concatenate([parts[gate] for gate in ONNX_GATES])


def _onnx_weights(weights: Sequence[Weight]) -> Array:
    return np.stack([_onnx_rows(weight.values) for weight in weights])


def _bias(weight: Weight) -> Array:
    if weight.bias is None:
        raise ValueError("an LSTM's input weights have no bias")
    return weight.bias


def _scale(weight: Weight) -> Array:
    if weight.scale is None:
        raise ValueError("a weight has no scale in a quantised graph")
    return weight.scale


def _check_relu(out: Value) -> None:
    """A ReLU is nothing but the lower end of its output's grid."""
    if out.grid is None or out.grid.zero_point != QMIN:
        raise ValueError(f"{out.name} follows a ReLU, and its grid does not begin at 0")


def _same_length(weight: Weight) -> dict[str, list[int]]:
    kernel = weight.values.shape[-1]
    return {"kernel_shape": [kernel], "pads": [kernel // 2, kernel // 2]}


def _groups(operator: MaxPool) -> dict[str, list[int]]:
    return {"kernel_shape": [operator.factor], "strides": [operator.factor]}


def _read_by(operator: Operator) -> tuple[Value, ...]:
    match operator:
        case Concat():
            return operator.parts
        case ScaleChannels():
            return (operator.x, operator.factors)
        case _:
            return (operator.x,)
