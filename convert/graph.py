"""The quantised graph: a short, typed list of operators that all of `convert` reads.

Both writers lower it, the numpy reference executes it (in float, and in integers), reports
count it. Activations are time-major, (time, channels), without a batch: a graph is one
window. A graph is either float (no grid anywhere) or quantised (a grid on every activation
between the ends); nothing in it is computed again later.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.targets import PI

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """The int8 grid of an activation: value = scale * (q - zero_point).

    Source: TensorFlow Lite 8-bit quantization specification; ONNX QuantizeLinear.
    """

    scale: float
    zero_point: int


@dataclass(frozen=True)
class Value:
    """An activation: its name, shape and, in a quantised graph, its grid (None is float32)."""

    name: str
    shape: tuple[int, ...]
    grid: Grid | None

    @property
    def int8_grid(self) -> Grid:
        """Its grid, where a quantised graph has one.

        Raises:
            ValueError: when it has none.
        """
        if self.grid is None:
            raise ValueError(f"{self.name} has no grid in a quantised graph")
        return self.grid


@dataclass(frozen=True)
class Weight:
    """A weight and its bias.

    Shape:
        - values: (out, ...), int8 when quantised, else float32
        - scale: (out,), float32, of each output channel; None when float
        - bias: (out,), int32 with the scale input x weight when quantised, else float32;
          None where a layer has none
    """

    values: NDArray[Any]
    scale: Float32 | None
    bias: NDArray[Any] | None

    @property
    def floats(self) -> Float32:
        """The weight as numbers, whatever it is stored as."""
        if self.scale is None:
            return np.asarray(self.values, np.float32)
        scale = self.scale.reshape(-1, *[1] * (self.values.ndim - 1))
        return np.asarray(self.values * scale, np.float32)


@dataclass(frozen=True)
class Quantize:
    """float32 to int8."""

    x: Value
    out: Value


@dataclass(frozen=True)
class Dequantize:
    """int8 to float32."""

    x: Value
    out: Value


@dataclass(frozen=True)
class Conv1d:
    """Convolution over time with zero padding to the same length, then ReLU.

    Shape:
        - x: (time, n_in); weight: (n_out, n_in, kernel); out: (time, n_out)
    """

    x: Value
    out: Value
    weight: Weight


@dataclass(frozen=True)
class MaxPool:
    """Largest of every `factor` frames; frames that do not fill the last group are left out."""

    x: Value
    out: Value
    factor: int


@dataclass(frozen=True)
class MeanOverTime:
    """Shape: (time, channels) to (channels,)."""

    x: Value
    out: Value


@dataclass(frozen=True)
class ChannelConv:
    """ECA's convolution across neighbouring channels, zero-padded.

    Shape:
        - x and out: (channels,); weight: (1, kernel)
    """

    x: Value
    out: Value
    weight: Weight


@dataclass(frozen=True)
class Sigmoid:
    """Element by element, onto the fixed grid of `scheme.SIGMOID_SCALE` when quantised."""

    x: Value
    out: Value


@dataclass(frozen=True)
class ScaleChannels:
    """Shape: x (time, channels) times factors (channels,)."""

    x: Value
    factors: Value
    out: Value


@dataclass(frozen=True)
class LstmDirection:
    """Weights of one direction; rows in the order input, forget, candidate, output gate.

    Shape:
        - input: (4 * hidden, n_in), with the bias; recurrent: (4 * hidden, hidden), without
    """

    input: Weight
    recurrent: Weight


@dataclass(frozen=True)
class BiLstm:
    """LSTM over time in both directions.

    Row t of the output is what each direction holds after t + 1 steps: the backward one is
    in its own (reversed) order of time, which the mean that follows does not mind.

    Quantised, both matrix products end on the grid `gates`, where they are added as
    saturating integers. The candidate's rows count double there, because all four gates pass
    one sigmoid and tanh(x) = 2 sigmoid(2x) - 1. The cell is float32, the hidden state int8 on
    the grid of `scheme.STATE_SCALE`, which is `out`'s.

    Shape:
        - x: (time, n_in); out: (time, 2 * hidden)
    """

    x: Value
    out: Value
    forward: LstmDirection
    backward: LstmDirection
    gates: Grid | None

    @property
    def hidden(self) -> int:
        """Units of one direction."""
        return int(self.forward.recurrent.values.shape[1])


@dataclass(frozen=True)
class FusedBiLstm:
    """`BiLstm` by one integer kernel a direction, as microcontrollers have it.

    Gate pre-activations are int16 at 2^-12, gates and candidate int16 at 2^-15, the cell is
    int16 at `2^cell_exponent`, and the hidden state int8 on the grid of `out`. All in fixed
    point (`fixed_point`). A kernel has one scale for the rows of one gate, so these are equal
    in both weights of a direction.

    Source: TensorFlow Lite's UNIDIRECTIONAL_SEQUENCE_LSTM, 8x8_16.

    Shape:
        - x: (time, n_in); out: (time, 2 * hidden), the backward half in reversed order of time
    """

    x: Value
    out: Value
    forward: LstmDirection
    backward: LstmDirection
    cell_exponent: int

    @property
    def hidden(self) -> int:
        """Units of one direction."""
        return int(self.forward.recurrent.values.shape[1])


@dataclass(frozen=True)
class Concat:
    """Channels one after the other; all on one grid. Shape: (a,), (b,) to (a + b,)."""

    parts: tuple[Value, ...]
    out: Value


@dataclass(frozen=True)
class Dense:
    """Fully connected, then ReLU if `relu`. Shape: x (n_in,), weight (n_out, n_in)."""

    x: Value
    out: Value
    weight: Weight
    relu: bool


Operator = (
    Quantize
    | Dequantize
    | Conv1d
    | MaxPool
    | MeanOverTime
    | ChannelConv
    | Sigmoid
    | ScaleChannels
    | BiLstm
    | FusedBiLstm
    | Concat
    | Dense
)


@dataclass(frozen=True)
class Graph:
    """Operators in the order of their execution, from `inputs` to `outputs`.

    Args:
        target: the kernels whose arithmetic it describes, one of `targets.TARGETS`. For `pi`
            an accumulator goes onto its grid by a real factor, and the ends are float32; for
            `micro` everything is integer: factors in fixed point, the ends int8 on grids.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    operators: tuple[Operator, ...] = field(repr=False)
    target: str = PI

    @property
    def quantised(self) -> bool:
        """Whether this is an int8 graph."""
        return self.output_grid is not None

    @property
    def output_grid(self) -> Grid | None:
        """The grid that the outputs lie on, also where they are handed out as float32."""
        result = self.outputs[0]
        maker = next((operator for operator in self.operators if operator.out == result), None)
        return maker.x.grid if isinstance(maker, Dequantize) else result.grid


def weights_of(operator: Operator) -> Iterable[tuple[str, Weight]]:
    """The weights of an operator, with a name for each."""
    match operator:
        case Conv1d() | ChannelConv() | Dense():
            yield operator.out.name, operator.weight
        case BiLstm() | FusedBiLstm():
            for name in ("forward", "backward"):
                direction: LstmDirection = getattr(operator, name)
                yield f"{operator.out.name}.{name}.input", direction.input
                yield f"{operator.out.name}.{name}.recurrent", direction.recurrent


def macs_of(operator: Operator) -> int:
    """Multiply-accumulates of the operator's matrix products."""
    match operator:
        case Conv1d():
            return int(operator.weight.values.size) * operator.x.shape[0]
        case ChannelConv():
            return int(operator.weight.values.size) * operator.x.shape[0]
        case Dense():
            return int(operator.weight.values.size)
        case BiLstm() | FusedBiLstm():
            weights = sum(weight.values.size for _, weight in weights_of(operator))
            return int(weights) * operator.x.shape[0]
    return 0
