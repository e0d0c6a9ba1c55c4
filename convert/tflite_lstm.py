"""The bidirectional LSTM, unrolled over XNNPACK's operators.

Its activations are images [1, time, direction, channels]: each direction has a matrix product
of its own, and all that is element-wise serves both directions at once. A weight is one
tensor that every step reads.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from convert.build import FIXED_GRIDS
from convert.graph import BiLstm, Grid, Weight
from convert.reference import double_candidate
from convert.scheme import N_GATES
from convert.tflite_file import Quantization, TfliteFile
from convert.tflite_ops import SAME, convolve, image, join, quantization_of, reshape, split

STEP_AXIS, DIRECTION_AXIS, CHANNELS_AXIS = 1, 2, 3
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
        self.directions = (("forward", operator.forward), ("backward", operator.backward))
        self.two = file.constant(np.full((1, 1, 1, operator.hidden), 2.0, np.float32))
        self.minus_one = file.constant(np.full(operator.hidden, -1.0, np.float32))

    def states(self, x: int) -> int:
        """All steps, one after the other. Shape: [1, 1, time, 2 * hidden]."""
        out = self.operator.out
        states: list[int] = []
        cell: int | None = None
        for row in split(self.file, self._from_input(x), STEP_AXIS, out.shape[0]):
            gates = row
            if states:  # before the first step the state is zero, and so is its product
                gates = self._add(row, self._from_state(states[-1]))
            cell, state = self._step(gates, cell)
            states.append(state)
        return reshape(self.file, join(self.file, states, STEP_AXIS), image(out.shape), out.name)

    def _from_input(self, x: int) -> int:
        """The input's part of every step's gates. Shape: [1, time, 2, 4 * hidden]."""
        n_steps, n_in = self.operator.x.shape
        forward = reshape(self.file, x, (1, n_steps, 1, n_in))
        # REVERSE_V2 would be one operator, but old runtimes' lacks int8.
        backward = join(self.file, split(self.file, forward, STEP_AXIS, n_steps)[::-1], STEP_AXIS)
        return self._products("input", [forward, backward], self.operator.x.grid)

    def _from_state(self, state: int) -> int:
        """The state's part of a step's gates. Shape: [1, 1, 2, hidden] to [1, 1, 2, 4 * hidden]."""
        states = split(self.file, state, DIRECTION_AXIS, 2)
        return self._products("recurrent", states, self.operator.out.grid)

    def _products(self, part: str, inputs: list[int], grid: Grid | None) -> int:
        """Of each direction's weight and input, side by side, on the grid of the gates."""
        grids, layer = (grid, self.operator.gates), self.operator.out.name
        products = [
            convolve(
                self.file,
                x,
                _double_candidate(getattr(direction, part)),
                grids,
                f"{layer}.{name}.{part}",
            )
            for x, (name, direction) in zip(inputs, self.directions, strict=True)
        ]
        return join(self.file, products, DIRECTION_AXIS)

    def _step(self, gates: int, cell: int | None) -> tuple[int, int]:
        """The new cell, float32, and the new state. Shape: [1, 1, 2, hidden]."""
        quantised = self.operator.gates is not None
        gates = self._map("LOGISTIC", [gates], SIGMOID if quantised else None)
        if quantised:
            gates = self._map("DEQUANTIZE", [gates])
        i, f, g, o = split(self.file, gates, CHANNELS_AXIS, N_GATES)
        # tanh(x) = 2 sigmoid(2x) - 1; the doubled x is in the weights.
        candidate = self._map(
            "DEPTHWISE_CONV_2D",
            [g, self.two, self.minus_one],
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

    def _map(
        self, kind: str, inputs: list[int], grid: Quantization | None = None, **options: Any
    ) -> int:
        """An operator whose output has the shape of its first input."""
        return self.file.apply(kind, inputs, self.file.tensors[inputs[0]].shape, grid, **options)


def _double_candidate(weight: Weight) -> Weight:
    """As a kernel, the candidate's rows counting double: by their scales, or if float themselves.

    Shape:
        - values: (4 * hidden, n) to (4 * hidden, 1, n)
    """
    factors = double_candidate(weight.scale, len(weight.values) // N_GATES)
    if weight.scale is not None:
        return replace(weight, values=weight.values[:, None], scale=factors)
    bias = None if weight.bias is None else weight.bias * factors
    return Weight((weight.values * factors[:, None])[:, None], None, bias)
