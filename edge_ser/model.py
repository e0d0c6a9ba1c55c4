"""The network: attention-based local feature blocks, a global feature block, fusion, a classifier.

After "Enhanced Speech Emotion Recognition with Efficient Channel Attention Guided Deep
CNN-BiLSTM Framework" (arXiv 2412.10011), under the paper's names: ALFB (1-D convolution,
batch norm, ECA, max pooling, several in sequence), GFB (BiLSTM), both fused and classified.
The paper leaves sizes and wiring open; ours work on frame sequences, so time stays time
until the last mean. A re-implementation, not the authors' network.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from convert.architecture import ModelConfig, eca_kernel_size


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
        return x * self.weights(x.mean(dim=2))[:, :, None]

    def weights(self, mean: Tensor) -> Tensor:
        """What each channel is multiplied by, from its mean. Shape: (batch, channels)."""
        out: Tensor = torch.sigmoid(self.conv(mean[:, None, :]))[:, 0, :]
        return out


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
        self.factor, self.pool = pool, nn.MaxPool1d(pool)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pool(self.eca(torch.relu(self.norm(self.conv(x)))))
        return out

    def by_products(self, x: Tensor) -> Tensor:
        """The same with time before channels and the convolution as one matrix product.

        Compiled in bfloat16 it takes 0.7 (`large`) to 0.9 (`small`) of the time of what `forward`
        compiles to; not compiled it takes longer.

        Shape:
            - x: (batch, time, n_in)
            - returns: (batch, time // pool, n_out)
        """
        batch, time, n_in = x.shape
        taps = self.conv.kernel_size[0]
        padded = functional.pad(x, (0, 0, taps // 2, taps // 2))
        columns = torch.cat([padded[:, tap : tap + time] for tap in range(taps)], dim=2)
        weight = self.conv.weight.permute(2, 1, 0).reshape(taps * n_in, -1)
        products = columns.reshape(batch * time, taps * n_in) @ weight
        y = torch.relu(self.norm(products)).view(batch, time, -1)
        groups = y[:, : time // self.factor * self.factor].unflatten(1, (-1, self.factor))
        pooled: Tensor = groups[:, :, 0]
        for number in range(1, self.factor):
            pooled = torch.maximum(pooled, groups[:, :, number])
        if isinstance(self.eca, Eca):  # its weights are positive: pooling may come first
            pooled = pooled * self.eca.weights(y.mean(dim=1))[:, None, :]
        return pooled


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
        self._compiled: Callable[[Tensor], Tensor] | None = None

    def compile_local(self) -> None:
        """Have the local blocks compiled at the next batch; batches are of one size from then on.

        The same network, with other last bits. It needs a C++ compiler.
        """
        if self.config.use_alfb:
            self._compiled = torch.compile(self._by_products, dynamic=False)

    def forward(self, features: Tensor) -> Tensor:
        if self._compiled is not None:
            local = self._compiled(features)
        else:
            local = self.local(features.transpose(1, 2)).transpose(1, 2)
        parts = [local.mean(dim=1)] if self.config.use_alfb else []
        if self.gfb is not None:
            parts.append(self.gfb(self.dropout(local)).mean(dim=1))
        fused = self.dropout(torch.cat(parts, dim=1))
        hidden = self.dropout(torch.relu(self.hidden(fused)))
        logits: Tensor = self.output(hidden)
        return logits

    def _by_products(self, features: Tensor) -> Tensor:
        """The local blocks. Shape: (batch, frames, n_features) to (batch, steps, channels)."""
        for block in self.local:
            assert isinstance(block, Alfb)
            features = block.by_products(features)
        return features
