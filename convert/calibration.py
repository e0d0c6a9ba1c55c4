"""Grids from values: what an activation was seen to be decides its scale and zero point.

Quantization-aware training begins with these grids and learns on; post-training quantization
keeps them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.architecture import activations
from convert.build import INPUT_NAME, build_graph
from convert.checkpoint import Checkpoint
from convert.graph import Grid
from convert.reference import run_all
from convert.scheme import QMAX, QMIN, SMALLEST_ACTIVATION_SCALE
from firmware_host.errors import EdgeSerError

Float32 = NDArray[np.float32]

VALUES_KEPT = 200_000
"""Of each activation; the grids do not move visibly with more."""

RANGE_SHARES = np.linspace(0.2, 1.0, 41)
"""Shares of the full range that are tried: clipping what is rare makes the steps finer."""

GRID_OF_VALUE = {INPUT_NAME: "input", "local": "fusion", "global": "fusion"}
"""Values of the float graph that go by another name than the grid that they lie on."""


class Observer:
    """Remembers some of an activation's values, and chooses a grid for them.

    Args:
        kind: "positive" (after ReLU: zero point -128), "symmetric" (zero point 0) or "affine",
            as in `architecture.activations`.
        most_at_once: values kept of those that are seen together.
    """

    def __init__(self, kind: str, most_at_once: int = VALUES_KEPT) -> None:
        self.kind, self.most_at_once = kind, most_at_once
        self._seen: list[Float32] = []

    def see(self, values: NDArray[Any]) -> None:
        """Remember values of any shape, evenly spread ones where there are too many."""
        self._seen.append(_some_of(np.asarray(values, np.float32).ravel(), self.most_at_once))

    def grid(self) -> Grid:
        """The grid with the least squared error on what was seen.

        Raises:
            EdgeSerError: when there was nothing, or something that is no finite number.
        """
        values = _some_of(np.concatenate([np.empty(0, np.float32), *self._seen]), VALUES_KEPT)
        return fit_grid(values, self.kind)


def fit_grid(values: Float32, kind: str) -> Grid:
    """The grid of that kind with the least squared error on these values.

    Zero lies on every grid: padding and silence stay what they are.

    Shape:
        - values: (n,), n > 0

    Raises:
        EdgeSerError: when there are none, or one is not finite.
    """
    if not (values.size and np.isfinite(values).all()):
        raise EdgeSerError(
            "the network computes numbers that are not finite, or none, on the data for its "
            "calibration: check the recordings, or train it again"
        )
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    grids = [_grid(kind, share * low, share * high) for share in RANGE_SHARES.tolist()]
    return min(grids, key=lambda grid: _squared_error(values, grid))


def calibrate(
    checkpoint: Checkpoint,
    windows: Sequence[Float32],
    on_window: Callable[[int, int], None] | None = None,
) -> dict[str, Grid]:
    """The grid of every activation, from what the float network computes on these windows.

    Args:
        checkpoint: a float network is all that it must hold.
        on_window: told how many windows are done, and how many there are.

    Shape:
        - windows: each (window_frames, n_features), normalised

    Raises:
        EdgeSerError: when the checkpoint is damaged, or the network computes no finite numbers.
    """
    graph = build_graph(checkpoint, quantised=False)
    most = max(1, VALUES_KEPT // max(1, len(windows)))
    observers = {name: Observer(kind, most) for name, kind in activations(checkpoint.model).items()}
    for number, window in enumerate(windows):
        for name, values in run_all(graph, window).items():
            observer = observers.get(GRID_OF_VALUE.get(name, name))
            if observer:
                # Channels first: else the spacing might fall in with them, and skip some.
                observer.see(values.T)
        if on_window:
            on_window(number + 1, len(windows))
    return {name: observer.grid() for name, observer in observers.items()}


def _grid(kind: str, low: float, high: float) -> Grid:
    """The grid of that kind from `low` to `high`, as far as the kind lets it."""
    if kind == "positive":
        return Grid(max(high / (QMAX - QMIN), SMALLEST_ACTIVATION_SCALE), QMIN)
    if kind == "symmetric":
        return Grid(max(max(-low, high) / QMAX, SMALLEST_ACTIVATION_SCALE), 0)
    scale = max((high - low) / (QMAX - QMIN), SMALLEST_ACTIVATION_SCALE)
    return Grid(scale, round(QMIN - low / scale))


def _squared_error(values: Float32, grid: Grid) -> float:
    steps = np.rint(values / np.float32(grid.scale))
    np.clip(steps, QMIN - grid.zero_point, QMAX - grid.zero_point, out=steps)
    steps *= np.float32(grid.scale)
    steps -= values
    return float(np.mean(np.square(steps, dtype=np.float64)))


def _some_of(values: Float32, most: int) -> Float32:
    """Evenly spaced values, about `most` where there are more; the same ones every time."""
    return values[:: max(1, len(values) // most)]
