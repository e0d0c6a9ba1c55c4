"""Reads an ONNX file of any origin into `Contents`: ONNX's operators and onnxruntime's.

What a product computes with is what onnxruntime's CPU kernels can do with it. A machine may
do worse: on x86, int8 activations are turned to uint8 first, and nothing is fused where that
fails.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from convert.contents import (
    EIGHT_BIT,
    FLOAT,
    HYBRID,
    INT8,
    NONE,
    OTHER,
    Constant,
    Contents,
    Operator,
    Tensor,
    arithmetic_of_others,
    arithmetic_of_product,
    is_float,
    multiplied,
    n_elements,
)
from convert.onnx_operators import (
    CLAMPS,
    CONVOLUTIONS,
    FUSED_OTHERS,
    FUSED_PRODUCTS,
    LAYOUTS,
    LOOPS,
    MATRIX_PRODUCTS,
    MOVERS,
    PARAMETERS,
    PRODUCTS,
    QUANTISE_AT_RUN_TIME,
    RECURRENCES,
)
from convert.onnx_shapes import Types, dtype_of, infer_types
from firmware_host.errors import EdgeSerError


def read_onnx(data: bytes) -> Contents:
    """Read an ONNX file.

    Raises:
        EdgeSerError: when it is none, is damaged, or a package that reads it is not installed.
    """
    try:
        import onnx.inliner
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise EdgeSerError(
            "reading an ONNX file needs onnx: `pip install 'edge-ser[convert]'` brings it"
        ) from error
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise EdgeSerError(
            "this is neither a TFLite nor an ONNX file, or it is damaged: copy or convert it again"
        ) from error
    if not (model.ir_version and model.graph.node):
        raise EdgeSerError("this is neither a TFLite nor an ONNX file: give one of them")
    metadata_bytes = sum(entry.ByteSize() for entry in model.metadata_props)
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        types, notes = infer_types(model)
        reader = _Reader(types)
        reader.read(model.graph, {})
    except EdgeSerError:
        raise
    except Exception as error:  # whatever a field leads to that holds what it never should
        raise EdgeSerError(
            f"this ONNX file is damaged ({error}): copy or convert it again"
        ) from error
    kinds = {operator.kind for operator in reader.operators}
    if kinds & LOOPS:
        notes.append("operators in loops and branches count once")
    if any(constant.n_bytes and not constant.stored_bytes for constant in reader.constants):
        notes.append("some constants stand in another file")
    return Contents(
        format="ONNX",
        n_bytes=len(data),
        metadata_bytes=metadata_bytes,
        constants=tuple(reader.constants),
        tensors=tuple(reader.tensors),
        operators=tuple(reader.operators),
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Node:
    """A node and the indices of its tensors; -1 for an input that is left out."""

    proto: Any
    given: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def kind(self) -> str:
        return _text(self.proto.op_type)

    @property
    def name(self) -> str:
        return _text(self.proto.name or next(filter(None, self.proto.output), self.kind))


class _Reader:
    """Goes through the graph and those inside its nodes, then looks at each node's neighbours."""

    def __init__(self, types: Types) -> None:
        self.types = types
        self.tensors: list[Tensor] = []
        self.constants: list[Constant] = []
        self.operators: list[Operator] = []
        self._maker: dict[int, _Node] = {}
        self._readers: dict[int, list[_Node]] = defaultdict(list)

    def read(self, graph: Any, outside: dict[str, int]) -> None:
        """Fill the lists."""
        for node in list(self._nodes(graph, outside)):
            self.operators.append(self._operator(node))

    def _nodes(self, graph: Any, outside: dict[str, int]) -> Iterable[_Node]:
        """All nodes that compute; a name means what the innermost graph says."""
        scope = dict(outside)
        for tensor in graph.initializer:
            scope[tensor.name] = self._constant(tensor, tensor.name)
        for sparse in graph.sparse_initializer:
            scope[sparse.values.name] = self._constant(sparse.values, sparse.values.name)
        for value in graph.input:
            if value.name not in scope:
                scope[value.name] = self._activation(value.name)
        for proto in graph.node:
            tensors = [a for a in map(_tensor_in, proto.attribute) if a is not None]
            if proto.op_type == "Constant" and tensors:
                scope[proto.output[0]] = self._constant(tensors[0], proto.output[0])
                continue
            for tensor in tensors:
                self._constant(tensor, proto.name)
            for name in proto.input:
                if name and name not in scope:
                    scope[name] = self._activation(name)
            for attribute in proto.attribute:
                for inner in (attribute.g, *attribute.graphs):
                    yield from self._nodes(inner, scope)
            given = tuple(scope[name] if name else -1 for name in proto.input)
            outputs = tuple(self._activation(name) for name in proto.output if name)
            scope |= zip(filter(None, proto.output), outputs, strict=True)
            node = _Node(proto, given, outputs)
            self._maker |= dict.fromkeys(outputs, node)
            for tensor in given:
                self._readers[tensor].append(node)
            yield node

    def _activation(self, name: str) -> int:
        self.tensors.append(Tensor(_text(name), *self.types.get(name, ("", None))))
        return len(self.tensors) - 1

    def _constant(self, proto: Any, name: str) -> int:
        name, dtype, shape = _text(name), dtype_of(proto.data_type), tuple(proto.dims)
        n_bytes = sum(map(len, proto.string_data)) or _n_bytes(dtype, n_elements(shape) or 0)
        external = proto.data_location == proto.EXTERNAL
        if proto.raw_data and len(proto.raw_data) != n_bytes:
            raise EdgeSerError(
                f"this ONNX file is damaged: its constant {name} has {len(proto.raw_data)} bytes "
                f"where {n_bytes} belong; copy or convert it again"
            )
        stored = 0 if external else _stored_bytes(proto)
        self.constants.append(Constant(name, dtype, shape, n_bytes, stored))
        self.tensors.append(Tensor(name, dtype, shape, len(self.constants) - 1))
        return len(self.tensors) - 1

    def _operator(self, node: _Node) -> Operator:
        inputs = tuple(i for i in node.given if i >= 0)
        slots = PRODUCTS.get(node.kind)
        x = self._given(node, (slots.x,)) if slots else ()
        weights = self._given(node, slots.weights) if slots else ()
        contraction = self._contraction(node)
        carries = inputs if node.kind == "Concat" else inputs[:1]
        if slots is None or not x or not weights or contraction == 1:
            parameters = self._given(node, PARAMETERS.get(node.kind, ()))
            arithmetic = self._arithmetic_of_others(node)
            return Operator(
                node.name,
                node.kind,
                inputs,
                node.outputs,
                arithmetic,
                parameters=parameters,
                carries=carries,
            )
        return Operator(
            name=node.name,
            kind=node.kind,
            inputs=inputs,
            outputs=node.outputs,
            arithmetic=self._arithmetic(node, x[0], weights),
            product=True,
            macs=self._macs(node, x[0], weights, contraction),
            weights=weights,
            biases=self._given(node, slots.biases),
            parameters=self._given(node, slots.parameters),
            carries=carries,
        )

    def _given(self, node: _Node, slots: Iterable[int]) -> tuple[int, ...]:
        found = [node.given[slot] for slot in slots if slot < len(node.given)]
        return tuple(i for i in found if i >= 0)

    def _contraction(self, node: _Node) -> int | None:
        """Multiply-accumulates per number of the output, or of the input of a ConvTranspose.

        A product of one each, such as a depthwise convolution with a 1 x 1 kernel, is no
        product but an element-wise multiplication.
        """
        slots = PRODUCTS.get(node.kind)
        if slots is None or not self._given(node, slots.weights):
            return None
        if node.kind in CONVOLUTIONS or node.kind == "ConvTranspose":
            # Weights are (out, in / groups, ...); those of ConvTranspose (in, out / groups, ...).
            shape = self.tensors[self._given(node, slots.weights)[0]].shape
            return n_elements(None if shape is None else shape[1:])
        if node.kind in MATRIX_PRODUCTS:
            shape = self.tensors[node.given[slots.x]].shape
            transposed = any(a.name == "transA" and a.i for a in node.proto.attribute)
            return shape[-2 if transposed else -1] if shape else None
        return None

    def _macs(
        self, node: _Node, x: int, weights: tuple[int, ...], contraction: int | None
    ) -> int | None:
        if node.kind in RECURRENCES:  # every weight once for each row of the input
            sizes = [n_elements(self.tensors[i].shape) for i in weights]
            rows = n_elements((self.tensors[x].shape or (-1,))[:-1])
            return multiplied(rows, None if None in sizes else sum(s for s in sizes if s))
        if contraction is None or contraction < 0:
            return None
        source = x if node.kind == "ConvTranspose" else node.outputs[0]
        return multiplied(n_elements(self.tensors[source].shape), contraction)

    def _arithmetic(self, node: _Node, x: int, weights: tuple[int, ...]) -> str:
        activation, weight = self.tensors[x].dtype, self.tensors[weights[0]].dtype
        if node.kind in FUSED_PRODUCTS and self._is_fused(node, (x, weights[0])):
            return INT8
        if node.kind in QUANTISE_AT_RUN_TIME:
            return HYBRID if weight in EIGHT_BIT else OTHER
        if is_float(activation) or is_float(weight):
            return FLOAT  # with int8 weights too: onnxruntime has no such kernels
        made_by = self._maker.get(self._before_layouts(x))
        arithmetic = arithmetic_of_product(activation, weight)
        if arithmetic == INT8 and made_by and made_by.kind == "DynamicQuantizeLinear":
            return HYBRID
        return arithmetic

    def _arithmetic_of_others(self, node: _Node) -> str:
        if node.kind in MOVERS:
            return NONE
        operands = node.given[:1] if node.kind in CLAMPS else node.given  # bounds stay float
        if node.kind in FUSED_OTHERS and self._is_fused(node, operands):
            return INT8
        return arithmetic_of_others([self.tensors[i].dtype for i in node.outputs])

    def _is_fused(self, node: _Node, operands: Iterable[int]) -> bool:
        """Whether onnxruntime computes this float operator in integers, by its neighbours."""
        floats = [i for i in operands if i >= 0 and is_float(self.tensors[i].dtype)]
        grids = [self._dequantised(i) for i in floats]
        if not grids or not EIGHT_BIT.issuperset(grids):
            return False
        # A product whose sums stay float is still one of integers; no convolution has a
        # kernel for that.
        return node.kind in {"Gemm", "MatMul"} or self._quantised(node) == {grids[0]}

    def _dequantised(self, tensor: int) -> str:
        """What a DequantizeLinear made these floats of; empty if none did."""
        maker = self._maker.get(tensor)
        if maker is None or maker.kind != "DequantizeLinear":
            return ""
        return self.tensors[maker.given[0]].dtype

    def _quantised(self, node: _Node) -> set[str]:
        """What QuantizeLinears make of the output; empty if anything else reads it but a clamp."""
        readers = self._readers[node.outputs[0]]
        if len(readers) == 1 and readers[0].kind in CLAMPS:
            readers = self._readers[readers[0].outputs[0]]
        if any(reader.kind != "QuantizeLinear" for reader in readers):
            return set()
        return {self.tensors[reader.outputs[0]].dtype for reader in readers}

    def _before_layouts(self, tensor: int) -> int:
        """The same numbers before they were reshaped or transposed."""
        while (maker := self._maker.get(tensor)) and maker.kind in LAYOUTS:
            tensor = maker.given[0]
        return tensor


def _text(name: str | bytes) -> str:
    """Protobuf gives a name as bytes when it is not UTF-8."""
    return name if isinstance(name, str) else name.decode(errors="replace")


def _tensor_in(attribute: Any) -> Any:
    """The constant in an attribute, if it holds one."""
    from onnx import TensorProto

    if attribute.HasField("t"):
        return attribute.t
    if attribute.HasField("sparse_tensor"):
        return attribute.sparse_tensor.values
    if attribute.name in {"value_floats", "value_float"}:
        numbers = list(attribute.floats) or [attribute.f]
        return TensorProto(data_type=TensorProto.FLOAT, dims=[len(numbers)], float_data=numbers)
    if attribute.name in {"value_ints", "value_int"}:
        whole = list(attribute.ints) or [attribute.i]
        return TensorProto(data_type=TensorProto.INT64, dims=[len(whole)], int64_data=whole)
    return None


def _stored_bytes(tensor: Any) -> int:
    """Bytes that the values take in the file: those of the raw data, or of packed numbers."""
    if tensor.raw_data:
        return len(tensor.raw_data)
    rest = type(tensor)()
    rest.CopyFrom(tensor)
    for field in ("float_data", "int32_data", "string_data", "int64_data", "double_data"):
        rest.ClearField(field)
    rest.ClearField("uint64_data")
    return int(tensor.ByteSize() - rest.ByteSize())


def _n_bytes(dtype: str, elements: int) -> int:
    """Of that many values; types of fewer than eight bits are packed."""
    bits = re.search(r"\d+", dtype)
    width = {"complex64": 64, "complex128": 128}.get(dtype) or (int(bits[0]) if bits else 8)
    return (elements * width + 7) // 8
