"""The network: attention-based local feature blocks, a global feature block, fusion, a classifier.

After "Enhanced Speech Emotion Recognition with Efficient Channel Attention Guided Deep
CNN-BiLSTM Framework" (arXiv 2412.10011), under the paper's names: ALFB (1-D convolution,
batch norm, ECA, max pooling, several in sequence), GFB (BiLSTM), both fused and classified.
The paper leaves sizes and wiring open; ours work on frame sequences, so time stays time
until the last mean. A re-implementation, not the authors' network.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from firmware_host.errors import EdgeSerError


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
    """

    n_features: int = 64
    n_labels: int = 7
    channels: tuple[int, ...] = (64, 96, 128)
    kernels: tuple[int, ...] = (5, 5, 3)
    pools: tuple[int, ...] = (2, 2, 4)
    lstm_hidden: int = 64
    head_hidden: int = 64
    use_eca: bool = True
    use_gfb: bool = True
    use_alfb: bool = True

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.kernels) == len(self.pools) > 0:
            raise EdgeSerError("the model needs as many channels as kernels as pools, at least one")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise EdgeSerError(f"the model needs odd kernel lengths, got {self.kernels}")
        if not (self.use_alfb or self.use_gfb):
            raise EdgeSerError("the model needs ALFB or GFB: at most one can be switched off")

    @property
    def local_channels(self) -> int:
        """Channels of the sequence that the GFB reads and that is fused with its output."""
        return self.channels[-1] if self.use_alfb else self.n_features

    @property
    def fusion_channels(self) -> int:
        """Channels of the fused vector."""
        local = self.local_channels if self.use_alfb else 0
        return local + (2 * self.lstm_hidden if self.use_gfb else 0)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ModelConfig":
        """The inverse of `to_dict`."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        return cls(**values)


SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"channels": (32, 48, 64), "lstm_hidden": 32, "head_hidden": 32},
    "small": {"channels": (64, 96, 128), "lstm_hidden": 64, "head_hidden": 64},
    "base": {"channels": (96, 144, 192), "lstm_hidden": 96, "head_hidden": 96},
}
"""Named sizes; `small` is the default model's."""


def eca_kernel_size(channels: int) -> int:
    """Kernel of the attention's convolution across channels: |log2(C)/2 + 1/2|, to the next odd.

    Source: ECA-Net (arXiv 1910.03151), equation 12, with gamma = 2 and b = 1.

    >>> [eca_kernel_size(channels) for channels in (32, 64, 128, 256)]
    [3, 3, 5, 5]
    """
    size = int(abs(math.log2(channels) / 2 + 0.5))
    return size if size % 2 else size + 1


class Eca(nn.Module):
    """Efficient channel attention: mean over time, convolution across channels, sigmoid, rescale.

    Source: ECA-Net (arXiv 1910.03151), figure 2, over one dimension.

    Shape:
        - input and output: (batch, channels, time)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = eca_kernel_size(channels)
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=2)
        weights = torch.sigmoid(self.conv(mean[:, None, :]))[:, 0, :]
        return x * weights[:, :, None]


class Alfb(nn.Module):
    """Attention-based local feature block: convolution, batch norm, ReLU, ECA, max pooling.

    Shape:
        - input: (batch, n_in, time)
        - output: (batch, n_out, time // pool)
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, pool: int, use_eca: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm1d(n_out)
        self.eca = Eca(n_out) if use_eca else nn.Identity()
        self.pool = nn.MaxPool1d(pool)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pool(self.eca(torch.relu(self.norm(self.conv(x)))))
        return out


class Gfb(nn.Module):
    """Global feature block: a bidirectional LSTM over the local features.

    Shape:
        - input: (batch, time, n_in)
        - output: (batch, time, 2 * hidden)
    """

    def __init__(self, n_in: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_in, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lstm(x)[0]
        return out


class EmotionNet(nn.Module):
    """Logits of a window of normalised features.

    Shape:
        - input: (batch, frames, n_features), float32
        - output: (batch, n_labels), float32
    """

    def __init__(self, config: ModelConfig, dropout: float = 0.3) -> None:
        super().__init__()
        self.config = config
        widths = (config.n_features, *config.channels)
        if config.use_alfb:
            self.local = nn.Sequential(
                *(
                    Alfb(n_in, n_out, kernel, pool, config.use_eca)
                    for n_in, n_out, kernel, pool in zip(
                        widths, config.channels, config.kernels, config.pools, strict=False
                    )
                )
            )
        else:
            self.local = nn.Sequential(nn.MaxPool1d(math.prod(config.pools)))
        self.gfb = Gfb(config.local_channels, config.lstm_hidden) if config.use_gfb else None
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(config.fusion_channels, config.head_hidden)
        self.output = nn.Linear(config.head_hidden, config.n_labels)

    def forward(self, features: Tensor) -> Tensor:
        local = self.local(features.transpose(1, 2))
        parts = [local.mean(dim=2)] if self.config.use_alfb else []
        if self.gfb is not None:
            parts.append(self.gfb(self.dropout(local.transpose(1, 2))).mean(dim=1))
        fused = self.dropout(torch.cat(parts, dim=1))
        hidden = self.dropout(torch.relu(self.hidden(fused)))
        logits: Tensor = self.output(hidden)
        return logits


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
