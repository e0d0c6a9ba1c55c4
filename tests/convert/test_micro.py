"""A microcontroller's file: integers only, operators that it has, and the reference's bits."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from convert.architecture import ROW
from convert.build import build_graph, cell_exponent
from convert.checkpoint import Checkpoint
from convert.graph import FusedBiLstm, Graph, LstmDirection, Weight, weights_of
from convert.inspection import read_contents
from convert.micro_reference import run_all
from convert.onnx_writer import write_onnx
from convert.reference import run, to_grid
from convert.report import check_micro
from convert.targets import MICRO, MICRO_OPERATORS, PI, TARGETS
from convert.tflite_writer import write_tflite
from edge_ser.qat import QuantizedEmotionNet
from firmware_host.errors import EdgeSerError

ARCHITECTURES: list[dict[str, object]] = [
    {},
    {"use_eca": False},
    {"use_gfb": False},
    {"use_alfb": False},
    {"channels": (16, 24), "kernels": (3, 7), "pools": (4, 4), "lstm_hidden": 8},
    {"lstm_scales": ROW},
    {"pools": (8, 8, 5)},  # an LSTM of one step
    {"pools": (1, 2, 2), "channels": (8, 8, 8), "lstm_hidden": 4},  # one of eighty steps
]
FAST_KERNEL_STEPS = 4
"""How far XNNPACK's int8 logits may be: it rounds its products otherwise than these kernels."""

TRAINED_STEPS = {MICRO: 2, PI: 4}
"""How far int8 logits may be from the trained network's, by the arithmetic it is simulated in."""

LSTM_INPUTS = 24
STATES, CELL = (18, 19), 19  # of an LSTM's inputs
PEEPHOLES_PROJECTION_AND_NORMS = [9, 10, 11, 16, 17, 20, 21, 22, 23]

CheckpointOf = Callable[..., Checkpoint]
Int8 = NDArray[np.int8]


def micro_graph(checkpoint: Checkpoint) -> Graph:
    return build_graph(checkpoint, quantised=True, target=MICRO)


def noise(graph: Graph, n_windows: int = 4, seed: int = 3) -> Int8:
    """Random windows on the grid of the input."""
    assert graph.inputs[0].grid
    return to_grid(windows_of_noise(n_windows, seed), graph.inputs[0].grid)


def windows_of_noise(n_windows: int, seed: int) -> NDArray[np.float32]:
    """Different by loudness, by colour, and frame by frame. Shape: (n_windows, 320, 64)."""
    rng = np.random.default_rng(seed)
    loudness = np.linspace(0.5, 1.5, n_windows)[:, None, None]
    frames = rng.normal(size=(n_windows, 320, 64)) * loudness
    return (frames + rng.normal(size=(n_windows, 1, 64))).astype(np.float32)


def interpret(
    data: bytes, windows: Int8, kernels: OpResolverType = OpResolverType.BUILTIN_REF
) -> Int8:
    """The file's int8 logits. Shape: (windows, n_labels)."""
    interpreter = Interpreter(
        model_content=data, num_threads=1, experimental_op_resolver_type=kernels
    )
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for window in windows:
        interpreter.reset_all_variables()
        interpreter.set_tensor(source["index"], window[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(result["index"])[0])
    return np.stack(rows)


def lstm_of(graph: Graph) -> FusedBiLstm:
    return next(operator for operator in graph.operators if isinstance(operator, FusedBiLstm))


@pytest.fixture(scope="module")
def graph(checkpoint: Checkpoint) -> Graph:
    return micro_graph(checkpoint)


@pytest.fixture(scope="module")
def file(graph: Graph) -> bytes:
    return write_tflite(graph)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_plain_kernels_give_the_references_bits_and_fast_ones_nearly(
    architecture: dict[str, object], checkpoint_of: CheckpointOf
) -> None:
    graph = micro_graph(checkpoint_of(**architecture))
    data, windows = write_tflite(graph), noise(graph)
    expected = np.stack([run_all(graph, window)["logits"] for window in windows])
    assert np.ptp(expected, axis=0).max() > FAST_KERNEL_STEPS  # windows differ
    assert np.array_equal(interpret(data, windows), expected)
    fast = interpret(data, windows, OpResolverType.AUTO).astype(int)
    assert np.abs(fast - expected).max() <= FAST_KERNEL_STEPS
    check_micro("any", data)


def test_every_activation_on_the_way_has_the_references_bits(graph: Graph, file: bytes) -> None:
    """Also the order of the LSTM's rows, which the mean after it would hide."""
    interpreter = Interpreter(
        model_content=file,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    (window,) = noise(graph, 1)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], window[None])
    interpreter.invoke()
    index = {detail["name"]: detail["index"] for detail in interpreter.get_tensor_details()}
    compared = 0
    for name, expected in run_all(graph, window).items():
        if name in index:
            found = interpreter.get_tensor(index[name]).reshape(expected.shape)
            assert np.array_equal(found, expected), name
            compared += 1
    assert compared == len(graph.operators) + 1


def test_the_ends_are_int8_on_the_grids_of_the_graph(graph: Graph, file: bytes) -> None:
    interpreter = Interpreter(model_content=file)
    for details, value, shape in (
        (interpreter.get_input_details(), graph.inputs[0], (1, 320, 64)),
        (interpreter.get_output_details(), graph.outputs[0], (1, 7)),
    ):
        (detail,) = details
        assert (detail["name"], detail["dtype"]) == (value.name, np.int8)
        assert tuple(detail["shape"]) == shape
        assert value.grid
        assert detail["quantization"] == (value.grid.scale, value.grid.zero_point)


def test_nothing_is_float_and_every_operator_is_one_of_a_microcontrollers(
    checkpoint: Checkpoint, file: bytes
) -> None:
    contents = read_contents(file)
    assert {tensor.dtype for tensor in contents.tensors} == {"int8", "int16", "int32"}
    assert {operator.kind for operator in contents.operators} == MICRO_OPERATORS
    with pytest.raises(EdgeSerError, match=r"no microcontroller's file: its tensor .* is float32"):
        check_micro("pi", write_tflite(build_graph(checkpoint, quantised=True)))


def test_the_lstm_is_one_integer_kernel_a_direction(graph: Graph, file: bytes) -> None:
    """Operands as TensorFlow Lite Micro's kernel demands them; it has no others."""
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    (subgraph,) = model.subgraphs
    code = schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM
    lstms = [
        operator
        for operator in subgraph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode == code
    ]
    assert len(lstms) == 2
    states = set()
    for lstm in lstms:
        assert len(lstm.inputs) == LSTM_INPUTS
        absent = np.flatnonzero(np.asarray(lstm.inputs) < 0).tolist()
        assert absent == PEEPHOLES_PROJECTION_AND_NORMS
        for index in STATES:
            tensor = subgraph.tensors[lstm.inputs[index]]
            assert tensor.isVariable
            states.add(lstm.inputs[index])
        cell = subgraph.tensors[lstm.inputs[CELL]]
        assert cell.type == schema.TensorType.INT16
        assert cell.quantization.scale == [2.0 ** lstm_of(graph).cell_exponent]
        kinds = [subgraph.tensors[index].type for index in lstm.intermediates]
        assert kinds == [schema.TensorType.INT16] * 4 + [schema.TensorType.INT8]
        for index in range(1, 9):
            assert len(subgraph.tensors[lstm.inputs[index]].quantization.scale) == 1
    assert len(states) == 4  # each direction has its own


def test_a_window_is_computed_alike_after_any_other(graph: Graph, file: bytes) -> None:
    """The kernel's state must not reach the next window."""
    windows = noise(graph, 3)
    together = interpret(file, windows)
    alone = np.concatenate([interpret(file, window[None]) for window in windows])
    assert np.array_equal(together, alone)


def test_gates_beyond_sixteen_bits_saturate_as_the_kernel_has_it(graph: Graph) -> None:
    """Products, their sums and the cell at its largest: where rounding rules end."""

    def louder(weight: Weight) -> Weight:
        assert weight.scale is not None
        return replace(weight, scale=weight.scale * np.float32(64))

    def shout(direction: LstmDirection) -> LstmDirection:
        return LstmDirection(louder(direction.input), louder(direction.recurrent))

    operators = tuple(
        replace(op, forward=shout(op.forward), backward=shout(op.backward))
        if isinstance(op, FusedBiLstm)
        else op
        for op in graph.operators
    )
    shouting, windows = replace(graph, operators=operators), noise(graph)
    values = [run_all(shouting, window) for window in windows]
    states = np.stack([value["gfb"] for value in values])
    assert np.mean(np.abs(states.astype(int)) >= 97) > 0.1  # tanh of a cell of one and beyond
    expected = np.stack([value["logits"] for value in values])
    assert np.array_equal(interpret(write_tflite(shouting), windows), expected)


def test_both_directions_of_the_lstm_are_told_apart(graph: Graph) -> None:
    operators = tuple(
        replace(op, forward=op.backward, backward=op.forward) if isinstance(op, FusedBiLstm) else op
        for op in graph.operators
    )
    exchanged, windows = replace(graph, operators=operators), noise(graph, 2)
    expected = np.stack([run_all(exchanged, window)["logits"] for window in windows])
    before = np.stack([run_all(graph, window)["logits"] for window in windows])
    assert np.abs(before.astype(int) - expected).max() > 2
    assert np.array_equal(interpret(write_tflite(exchanged), windows), expected)


@pytest.mark.parametrize("target", TARGETS)
def test_it_is_the_network_that_was_trained(
    target: str, checkpoint: Checkpoint, graph: Graph
) -> None:
    """But for fixed point in its own arithmetic, and nearly so in the one that was trained."""
    tensors = {name: torch.from_numpy(value) for name, value in checkpoint.qat_tensors.items()}
    net = QuantizedEmotionNet.from_export(checkpoint.model, tensors, target).eval()
    windows = windows_of_noise(8, seed=5)
    with torch.no_grad():
        expected = net(torch.from_numpy(windows)).numpy()
    found = np.stack([run(graph, window) for window in windows])
    assert graph.output_grid
    step = graph.output_grid.scale
    assert np.abs(found - expected).max() <= TRAINED_STEPS[target] * 1.01 * step
    assert np.ptp(expected, axis=0).max() > 16 * step


def test_weights_biases_and_scales_are_the_graphs_bit_for_bit(graph: Graph, file: bytes) -> None:
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    tensors = {tensor.name.decode(): tensor for tensor in model.subgraphs[0].tensors if tensor.name}

    def same(name: str, values: NDArray[Any], scale: NDArray[Any]) -> None:
        tensor = tensors[name]
        assert bytes(model.buffers[tensor.buffer].data) == values.tobytes(), name
        assert np.array_equal(np.asarray(tensor.quantization.scale, np.float32), scale), name

    count = 0
    for operator in graph.operators:
        for name, weight in weights_of(operator):
            assert weight.scale is not None
            count += 1
            if not isinstance(operator, FusedBiLstm):
                values = np.moveaxis(weight.values, 1, -1) if weight.values.ndim == 3 else None
                same(f"{name}.weight", weight.values if values is None else values, weight.scale)
                continue
            for gate, rows in enumerate(np.split(weight.values, 4)):
                same(f"{name}.{gate}", rows, weight.scale.reshape(4, -1)[gate, :1])
            if weight.bias is not None:
                x_scale = np.float32(operator.x.grid.scale)  # type: ignore[union-attr]
                for gate, rows in enumerate(np.split(weight.bias, 4)):
                    scale = weight.scale.reshape(4, -1)[gate, :1] * x_scale
                    same(f"{name}.{gate}.bias", rows, scale)
    assert count == 12


def dequantised(weight: Weight) -> NDArray[np.float64]:
    assert weight.scale is not None
    return weight.values * weight.scale.astype(np.float64)[:, None]


def test_rows_trained_on_scales_of_their_own_are_rounded_once_onto_their_gates(
    checkpoint_of: CheckpointOf,
) -> None:
    """By half a step at most, and the row with the largest scale not at all."""
    checkpoint = checkpoint_of(lstm_scales=ROW)
    tensors = checkpoint.qat_tensors
    for name, weight in weights_of(lstm_of(micro_graph(checkpoint))):
        assert weight.scale is not None
        rows = np.asarray(tensors[f"{name}_scale"]).reshape(4, -1)
        assert np.array_equal(weight.scale, np.repeat(rows.max(axis=1), rows.shape[1]))
        trained = Weight(tensors[name], tensors[f"{name}_scale"], None)
        error = np.abs(dequantised(weight) - dequantised(trained)) / weight.scale[:, None]
        assert 0 < error.max() <= 0.5 + 1e-6
        widest = rows.argmax(axis=1) + np.arange(4) * rows.shape[1]
        assert np.array_equal(weight.values[widest], trained.values[widest])


def test_weights_trained_on_one_scale_a_gate_stay_as_they_are(
    checkpoint_of: CheckpointOf,
) -> None:
    """What quantization-aware training wrote down, no step of it rounded again."""
    checkpoint = checkpoint_of()
    for name, weight in weights_of(lstm_of(micro_graph(checkpoint))):
        assert np.array_equal(weight.values, checkpoint.qat_tensors[name])
        assert np.array_equal(weight.scale, checkpoint.qat_tensors[f"{name}_scale"])  # type: ignore[arg-type]
        if weight.bias is not None:
            bias = checkpoint.qat_tensors[name.replace(".input", ".bias")]
            assert np.array_equal(weight.bias, bias)


def test_the_cell_has_room_for_every_step_and_no_more() -> None:
    for n_steps in (1, 2, 20, 31, 32, 63):
        room = 2**15 * 2.0 ** cell_exponent(n_steps)
        assert room > n_steps
    assert cell_exponent(20) == -10
    assert cell_exponent(1000) == -9  # kernels take no coarser one


def test_the_file_is_much_smaller_than_the_float_one(checkpoint: Checkpoint, file: bytes) -> None:
    """Without contracts; with them it is tested where they are."""
    assert len(file) <= 0.27 * len(write_onnx(build_graph(checkpoint, quantised=False), None))
