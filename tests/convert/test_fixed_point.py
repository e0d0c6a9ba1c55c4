"""Fixed-point arithmetic against the real numbers that it stands for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.fixed_point import Multiplier, shift_right, sigmoid16, tanh16

ALL_INT16 = np.arange(-(2**15), 2**15)
SIGMOID_ERROR, TANH_ERROR = 7, 13  # of 2^15; what gemmlowp's 16 bits cost


@pytest.mark.parametrize("integer_bits", range(7))
def test_sigmoid_and_tanh_of_every_int16(integer_bits: int) -> None:
    """Close to the real functions, odd where they are, and never falling."""
    real = ALL_INT16 * 2.0 ** (integer_bits - 15)
    sigmoid, tanh = sigmoid16(ALL_INT16, integer_bits), tanh16(ALL_INT16, integer_bits)
    assert np.abs(sigmoid - 2**15 / (1 + np.exp(-real))).max() < SIGMOID_ERROR
    assert np.abs(tanh - 2**15 * np.tanh(real)).max() < TANH_ERROR
    assert np.array_equal(tanh[1:], -tanh[:0:-1])
    for values in (sigmoid, tanh):
        assert values.min() >= -(2**15) and values.max() < 2**15


@given(
    st.floats(2.0**-30, 2.0**5),
    st.integers(-(2**20), 2**20),
)
def test_a_multiplier_is_its_factor_rounded_twice(factor: float, x: int) -> None:
    """Half a step of each of two roundings, and what 31 bits of mantissa leave out."""
    product = int(Multiplier.of(factor)(np.array([x]))[0])
    before_shift = 0.5 * 2.0 ** min(0, math.frexp(factor)[1])
    assert abs(product - factor * x) <= 0.5 + before_shift + abs(factor * x) * 2.0**-30


def test_a_power_of_two_shifts_exactly() -> None:
    x = np.array([-1024, -3, 0, 5, 1024])
    assert Multiplier.of(4.0)(x).tolist() == (4 * x).tolist()
    assert Multiplier.of(2.0**-40)(x).tolist() == [0] * 5


@given(st.integers(1, 2000), st.integers(-(2**17), 2**17))
def test_a_mean_is_its_sum_over_the_count(count: int, total: int) -> None:
    mean = int(Multiplier.of(0.7).divided_by(count)(np.array([total]))[0])
    assert abs(mean - 0.7 * total / count) <= 1.0


def test_ties_go_away_from_zero() -> None:
    assert shift_right(np.array([-6, -5, 5, 6, 7]), 2).tolist() == [-2, -1, 1, 2, 2]
    assert shift_right(np.array([-3, 3]), 0).tolist() == [-3, 3]
