"""The graph of a microcontroller executed by numpy, bit for bit as TFLite's reference kernels.

Where `reference` multiplies by a real number, here is the kernels' fixed point. Their factors
too are computed as they do it: in double precision, or where they say so in single.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.fixed_point import (
    Int64,
    Multiplier,
    clip16,
    shift_right,
    sigmoid16,
    tanh16,
)
from convert.graph import (
    ChannelConv,
    Concat,
    Conv1d,
    Dense,
    FusedBiLstm,
    Graph,
    MaxPool,
    MeanOverTime,
    Operator,
    ScaleChannels,
    Sigmoid,
    Value,
    Weight,
)
from convert.scheme import QMAX, QMIN

Array = NDArray[Any]
Float32 = NDArray[np.float32]

GATE_EXPONENT, ACTIVATION_EXPONENT = -12, -15
"""Of a fused LSTM: gates before and after their sigmoid or tanh, as powers of two."""

GATE_INTEGER_BITS = 15 + GATE_EXPONENT


def run_all(graph: Graph, features: Array) -> dict[str, Array]:
    """Every activation by name, int8.

    Shape:
        - features: (window_frames, n_features), int8
    """
    values: dict[str, Array] = {graph.inputs[0].name: features}
    for operator in graph.operators:
        values[operator.out.name] = execute(operator, values)
    return values


def execute(operator: Operator, values: dict[str, Array]) -> Array:  # noqa: PLR0911
    """What one operator makes of the values that it reads, in the kernels' fixed point."""
    out = operator.out
    match operator:
        case Conv1d():
            columns = _columns(_centred(operator.x, values), operator.weight.values.shape[2])
            return _product(operator.x, out, operator.weight, columns, relu=True)
        case MaxPool():
            x = values[operator.x.name]
            kept = x[: len(x) // operator.factor * operator.factor]
            return np.asarray(kept.reshape(-1, operator.factor, x.shape[1]).max(axis=1))
        case MeanOverTime():
            x = _centred(operator.x, values)
            factor = Multiplier.of(_scale(operator.x) / _scale(out))
            return _onto(factor.divided_by(len(x))(x.sum(axis=0)), out)
        case ChannelConv():
            columns = _columns(
                _centred(operator.x, values)[:, None], operator.weight.values.shape[1]
            )
            return np.asarray(_product(operator.x, out, operator.weight, columns)[:, 0])
        case Sigmoid():
            return _sigmoid(operator, values)
        case ScaleChannels():
            product = _centred(operator.x, values) * _centred(operator.factors, values)
            scales = _single(operator.x) * _single(operator.factors) / _single(out)
            return _onto(Multiplier.of(scales)(product), out)
        case FusedBiLstm():
            return _lstm(operator, _centred(operator.x, values))
        case Concat():
            return np.asarray(np.concatenate([values[part.name] for part in operator.parts]))
        case Dense():
            x = _centred(operator.x, values)[None]
            return np.asarray(_product(operator.x, out, operator.weight, x, operator.relu)[0])
    raise ValueError(f"{type(operator).__name__} is not in the graph of a microcontroller")


def _scale(value: Value) -> float:
    return value.int8_grid.scale


def _single(value: Value) -> np.float32:
    return np.float32(value.int8_grid.scale)


def _centred(value: Value, values: dict[str, Array]) -> Int64:
    return np.asarray(values[value.name].astype(np.int64) - value.int8_grid.zero_point)


def _onto(steps: Int64, out: Value, low: int = QMIN) -> Array:
    return np.clip(steps + out.int8_grid.zero_point, low, QMAX).astype(np.int8)


def _columns(x: Int64, kernel: int) -> Int64:
    """Zero-padded neighbourhoods. Shape: (time, n_in) to (time, n_in * kernel)."""
    padded = np.pad(x, ((kernel // 2, kernel // 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=0)
    return windows.reshape(len(x), -1)


def _accumulate(rows: Int64, values: Array, bias: Array | None) -> Int64:
    """rows @ values + bias, exactly: doubles hold every sum, and have a fast product."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    total = (rows.astype(np.float64) @ flat.T).astype(np.int64)
    return total if bias is None else total + bias


def _product(x: Value, out: Value, weight: Weight, rows: Int64, relu: bool = False) -> Array:
    """A matrix product onto the output's grid. Shape: (n, k) to (n, n_out)."""
    assert weight.scale is not None
    factors = Multiplier.of(_scale(x) * weight.scale.astype(np.float64) / _scale(out))
    low = max(QMIN, out.int8_grid.zero_point) if relu else QMIN
    return _onto(factors(_accumulate(rows, weight.values, weight.bias)), out, low)


def _sigmoid(operator: Sigmoid, values: dict[str, Array]) -> Array:
    """In single precision: the kernel makes itself a table of its 256 results."""
    x = np.float32(_single(operator.x)) * _centred(operator.x, values).astype(np.float32)
    y = np.float32(1.0) / (np.float32(1.0) + np.exp(-x))
    steps = y * (np.float32(1.0) / _single(operator.out))
    return _onto(np.floor(steps + np.float32(0.5)).astype(np.int64), operator.out)


def _lstm(operator: FusedBiLstm, x: Int64) -> Array:
    """States of both directions, which are computed side by side.

    Shape: (time, n_in) to (time, 2 * hidden)
    """
    out, hidden = operator.out, operator.hidden
    directions = (operator.forward, operator.backward)
    onto_gates = _gate_factors([d.input for d in directions], _single(operator.x))
    sums = [
        _accumulate(rows, direction.input.values, direction.input.bias)
        for direction, rows in zip(directions, (x, x[::-1]), strict=True)
    ]
    from_input = clip16(onto_gates(np.stack(sums, axis=1)))  # (time, 2, 4 * hidden)
    onto_gates = _gate_factors([d.recurrent for d in directions], _single(out))
    recurrent = np.stack([d.recurrent.values.T for d in directions]).astype(np.float64)
    onto_state = Multiplier.of(2.0 ** (2 * ACTIVATION_EXPONENT) / _scale(out))
    cell_bits = operator.cell_exponent + 15
    cell = h = np.zeros((len(directions), hidden), np.int64)
    states = []
    for row in from_input:
        products = (h[:, None].astype(np.float64) @ recurrent)[:, 0].astype(np.int64)
        i, f, g, o = np.split(clip16(row + onto_gates(products)), 4, axis=1)
        i, f, o = sigmoid16(np.stack([i, f, o]), GATE_INTEGER_BITS)
        g = tanh16(g, GATE_INTEGER_BITS)
        kept = shift_right(f * cell, -ACTIVATION_EXPONENT)
        cell = clip16(kept + shift_right(i * g, operator.cell_exponent - 2 * ACTIVATION_EXPONENT))
        state = _onto(onto_state(o * tanh16(cell, cell_bits)), out)
        states.append(state.reshape(-1))
        h = state.astype(np.int64) - out.int8_grid.zero_point
    return np.stack(states)


def _gate_factors(weights: list[Weight], x_scale: np.float32) -> Multiplier:
    """In single precision, as the kernel has them. Shape: (directions, 4 * hidden)."""
    scales = np.stack([np.asarray(weight.scale, np.float32) for weight in weights])
    return Multiplier.of(scales * x_scale / np.float32(2.0**GATE_EXPONENT))
