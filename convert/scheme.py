"""The numeric scheme shared by training, the graph and both writers: grids that are fixed.

Weights are int8, symmetric, per output channel; activations int8, affine, per tensor;
biases int32 with the scale input x weight. What is not learned is written down here once.
"""

QMIN, QMAX = -128, 127
"""Range of an int8 activation."""

WEIGHT_QMAX = 127
"""Weights use -127 to 127, so that the grid is symmetric (TFLite's specification asks for it)."""

SIGMOID_SCALE, SIGMOID_ZERO_POINT = 1.0 / 256.0, -128
"""Grid of a sigmoid's output, as TFLite's quantization specification fixes it."""

STATE_SCALE, STATE_ZERO_POINT = 1.0 / 128.0, 0
"""Grid of the LSTM's hidden state, which lies between -1 and 1."""

SMALLEST_WEIGHT_SCALE = 1e-6
"""Keeps the int32 bias of an all but dead channel in range."""

SMALLEST_ACTIVATION_SCALE = 1e-6
"""Of an activation that is always zero."""

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
"""Range of a bias."""

N_GATES, CANDIDATE_GATE = 4, 2
"""Of an LSTM; the rows of its weights are in the order input, forget, candidate, output."""
