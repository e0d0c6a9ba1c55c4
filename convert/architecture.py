"""What the network is made of, without torch: sizes, switches, grids, costs.

Training builds the network from it, converting builds the graph from it, and a checkpoint
carries it, so that the three agree.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from firmware_host.errors import EdgeSerError

DIRECTIONS = ("forward", "backward")
"""The two LSTMs of the global feature block."""

ROW, GATE = "row", "gate"
"""Which rows of an LSTM's int8 weight share a scale: none, or those of a gate."""


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and switches of the network.

    Args:
        n_features: numbers per frame.
        n_labels: classes.
        channels, kernels, pools: one entry an ALFB: output channels, kernel length in frames
            (odd), and max-pooling factor over time.
        lstm_hidden: units per direction of the GFB.
        head_hidden: units of the classifier's hidden layer.
        use_eca, use_gfb, use_alfb: the paper's ablations. Without ALFB the frames are only
            pooled by the same factors; without GFB only the local features are classified.
        lstm_scales: `ROW`, a scale for each row of an LSTM's int8 weights, or `GATE`, one for
            each gate's, as kernels of microcontrollers have it: every target then computes with
            the weights that were trained, and it costs nothing that could be measured.

    The default sizes are chosen for what a window costs on the cores of a Pi: pooling early
    leaves few frames for the wider blocks and few steps for the LSTM, and integer kernels gain
    most on short convolutions of many channels, in multiples of 16.
    """

    n_features: int = 64
    n_labels: int = 7
    channels: tuple[int, ...] = (64, 128, 192)
    kernels: tuple[int, ...] = (3, 3, 3)
    pools: tuple[int, ...] = (4, 4, 2)
    lstm_hidden: int = 64
    head_hidden: int = 64
    use_eca: bool = True
    use_gfb: bool = True
    use_alfb: bool = True
    lstm_scales: str = GATE

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.kernels) == len(self.pools) > 0:
            raise EdgeSerError("the model needs as many channels as kernels as pools, at least one")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise EdgeSerError(f"the model needs odd kernel lengths, got {self.kernels}")
        if not (self.use_alfb or self.use_gfb):
            raise EdgeSerError("the model needs ALFB or GFB: at most one can be switched off")
        if self.lstm_scales not in (ROW, GATE):
            raise EdgeSerError(
                f"an LSTM's weights have a scale for each row or for each gate, got "
                f"{self.lstm_scales!r}: choose {ROW} or {GATE}"
            )

    @property
    def local_channels(self) -> int:
        """Channels of the sequence that the GFB reads and that is fused with its output."""
        return self.channels[-1] if self.use_alfb else self.n_features

    @property
    def fusion_channels(self) -> int:
        """Channels of the fused vector."""
        local = self.local_channels if self.use_alfb else 0
        return local + (2 * self.lstm_hidden if self.use_gfb else 0)

    def rows_a_scale(self, weight: str) -> int:
        """How many output channels of a weight, named as in a checkpoint, share an int8 scale."""
        shared = self.lstm_scales == GATE and weight.startswith("gfb.")
        return self.lstm_hidden if shared else 1

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; rows with scales of their own go without saying, as ever."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {k: v for k, v in values.items() if (k, v) != ("lstm_scales", ROW)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ModelConfig":
        """The inverse of `to_dict`."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        return cls(**{"lstm_scales": ROW} | values)


SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"channels": (64, 64, 96), "lstm_hidden": 16, "head_hidden": 32},
    "small": {"channels": (64, 128, 192), "lstm_hidden": 64, "head_hidden": 64},
    "base": {"channels": (96, 192, 256), "lstm_hidden": 96, "head_hidden": 96},
    "large": {"channels": (128, 256, 320), "lstm_hidden": 128, "head_hidden": 128},
}
"""Named sizes; `small` is the default model's, and `large` that of its teachers. Of the bytes that
`tiny` may have, first channels are worth more than LSTM units (on validation speakers)."""


def check_size(size: str) -> None:
    """Whether there is such a size.

    Raises:
        EdgeSerError: when there is none.
    """
    if size not in SIZES:
        raise EdgeSerError(f"there is no size {size!r}: choose one of {', '.join(SIZES)}")


def eca_kernel_size(channels: int) -> int:
    """Kernel of the attention's convolution across channels: |log2(C)/2 + 1/2|, to the next odd.

    Source: ECA-Net (arXiv 1910.03151), equation 12, with gamma = 2 and b = 1.

    >>> [eca_kernel_size(channels) for channels in (32, 64, 128, 256)]
    [3, 3, 5, 5]
    """
    size = int(abs(math.log2(channels) / 2 + 0.5))
    return size if size % 2 else size + 1


def count_parameters(config: ModelConfig) -> int:
    """Trained numbers of the network as it is deployed: batch norm folded, LSTM biases summed."""
    return sum(part.parameters for part in layer_costs(config, frames=1))


def count_macs(config: ModelConfig, frames: int) -> int:
    """Multiply-accumulates of the matrix products of one window of `frames` frames."""
    return sum(part.macs for part in layer_costs(config, frames))


@dataclass(frozen=True)
class LayerCost:
    """What one layer of the deployed network holds and does."""

    name: str
    parameters: int
    macs: int


def layer_costs(config: ModelConfig, frames: int) -> tuple[LayerCost, ...]:
    """Parameters and multiply-accumulates by layer, for a window of `frames` frames."""
    costs, time, width = [], frames, config.n_features
    blocks = zip(config.channels, config.kernels, config.pools, strict=True)
    for index, (channels, kernel, pool) in enumerate(blocks):
        if config.use_alfb:
            weights = width * channels * kernel
            costs.append(LayerCost(f"alfb.{index}.conv", weights + channels, weights * time))
            if config.use_eca:
                size = eca_kernel_size(channels)
                costs.append(LayerCost(f"alfb.{index}.eca", size, size * channels))
            width = channels
        time //= pool
    if config.use_gfb:
        gates = 4 * config.lstm_hidden
        weights = 2 * gates * (width + config.lstm_hidden)
        costs.append(LayerCost("gfb", weights + 2 * gates, weights * time))
    for name, n_in, n_out in (
        ("hidden", config.fusion_channels, config.head_hidden),
        ("output", config.head_hidden, config.n_labels),
    ):
        costs.append(LayerCost(name, n_in * n_out + n_out, n_in * n_out))
    return tuple(costs)


def activations(config: ModelConfig) -> dict[str, str]:
    """Name and kind of every learned activation grid, in the order of the computation."""
    grids = {"input": "affine"}
    if config.use_alfb:
        for index in range(len(config.channels)):
            grids[f"alfb.{index}.conv"] = "positive"
            if config.use_eca:
                grids[f"alfb.{index}.mean"] = "positive"
                grids[f"alfb.{index}.score"] = "symmetric"
                grids[f"alfb.{index}.out"] = "positive"
    if config.use_gfb:
        grids["gfb.gates"] = "symmetric"
    return grids | {"fusion": "affine", "hidden": "positive", "logits": "symmetric"}


def biased_weight(layer: str) -> str:
    """Name of the weight to whose products a layer's bias is added."""
    return f"{layer}.input" if layer.startswith("gfb") else f"{layer}.weight"


def input_grid(config: ModelConfig, layer: str) -> str:
    """Name of the activation grid that a layer with a bias reads."""
    block_output = "out" if config.use_eca else "conv"
    blocks = len(config.channels) if config.use_alfb else 0
    if layer.startswith("alfb"):
        index = int(layer.split(".")[1])
        return f"alfb.{index - 1}.{block_output}" if index else "input"
    if layer.startswith("gfb"):
        return f"alfb.{blocks - 1}.{block_output}" if blocks else "input"
    return {"hidden": "fusion", "output": "hidden"}[layer]
