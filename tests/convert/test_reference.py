"""The numpy reference: the same network as torch trains, in float and in integers."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from convert.build import build_graph
from convert.checkpoint import Checkpoint
from convert.graph import macs_of, weights_of
from convert.reference import run
from edge_ser.qat import QuantizedEmotionNet

ARCHITECTURES = [
    {},
    {"use_eca": False},
    {"use_gfb": False},
    {"use_alfb": False},
    {"channels": (16, 24), "kernels": (3, 7), "pools": (4, 4), "lstm_hidden": 8},
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_the_integer_reference_is_the_network_that_training_simulates(
    architecture: dict[str, object], checkpoint_of: Callable[..., Checkpoint]
) -> None:
    checkpoint = checkpoint_of(**architecture)
    tensors = {name: torch.from_numpy(value) for name, value in checkpoint.qat_tensors.items()}
    net = QuantizedEmotionNet.from_export(checkpoint.model, tensors).eval()
    windows = np.random.default_rng(1).normal(size=(6, 320, 64)).astype(np.float32)
    graph = build_graph(checkpoint, quantised=True)
    with torch.no_grad():
        simulated = net(torch.from_numpy(windows)).numpy()
    integers = np.stack([run(graph, window) for window in windows])
    step = graph.operators[-1].x.grid.scale  # type: ignore[union-attr]
    assert np.abs(simulated - integers).max() <= 1.01 * step


def test_the_float_reference_is_close_to_the_integer_one(checkpoint: Checkpoint) -> None:
    """Quantisation of a calibrated network costs a little, not everything."""
    windows = np.random.default_rng(2).normal(size=(4, 320, 64)).astype(np.float32)
    both = [
        np.stack([run(build_graph(checkpoint, quantised), window) for window in windows])
        for quantised in (False, True)
    ]
    spread = np.abs(both[0] - both[0].mean()).max()
    assert np.abs(both[0] - both[1]).max() < 0.3 * spread


def test_macs_and_weights_are_those_of_the_architecture(checkpoint: Checkpoint) -> None:
    from convert.architecture import count_macs, count_parameters

    graph = build_graph(checkpoint, quantised=False)
    assert sum(map(macs_of, graph.operators)) == count_macs(checkpoint.model, 320)
    weights = [weight for operator in graph.operators for _, weight in weights_of(operator)]
    sizes = [w.values.size + (0 if w.bias is None else w.bias.size) for w in weights]
    assert sum(sizes) == count_parameters(checkpoint.model)
