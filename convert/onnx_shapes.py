"""Types and shapes of everything in an ONNX model, onnxruntime's own operators included.

The onnx package infers those of ONNX's operators alone. Each of onnxruntime's is replaced
for that by one of ONNX's that gives the same shape; what they would compute does not matter.
"""

from dataclasses import dataclass
from typing import Any

ONNX_DOMAINS = ("", "ai.onnx")
OLDEST_OPSET = 13
"""For a model that imports none of ONNX's own."""

Types = dict[str, tuple[str, tuple[int, ...] | None]]
"""By name of the value: dtype and shape, -1 for a length that is not known."""


@dataclass(frozen=True)
class _StandIn:
    """An operator of ONNX, and which inputs it takes over (all when None)."""

    kind: str
    inputs: slice | tuple[int, ...] | None = None


_SAME = _StandIn("Identity", (0,))
STAND_INS = {
    "BiasGelu": _SAME,
    "DequantizeLinear": _StandIn("DequantizeLinear"),
    "DynamicQuantizeLSTM": _StandIn("LSTM", (0, 1, 2)),
    "DynamicQuantizeMatMul": _StandIn("MatMul", (0, 1)),
    "FastGelu": _SAME,
    "FusedConv": _StandIn("Conv", (0, 1)),
    "FusedGemm": _StandIn("Gemm", (0, 1)),
    "Gelu": _SAME,
    "MatMulIntegerToFloat": _StandIn("MatMul", (0, 1)),
    "QGemm": _StandIn("Gemm", (0, 3)),
    "QLinearAdd": _StandIn("Add", (0, 3)),
    "QLinearAveragePool": _StandIn("AveragePool", (0,)),
    "QLinearConcat": _StandIn("Concat", slice(2, None, 3)),
    "QLinearConv": _StandIn("QLinearConv"),
    "QLinearGlobalAveragePool": _StandIn("GlobalAveragePool", (0,)),
    "QLinearLeakyRelu": _SAME,
    "QLinearMul": _StandIn("Mul", (0, 3)),
    "QLinearSigmoid": _SAME,
    "QLinearSoftmax": _SAME,
    "QuantizeLinear": _StandIn("QuantizeLinear"),
    "QuickGelu": _SAME,
}

QGEMM_OUTPUT_SCALE = 7
"""Input without which a QGemm gives floats."""


def infer_types(model: Any) -> tuple[Types, list[str]]:
    """Types and shapes of all values, and notes on what had to be assumed.

    Args:
        model: onnx.ModelProto; stays as it is. A length that its inputs leave open counts as 1.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if not any(opset.domain in ONNX_DOMAINS for opset in copy.opset_import):
        copy.opset_import.append(onnx.helper.make_opsetid("", OLDEST_OPSET))
    notes = []
    opened = _close_lengths(copy.graph)
    if opened:
        notes.append(f"lengths that the file leaves open count as 1: {', '.join(opened)}")
    _replace(copy.graph)
    try:
        copy = onnx.shape_inference.infer_shapes(copy, data_prop=True)
    except Exception as error:  # it raises its own errors, and protobuf's over 2 GB
        notes.append(f"onnx could not infer shapes ({str(error).splitlines()[0]})")
    types: Types = {}
    _collect(copy.graph, types)
    return types, notes


def dtype_of(element_type: int) -> str:
    """onnx.TensorProto.DataType as numpy calls it: "float32", "int8"."""
    import onnx

    name = onnx.TensorProto.DataType.Name(element_type)
    return {"UNDEFINED": "", "FLOAT": "float32", "DOUBLE": "float64"}.get(name, str(name).lower())


def _close_lengths(graph: Any) -> list[str]:
    """Set unknown lengths of the inputs to 1; returns which they were, for a person."""
    opened = []
    constants = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        if value.name in constants:
            continue
        for axis, length in enumerate(value.type.tensor_type.shape.dim):
            if length.dim_value <= 0:
                opened.append(length.dim_param or f"axis {axis} of {value.name}")
                length.dim_value = 1
    return list(dict.fromkeys(opened))


def _replace(graph: Any) -> None:
    nodes = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _replace(attribute.g)
        nodes += [node] if node.domain in ONNX_DOMAINS else _stand_in(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _stand_in(node: Any) -> list[Any]:
    """Nodes with the same outputs' shapes and types; none where that is not known."""
    import onnx

    found = STAND_INS.get(node.op_type)
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    # Blocked layouts and transposed operands change the shape, and are rare.
    if found is None or any(attributes.get(n) for n in ("channels_last", "transA", "transBatchA")):
        return []
    inputs: list[str] = list(node.input)
    if isinstance(found.inputs, slice):
        inputs = inputs[found.inputs]
    elif found.inputs is not None:
        inputs = [inputs[slot] for slot in found.inputs if slot < len(inputs)]
    inner = onnx.NodeProto()
    inner.CopyFrom(node)
    inner.op_type, inner.domain = found.kind, ""
    del inner.input[:]
    inner.input.extend(inputs)
    gives_float = node.op_type == "MatMulIntegerToFloat" or (
        node.op_type == "QGemm" and not "".join(node.input[QGEMM_OUTPUT_SCALE:])
    )
    if not gives_float:
        return [inner]
    out = node.output[0]
    del inner.output[:]
    inner.output.append(f"{out}/integer")
    cast = onnx.helper.make_node("Cast", [inner.output[0]], [out], to=onnx.TensorProto.FLOAT)
    return [inner, cast]


def _collect(graph: Any, types: Types) -> None:
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.HasField("tensor_type"):
            types[value.name] = _type(value.type.tensor_type)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _collect(attribute.g, types)


def _type(tensor_type: Any) -> tuple[str, tuple[int, ...] | None]:
    dtype = dtype_of(tensor_type.elem_type)
    if not tensor_type.HasField("shape"):
        return dtype, None
    lengths = tensor_type.shape.dim
    return dtype, tuple(d.dim_value if d.HasField("dim_value") else -1 for d in lengths)
