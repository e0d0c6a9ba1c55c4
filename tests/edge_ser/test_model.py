"""The network: the paper's blocks and ablations, and counts that are those of the deployed net."""

import math

import pytest
import torch

from convert.architecture import SIZES, ModelConfig, count_parameters, eca_kernel_size
from edge_ser.model import Alfb, Eca, EmotionNet
from edge_ser.qat import fold
from firmware_host.errors import EdgeSerError

FRAMES = 320


def switched(config: ModelConfig, off: str | None) -> ModelConfig:
    """The same with one of the ablations, if any."""
    return ModelConfig.from_dict(config.to_dict() | ({off: False} if off else {}))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("off", [None, "use_eca", "use_gfb", "use_alfb"])
def test_every_size_and_ablation_gives_finite_logits(size: str, off: str | None) -> None:
    config = switched(ModelConfig(**SIZES[size]), off)
    logits = EmotionNet(config).eval()(torch.randn(3, FRAMES, config.n_features))
    assert logits.shape == (3, config.n_labels) and torch.isfinite(logits).all()


@pytest.mark.parametrize("off", [None, "use_eca", "use_gfb", "use_alfb"])
def test_the_parameter_count_is_that_of_the_folded_tensors(off: str | None) -> None:
    config = switched(ModelConfig(), off)
    tensors = fold(EmotionNet(config))
    assert count_parameters(config) == sum(tensor.numel() for tensor in tensors.values())


def test_attention_rescales_each_channel_by_a_factor_between_0_and_1() -> None:
    """ECA-Net figure 2: one positive factor a channel, the same at all times."""
    x = torch.rand(2, 16, 50) + 0.1
    ratio = Eca(16)(x) / x
    assert (ratio > 0).all() and (ratio < 1).all()
    assert torch.allclose(ratio, ratio[:, :, :1].expand_as(ratio), atol=1e-6)


@pytest.mark.parametrize("frames", [FRAMES, FRAMES - 5])
@pytest.mark.parametrize("use_eca", [True, False])
def test_a_block_by_products_is_the_same_block(frames: int, use_eca: bool) -> None:
    """In another order of axes; also where pooling leaves frames over, and its gradients."""
    block = Alfb(6, 16, 5, 4, use_eca)
    x = torch.randn(3, 6, frames)
    one, other = block(x), block.by_products(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(one, other)
    weights = list(block.parameters())
    for mine, theirs in zip(
        torch.autograd.grad(one.square().sum(), weights),
        torch.autograd.grad(other.square().sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("channels", [8, 16, 32, 64, 96, 128, 192, 256, 512])
def test_eca_kernel_is_the_next_odd_number_of_the_papers_formula(channels: int) -> None:
    size = eca_kernel_size(channels)
    exact = abs(math.log2(channels) / 2 + 0.5)
    assert size % 2 == 1 and int(exact) <= size <= exact + 1


def test_time_stays_time_until_the_mean() -> None:
    """A window of twice the frames goes through the same network."""
    net = EmotionNet(ModelConfig()).eval()
    assert net(torch.randn(1, 2 * FRAMES, 64)).shape == net(torch.randn(1, FRAMES, 64)).shape


@pytest.mark.parametrize(
    "wrong",
    [
        {"kernels": (4, 5, 3)},
        {"channels": (8, 8)},
        {"use_alfb": False, "use_gfb": False},
    ],
)
def test_impossible_sizes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(EdgeSerError):
        ModelConfig(**wrong)  # type: ignore[arg-type]


def test_sizes_survive_json() -> None:
    config = ModelConfig(**SIZES["tiny"], use_eca=False)
    assert ModelConfig.from_dict(config.to_dict()) == config
