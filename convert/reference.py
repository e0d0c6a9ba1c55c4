"""The graph executed by numpy: in float, and in integers as the kernels compute.

A microcontroller's graph is computed by `micro_reference`; what follows is for the others.

Accumulators are exact integers (kept as float64, whose products numpy hands to BLAS: below
2**53 not a bit is lost); a result goes onto its grid by one multiplication and rounding to
the nearest, ties to even. Kernels that multiply in float32 (XNNPACK,
onnxruntime) or by a fixed-point number (TFLite's reference kernels) can differ by one step
where a product lies between two grid points.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert import micro_reference
from convert.graph import (
    BiLstm,
    ChannelConv,
    Concat,
    Conv1d,
    Dense,
    Dequantize,
    FusedBiLstm,
    Graph,
    Grid,
    LstmDirection,
    MaxPool,
    MeanOverTime,
    Operator,
    Quantize,
    ScaleChannels,
    Sigmoid,
    Value,
    Weight,
)
from convert.scheme import (
    CANDIDATE_GATE,
    N_GATES,
    QMAX,
    QMIN,
    SIGMOID_SCALE,
    SIGMOID_ZERO_POINT,
    STATE_SCALE,
)
from convert.targets import MICRO

Array = NDArray[Any]
Float32 = NDArray[np.float32]


def run(graph: Graph, features: Float32) -> Float32:
    """Logits of one window.

    Shape:
        - features: (window_frames, n_features), float32, normalised
        - returns: (n_labels,), float32
    """
    out = graph.outputs[0]
    logits = run_all(graph, features)[out.name]
    return np.asarray(logits, np.float32) if out.grid is None else from_grid(logits, out.grid)


def run_all(graph: Graph, features: Float32) -> dict[str, Array]:
    """Every activation by name: int8 where it has a grid, float32 elsewhere.

    Under `LSTM.gates` stands what an LSTM brings onto its grid of the gates, candidates doubled:
    (3, 2, time, 4 * hidden), which is the input's part, the state's part and their sum, of
    each direction at each of its steps.
    """
    if graph.target == MICRO:
        assert graph.inputs[0].grid
        return micro_reference.run_all(graph, to_grid(features, graph.inputs[0].grid))
    values: dict[str, Array] = {graph.inputs[0].name: np.asarray(features, np.float32)}
    for operator in graph.operators:
        values[operator.out.name] = _execute(operator, values)
    return values


def to_grid(x: NDArray[np.floating[Any]], grid: Grid) -> Array:
    """Real numbers onto a grid: nearest step, ties to even, clamped."""
    steps = np.rint(np.asarray(x, np.float64) / grid.scale) + grid.zero_point
    return np.asarray(np.clip(steps, QMIN, QMAX), np.int8)


def from_grid(q: Array, grid: Grid) -> Float32:
    """The real numbers that grid steps stand for."""
    return np.asarray((q.astype(np.float32) - grid.zero_point) * np.float32(grid.scale))


def double_candidate(scale: Float32 | None, hidden: int) -> Float32:
    """Row scales of an LSTM weight with the candidate's rows doubled (see `graph.BiLstm`)."""
    rows = np.ones((N_GATES, hidden), np.float32)
    rows[CANDIDATE_GATE] = 2.0
    return np.asarray(rows.ravel() * (1.0 if scale is None else scale), np.float32)


def _execute(operator: Operator, values: dict[str, Array]) -> Array:  # noqa: PLR0911, PLR0912
    out = operator.out
    match operator:
        case Quantize():
            assert out.grid
            return to_grid(values[operator.x.name], out.grid)
        case Dequantize():
            assert operator.x.grid
            return from_grid(values[operator.x.name], operator.x.grid)
        case Conv1d():
            columns = _columns(_centred(operator.x, values), operator.weight.values.shape[2])
            return _product(operator.x, out, operator.weight, columns, relu=True)
        case MaxPool():
            x = values[operator.x.name]
            kept = x[: len(x) // operator.factor * operator.factor]
            groups: Array = kept.reshape(-1, operator.factor, x.shape[1])
            return np.asarray(groups.max(axis=1))
        case MeanOverTime():
            x = _centred(operator.x, values)
            if operator.x.grid is None:
                return np.asarray(x.mean(axis=0), np.float32)
            return _onto(x.sum(axis=0) / len(x) * operator.x.grid.scale, out)
        case ChannelConv():
            x = _centred(operator.x, values)
            columns = _columns(x[:, None], operator.weight.values.shape[1])
            return _product(operator.x, out, operator.weight, columns)[:, 0]
        case Sigmoid():
            x = values[operator.x.name]
            real = from_grid(x, operator.x.grid) if operator.x.grid else x
            return _onto(_sigmoid(real), out)
        case ScaleChannels():
            product = _centred(operator.x, values) * _centred(operator.factors, values)
            if operator.x.grid is None or operator.factors.grid is None:
                return np.asarray(product, np.float32)
            return _onto(product * operator.x.grid.scale * operator.factors.grid.scale, out)
        case BiLstm():
            values[f"{out.name}.gates"], states = _lstm(operator, values)
            return states
        case Concat():
            return np.asarray(np.concatenate([values[part.name] for part in operator.parts]))
        case Dense():
            x = _centred(operator.x, values)[None]
            return np.asarray(_product(operator.x, out, operator.weight, x, operator.relu)[0])
        case FusedBiLstm():
            raise ValueError("a fused LSTM stands in a microcontroller's graph alone")


def _centred(value: Value, values: dict[str, Array]) -> Array:
    """Steps from the zero point, integers in float64; or the float numbers."""
    x: Array = values[value.name]
    if value.grid is None:
        return x
    return np.asarray(x.astype(np.float64) - value.grid.zero_point)


def _onto(x: Array, out: Value) -> Array:
    return np.asarray(x, np.float32) if out.grid is None else to_grid(x, out.grid)


def _columns(x: Array, kernel: int) -> Array:
    """Zero-padded neighbourhoods. Shape: (time, n_in) to (time, n_in * kernel)."""
    padded = np.pad(x, ((kernel // 2, kernel // 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=0)
    return windows.reshape(len(x), -1)


def _product(x: Value, out: Value, weight: Weight, rows: Array, relu: bool = False) -> Array:
    """rows @ weight + bias, onto the output's grid. Shape: (n, k) to (n, n_out)."""
    flat = weight.values.reshape(len(weight.values), -1)
    if weight.scale is None or x.grid is None:
        total = rows @ flat.T + (0 if weight.bias is None else weight.bias)
        return np.asarray(np.maximum(total, 0) if relu else total, np.float32)
    total = rows @ flat.T.astype(np.float64) + (0 if weight.bias is None else weight.bias)
    real = total * (weight.scale.astype(np.float64) * x.grid.scale)
    return _onto(np.maximum(real, 0) if relu else real, out)


def _sigmoid(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-x.astype(np.float64))))


def _lstm(operator: BiLstm, values: dict[str, Array]) -> tuple[Array, Array]:
    """(what lies on the grid of the gates, the states)."""
    x = _centred(operator.x, values)
    step = _float_steps if operator.gates is None else _int8_steps
    (gates, states), (back_gates, back_states) = (
        step(operator, operator.forward, x),
        step(operator, operator.backward, x[::-1]),
    )
    return np.stack([gates, back_gates], axis=1), np.concatenate([states, back_states], axis=1)


def _float_steps(operator: BiLstm, direction: LstmDirection, x: Array) -> tuple[Array, Array]:
    assert direction.input.bias is not None
    from_input = x @ direction.input.values.T + direction.input.bias
    h = cell = np.zeros(operator.hidden, np.float32)
    parts, states = [], []
    for row in from_input:
        from_state = direction.recurrent.values @ h
        i, f, g, o = np.split(row + from_state, N_GATES)
        cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
        h = np.asarray(_sigmoid(o) * np.tanh(cell), np.float32)
        parts.append((row, from_state, row + from_state))
        states.append(h)
    gates = np.stack(parts, axis=1) * double_candidate(None, operator.hidden)
    return gates, np.stack(states)


def _int8_steps(operator: BiLstm, direction: LstmDirection, x: Array) -> tuple[Array, Array]:
    grid, hidden = operator.gates, operator.hidden
    assert grid is not None and operator.x.grid is not None and direction.input.bias is not None
    scale = double_candidate(direction.input.scale, hidden).astype(np.float64)
    recurrent_scale = double_candidate(direction.recurrent.scale, hidden).astype(np.float64)
    total = x @ direction.input.values.T.astype(np.float64) + direction.input.bias
    from_input = to_grid(total * (scale * operator.x.grid.scale), grid).astype(np.int64)
    recurrent = direction.recurrent.values.astype(np.float64)
    cell = np.zeros(hidden, np.float32)
    h = np.zeros(hidden, np.float64)
    sigmoid, state = Grid(SIGMOID_SCALE, SIGMOID_ZERO_POINT), Grid(STATE_SCALE, 0)
    parts, states = [], []
    for row in from_input:
        from_state = to_grid((recurrent @ h) * (recurrent_scale * STATE_SCALE), grid)
        # Both on one grid: their sum is a saturating integer addition.
        total = np.clip(row + from_state.astype(np.int64) - grid.zero_point, QMIN, QMAX)
        gates = to_grid(_sigmoid(from_grid(total, grid)), sigmoid)
        i, f, g, o = np.split(from_grid(gates, sigmoid), N_GATES)
        cell = f * cell + i * (np.float32(2.0) * g - np.float32(1.0))
        q = to_grid(o * np.tanh(cell), state)
        parts.append((row, from_state, total))
        states.append(q)
        h = q.astype(np.float64)
    return np.stack(parts, axis=1).astype(np.int8), np.stack(states)
