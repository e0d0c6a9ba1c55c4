"""The bidirectional LSTM as TFLite's fused integer kernel, once a direction.

It is the kernel of TensorFlow Lite Micro, of its plain kernels and of those by CMSIS-NN. Its
state is in variables, which the interpreter sets to zero when it is told to.
"""

import numpy as np

from convert.graph import FusedBiLstm, LstmDirection, Weight
from convert.micro_reference import GATE_EXPONENT
from convert.scheme import N_GATES
from convert.tflite_file import ABSENT, Quantization, TfliteFile
from convert.tflite_ops import image, join, quantization_of, reshape

STEP_AXIS, CHANNELS_AXIS = 1, 2
TANH = 4  # schema.fbs: ActivationFunctionType
ALL_AXES = 0b111


def lower_fused_bilstm(file: TfliteFile, operator: FusedBiLstm, x: int) -> int:
    """Append the LSTM; returns the index of its states.

    Shape:
        - x: [1, 1, time, n_in]; returns [1, 1, time, 2 * hidden]
    """
    forward = reshape(file, x, (1, *operator.x.shape))
    states = [
        _direction(file, operator, "forward", forward),
        _direction(file, operator, "backward", _reversed(file, forward)),
    ]
    joined = join(file, states, CHANNELS_AXIS)
    return reshape(file, joined, image(operator.out.shape), operator.out.name)


def _reversed(file: TfliteFile, x: int) -> int:
    """The steps from the last to the first. Every runtime slices so; few have REVERSE_V2."""
    strides = np.ones(3, np.int32)
    strides[STEP_AXIS] = -1
    whole = file.constant(np.zeros(3, np.int32))  # the masks say: from end to end
    inputs = [x, whole, whole, file.constant(strides)]
    tensor = file.tensors[x]
    return file.apply(
        "STRIDED_SLICE",
        inputs,
        tensor.shape,
        tensor.quantization,
        BeginMask=ALL_AXES,
        EndMask=ALL_AXES,
    )


def _direction(file: TfliteFile, operator: FusedBiLstm, name: str, x: int) -> int:
    """Shape: [1, time, n_in] to [1, time, hidden]."""
    direction: LstmDirection = getattr(operator, name)
    layer, hidden = f"{operator.out.name}.{name}", operator.hidden
    state_grid = quantization_of(operator.out.grid)
    assert state_grid and operator.x.grid
    cell_grid = Quantization((2.0**operator.cell_exponent,))
    from_input = _gates(file, direction.input, f"{layer}.input")
    from_state = _gates(file, direction.recurrent, f"{layer}.recurrent")
    biases = _biases(file, direction.input, operator.x.grid.scale, f"{layer}.input")
    state = file.tensor((1, hidden), state_grid, f"{layer}.state", variable=True)
    cell = file.tensor((1, hidden), cell_grid, f"{layer}.cell", dtype="int16", variable=True)
    # schema.fbs and lstm_shared.h: peepholes, projection and layer normalisation stay away.
    inputs = [x, *from_input, *from_state, *[ABSENT] * 3, *biases, *[ABSENT] * 2]
    inputs += [state, cell, *[ABSENT] * 4]
    gate_grid = Quantization((2.0**GATE_EXPONENT,))
    gates = [file.tensor((0,), gate_grid, dtype="int16") for _ in range(N_GATES)]
    intermediates = [*gates, file.tensor((0,), state_grid)]
    return file.apply(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        inputs,
        (1, operator.x.shape[0], hidden),
        state_grid,
        intermediates=intermediates,
        FusedActivationFunction=TANH,
    )


def _gates(file: TfliteFile, weight: Weight, layer: str) -> list[int]:
    """A constant a gate, in the order input, forget, candidate, output."""
    assert weight.scale is not None
    parts = np.split(weight.values, N_GATES)
    scales = [float(rows[0]) for rows in np.split(weight.scale, N_GATES)]
    return [
        file.constant(part, Quantization((scale,)), f"{layer}.{index}")
        for index, (part, scale) in enumerate(zip(parts, scales, strict=True))
    ]


def _biases(file: TfliteFile, weight: Weight, x_scale: float, layer: str) -> list[int]:
    assert weight.scale is not None and weight.bias is not None
    scales = np.split(weight.scale * np.float32(x_scale), N_GATES)
    return [
        file.constant(bias, Quantization((float(rows[0]),)), f"{layer}.{index}.bias")
        for index, (bias, rows) in enumerate(
            zip(np.split(weight.bias, N_GATES), scales, strict=True)
        )
    ]
