"""Quantization-aware training: it starts from the float network and stays on int8 grids."""

from dataclasses import replace

import pytest
import torch

from convert.architecture import DIRECTIONS, GATE, ModelConfig, activations
from convert.scheme import QMAX, QMIN
from edge_ser.model import EmotionNet
from edge_ser.qat import QuantizedEmotionNet, Quantizer, fold

CONFIG = ModelConfig(channels=(16, 24), kernels=(5, 3), pools=(4, 4), lstm_hidden=16)


@pytest.fixture(scope="module")
def windows() -> torch.Tensor:
    return torch.randn(32, 320, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def net(windows: torch.Tensor) -> EmotionNet:
    """A network whose batch norm has seen data, so that folding has something to fold."""
    torch.manual_seed(0)
    net = EmotionNet(CONFIG)
    for block in net.local:
        torch.nn.init.uniform_(block.norm.weight, 0.5, 2.0)  # type: ignore[union-attr, arg-type]
        torch.nn.init.normal_(block.norm.bias)  # type: ignore[union-attr, arg-type]
    for _ in range(20):
        net(windows)
    return net.eval()


@torch.no_grad()
def test_folding_batch_norm_changes_nothing(net: EmotionNet, windows: torch.Tensor) -> None:
    tensors = fold(net)
    x = windows.transpose(1, 2)
    y = torch.relu(
        torch.nn.functional.conv1d(x, tensors["alfb.0.weight"], tensors["alfb.0.bias"], padding=2)
    )
    block = net.local[0]
    expected = torch.relu(block.norm(block.conv(x)))  # type: ignore[operator]
    assert torch.allclose(y, expected, atol=1e-4)


@torch.no_grad()
def test_the_calibrated_network_is_close_to_the_float_one(
    net: EmotionNet, windows: torch.Tensor
) -> None:
    quantised = QuantizedEmotionNet(CONFIG, fold(net)).eval()
    quantised.calibrate([windows])
    expected = net(windows)
    error = (quantised(windows) - expected).square().mean().sqrt()
    assert error < 0.1 * expected.std()


@torch.no_grad()
def test_every_activation_lies_on_its_grid(net: EmotionNet, windows: torch.Tensor) -> None:
    quantised = QuantizedEmotionNet(CONFIG, fold(net)).eval()
    quantised.calibrate([windows])
    seen: dict[str, torch.Tensor] = {}
    for name in activations(CONFIG):
        quantizer = quantised.quantizer(name)
        quantizer.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    quantised(windows)
    assert set(seen) == set(activations(CONFIG))
    for name, value in seen.items():
        quantizer = quantised.quantizer(name)
        steps = value / quantizer.scale + int(quantizer.zero_point)
        assert torch.allclose(steps, steps.round(), atol=1e-3), name
        assert steps.min() > QMIN - 0.01 and steps.max() < QMAX + 0.01, name


def test_the_export_describes_the_network_exactly(net: EmotionNet, windows: torch.Tensor) -> None:
    """Also after training steps: what is written is what was trained."""
    quantised = QuantizedEmotionNet(CONFIG, fold(net))
    quantised.calibrate([windows])
    optimizer = torch.optim.SGD(quantised.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        quantised(windows).square().mean().backward()
        optimizer.step()
    quantised.eval()
    exported = quantised.export()
    assert exported["alfb.0.weight"].dtype == torch.int8
    assert exported["gfb.forward.bias"].dtype == torch.int32
    again = QuantizedEmotionNet.from_export(CONFIG, exported).eval()
    with torch.no_grad():
        assert torch.equal(quantised(windows), again(windows))


def test_an_lstm_trained_on_one_scale_a_gate_is_written_so(
    net: EmotionNet, windows: torch.Tensor
) -> None:
    """Kernels of microcontrollers have no other; and it is still the network that was trained."""
    config = replace(CONFIG, lstm_scales=GATE)
    quantised = QuantizedEmotionNet(config, fold(net)).eval()
    quantised.calibrate([windows])
    exported = quantised.export()
    for direction in DIRECTIONS:
        for part in ("input", "recurrent"):
            name = f"gfb.{direction}.{part}"
            scales = exported[f"{name}_scale"].reshape(4, -1)
            largest = exported[name].abs().reshape(4, -1).amax(dim=1)
            assert torch.equal(scales, scales[:, :1].expand_as(scales))
            assert largest.tolist() == [127] * 4
    again = QuantizedEmotionNet.from_export(config, exported).eval()
    with torch.no_grad():
        assert torch.equal(quantised(windows), again(windows))


def test_all_weights_and_scales_are_trained(net: EmotionNet, windows: torch.Tensor) -> None:
    quantised = QuantizedEmotionNet(CONFIG, fold(net))
    quantised.calibrate([windows])
    quantised(windows).square().mean().backward()
    idle = [
        name
        for name, parameter in quantised.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert idle == []


@pytest.mark.parametrize("kind", ["positive", "symmetric", "affine"])
def test_learned_scales_move_to_where_the_error_is_smaller(kind: str) -> None:
    """LSQ's gradient: from a scale far too large or too small, descent lowers the error."""
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(1))
    values = values.abs() if kind == "positive" else values
    quantizer = Quantizer(kind)
    quantizer.start_calibration()
    quantizer(values)
    quantizer.finish_calibration()
    good = quantizer.scale.item()
    for start in (good / 4, good * 8):
        quantizer.scale.data.fill_(start)
        optimizer = torch.optim.Adam([quantizer.scale], lr=good / 20)
        first = (quantizer(values) - values).square().mean().item()
        for _ in range(300):
            optimizer.zero_grad()
            loss = (quantizer(values) - values).square().mean()
            loss.backward()
            optimizer.step()
        assert loss.item() < 0.5 * first
