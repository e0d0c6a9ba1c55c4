"""Quantization-aware training: the network with the arithmetic that the INT8 files carry out.

Batch norm is folded first, so that the weights trained here are the weights deployed.
Weights are int8, symmetric, per output channel; activations int8, affine, per tensor, with
learned scales (LSQ, arXiv 1902.08153); biases int32. The LSTM's two matrix products give
int8 gate pre-activations on one shared scale, so that adding them is an integer addition;
all four gates pass one int8 sigmoid, tanh(x) as 2 sigmoid(2x) - 1 with the candidate's rows
doubled; the cell stays in float32; the hidden state is int8 at 1/128.

That is what is trained. The kernels of microcontrollers compute the LSTM in 16 bits, which is
finer: a trained network can be simulated so too (`from_export` with the target `micro`).
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from convert.architecture import (
    DIRECTIONS,
    GATE,
    ModelConfig,
    activations,
    biased_weight,
    input_grid,
)
from convert.build import cell_exponent
from convert.calibration import VALUES_KEPT, Observer
from convert.fixed_point import INT16_MAX, INT16_MIN
from convert.graph import Grid
from convert.micro_reference import GATE_EXPONENT
from convert.quantization import quantise_network
from convert.reference import double_candidate
from convert.scheme import (
    INT32_MAX,
    INT32_MIN,
    QMAX,
    QMIN,
    SIGMOID_SCALE,
    SMALLEST_ACTIVATION_SCALE,
    SMALLEST_WEIGHT_SCALE,
    STATE_SCALE,
    WEIGHT_QMAX,
)
from convert.targets import MICRO, PI
from edge_ser.model import Alfb, EmotionNet

CALIBRATION_PORTIONS = 16  # an activation is seen in so many portions, or more, while calibrating


def fold(model: EmotionNet) -> dict[str, Tensor]:
    """Tensors of the deployed float network: batch norm inside the convolutions.

    Returns:
        `alfb.I.weight` (out, in, kernel), `alfb.I.bias` (out,), `alfb.I.eca` (kernel,),
        `gfb.{forward,backward}.{input,recurrent}` (4 * hidden, in) in torch's gate order,
        `gfb.{forward,backward}.bias` (4 * hidden,), `hidden.*`, `output.*`; all float32.
    """
    tensors: dict[str, Tensor] = {}
    state = {name: value.detach().float() for name, value in model.state_dict().items()}
    if model.config.use_alfb:
        for index, block in enumerate(model.local):
            assert isinstance(block, Alfb)
            part = f"local.{index}"
            variance, mean = state[f"{part}.norm.running_var"], state[f"{part}.norm.running_mean"]
            scale = state[f"{part}.norm.weight"] / torch.sqrt(variance + block.norm.eps)
            weight = state[f"{part}.conv.weight"]
            tensors[f"alfb.{index}.weight"] = weight * scale[:, None, None]
            tensors[f"alfb.{index}.bias"] = state[f"{part}.norm.bias"] - mean * scale
            if model.config.use_eca:
                tensors[f"alfb.{index}.eca"] = state[f"{part}.eca.conv.weight"].reshape(-1)
    if model.config.use_gfb:
        for direction, suffix in (("forward", ""), ("backward", "_reverse")):
            lstm = f"gfb.lstm.{{}}_l0{suffix}"
            tensors[f"gfb.{direction}.input"] = state[lstm.format("weight_ih")]
            tensors[f"gfb.{direction}.recurrent"] = state[lstm.format("weight_hh")]
            tensors[f"gfb.{direction}.bias"] = (
                state[lstm.format("bias_ih")] + state[lstm.format("bias_hh")]
            )
    for layer in ("hidden", "output"):
        for part in ("weight", "bias"):
            tensors[f"{layer}.{part}"] = state[f"{layer}.{part}"]
    return {name: tensor.clone().contiguous() for name, tensor in tensors.items()}


class _LearnedQuantization(torch.autograd.Function):
    """Rounds to an int8 grid; gradients by LSQ (arXiv 1902.08153, equations 3 to 5)."""

    @staticmethod
    def forward(ctx, x, scale, zero_point, gradient_scale):  # type: ignore[no-untyped-def]
        low, high = QMIN - zero_point, QMAX - zero_point
        steps = x / scale
        rounded = torch.round(steps).clamp_(low, high)
        ctx.save_for_backward(steps, rounded)
        ctx.range, ctx.gradient_scale = (low, high), gradient_scale
        return rounded * scale

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        steps, rounded = ctx.saved_tensors
        low, high = ctx.range
        inside = (steps >= low) & (steps <= high)
        by_scale = torch.where(inside, rounded - steps, rounded)
        return gradient * inside, (gradient * by_scale).sum() * ctx.gradient_scale, None, None


class _Round(torch.autograd.Function):
    """Rounds to multiples of `step`, clamped; the gradient passes straight through."""

    @staticmethod
    def forward(ctx, x, step, low, high):  # type: ignore[no-untyped-def]
        return torch.round(x / step).clamp_(low, high) * step

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return gradient, None, None, None


def _round(x: Tensor, step: Tensor | float, low: int, high: int) -> Tensor:
    out: Tensor = _Round.apply(x, step, low, high)  # type: ignore[no-untyped-call]
    return out


class Quantizer(nn.Module):
    """An activation's int8 grid: a learned scale and a zero point fixed at calibration.

    Args:
        kind: "positive" (after ReLU: zero point -128), "symmetric" (zero point 0) or "affine".
    """

    scale: nn.Parameter
    zero_point: Tensor

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("zero_point", torch.tensor(QMIN if kind == "positive" else 0))
        self._observer: Observer | None = None

    @property
    def positive_scale(self) -> Tensor:
        return self.scale.clamp(min=SMALLEST_ACTIVATION_SCALE)

    @property
    def grid(self) -> Grid:
        """The grid as it stands."""
        return Grid(float(self.positive_scale.detach()), int(self.zero_point))

    def forward(self, x: Tensor) -> Tensor:
        if self._observer is not None:
            self._observer.see(x.detach().cpu().numpy())
            return x.clamp(min=0) if self.kind == "positive" else x
        gradient_scale = (x.numel() * QMAX) ** -0.5
        out: Tensor = _LearnedQuantization.apply(  # type: ignore[no-untyped-call]
            x, self.positive_scale, int(self.zero_point), gradient_scale
        )
        return out

    def saturate(self, x: Tensor) -> Tensor:
        """Clamp a sum of values on the grid to its ends, as int8 addition does."""
        if self._observer is not None:
            out: Tensor = self(x)
            return out
        low, high = QMIN - int(self.zero_point), QMAX - int(self.zero_point)
        return torch.clamp(x, low * self.positive_scale, high * self.positive_scale)

    def start_calibration(self) -> None:
        """Until `finish_calibration`, let values through and remember some of them."""
        self._observer = Observer(self.kind, VALUES_KEPT // CALIBRATION_PORTIONS)

    def finish_calibration(self) -> None:
        """Choose the grid with the least squared error on the remembered values."""
        assert self._observer is not None, "a quantizer was not being calibrated"
        grid, self._observer = self._observer.grid(), None
        self.scale.data.fill_(grid.scale)
        self.zero_point.fill_(grid.zero_point)


def weight_scale(weight: Tensor, rows_a_scale: int = 1) -> Tensor:
    """Scale of each output channel (first axis), as `convert.quantization` writes it down."""
    largest = weight.detach().abs().reshape(len(weight) // rows_a_scale, -1).amax(dim=1)
    scale = (largest / WEIGHT_QMAX).clamp(min=SMALLEST_WEIGHT_SCALE)
    return scale.repeat_interleave(rows_a_scale)


class QuantizedEmotionNet(nn.Module):
    """The folded network on int8 grids; starts from `fold(model)`.

    Shape:
        - input: (batch, frames, n_features), float32
        - output: (batch, n_labels), float32, on the grid of the logits
    """

    def __init__(
        self,
        config: ModelConfig,
        tensors: Mapping[str, Tensor],
        dropout: float = 0.0,
        target: str = PI,
    ) -> None:
        super().__init__()
        self.config, self.target = config, target
        self.names = tuple(tensors)
        self.dropout = nn.Dropout(dropout)
        # Parameter names may not hold dots: the tensors are kept under `a/b/c`.
        self.weights = nn.ParameterDict(
            {name.replace(".", "/"): nn.Parameter(t.clone()) for name, t in tensors.items()}
        )
        self.quantizers = nn.ModuleDict(
            {name.replace(".", "/"): Quantizer(kind) for name, kind in activations(config).items()}
        )

    def weight(self, name: str) -> Tensor:
        """The trained (not yet rounded) tensor of that name in `fold`."""
        out: Tensor = self.weights[name.replace(".", "/")]
        return out

    def quantizer(self, name: str) -> Quantizer:
        """The grid of that activation, by its name in `activations`."""
        out = self.quantizers[name.replace(".", "/")]
        assert isinstance(out, Quantizer)
        return out

    def calibrate(self, batches: list[Tensor]) -> None:
        """Set every grid from what the float network computes on these inputs."""
        quantizers = [q for q in self.quantizers.values() if isinstance(q, Quantizer)]
        for quantizer in quantizers:
            quantizer.start_calibration()
        with torch.no_grad():
            for batch in batches:
                self(batch)
        for quantizer in quantizers:
            quantizer.finish_calibration()

    def forward(self, features: Tensor) -> Tensor:
        config = self.config
        x, x_grid = self._grid("input", features.transpose(1, 2))
        if config.use_alfb:
            for index, (kernel, pool) in enumerate(zip(config.kernels, config.pools, strict=True)):
                name = f"alfb.{index}"
                weight, bias = self._rounded(name, x_grid)
                y = functional.conv1d(x, weight, bias, padding=kernel // 2)
                y, y_grid = self._grid(f"{name}.conv", y)
                x = functional.max_pool1d(y, pool)
                x_grid = y_grid
                if config.use_eca:
                    x, x_grid = self._grid(f"{name}.out", x * self._attention(name, y))
        else:
            for pool in config.pools:
                x = functional.max_pool1d(x, pool)
        means = [x.mean(dim=2)] if config.use_alfb else []
        if config.use_gfb:
            lstm = self._fused_lstm if self.target == MICRO else self._lstm
            means.append(lstm(x.transpose(1, 2), x_grid).mean(dim=1))
        fused, grid = self._grid("fusion", torch.cat(means, dim=1))
        hidden = self._dense("hidden", self.dropout(fused), grid)
        hidden, grid = self._grid("hidden", hidden)
        logits, _ = self._grid("logits", self._dense("output", self.dropout(hidden), grid))
        return logits

    def _grid(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """The activation on its grid, and the grid's scale."""
        quantizer = self.quantizer(name)
        return quantizer(x), quantizer.positive_scale

    def _rounded(
        self, name: str, input_scale: Tensor, weight: str = "weight"
    ) -> tuple[Tensor, Tensor]:
        """A weight on its int8 grid and its bias on the int32 grid of the accumulator."""
        rounded, scale = self._round_weight(f"{name}.{weight}")
        accumulator = scale * input_scale.detach()
        bias = _round(self.weight(f"{name}.bias"), accumulator, INT32_MIN, INT32_MAX)
        return rounded, bias

    def _round_weight(self, name: str) -> tuple[Tensor, Tensor]:
        return _round_weight(self.weight(name), self.config.rows_a_scale(name))

    def _dense(self, name: str, x: Tensor, input_scale: Tensor) -> Tensor:
        weight, bias = self._rounded(name, input_scale)
        return functional.linear(x, weight, bias)

    def _attention(self, name: str, y: Tensor) -> Tensor:
        """ECA's weights of the channels. Shape: (batch, channels, time) to (batch, channels, 1)."""
        mean, _ = self._grid(f"{name}.mean", y.mean(dim=2))
        kernel, _ = _round_weight(self.weight(f"{name}.eca")[None, None, :])
        padding = kernel.shape[2] // 2
        scores = functional.conv1d(mean[:, None, :], kernel, padding=padding)[:, 0, :]
        scores, _ = self._grid(f"{name}.score", scores)
        return _sigmoid(scores)[:, :, None]

    def _lstm(self, x: Tensor, x_scale: Tensor) -> Tensor:
        """Hidden states of both directions, each in its own order of time.

        Only their mean is used, so the backward direction is left in its reversed order.

        Shape:
            - x: (batch, time, channels)
            - returns: (batch, time, 2 * hidden)
        """
        hidden = self.config.lstm_hidden
        gates = self.quantizer("gfb.gates")
        # The candidate's rows are doubled: tanh(x) = 2 sigmoid(2x) - 1.
        double = torch.from_numpy(double_candidate(None, hidden)).to(x.device)
        from_input, recurrent = [], []
        for direction in DIRECTIONS:
            weight, bias = self._rounded(f"gfb.{direction}", x_scale, "input")
            part = gates(functional.linear(x, weight, bias) * double)
            from_input.append(part if direction == "forward" else part.flip(1))
            weight, _ = self._round_weight(f"gfb.{direction}.recurrent")
            recurrent.append((weight * double[:, None]).T)
        steps = torch.stack(from_input)  # (2, batch, time, 4 * hidden)
        back = torch.stack(recurrent)  # (2, hidden, 4 * hidden)
        h = x.new_zeros(2, x.shape[0], hidden)
        cell = torch.zeros_like(h)
        states = []
        for step in steps.unbind(dim=2):
            total = gates.saturate(step + gates(torch.bmm(h, back)))
            i, f, g, o = _sigmoid(total).chunk(4, dim=2)
            cell = f * cell + i * (2.0 * g - 1.0)
            h = _round(o * torch.tanh(cell), STATE_SCALE, QMIN, QMAX)
            states.append(h)
        return torch.stack(states, dim=2).permute(1, 2, 0, 3).flatten(2)

    def _fused_lstm(self, x: Tensor, x_scale: Tensor) -> Tensor:
        """As `_lstm`, in 16 bits (see `convert.graph.FusedBiLstm`)."""
        gate_step, cell_step = 2.0**GATE_EXPONENT, 2.0 ** cell_exponent(x.shape[1])
        from_input, recurrent = [], []
        for direction in DIRECTIONS:
            weight, bias = self._rounded(f"gfb.{direction}", x_scale, "input")
            part = _round16(functional.linear(x, weight, bias), gate_step)
            from_input.append(part if direction == "forward" else part.flip(1))
            weight, _ = self._round_weight(f"gfb.{direction}.recurrent")
            recurrent.append(weight.T)
        steps, back = torch.stack(from_input), torch.stack(recurrent)
        h = x.new_zeros(2, x.shape[0], self.config.lstm_hidden)
        cell = torch.zeros_like(h)
        states = []
        for step in steps.unbind(dim=2):
            total = _round16(step + _round16(torch.bmm(h, back), gate_step), gate_step)
            i, f, g, o = total.chunk(4, dim=2)
            kept = _round16(torch.sigmoid(f) * cell, cell_step)
            new = _round16(torch.sigmoid(i) * torch.tanh(g), cell_step)
            cell = _round16(kept + new, cell_step)
            h = _round(torch.sigmoid(o) * torch.tanh(cell), STATE_SCALE, QMIN, QMAX)
            states.append(h)
        return torch.stack(states, dim=2).permute(1, 2, 0, 3).flatten(2)

    def export(self) -> dict[str, Tensor]:
        """What the INT8 files hold: see `convert.quantization.quantise_network`."""
        tensors = {name: self.weight(name).detach().cpu().numpy() for name in self.names}
        grids = {name: self.quantizer(name).grid for name in activations(self.config)}
        exported = quantise_network(self.config, tensors, grids)
        return {name: torch.from_numpy(value) for name, value in exported.items()}

    @classmethod
    def from_export(
        cls, config: ModelConfig, exported: Mapping[str, Tensor], target: str = PI
    ) -> "QuantizedEmotionNet":
        """The network that gives exactly what `export` described.

        Args:
            target: in whose arithmetic, one of `convert.targets.TARGETS`. For `micro` the
                LSTM's weights lie on one scale a gate, as conversion puts them.
        """
        if target == MICRO:
            config = replace(config, lstm_scales=GATE)
        floats: dict[str, Tensor] = {}
        for name, tensor in exported.items():
            if f"{name}_scale" in exported:
                scale = exported[f"{name}_scale"]
                floats[name] = tensor.float() * scale.reshape(-1, *[1] * (tensor.dim() - 1))
        for name, tensor in exported.items():
            if name.endswith(".bias"):
                layer = name.removesuffix(".bias")
                grid = exported[f"activation.{input_grid(config, layer)}.scale"]
                floats[name] = tensor.float() * exported[f"{biased_weight(layer)}_scale"] * grid
        net = cls(config, floats, target=target)
        for name in activations(config):
            quantizer = net.quantizer(name)
            quantizer.scale.data.copy_(exported[f"activation.{name}.scale"][0])
            quantizer.zero_point.copy_(exported[f"activation.{name}.zero_point"][0])
        return net


def _round_weight(weight: Tensor, rows_a_scale: int = 1) -> tuple[Tensor, Tensor]:
    """A weight on its int8 grid, and the scale of each output channel."""
    scale = weight_scale(weight, rows_a_scale)
    steps = scale.reshape(-1, *[1] * (weight.dim() - 1))
    return _round(weight, steps, -WEIGHT_QMAX, WEIGHT_QMAX), scale


def _round16(x: Tensor, step: float) -> Tensor:
    return _round(x, step, INT16_MIN, INT16_MAX)


def _sigmoid(x: Tensor) -> Tensor:
    """Sigmoid on the grid that TFLite fixes: 0 to 255/256 in steps of 1/256."""
    levels = QMAX - QMIN
    return _round(torch.sigmoid(x), SIGMOID_SCALE, 0, levels)
