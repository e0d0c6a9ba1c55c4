"""What stands in a model file, read back from the file itself: constants, operators, bytes.

Nothing here knows what the writers meant to write; `check_int8` therefore proves what an
INT8 file holds.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firmware_host.errors import EdgeSerError

if TYPE_CHECKING:
    from rich.table import Table

LARGEST_FLOAT_CONSTANT = 1024
"""Bytes up to which an INT8 file may hold a float constant (a scalar, a row of scales)."""


@dataclass(frozen=True)
class Constant:
    """A tensor whose values stand in the file: a weight, a bias, a scale.

    Args:
        name: as in the file; may be empty.
        dtype: "float32", "int8", "uint8", "int32" and so on.
        n_bytes: of its values.
        shape: of the tensor.
    """

    name: str
    dtype: str
    n_bytes: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Contents:
    """Constants (each buffer once) and how often each operator stands in the file."""

    constants: tuple[Constant, ...]
    operators: Mapping[str, int]


def read_contents(data: bytes) -> Contents:
    """Read a TFLite or ONNX file.

    Raises:
        EdgeSerError: when it is neither.
    """
    return _tflite_contents(data) if data[4:8] == b"TFL3" else _onnx_contents(data)


def check_int8(name: str, data: bytes) -> None:
    """Refuse an INT8 file in which a weight is float.

    Raises:
        EdgeSerError: naming the first float constant over `LARGEST_FLOAT_CONSTANT`.
    """
    for constant in read_contents(data).constants:
        if constant.dtype.startswith("float") and constant.n_bytes > LARGEST_FLOAT_CONSTANT:
            raise EdgeSerError(
                f"{name} is no INT8 file: its constant {constant.name or constant.shape} is "
                f"{constant.dtype} of {constant.n_bytes} bytes; please report this"
            )


def describe(path: Path) -> dict[str, Any]:
    """Facts of one file for `report.json`."""
    data = path.read_bytes()
    contents = read_contents(data)
    by_type: Counter[str] = Counter()
    for constant in contents.constants:
        by_type[constant.dtype] += constant.n_bytes
    return {
        "file": path.name,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "constant_bytes": dict(sorted(by_type.items())),
        "operators": dict(sorted(contents.operators.items())),
    }


def render(report: Mapping[str, Any]) -> "Table":
    """The report as a table for a terminal."""
    from rich.table import Table

    table = Table(
        title=f"{report['name']}: {report['parameters']:,} parameters, "
        f"{report['macs_per_window'] / 1e6:.1f} M multiply-accumulates per "
        f"{report['window_seconds']:.1f} s window"
    )
    table.add_column("file")
    for heading in ("bytes", "of float ONNX", "int8 constants", "float constants", "operators"):
        table.add_column(heading, justify="right")
    table.add_column("against the reference", justify="right")
    whole = report["files"][0]["bytes"]
    for file in report["files"]:
        constants = file["constant_bytes"]
        eight_bit = constants.get("int8", 0) + constants.get("uint8", 0)
        reference = file["reference"]
        steps = reference.get("in_steps_of_the_output_grid")
        table.add_row(
            file["file"],
            f"{file['bytes']:,}",
            f"{file['bytes'] / whole:.2f}",
            f"{eight_bit:,}",
            f"{constants.get('float32', 0):,}",
            f"{sum(file['operators'].values()):,}",
            f"{reference['largest_logit_difference']:.1e}"
            if steps is None
            else f"{steps:.1f} steps",
        )
    return table


def _tflite_contents(data: bytes) -> Contents:
    from ai_edge_litert import schema_py_generated as schema

    def names_of(kind: type) -> dict[int, str]:
        return {value: name for name, value in vars(kind).items() if isinstance(value, int)}

    types, codes = names_of(schema.TensorType), names_of(schema.BuiltinOperator)
    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        constants: dict[int, Constant] = {}
        operators: Counter[str] = Counter()
        for graph in model.subgraphs:
            for tensor in graph.tensors:
                buffer = model.buffers[tensor.buffer].data
                if buffer is None or not len(buffer):
                    continue
                name = (tensor.name or b"").decode()
                shape = tuple(map(int, () if tensor.shape is None else tensor.shape))
                kind = types[tensor.type].lower()
                constants[tensor.buffer] = Constant(name, kind, len(buffer), shape)
            for operator in graph.operators:
                code = model.operatorCodes[operator.opcodeIndex]
                builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
                operators[codes[builtin]] += 1
    except Exception as error:  # the generated reader raises whatever a broken offset leads to
        raise EdgeSerError(
            f"this TFLite file is damaged ({error}): copy or convert it again"
        ) from error
    return Contents(tuple(constants.values()), operators)


def _onnx_contents(data: bytes) -> Contents:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise EdgeSerError("this is neither a TFLite nor an ONNX file: give one of them") from error
    constants = []
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        shape = tuple(map(int, array.shape))
        constants.append(Constant(tensor.name, str(array.dtype), array.nbytes, shape))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                array = onnx.numpy_helper.to_array(attribute.t)
                shape = tuple(map(int, array.shape))
                constants.append(Constant(node.name, str(array.dtype), array.nbytes, shape))
    return Contents(tuple(constants), Counter(node.op_type for node in model.graph.node))
