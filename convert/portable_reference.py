"""The int8 graph for a Pi as TFLite's portable kernels execute it, bit for bit.

XNNPACK multiplies an accumulator by a real factor, as `reference` does; the portable kernels
(TFLite's "reference kernels", for machines without XNNPACK) multiply in fixed point and round
twice. Where both round differently a step is off, and the attention and the LSTM carry it on:
the logits are off by a step, seldom by two or three. This is where that comes from, and proof
that it comes from nowhere else.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert import micro_reference, reference
from convert.build import FIXED_GRIDS
from convert.graph import (
    BiLstm,
    Dense,
    Dequantize,
    Graph,
    Grid,
    LstmDirection,
    Quantize,
    Sigmoid,
    Value,
    Weight,
)
from convert.scheme import N_GATES, QMAX, QMIN

Array = NDArray[Any]
Float32 = NDArray[np.float32]


def run(graph: Graph, features: Float32) -> Float32:
    """Logits of one window.

    Args:
        graph: int8, for the target `targets.PI`.

    Shape:
        - features: (window_frames, n_features), float32, normalised
        - returns: (n_labels,), float32
    """
    values: dict[str, Array] = {graph.inputs[0].name: np.asarray(features, np.float32)}
    for operator in graph.operators:
        match operator:
            case Quantize():
                out = _to_grid(values[operator.x.name], operator.out.int8_grid)
            case Dequantize():
                out = reference.from_grid(values[operator.x.name], operator.x.int8_grid)
            case BiLstm():
                x = values[operator.x.name]
                directions = ((operator.forward, x), (operator.backward, x[::-1]))
                out = np.concatenate([_lstm(operator, *given) for given in directions], axis=1)
            case _:
                out = micro_reference.execute(operator, values)
        values[operator.out.name] = out
    return np.asarray(values[graph.outputs[0].name], np.float32)


def _lstm(operator: BiLstm, direction: LstmDirection, x: Array) -> Array:
    """States of one direction, by the operators that its file has. Shape: (time, hidden)."""
    grid, state = operator.gates, operator.out.int8_grid
    hidden = operator.hidden
    assert grid is not None
    row, total = (Value(name, (4 * hidden,), grid) for name in ("row", "total"))
    gates = Value("gates", (4 * hidden,), FIXED_GRIDS["sigmoid"])
    before = Value("state", (hidden,), state)
    from_input = Dense(operator.x, row, _doubled(direction.input, hidden), relu=False)
    from_state = Dense(before, row, _doubled(direction.recurrent, hidden), relu=False)
    cell = np.zeros(hidden, np.float32)
    h = np.full(hidden, state.zero_point, np.int8)
    states = []
    for frame in x:
        parts = [
            micro_reference.execute(part, {part.x.name: value}).astype(np.int64)
            for part, value in ((from_input, frame), (from_state, h))
        ]
        added = np.clip(parts[0] + parts[1] - grid.zero_point, QMIN, QMAX)
        opened = micro_reference.execute(Sigmoid(total, gates), {total.name: added})
        i, f, g, o = np.split(reference.from_grid(opened, gates.int8_grid), N_GATES)
        cell = f * cell + i * (np.float32(2.0) * g - np.float32(1.0))
        # From double precision, as a C library's tanhf is all but correctly rounded.
        h = _to_grid(o * np.tanh(cell.astype(np.float64)).astype(np.float32), state)
        states.append(h)
    return np.stack(states)


def _doubled(weight: Weight, hidden: int) -> Weight:
    return Weight(weight.values, reference.double_candidate(weight.scale, hidden), weight.bias)


def _to_grid(x: Float32, grid: Grid) -> Array:
    """QUANTIZE: to the nearest step, ties away from zero."""
    steps = (x / np.float32(grid.scale)).astype(np.float64)
    rounded = np.sign(steps) * np.floor(np.abs(steps) + 0.5)
    return np.asarray(np.clip(rounded + grid.zero_point, QMIN, QMAX), np.int8)
