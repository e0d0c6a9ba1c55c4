"""Reads a TFLite file of any origin into `Contents`.

Source of the operators' inputs and of the layouts of their weights: TensorFlow Lite's
schema.fbs and the `Prepare` of its kernels.
"""

import io
import zipfile
from dataclasses import dataclass
from typing import Any

from convert.contents import (
    NONE,
    Constant,
    Contents,
    Operator,
    Tensor,
    arithmetic_of_others,
    arithmetic_of_product,
    multiplied,
    n_elements,
)
from firmware_host.errors import EdgeSerError


@dataclass(frozen=True)
class _Slots:
    """Which inputs of a product are what."""

    x: int
    weights: tuple[int, ...]
    biases: tuple[int, ...] = ()


_LSTM = _Slots(0, (*range(1, 9), 16), (*range(12, 16), 17))
_RNN = _Slots(0, (1, 2), (3,))
RECURRENT = {
    "LSTM": _LSTM,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _LSTM,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _Slots(
        0,
        (*range(1, 9), 16, *range(18, 26), 33, *range(40, 48)),
        (*range(12, 16), 17, *range(29, 33), 34),
    ),
    "RNN": _RNN,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _RNN,
    "BIDIRECTIONAL_SEQUENCE_RNN": _Slots(0, (1, 2, 5, 6), (3, 7)),
    "SVDF": _Slots(0, (1, 2), (3,)),
}
"""Operators that use every weight once for each row of their input."""

PRODUCTS = RECURRENT | {
    "CONV_2D": _Slots(0, (1,), (2,)),
    "CONV_3D": _Slots(0, (1,), (2,)),
    "DEPTHWISE_CONV_2D": _Slots(0, (1,), (2,)),
    "FULLY_CONNECTED": _Slots(0, (1,), (2,)),
    "TRANSPOSE_CONV": _Slots(2, (1,), (3,)),
    "BATCH_MATMUL": _Slots(0, (1, 0)),
    "CONV_3D_TRANSPOSE": _Slots(2, (1,), (3,)),
    "STABLEHLO_CONVOLUTION": _Slots(0, (1,)),
    "STABLEHLO_DOT_GENERAL": _Slots(0, (1, 0)),
}

_MOVERS = """
    ASSIGN_VARIABLE BATCH_TO_SPACE_ND BROADCAST_TO CALL CALL_ONCE CAST CONCATENATION DENSIFY
    DEPTH_TO_SPACE DEQUANTIZE DYNAMIC_UPDATE_SLICE EMBEDDING_LOOKUP EXPAND_DIMS FILL GATHER
    GATHER_ND IF MIRROR_PAD PACK PAD PADV2 QUANTIZE READ_VARIABLE RESHAPE REVERSE_SEQUENCE
    REVERSE_V2 SCATTER_ND SELECT SELECT_V2 SHAPE SLICE SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT
    SPLIT_V SQUEEZE STRIDED_SLICE TILE TRANSPOSE UNPACK VAR_HANDLE WHERE WHILE ZEROS_LIKE
"""
MOVERS = frozenset(_MOVERS.split())
"""Operators that move numbers, or change their type, and compute nothing."""

LOOPS = frozenset({"IF", "WHILE", "CALL"})
OUTSIDE = 1
"""Offsets above it say that a buffer lies behind the flatbuffer (files over 2 GB)."""


def read_tflite(data: bytes) -> Contents:
    """Read a TFLite file.

    Raises:
        EdgeSerError: when it is damaged, or a package that reads it is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise EdgeSerError(
            "reading a TFLite file needs ai-edge-litert and flatbuffers: "
            "`pip install ai-edge-litert 'edge-ser[convert]'` brings them"
        ) from error
    try:
        reader = _Reader(schema, schema.ModelT.InitFromPackedBuf(data, 0))
        reader.read()
    except Exception as error:  # the generated reader raises whatever a broken offset leads to
        raise EdgeSerError(
            f"this TFLite file is damaged ({error}): copy or convert it again"
        ) from error
    return Contents(
        format="TFLite",
        n_bytes=len(data),
        metadata_bytes=_appended_bytes(data) + reader.metadata_bytes,
        constants=tuple(reader.constants),
        tensors=tuple(reader.tensors),
        operators=tuple(reader.operators),
        notes=tuple(reader.notes),
    )


class _Reader:
    """Goes through the subgraphs; a tensor's index counts on from graph to graph."""

    def __init__(self, schema: Any, model: Any) -> None:
        self.model = model
        self.types, self.kinds = _names(schema.TensorType), _names(schema.BuiltinOperator)
        self.tensors: list[Tensor] = []
        self.constants: list[Constant] = []
        self.operators: list[Operator] = []
        self.notes: list[str] = []
        self.metadata_bytes = 0
        self._constant_of: dict[int, int] = {}  # buffer to constant

    def read(self) -> None:
        """Fill the lists."""
        for graph in self.model.subgraphs:
            base = len(self.tensors)
            self.tensors += [self._tensor(tensor) for tensor in graph.tensors]
            for operator in _list(graph.operators):
                self.operators.append(self._operator(operator, base))
        for entry in _list(self.model.metadata):
            if entry.buffer not in self._constant_of:
                self.metadata_bytes += self._n_bytes(entry.buffer)
        kinds = {operator.kind for operator in self.operators}
        if kinds & LOOPS:
            self.notes.append("operators in loops and branches count once")
        custom = sorted(kind for kind in kinds if kind.startswith("CUSTOM "))
        if custom:
            self.notes.append(f"what {', '.join(custom)} compute is not known")

    def _tensor(self, tensor: Any) -> Tensor:
        name = (tensor.name or b"").decode(errors="replace")
        dtype = self.types[tensor.type].lower()
        shape = tuple(map(int, _list(tensor.shape)))
        n_bytes = self._n_bytes(tensor.buffer)
        if not n_bytes:
            return Tensor(name, dtype, shape)
        if tensor.buffer not in self._constant_of:
            self._constant_of[tensor.buffer] = len(self.constants)
            self.constants.append(Constant(name, dtype, shape, n_bytes, n_bytes))
        return Tensor(name, dtype, shape, self._constant_of[tensor.buffer])

    def _n_bytes(self, buffer: int) -> int:
        content = self.model.buffers[buffer]
        if content.offset > OUTSIDE:
            return int(content.size)
        return 0 if content.data is None else len(content.data)

    def _operator(self, operator: Any, base: int) -> Operator:
        kind = self._kind(self.model.operatorCodes[operator.opcodeIndex])
        given = [base + int(i) if i >= 0 else None for i in _list(operator.inputs)]
        outputs = tuple(base + int(i) for i in _list(operator.outputs))
        inputs = tuple(i for i in given if i is not None)
        name = next((self.tensors[i].name for i in outputs if self.tensors[i].name), "")
        values = {"CONCATENATION": inputs, "PACK": inputs, "SPLIT": inputs[1:]}
        carries = values.get(kind, inputs[:1])
        slots = PRODUCTS.get(kind)
        x = given[slots.x] if slots and slots.x < len(given) else None
        weights = _present(given, slots.weights) if slots else ()
        contraction = self._contraction(kind, operator, given)
        if slots is None or x is None or not weights or contraction == 1:
            written = [self.tensors[i].dtype for i in outputs]
            arithmetic = NONE if kind in MOVERS else arithmetic_of_others(written)
            name = name or f"{kind} {len(self.operators)}"
            return Operator(name, kind, inputs, outputs, arithmetic, carries=carries)
        if kind in RECURRENT or kind == "FULLY_CONNECTED":
            sizes = [n_elements(self.tensors[i].shape) for i in weights]
            rows = n_elements((self.tensors[x].shape or ())[:-1])
            if kind == "FULLY_CONNECTED":  # it may flatten its input
                rows = _quotient(n_elements(self.tensors[x].shape), self._shape(weights[0])[-1])
            macs = multiplied(rows, None if None in sizes else sum(s for s in sizes if s))
        else:
            source = x if kind == "TRANSPOSE_CONV" else outputs[0]
            macs = multiplied(n_elements(self.tensors[source].shape), contraction)
        return Operator(
            name=name or self.tensors[weights[0]].name or f"{kind} {len(self.operators)}",
            kind=kind,
            inputs=inputs,
            outputs=outputs,
            arithmetic=arithmetic_of_product(self.tensors[x].dtype, self.tensors[weights[0]].dtype),
            product=True,
            macs=macs,
            weights=weights,
            biases=_present(given, slots.biases),
            carries=carries,
        )

    def _contraction(self, kind: str, operator: Any, given: list[int | None]) -> int | None:
        """Multiply-accumulates per number of the output, or of the input of a TRANSPOSE_CONV.

        A product of one each, such as a depthwise convolution with a 1 x 1 kernel, is no
        product but an element-wise multiplication.
        """
        match kind:
            case "CONV_2D":  # (out, height, width, in / groups)
                return n_elements(self._shape(given[1])[1:])
            case "TRANSPOSE_CONV":  # (out, height, width, in), its input has (in,) last
                return n_elements(self._shape(given[1])[:-1])
            case "DEPTHWISE_CONV_2D":  # (1, height, width, out)
                return n_elements(self._shape(given[1])[1:3])
            case "CONV_3D":  # (depth, height, width, in, out)
                return n_elements(self._shape(given[1])[:-1])
            case "BATCH_MATMUL":
                return self._shape(given[0])[-2 if operator.builtinOptions.adjX else -1]
            case _:
                return None

    def _shape(self, tensor: int | None) -> tuple[int, ...]:
        if tensor is None:
            raise ValueError("an operator lacks an input")
        return self.tensors[tensor].shape or ()

    def _kind(self, code: Any) -> str:
        if code.customCode:
            return f"CUSTOM {code.customCode.decode(errors='replace')}"
        # A builtin code below 127 stands in the deprecated field in old files.
        return self.kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _appended_bytes(data: bytes) -> int:
    """Of the zip archive behind the flatbuffer, which holds the contract or other files."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            starts = [entry.header_offset for entry in archive.infolist()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return 0
    return len(data) - min(starts) if starts and min(starts) >= 0 else 0


def _names(kind: type) -> dict[int, str]:
    return {value: name for name, value in vars(kind).items() if isinstance(value, int)}


def _list(values: Any) -> Any:
    """An absent vector is an empty one."""
    return () if values is None else values


def _present(given: list[int | None], slots: tuple[int, ...]) -> tuple[int, ...]:
    found = [given[slot] for slot in slots if slot < len(given)]
    return tuple(i for i in found if i is not None)


def _quotient(n: int | None, by: int) -> int | None:
    return None if n is None else n // by
