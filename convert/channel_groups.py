"""A convolution across channels, as attention has it, in the form that integer kernels are fast in.

It has one input and one output channel along which there are many places. Kernels compute several
output channels at once, and throw all but one away; XNNPACK's cost less with eight channels at
fewer places, and onnxruntime needs no transposition for it.
"""

from dataclasses import replace

import numpy as np

from convert.graph import Weight

SIDE_BY_SIDE = 8
"""Channels of a group: as many as kernels compute at once."""


def in_groups(weight: Weight, n_channels: int) -> tuple[Weight, int]:
    """The widest groups that so many channels divide into, and how many channels each has.

    Shape:
        - values: (1, kernel) to (group, width, group), as (out, width, in)
    """
    if n_channels % SIDE_BY_SIDE == 0:
        return banded(weight), SIDE_BY_SIDE
    return one_by_one(weight), 1


def one_by_one(weight: Weight) -> Weight:
    """As it is: groups of one channel. Shape of the values: (1, kernel) to (1, kernel, 1)."""
    return replace(weight, values=weight.values[..., None])


def banded(weight: Weight) -> Weight:
    """A convolution across channels as one of groups of `SIDE_BY_SIDE` channels.

    The sums are the same: a group's outputs read the group, the one before and the one after,
    and all weights but those of an output's own neighbours are zero.

    Shape:
        - values: (1, kernel) to (group, 3, group), as (out, width, in)
    """
    taps, group = weight.values[0], SIDE_BY_SIDE
    reach = len(taps) // 2
    if reach > group:
        raise ValueError(f"a convolution across {len(taps)} channels reads more than 3 groups")
    rows = np.zeros((group, 3 * group), taps.dtype)
    for row in range(group):
        start = group + row - reach
        rows[row, start : start + len(taps)] = taps
    scale = None if weight.scale is None else np.repeat(weight.scale, group)
    return Weight(rows.reshape(group, 3, group), scale, weight.bias)
