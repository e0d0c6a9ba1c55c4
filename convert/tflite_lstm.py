"""The bidirectional LSTM, unrolled over XNNPACK's operators, both directions side by side.

A step's vectors hold the forward direction's units, then the backward one's; its gates lie
gate by gate, (4, 2, hidden) flattened. So one element-wise operator serves both directions,
and SPLIT finds the gates. One matrix product does, too: a CONV_2D in eight groups, each one
gate of one direction, whose input is (forward, backward) four times over.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.build import FIXED_GRIDS
from convert.graph import BiLstm, Weight
from convert.reference import double_candidate
from convert.tflite_file import Quantization, TfliteFile
from convert.tflite_ops import CHANNELS_AXIS, SAME, TIME_AXIS, convolve, quantization_of

Array = NDArray[Any]
N_GATES = 4
SIGMOID = quantization_of(FIXED_GRIDS["sigmoid"])


def lower_bilstm(file: TfliteFile, operator: BiLstm, x: int) -> int:
    """Append the LSTM; returns the index of its states.

    Shape:
        - x: [1, 1, time, n_in]; returns [1, 1, time, 2 * hidden]
    """
    return _Unrolled(file, operator).states(x)


class _Unrolled:
    def __init__(self, file: TfliteFile, operator: BiLstm) -> None:
        self.file, self.operator = file, operator
        forward, backward = operator.forward, operator.backward
        self.input = _side_by_side(forward.input, backward.input)
        self.recurrent = _side_by_side(forward.recurrent, backward.recurrent)
        units = 2 * operator.hidden
        self.twos = file.constant(np.full((1, 1, 1, units), 2.0, np.float32))
        self.minus_ones = file.constant(np.full(units, -1.0, np.float32))

    def states(self, x: int) -> int:
        out = self.operator.out
        states: list[int] = []
        cell: int | None = None
        for row in self._split(self._from_input(x), TIME_AXIS, out.shape[0]):
            # Before the first step the state is zero, and so is its product.
            gates = self._add(row, self._from_state(states[-1])) if states else row
            cell, state = self._step(gates, cell)
            states.append(state)
        return self._join(states, TIME_AXIS, out.name)

    def _from_input(self, x: int) -> int:
        """The input's part of all gates of all steps. Shape: [1, 1, time, 8 * hidden]."""
        operator = self.operator
        axis = self.file.constant(np.array([TIME_AXIS], np.int32))
        shape, grid = self.file.tensors[x].shape, quantization_of(operator.x.grid)
        backwards = self.file.apply("REVERSE_V2", [x, axis], shape, grid)
        both = self._join([x, backwards], CHANNELS_AXIS)
        grids = operator.x.grid, operator.gates
        return convolve(
            self.file, self._for_each_gate(both), self.input, grids, f"{operator.out.name}.input"
        )

    def _from_state(self, state: int) -> int:
        """The state's part of the gates of one step. Shape: [1, 1, 1, 8 * hidden]."""
        operator = self.operator
        grids = operator.out.grid, operator.gates
        name = f"{operator.out.name}.recurrent"
        return convolve(self.file, self._for_each_gate(state), self.recurrent, grids, name)

    def _step(self, gates: int, cell: int | None) -> tuple[int, int]:
        """The new cell, float32, and the new state. Shape: [1, 1, 1, 2 * hidden]."""
        quantised = self.operator.gates is not None
        gates = self._map("LOGISTIC", [gates], SIGMOID if quantised else None)
        if quantised:
            gates = self._map("DEQUANTIZE", [gates])
        i, f, g, o = self._split(gates, CHANNELS_AXIS, N_GATES)
        # tanh(x) = 2 sigmoid(2x) - 1; the doubled x is in the weights.
        candidate = self._map(
            "DEPTHWISE_CONV_2D",
            [g, self.twos, self.minus_ones],
            Padding=SAME,
            StrideW=1,
            StrideH=1,
            DepthMultiplier=1,
        )
        new = self._map("MUL", [i, candidate])
        if cell is not None:
            new = self._map("ADD", [self._map("MUL", [f, cell]), new])
        state = self._map("MUL", [o, self._map("TANH", [new])])
        if quantised:
            state = self._map("QUANTIZE", [state], quantization_of(self.operator.out.grid))
        return new, state

    def _add(self, row: int, product: int) -> int:
        """On one grid: a saturating addition of integers."""
        return self._map("ADD", [row, product], quantization_of(self.operator.gates))

    def _for_each_gate(self, both: int) -> int:
        return self._join([both] * N_GATES, CHANNELS_AXIS)

    def _map(
        self, kind: str, inputs: list[int], grid: Quantization | None = None, **options: Any
    ) -> int:
        """An operator whose output has the shape of its first input."""
        return self.file.apply(kind, inputs, self.file.tensors[inputs[0]].shape, grid, **options)

    def _split(self, x: int, axis: int, n_parts: int) -> list[int]:
        shape, grid = list(self.file.tensors[x].shape), self.file.tensors[x].quantization
        shape[axis] //= n_parts
        parts = [self.file.tensor(shape, grid) for _ in range(n_parts)]
        dimension = self.file.constant(np.array(axis, np.int32))
        self.file.operator("SPLIT", [dimension, x], parts, NumSplits=n_parts)
        return parts

    def _join(self, parts: list[int], axis: int, name: str = "") -> int:
        shape, grid = (
            list(self.file.tensors[parts[0]].shape),
            self.file.tensors[parts[0]].quantization,
        )
        shape[axis] = sum(self.file.tensors[part].shape[axis] for part in parts)
        return self.file.apply("CONCATENATION", parts, shape, grid, name, Axis=axis)


def _side_by_side(forward: Weight, backward: Weight) -> Weight:
    """Weights of both directions with rows (4, 2, hidden), the candidate's counting double.

    Shape:
        - values: (4 * hidden, n) each; returned as a kernel of (8 * hidden, 1, n)
    """
    both = [_double(weight) for weight in (forward, backward)]
    scales = [weight.scale for weight in both if weight.scale is not None]
    biases = [weight.bias for weight in both if weight.bias is not None]
    return Weight(
        _rows([weight.values for weight in both])[:, None],
        _rows(scales) if scales else None,
        _rows(biases) if biases else None,
    )


def _double(weight: Weight) -> Weight:
    """By the rows' scales, or in a float graph by the rows; both is exact."""
    hidden = len(weight.values) // N_GATES
    factors = double_candidate(weight.scale, hidden)
    if weight.scale is not None:
        return replace(weight, scale=factors)
    bias = None if weight.bias is None else weight.bias * factors
    return replace(weight, values=weight.values * factors[:, None], bias=bias)


def _rows(both: list[Array]) -> Array:
    """Shape: two of (4 * hidden, ...) to (8 * hidden, ...)."""
    parts = [array.reshape(N_GATES, -1, *array.shape[1:]) for array in both]
    return np.stack(parts, axis=1).reshape(-1, *both[0].shape[1:])
