"""TFLite files in real interpreters, against the reference; and what stands in their bytes."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from convert import portable_reference
from convert.build import build_graph
from convert.channel_groups import SIDE_BY_SIDE, banded
from convert.checkpoint import Checkpoint
from convert.graph import (
    BiLstm,
    ChannelConv,
    Dequantize,
    Graph,
    Value,
    Weight,
    weights_of,
)
from convert.reference import double_candidate, run
from convert.tflite_writer import write_tflite

ARCHITECTURES: list[dict[str, object]] = [
    {},
    {"use_eca": False},
    {"use_gfb": False},
    {"use_alfb": False},
    {"channels": (16, 24), "kernels": (3, 7), "pools": (4, 4), "lstm_hidden": 8},
    {"pools": (8, 8, 5)},  # an LSTM of one step
    {"channels": (8, 10, 12), "kernels": (1, 3, 9), "pools": (1, 4, 3)},
]
XNNPACK = OpResolverType.AUTO
REFERENCE_KERNELS = OpResolverType.BUILTIN_REF
REFERENCES = {XNNPACK: (run, 2.0), REFERENCE_KERNELS: (portable_reference.run, 0.0)}
"""What int8 logits are held against, and how far off they may be in steps of their grid.

XNNPACK rounds as the reference does, but for float32 in place of float64. The reference
kernels round twice in fixed point: of that there is a reference of its own.
"""
LARGEST_FLOAT = 1024  # bytes


def interpret(
    data: bytes, windows: NDArray[np.float32], kernels: OpResolverType = XNNPACK
) -> NDArray[np.float32]:
    """Logits of each window. Shape: (n, window, n_features) to (n, ...)."""
    interpreter = Interpreter(
        model_content=data, num_threads=1, experimental_op_resolver_type=kernels
    )
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for window in windows:
        interpreter.set_tensor(source["index"], window[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(result["index"])[0])
    return np.stack(rows)


def noise(n_windows: int, seed: int = 3) -> NDArray[np.float32]:
    """Windows of different loudness."""
    rng = np.random.default_rng(seed)
    loudness = np.linspace(0.5, 1.5, n_windows)[:, None, None]
    return (rng.normal(size=(n_windows, 320, 64)) * loudness).astype(np.float32)


def test_the_two_references_differ_by_rounding_only(checkpoint: Checkpoint) -> None:
    """The portable kernels' is another statement of the same network, not another network."""
    graph, windows = build_graph(checkpoint, quantised=True), noise(6)
    expected = np.stack([run(graph, window) for window in windows])
    found = np.stack([portable_reference.run(graph, window) for window in windows])
    off = np.abs(found - expected).max() / output_step(graph)
    assert 0.5 < off < 4.5


def output_step(graph: Graph) -> float:
    last = graph.operators[-1]
    assert isinstance(last, Dequantize) and last.x.grid
    return last.x.grid.scale


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_every_architecture_computes_what_the_reference_does(
    architecture: dict[str, object], checkpoint_of: Callable[..., Checkpoint]
) -> None:
    checkpoint, windows = checkpoint_of(**architecture), noise(4)
    for quantised in (False, True):
        graph = build_graph(checkpoint, quantised)
        data = write_tflite(graph)
        for kernels, (reference, steps) in REFERENCES.items():
            compute = reference if quantised else run
            expected = np.stack([compute(graph, window) for window in windows])
            found = interpret(data, windows, kernels)
            assert found.shape == expected.shape
            allowed = (steps + 0.01) * output_step(graph) if quantised else 1e-4
            assert np.abs(found - expected).max() <= allowed, (quantised, kernels)


@pytest.mark.parametrize("quantised", [False, True])
def test_the_lstms_rows_are_in_the_order_that_the_graph_defines(
    quantised: bool, checkpoint: Checkpoint
) -> None:
    """A mean over time, as it follows in our networks, would hide a wrong order."""
    whole = build_graph(checkpoint, quantised)
    index = next(i for i, op in enumerate(whole.operators) if isinstance(op, BiLstm))
    operators, last = whole.operators[: index + 1], whole.operators[index].out
    if quantised:
        real = Value("states", last.shape, None)
        operators, last = (*operators, Dequantize(last, real)), real
    graph, windows = replace(whole, operators=operators, outputs=(last,)), noise(2)
    expected = np.stack([run(graph, window) for window in windows])
    step = output_step(graph) if quantised else 1e-5
    assert np.ptp(expected, axis=1).max() > 4 * step  # rows differ
    assert np.abs(interpret(write_tflite(graph), windows) - expected).max() <= 2.01 * step


@pytest.mark.parametrize("quantised", [False, True])
def test_the_ends_are_one_window_and_its_logits(quantised: bool, checkpoint: Checkpoint) -> None:
    interpreter = Interpreter(model_content=write_tflite(build_graph(checkpoint, quantised)))
    for details, name, shape in (
        (interpreter.get_input_details(), "features", (1, 320, 64)),
        (interpreter.get_output_details(), "logits", (1, 7)),
    ):
        assert len(details) == 1
        assert details[0]["name"] == name
        assert tuple(details[0]["shape"]) == shape
        assert details[0]["dtype"] is np.float32


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("use_gfb", [False, True])
def test_xnnpack_takes_everything_in_one_piece(
    quantised: bool, use_gfb: bool, checkpoint_of: Callable[..., Checkpoint]
) -> None:
    """What it left would be slow, and each border around it costs as much as an operator."""
    data = write_tflite(build_graph(checkpoint_of(use_gfb=use_gfb), quantised))
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    nodes = interpreter._get_ops_details()
    (delegate,) = [node for node in nodes if node["op_name"] == "DELEGATE"]
    ends = interpreter.get_input_details() + interpreter.get_output_details()
    assert {end["index"] for end in ends} <= {*delegate["inputs"], *delegate["outputs"]}
    assert len(delegate["outputs"]) == 1


def model_of(graph: Graph) -> Any:
    return schema.Model.GetRootAs(write_tflite(graph), 0)


def tensors_of(model: Any) -> Iterator[tuple[str, Any]]:
    graph = model.Subgraphs(0)
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        yield (tensor.Name() or b"").decode(), tensor


def written_weights(graph: Graph) -> Iterator[tuple[str, Weight, float]]:
    """Every weight of the graph as a file has it, with its input's scale."""
    for operator in graph.operators:
        for name, weight in weights_of(operator):
            scale = weight.scale
            x = operator.out if name.endswith("recurrent") else operator.x  # type: ignore[union-attr]
            if isinstance(operator, ChannelConv):
                kernel = banded(weight)
                weight = replace(kernel, values=np.moveaxis(kernel.values, 1, 2))  # noqa: PLW2901
                scale = weight.scale
            if isinstance(operator, BiLstm):
                scale = double_candidate(weight.scale, operator.hidden)
            assert x.grid
            yield name, replace(weight, scale=scale), x.grid.scale


def test_weights_biases_and_scales_are_the_graphs_bit_for_bit(checkpoint: Checkpoint) -> None:
    graph = build_graph(checkpoint, quantised=True)
    model = model_of(graph)
    tensors = dict(tensors_of(model))

    def data(tensor: Any, dtype: type[np.generic]) -> NDArray[Any]:
        values: NDArray[np.uint8] = model.Buffers(tensor.Buffer()).DataAsNumpy()
        return values.view(dtype)

    count = 0
    for name, weight, x_scale in written_weights(graph):
        kernel, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        scale = np.asarray(weight.scale, np.float32)
        values = weight.values
        if values.ndim == 3:  # time before channels
            values = np.moveaxis(values, 1, 2)
        assert np.array_equal(data(kernel, np.int8), values.ravel())
        assert np.array_equal(kernel.Quantization().ScaleAsNumpy(), scale)
        assert kernel.Quantization().QuantizedDimension() == 0
        assert not kernel.Quantization().ZeroPointAsNumpy().any()
        expected = np.zeros(len(scale)) if weight.bias is None else weight.bias
        assert np.array_equal(data(bias, np.int32), expected)
        bias_scale = bias.Quantization().ScaleAsNumpy()
        assert np.array_equal(bias_scale, scale * np.float32(x_scale))
        count += 1
    assert count == 12
    for operator in graph.operators:
        if operator.out.grid:
            quantization = tensors[operator.out.name].Quantization()
            assert quantization.Scale(0) == np.float32(operator.out.grid.scale)
            assert quantization.ZeroPoint(0) == operator.out.grid.zero_point


@pytest.mark.parametrize("kernel", [1, 3, 5, 9, 2 * SIDE_BY_SIDE + 1])
def test_attention_in_groups_of_channels_gives_the_same_sums(kernel: int) -> None:
    """To the last bit, at the ends too, where there are no neighbours."""
    rng = np.random.default_rng(kernel)
    taps, means = rng.integers(-127, 128, kernel), rng.integers(-128, 128, 5 * SIDE_BY_SIDE)
    weight = banded(Weight(taps[None].astype(np.int8), np.array([0.5], np.float32), None))
    assert weight.values.shape == (SIDE_BY_SIDE, 3, SIDE_BY_SIDE)
    assert weight.scale is not None and weight.scale.tolist() == [0.5] * SIDE_BY_SIDE
    groups = np.pad(means.reshape(-1, SIDE_BY_SIDE), ((1, 1), (0, 0)))
    read = np.stack([groups[i : i + 3] for i in range(len(groups) - 2)])
    found = np.einsum("gwi,owi->go", read, weight.values.astype(np.int64))
    assert np.array_equal(
        found.ravel(), np.correlate(means, taps, "full")[kernel // 2 :][: len(means)]
    )


def test_no_large_constant_of_the_int8_file_is_float(checkpoint: Checkpoint) -> None:
    model = model_of(build_graph(checkpoint, quantised=True))
    kinds: Counter[int] = Counter()
    for name, tensor in tensors_of(model):
        n_bytes = model.Buffers(tensor.Buffer()).DataLength()
        kinds[tensor.Type()] += n_bytes
        if name.endswith(".weight"):
            assert tensor.Type() == schema.TensorType.INT8
        if n_bytes > LARGEST_FLOAT:
            assert tensor.Type() in (schema.TensorType.INT8, schema.TensorType.INT32), name
    assert kinds[schema.TensorType.INT8] > 0.9 * sum(kinds.values())


def test_the_int8_file_is_a_third_of_the_float_weights(checkpoint: Checkpoint) -> None:
    """Unrolled, the LSTM is hundreds of operators: they must not cost what int8 saves."""
    graph = build_graph(checkpoint, quantised=False)
    float_bytes = sum(
        weight.values.nbytes + (0 if weight.bias is None else weight.bias.nbytes)
        for operator in graph.operators
        for _, weight in weights_of(operator)
    )
    assert len(write_tflite(build_graph(checkpoint, quantised=True))) < 0.32 * float_bytes
    assert len(write_tflite(graph)) < 1.05 * float_bytes


@pytest.mark.parametrize("quantised", [False, True])
def test_the_same_checkpoint_gives_the_same_bytes(quantised: bool, checkpoint: Checkpoint) -> None:
    first, second = (write_tflite(build_graph(checkpoint, quantised)) for _ in range(2))
    assert first == second


def test_constants_lie_on_multiples_of_16_bytes(checkpoint: Checkpoint) -> None:
    """Kernels read them in place; some boards' vector loads need it."""
    data = write_tflite(build_graph(checkpoint, quantised=True))
    assert data[4:8] == b"TFL3"
    model = schema.Model.GetRootAs(data, 0)
    whole, found = np.frombuffer(data, np.uint8), 0
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            address = buffer.DataAsNumpy().__array_interface__["data"][0]
            assert (address - whole.__array_interface__["data"][0]) % 16 == 0
            found += 1
    assert found > 20


def test_both_directions_of_the_lstm_are_told_apart(checkpoint: Checkpoint) -> None:
    """Exchanging them changes the logits, and the file follows the graph."""
    graph = build_graph(checkpoint, quantised=True)
    operators = tuple(
        replace(op, forward=op.backward, backward=op.forward) if isinstance(op, BiLstm) else op
        for op in graph.operators
    )
    exchanged, windows = replace(graph, operators=operators), noise(2)
    expected = np.stack([run(exchanged, window) for window in windows])
    before = np.stack([run(graph, window) for window in windows])
    step = output_step(graph)
    assert np.abs(before - expected).max() > 2 * step
    assert np.abs(interpret(write_tflite(exchanged), windows) - expected).max() <= 2.01 * step
