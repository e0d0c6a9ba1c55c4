"""What stands in a model file, in terms that TFLite and ONNX share: constants, operators, costs.

The readers, `inspect_tflite` and `inspect_onnx`, fill these in; `inspection` judges them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

INT8, HYBRID, FLOAT, OTHER, NONE = "int8", "hybrid", "float", "other", "none"
"""What an operator computes with: int8 on fixed grids; int8 that it makes of float activations
at run time (dynamic quantization); floats; wider integers; nothing, as it only moves numbers."""

EIGHT_BIT = frozenset({"int8", "uint8"})
NARROW = EIGHT_BIT | {"int4", "uint4", "int2", "uint2"}
"""Types of quantised weights."""


@dataclass(frozen=True)
class Constant:
    """Values that stand in the file: a weight, a bias, a scale.

    Args:
        name: as in the file; may be empty.
        dtype: "float32", "int8", "uint8", "int32" and so on.
        shape: of the tensor.
        n_bytes: of its values.
        stored_bytes: that they take in this file: as many, unless they are packed, or kept
            in another file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    n_bytes: int
    stored_bytes: int


@dataclass(frozen=True)
class Tensor:
    """What an operator reads or writes.

    Args:
        name: as in the file; may be empty.
        dtype: as in `Constant`; empty if the file does not let it be known.
        shape: -1 where a length is not known; None if not even their number is.
        constant: index of its values, or None when they come about at run time.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None
    constant: int | None = None


@dataclass(frozen=True)
class Operator:
    """A step of the computation; tensors are given by their indices.

    Args:
        name: its own, or that of what it makes.
        kind: as the format names it: "CONV_2D", "Gemm".
        inputs, outputs: those that are there.
        arithmetic: one of `INT8`, `HYBRID`, `FLOAT`, `OTHER`, `NONE`.
        product: whether it multiplies matrices (convolutions and recurrences included).
        macs: its multiply-accumulates; 0 unless it is a product, None if they are not known.
        weights, biases, parameters: inputs of these roles; parameters are scales and zero points.
        carries: inputs whose values the output is made of, in another form.
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    arithmetic: str
    product: bool = False
    macs: int | None = 0
    weights: tuple[int, ...] = ()
    biases: tuple[int, ...] = ()
    parameters: tuple[int, ...] = ()
    carries: tuple[int, ...] = ()


@dataclass(frozen=True)
class Contents:
    """A model file, read.

    Args:
        format: "TFLite" or "ONNX".
        n_bytes: of the file.
        metadata_bytes: of it that no interpreter needs: contracts, descriptions.
        constants: each once, however many tensors share it.
        tensors, operators: of all graphs in the file.
        notes: sentences on what could not be read or counted.
    """

    format: str
    n_bytes: int
    metadata_bytes: int
    constants: tuple[Constant, ...]
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    notes: tuple[str, ...] = ()


def is_float(dtype: str) -> bool:
    """Whether the type is a floating-point one.

    >>> [is_float(dtype) for dtype in ("float32", "bfloat16", "int8", "")]
    [True, True, False, False]
    """
    return "float" in dtype


def arithmetic_of_product(activation: str, weight: str) -> str:
    """What a product of these types computes with, where its operands are as they are given."""
    if activation in EIGHT_BIT and weight in NARROW:
        return INT8
    if is_float(activation):
        return HYBRID if weight in NARROW else FLOAT
    return OTHER


def arithmetic_of_others(outputs: Sequence[str]) -> str:
    """What an operator that is no product computes with, by the types that it writes."""
    if any(map(is_float, outputs)):
        return FLOAT
    # Wider integers and booleans are shapes, indices and conditions.
    return INT8 if any(dtype in EIGHT_BIT for dtype in outputs) else NONE


def n_elements(shape: Sequence[int] | None) -> int | None:
    """How many numbers a shape holds, or None when that is not known.

    >>> n_elements((2, 3)), n_elements(()), n_elements((2, -1)), n_elements(None)
    (6, 1, None, None)
    """
    return None if shape is None or min(shape, default=0) < 0 else math.prod(shape)


def multiplied(*factors: int | None) -> int | None:
    """Their product, or None when one of them is not known."""
    known = [factor for factor in factors if factor is not None]
    return math.prod(known) if len(known) == len(factors) else None
