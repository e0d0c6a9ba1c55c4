"""A checkpoint's float network in torch, batch norm folded, as the stock exporters take it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convert.architecture import DIRECTIONS
from convert.checkpoint import Checkpoint
from edge_ser.model import Alfb, Eca, EmotionNet

LARGEST_DIFFERENCE = 1e-4  # of a logit, from the float reference's


def folded_network(checkpoint: Checkpoint) -> EmotionNet:
    """The network that the float files of `convert` hold, weight for weight."""
    tensors = {name: torch.tensor(value) for name, value in checkpoint.float_tensors.items()}
    net = EmotionNet(checkpoint.model).eval()
    if checkpoint.model.use_alfb:
        for index, block in enumerate(net.local):
            assert isinstance(block, Alfb)
            weight = tensors[f"alfb.{index}.weight"]
            n_out, n_in, kernel = weight.shape
            block.conv = nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2)
            block.conv.weight.data = weight
            block.conv.bias = nn.Parameter(tensors[f"alfb.{index}.bias"])
            block.norm = nn.Identity()  # type: ignore[assignment]
            if checkpoint.model.use_eca:
                assert isinstance(block.eca, Eca)
                block.eca.conv.weight.data = tensors[f"alfb.{index}.eca"].reshape(1, 1, -1)
    if net.gfb is not None:
        state: dict[str, Tensor] = {}
        for direction, suffix in zip(DIRECTIONS, ("", "_reverse"), strict=True):
            bias = tensors[f"gfb.{direction}.bias"]
            state |= {
                f"weight_ih_l0{suffix}": tensors[f"gfb.{direction}.input"],
                f"weight_hh_l0{suffix}": tensors[f"gfb.{direction}.recurrent"],
                f"bias_ih_l0{suffix}": bias,
                f"bias_hh_l0{suffix}": torch.zeros_like(bias),
            }
        net.gfb.lstm.load_state_dict(state)
    for name in ("hidden", "output"):
        layer: nn.Linear = getattr(net, name)
        layer.weight.data, layer.bias.data = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    return net


def check(
    net: EmotionNet, windows: NDArray[np.float32], logits: NDArray[np.float32]
) -> tuple[Tensor, ...]:
    """Assert that it is the reference's network; returns each window as the exporters' example.

    Shape:
        - windows: (n, window_frames, n_features); logits: (n, n_labels)
        - returns: n of (1, window_frames, n_features)
    """
    examples = tuple(torch.tensor(window)[None] for window in windows)
    with torch.no_grad():
        found = np.concatenate([net(example).numpy() for example in examples])
    worst = float(np.abs(found - logits).max())
    if worst > LARGEST_DIFFERENCE:
        raise AssertionError(f"the torch network's logits are {worst:.1e} off the reference's")
    return examples
