"""A TFLite flatbuffer under construction: tensors and operators in, bytes out.

Equal parts are written once: a shape, a quantization, an operator's options, a constant.
An LSTM unrolled into hundreds of operators stays small by that, and by leaving out every
field that has its default. Source of the format: TensorFlow Lite's schema.fbs, version 3.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
BUFFER_ALIGNMENT = 16
"""schema.fbs asks for it: kernels read weights where they lie in the file."""

OPTIONS = {
    "ADD": "AddOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DEQUANTIZE": "DequantizeOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "QUANTIZE": "QuantizeOptions",
    "RESHAPE": "ReshapeOptions",
    "SLICE": "SliceOptions",
    "SPLIT": "SplitOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
}
"""The options table of each operator that has one."""

VECTOR_OPTIONS = {"NewShape"}
"""Options that are vectors of int32 instead of numbers."""

ABSENT = -1
"""Index of an optional input that an operator goes without."""

INT8_VERSIONS = {"CONV_2D": 3, "QUANTIZE": 1, "RESHAPE": 1, "UNIDIRECTIONAL_SEQUENCE_LSTM": 1}
"""Operator versions that brought int8; of all others it is the second. Float is in the first."""


@dataclass(frozen=True)
class Quantization:
    """How integers stand for numbers: one scale, or one for each index of `dimension`."""

    scales: tuple[float, ...]
    zero_point: int = 0
    dimension: int = 0


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None
    data: bytes
    name: str
    variable: bool = False


@dataclass(frozen=True)
class _Operator:
    kind: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: tuple[tuple[str, Any], ...]
    intermediates: tuple[int, ...] = ()


@dataclass
class TfliteFile:
    """Collects tensors and operators of one subgraph; `pack` makes the file of them."""

    tensors: list[_Tensor] = field(default_factory=list)
    operators: list[_Operator] = field(default_factory=list)
    _constants: dict[_Tensor, int] = field(default_factory=dict)

    def tensor(
        self,
        shape: Sequence[int],
        quantization: Quantization | None = None,
        name: str = "",
        dtype: str | None = None,
        variable: bool = False,
    ) -> int:
        """Index of a new activation.

        Args:
            dtype: by default int8 where it has a quantization, else float32.
            variable: keeps its values until the interpreter resets it.
        """
        dtype = dtype or ("int8" if quantization else "float32")
        self.tensors.append(_Tensor(tuple(shape), dtype, quantization, b"", name, variable))
        return len(self.tensors) - 1

    def constant(
        self, values: NDArray[Any], quantization: Quantization | None = None, name: str = ""
    ) -> int:
        """Index of a constant; one that is there already is not written again."""
        data = values.astype(values.dtype.newbyteorder("<")).tobytes()
        tensor = _Tensor(values.shape, values.dtype.name, quantization, data, name)
        if tensor not in self._constants:
            self.tensors.append(tensor)
            self._constants[tensor] = len(self.tensors) - 1
        return self._constants[tensor]

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        intermediates: Sequence[int] = (),
        **options: Any,
    ) -> None:
        """Append an operator.

        Args:
            kind: as schema.fbs names it: "CONV_2D".
            inputs: indices of tensors, or `ABSENT`.
            intermediates: tensors that only say on which grids the operator computes.
            options: fields of its options table in CamelCase; defaults may be left out.
        """
        self.operators.append(
            _Operator(
                kind,
                self._version(kind, inputs),
                tuple(inputs),
                tuple(outputs),
                tuple(options.items()),
                tuple(intermediates),
            )
        )

    def apply(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        quantization: Quantization | None = None,
        name: str = "",
        **options: Any,
    ) -> int:
        """Append an operator of one output; returns the index of that."""
        out = self.tensor(shape, quantization, name)
        self.operator(kind, inputs, [out], **options)
        return out

    def pack(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file, the same bytes for the same content."""
        return _Packer().pack(self, inputs, outputs)

    def _version(self, kind: str, inputs: Sequence[int]) -> int:
        """The lowest that has what is used, so that old runtimes take what they can compute."""
        tensors = [self.tensors[index] for index in inputs if index != ABSENT]
        int8 = any(tensor.dtype == "int8" for tensor in tensors)
        return INT8_VERSIONS.get(kind, 2) if int8 else 1


class _Packer:
    """Writes tables back to front, as flatbuffers are, and remembers what it has written."""

    def __init__(self) -> None:
        import flatbuffers
        from ai_edge_litert import schema_py_generated

        self.schema: Any = schema_py_generated
        self.builder: Any = flatbuffers.Builder(1 << 20)
        self.written: dict[Hashable, int] = {}

    def pack(self, file: TfliteFile, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        data = dict.fromkeys([b"", *(tensor.data for tensor in file.tensors)])
        buffer_of = {content: index for index, content in enumerate(data)}
        codes = dict.fromkeys((op.kind, op.version) for op in file.operators)
        code_of = {code: index for index, code in enumerate(codes)}
        # A reader that goes through the file meets the graph first and the weights last.
        buffers = self._offsets([self._buffer(content) for content in data])
        tensors = self._offsets([self._tensor(t, buffer_of[t.data]) for t in file.tensors])
        operators = self._offsets(
            [self._operator(op, code_of[op.kind, op.version]) for op in file.operators]
        )
        subgraph = self._table(
            "SubGraph",
            Tensors=tensors,
            Inputs=self._vector(inputs, np.int32),
            Outputs=self._vector(outputs, np.int32),
            Operators=operators,
        )
        model = self._table(
            "Model",
            Version=SCHEMA_VERSION,
            OperatorCodes=self._offsets([self._code(*code) for code in codes]),
            Subgraphs=self._offsets([subgraph]),
            Buffers=buffers,
        )
        self.builder.Finish(model, FILE_IDENTIFIER)
        return bytes(self.builder.Output())

    def _buffer(self, data: bytes) -> int:
        if not data:
            return self._table("Buffer")
        self.builder.Prep(BUFFER_ALIGNMENT, len(data))
        return self._table("Buffer", Data=self.builder.CreateByteVector(data))

    def _tensor(self, tensor: _Tensor, buffer: int) -> int:
        fields: dict[str, int] = {"Buffer": buffer}
        if tensor.shape:
            fields["Shape"] = self._vector(tensor.shape, np.int32)
        if tensor.quantization:
            fields["Quantization"] = self._quantization(tensor.quantization)
        if tensor.name:
            fields["Name"] = self.builder.CreateSharedString(tensor.name)
        fields["Type"] = getattr(self.schema.TensorType, tensor.dtype.upper())
        if tensor.variable:
            fields["IsVariable"] = True
        return self._table("Tensor", **fields)

    def _quantization(self, quantization: Quantization) -> int:
        if quantization not in self.written:
            zero_points = [quantization.zero_point] * len(quantization.scales)
            self.written[quantization] = self._table(
                "QuantizationParameters",
                Scale=self._vector(quantization.scales, np.float32),
                ZeroPoint=self._vector(zero_points, np.int64),
                QuantizedDimension=quantization.dimension,
            )
        return self.written[quantization]

    def _code(self, kind: str, version: int) -> int:
        code = getattr(self.schema.BuiltinOperator, kind)
        # Both fields: runtimes from before operator 127 read the deprecated one only.
        return self._table(
            "OperatorCode", Version=version, BuiltinCode=code, DeprecatedBuiltinCode=code
        )

    def _operator(self, operator: _Operator, code: int) -> int:
        fields: dict[str, int] = {
            "OpcodeIndex": code,
            "Inputs": self._vector(operator.inputs, np.int32),
            "Outputs": self._vector(operator.outputs, np.int32),
        }
        if operator.intermediates:
            fields["Intermediates"] = self._vector(operator.intermediates, np.int32)
        if operator.kind in OPTIONS:
            name = OPTIONS[operator.kind]
            fields["BuiltinOptions"] = self._options(name, dict(operator.options))
            fields["BuiltinOptionsType"] = getattr(self.schema.BuiltinOptions, name)
        return self._table("Operator", **fields)

    def _options(self, name: str, options: Mapping[str, Any]) -> int:
        key = (name, *options.items())
        if key not in self.written:
            fields = {
                field: self._vector(value, np.int32) if field in VECTOR_OPTIONS else value
                for field, value in options.items()
            }
            self.written[key] = self._table(name, **fields)
        return self.written[key]

    def _vector(self, values: Sequence[float], dtype: type[np.generic]) -> int:
        array = np.asarray(values, dtype).astype(np.dtype(dtype).newbyteorder("<"))
        key = (array.dtype.str, array.tobytes())
        if key not in self.written:
            self.written[key] = self.builder.CreateNumpyVector(array)
        return self.written[key]

    def _offsets(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def _table(self, kind: str, **fields: int) -> int:
        getattr(self.schema, f"{kind}Start")(self.builder)
        for name, value in fields.items():
            getattr(self.schema, f"{kind}Add{name}")(self.builder, value)
        return int(getattr(self.schema, f"{kind}End")(self.builder))
