"""The truth about a model file, ours or not: how much of it is int8, and what is not.

Everything comes from the file itself; nothing here knows what a writer meant to write.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from convert.contents import (
    FLOAT,
    HYBRID,
    INT8,
    NARROW,
    OTHER,
    Constant,
    Contents,
    Operator,
    is_float,
)
from firmware_host.contract import METADATA_KEY, TFLITE_IDENTIFIER, Contract, read_contract
from firmware_host.errors import EdgeSerError

INT8_SHARE = 0.99
"""Of the MACs, and of the weight bytes, from which on a file is int8; the rest is rounding."""

SMALLEST_WEIGHT = 1024
"""Bytes above which a constant counts as a weight even if no matrix product reads it."""

WEIGHT, BIAS, PARAMETER, CONSTANT = "weights", "biases", "quantization", "other_constants"
METADATA, GRAPH = "metadata", "graph"
PARTS = (WEIGHT, BIAS, PARAMETER, CONSTANT, METADATA, GRAPH)
"""What a file is made of; scales and zero points are `PARAMETER` where they are constants
(ONNX), and belong to the graph where they are not (TFLite)."""

VERDICT_OF = {"float32": "float", "int8": "int8"}
"""What a contract's precision promises."""

ISLANDS_NAMED = 3
"""Float islands that the verdict's sentence names."""


@dataclass(frozen=True)
class Inspection:
    """What a model file turned out to be.

    Args:
        contents: the file, read.
        sha256: of the file, in hex.
        contract: what it says about itself; None if nothing, or nothing that can be read.
        contract_error: why a contract that is there cannot be read.
    """

    contents: Contents
    sha256: str
    contract: Contract | None = None
    contract_error: str | None = None

    @property
    def products(self) -> tuple[Operator, ...]:
        """Operators that multiply matrices."""
        return tuple(operator for operator in self.contents.operators if operator.product)

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates of one inference, as far as they are known."""
        return sum(operator.macs or 0 for operator in self.products)

    def macs_of(self, *arithmetics: str) -> int:
        """Those of products that compute with one of `INT8`, `HYBRID`, `FLOAT`, `OTHER`."""
        return sum(o.macs or 0 for o in self.products if o.arithmetic in arithmetics)

    @property
    def int8_mac_share(self) -> float:
        """MACs on int8 operands, also on those made at run time, of all; 0 if there are none."""
        return self.macs_of(INT8, HYBRID) / self.total_macs if self.total_macs else 0.0

    @property
    def hybrid_mac_share(self) -> float:
        """MACs of products that make their int8 operands at run time, of all."""
        return self.macs_of(HYBRID) / self.total_macs if self.total_macs else 0.0

    @property
    def uncounted(self) -> tuple[Operator, ...]:
        """Products whose MACs are not known."""
        return tuple(operator for operator in self.products if operator.macs is None)

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """One of the first four `PARTS` for each constant."""
        return _roles(self.contents, self._folded)

    def is_constant(self, operator: Operator) -> bool:
        """Whether it reads constants alone: an interpreter computes it once, if at all."""
        return bool(operator.inputs) and self._folded.issuperset(operator.inputs)

    @cached_property
    def _folded(self) -> frozenset[int]:
        return _folded(self.contents)

    def constants_of(self, role: str) -> tuple[Constant, ...]:
        """Constants of a role."""
        pairs = zip(self.contents.constants, self.roles, strict=True)
        return tuple(constant for constant, its_role in pairs if its_role == role)

    @property
    def weight_bytes(self) -> dict[str, int]:
        """Bytes of the weights by dtype."""
        by_dtype: Counter[str] = Counter()
        for constant in self.constants_of(WEIGHT):
            by_dtype[constant.dtype] += constant.n_bytes
        return dict(sorted(by_dtype.items()))

    @property
    def int8_weight_share(self) -> float:
        """Weight bytes in int8 (or fewer bits), of all; 0 if there are no weights."""
        by_dtype = self.weight_bytes
        narrow = sum(n_bytes for dtype, n_bytes in by_dtype.items() if dtype in NARROW)
        return narrow / sum(by_dtype.values()) if narrow else 0.0

    @property
    def float_islands(self) -> tuple[Operator, ...]:
        """Matrix products and recurrences that compute in float."""
        return tuple(operator for operator in self.products if operator.arithmetic == FLOAT)

    @property
    def float_operators(self) -> dict[str, int]:
        """How many operators of each kind compute in float besides, and at every inference."""
        kinds = Counter(
            operator.kind
            for operator in self.contents.operators
            if operator.arithmetic == FLOAT
            and not operator.product
            and not self.is_constant(operator)
        )
        return dict(sorted(kinds.items()))

    @property
    def parts(self) -> dict[str, int]:
        """Bytes of each of `PARTS`; they add up to the file's. The graph is what is left."""
        parts = dict.fromkeys(PARTS, 0)
        for constant, role in zip(self.contents.constants, self.roles, strict=True):
            parts[role] += constant.stored_bytes
        parts[METADATA] = self.contents.metadata_bytes
        parts[GRAPH] = self.contents.n_bytes - sum(parts.values())
        return parts

    @property
    def verdict(self) -> str:
        """ "int8", "partly int8" or "float"."""
        shares = [self.int8_weight_share] if self.weight_bytes else []
        shares += [self.int8_mac_share] if self.total_macs else []
        if shares and min(shares) >= INT8_SHARE:
            return "int8"
        return "partly int8" if max(shares, default=0.0) > 1 - INT8_SHARE else "float"

    @property
    def reason(self) -> str:
        """Why the verdict is what it is, in one sentence."""
        if not self.products and not self.weight_bytes:
            return "it has no matrix products and no weights"
        sentence = (
            f"{percent(self.int8_mac_share)} of the multiply-accumulates and "
            f"{percent(self.int8_weight_share)} of the weight bytes are int8"
        )
        if self.hybrid_mac_share:
            sentence += (
                f"; {percent(self.hybrid_mac_share)} of the multiply-accumulates read float "
                "activations and quantise them at run time"
            )
        islands = self.float_islands
        if islands and self.verdict == "partly int8":
            # The costliest first; those of unknown cost may be the costliest.
            ranked = sorted(islands, key=lambda o: -(o.macs or self.total_macs))
            named = [f"{island.name} ({island.kind})" for island in ranked[:ISLANDS_NAMED]]
            more = len(islands) - len(named)
            sentence += f"; in float: {', '.join(named)}" + (f" and {more} more" if more else "")
        return sentence

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what could not be read or counted."""
        notes = list(self.contents.notes)
        if self.uncounted:
            kinds = ", ".join(sorted({operator.kind for operator in self.uncounted}))
            notes.append(
                f"multiply-accumulates of {len(self.uncounted)} operators are not known ({kinds})"
            )
        if self.contract_error:
            notes.append(self.contract_error)
        claim = self.contract and self.contract.quantization.get("precision")
        if claim in VERDICT_OF and VERDICT_OF[claim] != self.verdict:
            notes.append(f"its contract says {claim}, which the file is not")
        return tuple(notes)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types: the summary first, then every constant and every operator."""
        tensors, total = self.contents.tensors, self.total_macs
        by_dtype = self.weight_bytes

        def described(indices: Sequence[int]) -> list[dict[str, Any]]:
            return [
                {
                    "name": tensors[i].name,
                    "dtype": tensors[i].dtype,
                    "shape": _listed(tensors[i].shape),
                }
                for i in indices
            ]

        return {
            "format": self.contents.format,
            "bytes": self.contents.n_bytes,
            "sha256": self.sha256,
            "verdict": self.verdict,
            "reason": self.reason,
            "macs": {
                "total": total,
                "int8": self.macs_of(INT8),
                "hybrid": self.macs_of(HYBRID),
                "float": self.macs_of(FLOAT),
                "other": self.macs_of(OTHER),
                "int8_share": self.int8_mac_share,
                "hybrid_share": self.hybrid_mac_share,
                "uncounted_operators": len(self.uncounted),
            },
            "weights": {
                "bytes": sum(by_dtype.values()),
                "by_dtype": by_dtype,
                "int8_share": self.int8_weight_share,
            },
            "parts": self.parts,
            "float_islands": [
                {"name": island.name, "kind": island.kind, "macs": island.macs}
                for island in self.float_islands
            ],
            "float_operators": self.float_operators,
            "contract": None if self.contract is None else _summary(self.contract),
            "notes": list(self.notes),
            "constants": [
                asdict(constant) | {"shape": list(constant.shape), "role": role}
                for constant, role in zip(self.contents.constants, self.roles, strict=True)
            ],
            "operators": [
                {
                    "name": operator.name,
                    "kind": operator.kind,
                    "inputs": described(operator.inputs),
                    "outputs": described(operator.outputs),
                    "arithmetic": operator.arithmetic,
                    "macs": operator.macs,
                }
                for operator in self.contents.operators
            ],
        }


def inspect_file(path: Path) -> Inspection:
    """Read and judge a TFLite or ONNX file of any origin.

    Raises:
        EdgeSerError: when it cannot be read, is neither, or is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EdgeSerError(
            f"{path}: cannot read a model file there: {error.strerror or error}"
        ) from error
    try:
        inspection = inspect_bytes(data)
    except EdgeSerError as error:
        raise EdgeSerError(f"{path}: {error}") from error
    if METADATA_KEY.encode() not in data:
        return inspection
    try:
        return Inspection(inspection.contents, inspection.sha256, read_contract(path))
    except EdgeSerError as error:
        return Inspection(inspection.contents, inspection.sha256, contract_error=str(error))


def inspect_bytes(data: bytes) -> Inspection:
    """As `inspect_file`, of a file's bytes, and without the contract.

    Raises:
        EdgeSerError: when they are no model file, or a damaged one.
    """
    return Inspection(read_contents(data), hashlib.sha256(data).hexdigest())


def read_contents(data: bytes) -> Contents:
    """Read a TFLite or ONNX file.

    Raises:
        EdgeSerError: when it is neither, or damaged.
    """
    if not data:
        raise EdgeSerError("this file is empty, where a TFLite or ONNX file was expected")
    if data[4:8] == TFLITE_IDENTIFIER:
        from convert.inspect_tflite import read_tflite

        return read_tflite(data)
    from convert.inspect_onnx import read_onnx

    return read_onnx(data)


def percent(share: float) -> str:
    """A share for a person; only what is whole counts as 100 %.

    >>> [percent(share) for share in (0, 0.0004, 0.416, 0.9996, 1)]
    ['0 %', 'under 0.1 %', '41.6 %', 'over 99.9 %', '100 %']
    """
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    if share < 0.001:
        return "under 0.1 %"
    return "over 99.9 %" if share > 0.999 else f"{100 * share:.1f} %"


def _roles(contents: Contents, folded: frozenset[int]) -> tuple[str, ...]:
    """By who reads a constant, at the end of a chain of operators on constants; else by size."""
    roles: dict[int, str] = {}
    maker = {out: operator for operator in contents.operators for out in operator.outputs}

    def mark(tensors: Sequence[int], role: str) -> None:
        waiting, seen = list(tensors), set[int]()
        while waiting:
            index = waiting.pop()
            constant = contents.tensors[index].constant
            if constant is not None:
                roles.setdefault(constant, role)
            elif index in folded and index in maker and index not in seen:
                waiting += maker[index].carries
            seen.add(index)

    # A scale may also help to compute a bias, from integers: it stays a scale.
    for operator in contents.operators:
        mark(operator.parameters, PARAMETER)
    for operator in contents.operators:
        mark(operator.biases, BIAS)
        mark(operator.weights, WEIGHT)
    return tuple(
        roles.get(index) or (WEIGHT if _is_large(constant) else CONSTANT)
        for index, constant in enumerate(contents.constants)
    )


def _is_large(constant: Constant) -> bool:
    """Wider integers are shapes and indices, however many."""
    is_number = is_float(constant.dtype) or constant.dtype in NARROW
    return is_number and constant.n_bytes > SMALLEST_WEIGHT


def _folded(contents: Contents) -> frozenset[int]:
    """Tensors that depend on constants alone."""
    folded = {i for i, tensor in enumerate(contents.tensors) if tensor.constant is not None}
    for operator in contents.operators:
        if operator.inputs and folded.issuperset(operator.inputs):
            folded.update(operator.outputs)
    return frozenset(folded)


def _summary(contract: Contract) -> dict[str, Any]:
    return {
        "format_version": contract.format_version,
        "name": contract.name,
        "labels": list(contract.labels),
        "window_frames": contract.window_frames,
        "hop_frames": contract.hop_frames,
        "features": contract.features.to_dict(),
        "quantization": dict(contract.quantization),
        "scores": [dict(score) for score in contract.scores],
    }


def _listed(shape: tuple[int, ...] | None) -> list[int | None] | None:
    """Unknown lengths are null in JSON."""
    return None if shape is None else [None if length < 0 else length for length in shape]
