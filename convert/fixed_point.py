"""Integer arithmetic exactly as TFLite's portable kernels do it: one rounding rule an operation.

A real factor becomes a 32-bit mantissa and a power of two; sigmoid and tanh of 16-bit numbers
are a Taylor polynomial, table products and Newton's division, all in 16 bits. Sources:
gemmlowp's fixedpoint.h, and MultiplyByQuantizedMultiplier of TensorFlow Lite. Arrays are int64
that hold what the kernels keep in fewer bits.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int64 = NDArray[np.int64]

INT16_MIN, INT16_MAX = -(2**15), 2**15 - 1
MANTISSA_BITS = 31
SMALLEST_EXPONENT = -31  # all bits of a product would be shifted out
HALF_WORD = 16  # gemmlowp writes constants in 32 bits and rounds them to 16

EXP_MINUS_EIGHTH, ONE_THIRD = 1895147668, 715827883  # at 2^-31
EXP_OF_POWERS = {
    -2: 1672461947,
    -1: 1302514674,
    0: 790015084,
    1: 290630308,
    2: 39332535,
    3: 720401,
    4: 242,
}
"""exp(-2^k) at 2^-31, by k."""
FORTY_EIGHT_17THS, MINUS_THIRTY_TWO_17THS = 1515870810, -1010580540  # at 2^-29
NEWTON_STEPS = 3
CLAMPED_INTEGER_BITS, EXP_CLAMP = 5, -32  # of more integer bits, exp is zero below
DIVISION_INTEGER_BITS = 2


@dataclass(frozen=True)
class Multiplier:
    """Positive real factors as mantissa * 2^(exponent - 31), the mantissa of 31 bits.

    Shape:
        - mantissa, exponent: that of the factors
    """

    mantissa: Int64
    exponent: Int64

    @classmethod
    def of(cls, real: ArrayLike) -> "Multiplier":
        """The nearest; factors below 2^-32 become zero."""
        share, exponent = np.frexp(np.asarray(real, np.float64))
        mantissa = np.floor(share * 2.0**MANTISSA_BITS + 0.5).astype(np.int64)
        full = mantissa == 2**MANTISSA_BITS
        mantissa = np.where(full, mantissa // 2, mantissa)
        wide = exponent.astype(np.int64) + full
        lost = wide < SMALLEST_EXPONENT
        return cls(np.where(lost, 0, mantissa), np.where(lost, 0, wide))

    def divided_by(self, count: int) -> "Multiplier":
        """The factors over a count, cut off as TFLite's MEAN does it."""
        shift = np.minimum(count.bit_length() - 1, MANTISSA_BITS + self.exponent)
        return Multiplier((self.mantissa << shift) // count, self.exponent - shift)

    def __call__(self, x: NDArray[Any]) -> Int64:
        """x times the factors: rounded to 32 bits after the mantissa, again after the shift."""
        left, right = np.maximum(self.exponent, 0), np.maximum(-self.exponent, 0)
        return shift_right(_high_product(x.astype(np.int64) << left, self.mantissa, 32), right)


def shift_right(x: Int64, bits: ArrayLike) -> Int64:
    """x / 2^bits to the nearest, ties away from zero."""
    half = (np.int64(1) << np.asarray(bits, np.int64)) >> 1
    return np.asarray(np.sign(x) * ((np.abs(x) + half) >> np.asarray(bits, np.int64)))


def clip16(x: Int64) -> Int64:
    """Saturated to 16 bits."""
    return np.asarray(np.clip(x, INT16_MIN, INT16_MAX))


def sigmoid16(x: Int64, integer_bits: int) -> Int64:
    """Sigmoid of int16 numbers at 2^(integer_bits - 15); the result at 2^-15."""
    of_magnitude = _one_over_one_plus(_exp16(-np.abs(x), integer_bits))
    out = np.where(x > 0, of_magnitude, INT16_MAX - of_magnitude)
    return np.asarray(np.where(x == 0, 1 << 14, out))


def tanh16(x: Int64, integer_bits: int) -> Int64:
    """tanh of int16 numbers at 2^(integer_bits - 15); the result at 2^-15."""
    # Read with one more integer bit the same number is its double: tanh is a matter of exp(-2|x|).
    exp = _exp16(-np.abs(x), integer_bits + 1)
    one = 1 << (15 - DIVISION_INTEGER_BITS)
    of_magnitude = _shift_left(_inverse_of_half(exp) - one, DIVISION_INTEGER_BITS)
    return np.asarray(np.sign(x) * of_magnitude)


def _exp16(x: Int64, integer_bits: int) -> Int64:
    """exp of numbers that are not positive; the result at 2^-15."""
    fraction_bits = 15 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    rest = (x & (quarter - 1)) - quarter  # in [-1/4, 0); whole quarters remain
    result = _exp_of_last_quarter(_shift_left(rest, integer_bits))
    quarters = rest - x
    for power, constant in EXP_OF_POWERS.items():
        if integer_bits > power:
            factor = _constant(constant)
            has = quarters & (1 << (fraction_bits + power))
            result = np.where(has != 0, _product(result, factor), result)
    if integer_bits > CLAMPED_INTEGER_BITS:
        result = np.where(x < EXP_CLAMP << fraction_bits, 0, result)
    return np.asarray(np.where(x == 0, INT16_MAX, result))


def _exp_of_last_quarter(x: Int64) -> Int64:
    """exp on [-1/4, 0) at 2^-15: its Taylor series around -1/8, to the fourth power."""
    x = x + (1 << 12)
    square = _product(x, x)
    cube, fourth = _product(square, x), _product(square, square)
    thirds = _product(shift_right(fourth, 2) + cube, _constant(ONE_THIRD))
    series = x + shift_right(thirds + square, 1)
    at_centre = _constant(EXP_MINUS_EIGHTH)
    return clip16(at_centre + _product(series, at_centre))


def _one_over_one_plus(x: Int64) -> Int64:
    """1 / (1 + x) for x in [0, 1], both at 2^-15."""
    return _shift_left(_inverse_of_half(x), DIVISION_INTEGER_BITS - 1)


def _inverse_of_half(x: Int64) -> Int64:
    """2 / (1 + x) for x in [0, 1] at 2^-15, by Newton's division; the result at 2^-13."""
    denominator = shift_right(x + INT16_MAX, 1)
    one = 1 << (15 - DIVISION_INTEGER_BITS)
    out = _constant(FORTY_EIGHT_17THS) + _product(denominator, _constant(MINUS_THIRTY_TWO_17THS))
    for _ in range(NEWTON_STEPS):
        error = one - _product(denominator, out)
        out = out + _shift_left(_product(out, error), DIVISION_INTEGER_BITS)
    return out


def _product(a: Int64, b: Int64 | int) -> Int64:
    return _high_product(a, b, 16)


def _high_product(a: Int64, b: Int64 | int, bits: int) -> Int64:
    """The product's upper half, doubled: a * b / 2^(bits - 1) to the nearest, ties upwards."""
    return np.asarray((a * b + (1 << (bits - 2))) >> (bits - 1))


def _shift_left(x: Int64, bits: int) -> Int64:
    return clip16(x << bits)


def _constant(at_32_bits: int) -> int:
    half = 1 << (HALF_WORD - 1)
    magnitude = (abs(at_32_bits) + half) >> HALF_WORD
    return magnitude if at_32_bits >= 0 else -magnitude
