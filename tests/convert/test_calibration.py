"""Post-training quantization: grids that fit what the float network computes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from convert.architecture import activations
from convert.build import build_graph
from convert.calibration import calibrate, fit_grid
from convert.checkpoint import Checkpoint
from convert.graph import Grid
from convert.quantization import quantise_network
from convert.reference import run
from convert.scheme import QMAX, QMIN
from edge_ser.qat import QuantizedEmotionNet
from firmware_host.errors import EdgeSerError

ARCHITECTURES = [{}, {"use_eca": False}, {"use_gfb": False}, {"use_alfb": False}]
Float32 = NDArray[np.float32]


def noise(n_windows: int, seed: int) -> Float32:
    return np.random.default_rng(seed).normal(size=(n_windows, 320, 64)).astype(np.float32)


def squared_error(values: Float32, grid: Grid) -> float:
    steps = np.clip(np.rint(values / grid.scale) + grid.zero_point, QMIN, QMAX)
    return float(np.mean(((steps - grid.zero_point) * grid.scale - values) ** 2))


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_a_network_quantised_after_training_is_close_to_the_float_one(
    architecture: dict[str, object], checkpoint_of: Callable[..., Checkpoint]
) -> None:
    """On windows that the calibration did not see; whatever parts the network has."""
    whole = checkpoint_of(**architecture)
    alone = replace(whole, qat_tensors={})
    grids = calibrate(alone, list(noise(8, seed=1)))
    tensors = quantise_network(alone.model, alone.float_tensors, grids)
    graphs = build_graph(alone, False), build_graph(replace(alone, qat_tensors=tensors), True)
    expected, found = (np.stack([run(g, window) for window in noise(4, seed=2)]) for g in graphs)
    assert np.abs(found - expected).max() < 0.3 * np.abs(expected - expected.mean()).max()


def test_it_begins_where_quantization_aware_training_does(checkpoint: Checkpoint) -> None:
    """Two executions of the float network, torch's and numpy's, see the same activations."""
    windows = noise(16, seed=3)
    net = QuantizedEmotionNet(
        checkpoint.model,
        {name: torch.from_numpy(tensor) for name, tensor in checkpoint.float_tensors.items()},
    )
    net.eval().calibrate([torch.from_numpy(windows)])
    grids = calibrate(checkpoint, list(windows))
    assert set(grids) == set(activations(checkpoint.model))
    for name, grid in grids.items():
        trained = net.quantizer(name).grid
        assert grid.scale == pytest.approx(trained.scale, rel=0.15), name
        assert abs(grid.zero_point - trained.zero_point) <= 12, name


@pytest.mark.parametrize("kind", ["positive", "symmetric", "affine"])
def test_rare_extremes_are_clipped_for_finer_steps(kind: str) -> None:
    values = np.random.default_rng(4).normal(size=200_000).astype(np.float32)
    values[77] = 20.0
    values = np.abs(values) if kind == "positive" else values
    grid = fit_grid(values, kind)
    reach = max((QMAX - grid.zero_point) * grid.scale, (grid.zero_point - QMIN) * grid.scale)
    assert reach < 18.0
    for factor in (0.7, 1.0 / 0.7):
        other = Grid(factor * grid.scale, grid.zero_point)
        assert squared_error(values, grid) < squared_error(values, other)
    assert {"positive": grid.zero_point == QMIN, "symmetric": grid.zero_point == 0}.get(kind, True)


@pytest.mark.parametrize("kind", ["positive", "symmetric", "affine"])
@pytest.mark.parametrize("values", [[0.0, 0.0], [3.0], [-3.0, -1.0], [1e30, -1e30]])
def test_every_grid_can_be_built(values: list[float], kind: str) -> None:
    """All zero, one-sided or huge: a scale above zero, and a zero point that int8 holds."""
    grid = fit_grid(np.array(values, np.float32), kind)
    assert 0 < np.float32(grid.scale) < np.inf
    assert QMIN <= grid.zero_point <= QMAX


def test_numbers_that_are_not_finite_are_refused(checkpoint: Checkpoint) -> None:
    windows = noise(2, seed=5)
    windows[1, 7, 3] = np.nan
    with pytest.raises(EdgeSerError, match="not finite"):
        calibrate(checkpoint, list(windows))
    with pytest.raises(EdgeSerError):
        calibrate(checkpoint, [])
