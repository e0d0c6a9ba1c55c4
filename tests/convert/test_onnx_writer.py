"""The ONNX files, executed by onnxruntime, against the numpy reference; and what is in them."""

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from convert.architecture import SIZES
from convert.build import build_graph
from convert.channel_groups import banded
from convert.checkpoint import Checkpoint
from convert.graph import (
    BiLstm,
    ChannelConv,
    Conv1d,
    Dequantize,
    Graph,
    Grid,
    MaxPool,
    Value,
    weights_of,
)
from convert.onnx_writer import write_onnx
from convert.pipeline import contract_of
from convert.reference import run
from convert.scheme import SMALLEST_ACTIVATION_SCALE
from firmware_host import engines
from firmware_host.contract import METADATA_KEY
from firmware_host.engines import load_engine

CheckpointOf = Callable[..., Checkpoint]
Windows = NDArray[np.float32]

ARCHITECTURES: list[dict[str, object]] = [
    {},
    {"use_eca": False},
    {"use_gfb": False},
    {"use_alfb": False},
    {"channels": (16, 24), "kernels": (3, 7), "pools": (4, 4), "lstm_hidden": 8},
    {"channels": (12, 20), "kernels": (3, 3), "pools": (4, 4)},  # no whole groups of eight
]
LSTM_STEPS = 5
"""How far logits may lie from the integer reference where onnxruntime quantises an LSTM its own
way, in steps of the output's grid; the largest seen was 4."""

NEAR_TIE_STEPS = 3
"""Between the best two logits: less than that, and two right implementations may differ."""

SAME_LABELS = 0.97
STEP_SLACK = 1e-3  # a logit divided by its step is an integer only nearly
TRAINED_CONV_SCALE = 0.01  # of the last convolution of a trained network, about
CONTRACT_BYTES = 6000
FLOAT_PRODUCTS = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "LSTM"}
KILOBYTE = 1024
SHIFTED_ZERO_POINTS = {
    ("", "QLinearConv"): (5,),
    ("com.microsoft", "QGemm"): (5,),
    ("com.microsoft", "DynamicQuantizeLSTM"): (9, 11),
}
"""Operators whose weights `session.x64quantprecision` shifts, and where their zero points are."""


@pytest.fixture(scope="module")
def windows() -> Windows:
    """Random windows that differ as speech does: by loudness, by colour, and frame by frame.

    Shape: (60, 320, 64)
    """
    random = np.random.default_rng(3)
    frames = random.normal(size=(60, 320, 64)) * random.uniform(0.3, 1.7, size=(60, 1, 1))
    return np.asarray(frames + random.normal(size=(60, 1, 64)), np.float32)


@pytest.fixture(scope="module", params=ARCHITECTURES, ids=str)
def trained(request: pytest.FixtureRequest, checkpoint_of: CheckpointOf) -> Checkpoint:
    """A checkpoint of each architecture."""
    return checkpoint_of(**request.param)


@pytest.fixture(scope="module")
def int8_graph(trained: Checkpoint) -> Graph:
    """Its quantised graph."""
    return build_graph(trained, quantised=True)


def test_the_float_file_computes_what_the_float_reference_does(
    trained: Checkpoint, windows: Windows
) -> None:
    graph = build_graph(trained, quantised=False)
    data = write_onnx(graph, None)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    differences = infer(data, windows[:8]) - reference(graph, windows[:8])
    assert np.abs(differences).max() < 1e-4


def test_the_int8_file_computes_what_the_integer_reference_does(
    int8_graph: Graph, windows: Windows
) -> None:
    """Within a step; with an LSTM, whose activations are not on fixed grids, within a few.

    Labels are compared where the reference decides on one: an untrained network's best two
    logits often lie nearer to each other than the file's may lie to the reference's.
    """
    data, step = write_onnx(int8_graph, None), output_step(int8_graph)
    expected = reference(int8_graph, windows) / step
    logits = infer(data, windows) / step
    has_lstm = any(isinstance(operator, BiLstm) for operator in int8_graph.operators)
    assert np.abs(logits - expected).max() <= (LSTM_STEPS if has_lstm else 1) + STEP_SLACK
    second, best = np.sort(expected, axis=1)[:, -2:].T
    decided = best - second > (NEAR_TIE_STEPS if has_lstm else 1) + STEP_SLACK
    assert decided.mean() >= 0.5, "labels of too few windows are compared"
    same = logits.argmax(axis=1) == expected.argmax(axis=1)
    assert same[decided].mean() >= SAME_LABELS
    if not engines._saturates():  # where it does, computing exactly is itself an optimisation
        as_written = infer(data, windows[:8], optimised=False) / step
        assert np.abs(as_written - logits[:8]).max() <= 1 + STEP_SLACK


def test_a_mean_whose_learned_scale_collapsed_is_computed_all_the_same(
    checkpoint_of: CheckpointOf, windows: Windows
) -> None:
    """onnxruntime's integer kernel refuses such grids; training comes to them now and then."""
    trained = checkpoint_of(use_gfb=False)
    last = f"activation.alfb.{len(trained.model.channels) - 1}"
    scales = {"conv": TRAINED_CONV_SCALE, "mean": SMALLEST_ACTIVATION_SCALE}
    changed = {f"{last}.{n}.scale": np.array([s], np.float32) for n, s in scales.items()}
    collapsed = replace(trained, qat_tensors={**trained.qat_tensors, **changed})
    graph = build_graph(collapsed, quantised=True)
    data, step = write_onnx(graph, None), output_step(graph)
    kinds = [node.op_type for node in onnx.load_from_string(data).graph.node]
    assert kinds.count("ReduceMean") == 1, "one mean of the network is taken in float"
    expected = reference(graph, windows[:8]) / step
    for optimised in (True, False):
        if optimised or not engines._saturates():
            logits = infer(data, windows[:8], optimised=optimised) / step
            assert np.abs(logits - expected).max() <= 1 + STEP_SLACK


def test_the_int8_file_holds_the_graphs_weights_and_scales_bit_for_bit(
    checkpoint: Checkpoint,
) -> None:
    """Nothing is quantised again, or for a second time, on the way into the file."""
    graph = build_graph(checkpoint, quantised=True)
    constants = constants_of(write_onnx(graph, None))
    for operator in graph.operators:
        if isinstance(operator, BiLstm):
            check_lstm(operator, constants)
            continue
        for name, weight in weights_of(operator):
            if isinstance(operator, ChannelConv):
                weight = banded(weight)  # noqa: PLW2901
                weight = replace(weight, values=np.moveaxis(weight.values, 2, 1))  # noqa: PLW2901
            assert weight.scale is not None
            assert_same(constants[f"{name}.w"].ravel(), weight.values.ravel())
            assert_same(constants[f"{name}.ws"], weight.scale)
            if weight.bias is not None:
                assert_same(constants[f"{name}.b"], weight.bias)
    scales = {
        np.float32(operator.out.grid.scale).tobytes()
        for operator in graph.operators
        if operator.out.grid
    }
    written = {value.tobytes() for name, value in constants.items() if value.shape == ()}
    assert scales <= written


def check_lstm(operator: BiLstm, constants: dict[str, NDArray[Any]]) -> None:
    """Both directions, gates in ONNX's order where they are in one tensor."""
    name, hidden = operator.out.name, operator.hidden
    rows = {gate: slice(i * hidden, (i + 1) * hidden) for i, gate in enumerate("ifco")}
    for index, direction in enumerate((operator.forward, operator.backward)):
        assert direction.input.scale is not None and direction.recurrent.scale is not None
        assert direction.input.bias is not None
        for gate, part in rows.items():
            place = slice(*(np.array([0, hidden]) + "iofc".index(gate) * hidden))
            for key, weight in (("w", direction.input), ("r", direction.recurrent)):
                values = constants[f"{name}.{key}"][index][:, place].T
                assert_same(values, weight.values[part])
            assert_same(constants[f"{name}.ws.{gate}"][index], direction.input.scale[part])
            assert_same(constants[f"{name}.rs.{gate}"][index], direction.recurrent.scale[part])
            assert_same(constants[f"{name}.b.{gate}"][index], direction.input.bias[part])


def test_every_larger_constant_of_the_int8_file_is_int8(int8_graph: Graph) -> None:
    check_larger_constants(int8_graph)


def test_every_larger_constant_of_a_larger_int8_file_is_int8(checkpoint_of: CheckpointOf) -> None:
    """Rows of scales grow with the network; none may come to look like a float weight."""
    check_larger_constants(build_graph(checkpoint_of(**SIZES["base"]), quantised=True))


def check_larger_constants(graph: Graph) -> None:
    """What is over a kilobyte in the file must be int8."""
    for name, values in constants_of(write_onnx(graph, None)).items():
        assert values.nbytes <= KILOBYTE or values.dtype.itemsize == 1, name


def test_onnxruntime_can_shift_every_weight_for_x86_without_vnni(int8_graph: Graph) -> None:
    """Only in these operators does it; and a zero point that two weights share stops it."""
    nodes = onnx.load_from_string(write_onnx(int8_graph, None)).graph.node
    zero_points = []
    for node in nodes:
        places = SHIFTED_ZERO_POINTS.get((node.domain, node.op_type))
        assert places or not any(name.endswith((".w", ".r")) for name in node.input), node.op_type
        zero_points += [node.input[place] for place in places or ()]
    assert zero_points
    assert len(zero_points) == len(set(zero_points))


def test_the_int8_file_multiplies_no_matrices_in_float(int8_graph: Graph, tmp_path: Path) -> None:
    """Neither as written nor after onnxruntime's optimiser has rewritten it."""
    data = write_onnx(int8_graph, None)
    path = tmp_path / "optimised.onnx"
    session(data, save_to=path)
    for model in (onnx.load_from_string(data), onnx.load(path)):
        kinds = {node.op_type for node in model.graph.node}
        assert not kinds & FLOAT_PRODUCTS
        assert "QGemm" in kinds


def test_the_int8_file_is_much_smaller_than_the_float_file(checkpoint: Checkpoint) -> None:
    """With the contract in both, which does not shrink."""
    contract = "x" * CONTRACT_BYTES
    sizes = [len(write_onnx(build_graph(checkpoint, q), contract)) for q in (False, True)]
    assert sizes[1] <= 0.30 * sizes[0]


@pytest.mark.parametrize("quantised", [False, True], ids=["float", "int8"])
def test_the_same_graph_gives_the_same_bytes(quantised: bool, checkpoint: Checkpoint) -> None:
    first, second = (write_onnx(build_graph(checkpoint, quantised), "{}") for _ in range(2))
    assert first == second


@pytest.mark.parametrize("quantised", [False, True], ids=["float", "int8"])
def test_the_ends_of_a_file_are_what_the_runtime_expects(
    quantised: bool, checkpoint: Checkpoint
) -> None:
    opened = session(write_onnx(build_graph(checkpoint, quantised), '{"a":1}'))
    (source,), (sink,) = opened.get_inputs(), opened.get_outputs()
    assert (source.name, source.type, source.shape) == ("features", "tensor(float)", [1, 320, 64])
    assert (sink.name, sink.type, sink.shape) == ("logits", "tensor(float)", [1, 7])
    assert opened.get_modelmeta().custom_metadata_map == {METADATA_KEY: '{"a":1}'}


@pytest.mark.parametrize("quantised", [False, True], ids=["float", "int8"])
def test_an_lstm_read_by_anything_but_a_mean_is_refused(
    quantised: bool, checkpoint: Checkpoint
) -> None:
    """The graph's backward rows are in reversed order of time, ONNX's are not."""
    graph = build_graph(checkpoint, quantised)
    lstm = next(operator for operator in graph.operators if isinstance(operator, BiLstm))
    pool = MaxPool(lstm.out, Value("pooled", (10, lstm.out.shape[1]), lstm.out.grid), 2)
    for broken in (
        replace(graph, operators=(*graph.operators, pool)),
        replace(graph, outputs=(lstm.out,)),
    ):
        with pytest.raises(ValueError, match="reversed order of time"):
            write_onnx(broken, None)


def test_a_relu_whose_grid_reaches_below_zero_is_refused(checkpoint: Checkpoint) -> None:
    """The integer operators have no ReLU: they clamp to the grid's lower end."""
    graph = build_graph(checkpoint, quantised=True)
    operators = list(graph.operators)
    place, conv = next((i, o) for i, o in enumerate(operators) if isinstance(o, Conv1d))
    operators[place] = replace(conv, out=replace(conv.out, grid=Grid(0.1, 0)))
    with pytest.raises(ValueError, match="does not begin at 0"):
        write_onnx(replace(graph, operators=tuple(operators)), None)


def reference(graph: Graph, windows: Windows) -> NDArray[np.float32]:
    """Logits of the numpy reference. Shape: (windows, labels)"""
    return np.stack([run(graph, window) for window in windows])


def infer(data: bytes, windows: Windows, optimised: bool = True) -> NDArray[np.float32]:
    """Logits of onnxruntime. Shape: (windows, labels)"""
    opened = session(data, optimised)
    return np.stack([opened.run(None, {"features": w[None]})[0][0] for w in windows])


def session(
    data: bytes, optimised: bool = True, save_to: Path | None = None
) -> ort.InferenceSession:
    """The file opened by onnxruntime, to compute exactly also on x86 without VNNI."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if save_to is not None:
        options.optimized_model_filepath = str(save_to)
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def constants_of(data: bytes) -> dict[str, NDArray[Any]]:
    """Every initializer, read back from the file."""
    tensors = onnx.load_from_string(data).graph.initializer
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}


def output_step(graph: Graph) -> float:
    """The step of the logits' grid."""
    last = graph.operators[-1]
    assert isinstance(last, Dequantize) and last.x.grid
    return last.x.grid.scale


def assert_same(left: NDArray[Any], right: NDArray[Any]) -> None:
    """The same type, shape and bits."""
    assert (left.dtype, left.shape) == (right.dtype, right.shape)
    assert left.tobytes() == right.tobytes()


def test_the_runtime_is_exact_on_x86_without_vnni(
    checkpoint: Checkpoint,
    windows: Windows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There onnxruntime's fast products saturate; what the runtime asks for instead must fit.

    Whether the runtime asks is decided by the CPU's flags; here they say that VNNI is lacking.
    """
    path = tmp_path / "model.int8.onnx"
    graph = build_graph(checkpoint, quantised=True)
    path.write_bytes(write_onnx(graph, contract_of(checkpoint, graph).to_json()))
    usual = load_engine(path)
    flags = tmp_path / "cpuinfo"
    flags.write_text("flags\t\t: fpu sse2 avx2 fma\n")
    monkeypatch.setattr(engines, "CPU_INFO", flags)
    exact = load_engine(path)
    step = output_step(graph)
    for window in windows[:10]:
        assert np.abs(exact.infer(window) - usual.infer(window)).max() <= (LSTM_STEPS + 0.01) * step
    assert engines._saturates() == (platform.machine() in ("x86_64", "AMD64"))
