"""`edge-ser inspect`: what it says about our files and others' is what stands in them."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from convert.architecture import ModelConfig, count_macs, eca_kernel_size
from convert.checkpoint import Checkpoint, write_checkpoint
from convert.contents import FLOAT, HYBRID, INT8
from convert.inspection import Inspection, inspect_bytes, inspect_file
from convert.pipeline import convert
from convert.report import check_int8
from convert.tflite_file import Quantization, TfliteFile
from edge_ser.cli import main
from firmware_host.contract import METADATA_KEY, read_contract
from firmware_host.errors import EdgeSerError

KINDS = ("float32.onnx", "float32.tflite", "int8.onnx", "int8.tflite")
ECA_GROUPS, ECA_GROUP = 3, 8
"""What a channel's attention reads in our files, mostly zeros; but not in float32.onnx."""
FLOAT_PRODUCTS = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "LSTM"}
SUMMARY = {
    "format": str,
    "bytes": int,
    "sha256": str,
    "verdict": str,
    "reason": str,
    "macs": dict,
    "weights": dict,
    "parts": dict,
    "float_islands": list,
    "float_operators": dict,
    "contract": dict,
    "notes": list,
    "constants": list,
    "operators": list,
}
"""What programs may rely on in the JSON."""

RANDOM = np.random.default_rng(5)


@pytest.fixture(scope="module")
def files(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Our four files, by what follows the name."""
    folder = tmp_path_factory.mktemp("inspected")
    write_checkpoint(folder / "untrained.safetensors", checkpoint)
    written = convert(folder / "untrained.safetensors", folder).files
    return {path.name.removeprefix("untrained."): path for path in written}


@pytest.fixture(scope="module")
def static(files: dict[str, Path]) -> Path:
    """What onnxruntime's own static quantization makes of our float file.

    Activations are uint8, which it computes with on every machine.
    """

    class Windows(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            windows = RANDOM.normal(size=(2, 1, 320, 64)).astype(np.float32)
            self.left: Iterator[NDArray[np.float32]] = iter(windows)

        def get_next(self) -> dict[str, Any] | None:
            window = next(self.left, None)
            return None if window is None else {"features": window}

    source = files["float32.onnx"]
    path = source.with_name("static.onnx")
    quantize_static(
        source,
        path,
        Windows(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
    )
    return path


@pytest.fixture(scope="module")
def dynamic(files: dict[str, Path]) -> Path:
    """What onnxruntime's own dynamic quantization makes of our float file."""
    source = files["float32.onnx"]
    path = source.with_name("dynamic.onnx")
    quantize_dynamic(source, path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_our_files_are_what_they_are_called(kind: str, files: dict[str, Path]) -> None:
    found = inspect_file(files[kind])
    if kind.startswith("int8"):
        assert found.verdict == "int8"
        assert found.int8_mac_share >= 0.99 and found.int8_weight_share >= 0.99
        assert found.float_islands == ()
    else:
        assert found.verdict == "float"
        assert found.int8_mac_share == found.int8_weight_share == 0
        assert found.macs_of(FLOAT) == found.total_macs
    assert found.contract == read_contract(files[kind])
    assert found.uncounted == () and found.notes == ()


@pytest.mark.parametrize("kind", KINDS)
def test_costs_are_those_of_the_architecture(
    kind: str, files: dict[str, Path], checkpoint: Checkpoint
) -> None:
    """Counted in the file and counted from the sizes.

    TFLite leaves out a product with zero; but in float32.onnx, ECA multiplies with zeros.
    """
    config: ModelConfig = checkpoint.model
    expected = count_macs(config, checkpoint.window_frames)
    if kind.endswith("tflite"):
        expected -= 2 * 4 * config.lstm_hidden**2  # the first step's state is zero
    if kind != "float32.onnx":
        for n_channels in config.channels:
            expected += n_channels * (ECA_GROUPS * ECA_GROUP - eca_kernel_size(n_channels))
    assert inspect_file(files[kind]).total_macs == expected


def test_all_files_hold_as_many_weights(files: dict[str, Path], checkpoint: Checkpoint) -> None:
    """In int8 a quarter of the bytes of float32; the same in both formats."""
    names = [name for name in checkpoint.float_tensors if not name.endswith("bias")]
    n_weights = sum(checkpoint.float_tensors[name].size for name in names)
    eca = sum(eca_kernel_size(n) for n in checkpoint.model.channels)
    eca_in_groups = len(checkpoint.model.channels) * ECA_GROUPS * ECA_GROUP**2
    for kind, path in files.items():
        n = n_weights if kind == "float32.onnx" else n_weights - eca + eca_in_groups
        expected = {"int8": n} if "int8" in kind else {"float32": 4 * n}
        assert inspect_file(path).weight_bytes == expected


def test_int8_onnx_says_that_its_lstm_quantises_at_run_time(files: dict[str, Path]) -> None:
    found = inspect_file(files["int8.onnx"])
    hybrid = [operator.kind for operator in found.products if operator.arithmetic == HYBRID]
    assert hybrid == ["DynamicQuantizeLSTM"]
    assert 0 < found.hybrid_mac_share < 0.5
    assert "at run time" in found.reason
    # The bias is computed from constants, once: that is no float operator of the model.
    assert found.float_operators == {}


def test_parts_add_up_to_the_file(files: dict[str, Path], static: Path, dynamic: Path) -> None:
    for path in (*files.values(), static, dynamic):
        parts = inspect_file(path).parts
        assert sum(parts.values()) == path.stat().st_size
        assert min(parts.values()) >= 0
        assert parts["weights"] > 0.7 * path.stat().st_size


@pytest.mark.parametrize("kind", KINDS)
def test_the_contract_is_the_metadata(kind: str, files: dict[str, Path]) -> None:
    """Without it, the file is shorter by about that part (a length in ONNX has a byte or two)."""
    path, parts = files[kind], inspect_file(files[kind]).parts
    text = read_contract(path).to_json()
    if kind.endswith("onnx"):
        assert 0 <= parts["metadata"] - len(text.encode()) - len(METADATA_KEY) < 10
    else:
        flatbuffer = path.read_bytes()[: -parts["metadata"]]
        found = inspect_bytes(flatbuffer)
        assert found.parts == parts | {"metadata": 0}
        assert 0 < parts["metadata"] < len(text)  # it is compressed


def test_the_float_lstm_of_a_static_quantization_is_named(
    static: Path, files: dict[str, Path]
) -> None:
    found = inspect_file(static)
    (node,) = (node for node in onnx.load(static).graph.node if node.op_type == "LSTM")
    assert [o.name for o in found.float_islands] == [node.name or node.output[0]]
    (whole,) = (o for o in inspect_file(files["float32.onnx"]).products if o.kind == "LSTM")
    assert found.float_islands[0].macs == whole.macs
    assert found.verdict == "partly int8"
    assert found.float_islands[0].name in found.reason
    assert found.int8_mac_share == pytest.approx(1 - (whole.macs or 0) / found.total_macs)
    # It has kept our float file's contract, which now is wrong.
    assert any("says float32" in note for note in found.notes)


def test_islands_are_what_onnxruntime_leaves_in_float(static: Path, tmp_path: Path) -> None:
    """Its optimiser fuses products with their neighbours: asked here what became of each."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(static, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
    left = Counter(node.op_type for node in nodes if node.op_type in FLOAT_PRODUCTS)
    found = inspect_file(static)
    assert Counter(operator.kind for operator in found.float_islands) == left
    integer = sum(node.op_type in {"QLinearConv", "QGemm", "QLinearMatMul"} for node in nodes)
    assert sum(operator.arithmetic == INT8 for operator in found.products) == integer


def test_a_dynamic_quantization_is_hybrid(dynamic: Path) -> None:
    found = inspect_file(dynamic)
    assert found.hybrid_mac_share > 0.99
    assert found.int8_weight_share > 0.99
    assert found.macs_of(INT8) == 0
    assert {"DynamicQuantizeLSTM", "ConvInteger", "MatMulInteger"} == {
        operator.kind for operator in found.products if operator.arithmetic == HYBRID
    }


def test_weights_are_found_in_constant_nodes_and_branches() -> None:
    """Not only among the initializers."""
    weight = numpy_helper.from_array(RANDOM.normal(size=(32, 48)).astype(np.float32))
    other = numpy_helper.from_array(RANDOM.normal(size=(48, 16)).astype(np.float32), "deep")
    sink = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    branches = [
        helper.make_graph(
            [helper.make_node("MatMul", ["h", "deep"], [name], name=f"{name} product")],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
            [other],
        )
        for name in ("yes", "no")
    ]
    nodes = [
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("MatMul", ["x", "w"], ["h"], name="outside"),
        helper.make_node(
            "If", ["condition"], ["y"], then_branch=branches[0], else_branch=branches[1]
        ),
    ]
    sources = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 5, 32]),
        helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
    ]
    found = inspect_bytes(onnx_bytes(nodes, sources, [sink], []))
    assert {operator.name: operator.macs for operator in found.float_islands} == {
        "outside": 5 * 32 * 48,
        "yes product": 5 * 48 * 16,
        "no product": 5 * 48 * 16,
    }
    assert found.weight_bytes == {"float32": 4 * (32 * 48 + 2 * 48 * 16)}
    assert any("batch" in note for note in found.notes)
    assert any("branches" in note for note in found.notes)


def test_a_float_island_among_integer_products_is_named() -> None:
    """Also where the weights are int8 and only the arithmetic is not."""
    weight = RANDOM.integers(-127, 128, (64, 64), np.int8)
    constants = [
        numpy_helper.from_array(weight, "w"),
        numpy_helper.from_array(np.array(0.1, np.float32), "s"),
        numpy_helper.from_array(np.array(128, np.uint8), "z"),
        numpy_helper.from_array(np.array(0, np.int8), "wz"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("QLinearMatMul", ["q", "s", "z", "w", "s", "wz", "s", "z"], ["p"]),
        helper.make_node("DequantizeLinear", ["p", "s", "z"], ["f"]),
        helper.make_node("Tanh", ["f"], ["t"]),
        helper.make_node("DequantizeLinear", ["w", "s", "wz"], ["fw"]),
        helper.make_node("MatMul", ["t", "fw"], ["y"], name="island"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 64]) for name in "xy"]
    found = inspect_bytes(onnx_bytes(nodes, ends[:1], ends[1:], constants))
    assert [operator.name for operator in found.float_islands] == ["island"]
    assert found.int8_mac_share == 0.5
    assert found.int8_weight_share == 1.0
    assert found.weight_bytes == {"int8": 64 * 64}
    assert found.float_operators == {"Tanh": 1}
    assert found.verdict == "partly int8"
    assert "island (MatMul)" in found.reason


def tflite_with_every_arithmetic() -> bytes:
    """A convolution in int8, a hybrid dense layer, an LSTM in float."""
    file = TfliteFile()
    grid, weights = Quantization((0.1,), 3), Quantization((0.01,))
    x = file.tensor((1, 1, 10, 16), grid, "x")
    kernel = file.constant(RANDOM.integers(-9, 9, (32, 1, 3, 16), np.int8), weights, "kernel")
    bias = file.constant(np.arange(32, dtype=np.int32), name="bias")
    same = {"Padding": 0, "StrideW": 1, "StrideH": 1}
    y = file.apply("CONV_2D", [x, kernel, bias], (1, 1, 10, 32), grid, "conv", **same)
    rows = file.apply("RESHAPE", [y], (10, 32), grid)
    floats = file.apply("DEQUANTIZE", [rows], (10, 32), name="floats")
    matrix = file.constant(RANDOM.integers(-9, 9, (40, 32), np.int8), weights, "matrix")
    dense = file.apply("FULLY_CONNECTED", [floats, matrix, -1], (10, 40), name="dense")
    sequence = file.apply("RESHAPE", [dense], (10, 1, 40))
    gates = [
        file.constant(RANDOM.normal(size=(8, n)).astype(np.float32), name=f"gate of {n}")
        for n in (40,) * 4 + (8,) * 4
    ]
    biases = [file.constant(np.full(8, i, np.float32)) for i in range(4)]
    inputs = [sequence, *gates, -1, -1, -1, *biases]
    out = file.apply("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, (10, 1, 8), name="lstm")
    return file.pack([x], [out])


def test_tflite_tells_int8_hybrid_and_float_apart() -> None:
    found = inspect_bytes(tflite_with_every_arithmetic())
    macs = {operator.name: (operator.arithmetic, operator.macs) for operator in found.products}
    assert macs == {
        "conv": (INT8, 10 * 32 * 3 * 16),
        "dense": (HYBRID, 10 * 40 * 32),
        "lstm": (FLOAT, 10 * 4 * 8 * (40 + 8)),
    }
    assert [operator.name for operator in found.float_islands] == ["lstm"]
    assert found.weight_bytes == {"float32": 4 * 4 * 8 * 48, "int8": 32 * 3 * 16 + 40 * 32}
    assert found.parts["biases"] == 4 * (32 + 4 * 8)
    assert sum(found.parts.values()) == found.contents.n_bytes
    assert found.verdict == "partly int8"
    assert "lstm" in found.reason and "at run time" in found.reason


def test_check_int8_refuses_a_float_product_with_small_weights(files: dict[str, Path]) -> None:
    """No float constant is large; it is the arithmetic that is not int8."""
    for kind in ("int8.onnx", "int8.tflite"):
        check_int8(kind, files[kind].read_bytes())
    file = TfliteFile()
    x = file.tensor((1, 1, 1000, 16), name="x")
    kernel = file.constant(RANDOM.normal(size=(16, 1, 1, 16)).astype(np.float32))
    bias = file.constant(np.zeros(16, np.float32))
    y = file.apply("CONV_2D", [x, kernel, bias], (1, 1, 1000, 16), name="island", StrideW=1)
    with pytest.raises(EdgeSerError, match=r"0 % of the multiply-accumulates"):
        check_int8("mine.int8.tflite", file.pack([x], [y]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_json_keeps_its_form(
    kind: str,
    files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_inspect(monkeypatch, files[kind], "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said.pop("file") == str(files[kind])
    assert {name: type(value) for name, value in said.items()} == SUMMARY
    shares = {"int8_share", "hybrid_share"}
    counts = {"total", "int8", "hybrid", "float", "other", "uncounted_operators"}
    assert set(said["macs"]) == shares | counts
    assert set(said["weights"]) == {"bytes", "by_dtype", "int8_share"}
    assert set(said["parts"]) == {
        *("weights", "biases", "quantization", "other_constants", "metadata", "graph")
    }
    assert all(set(island) == {"name", "kind", "macs"} for island in said["float_islands"])
    for operator in said["operators"]:
        assert set(operator) == {"name", "kind", "inputs", "outputs", "arithmetic", "macs"}
        for tensor in operator["inputs"] + operator["outputs"]:
            # Every type and shape is known, also behind onnxruntime's own operators.
            assert tensor["dtype"] and None not in tensor["shape"], operator["name"]
    assert sum(operator["macs"] for operator in said["operators"]) == said["macs"]["total"]


def test_a_person_reads_the_verdict_and_the_island(
    static: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_inspect(monkeypatch, static) == 0
    said = capsys.readouterr().out
    assert "partly int8" in said and "(LSTM)" in said and "note: its contract says float32" in said


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.01])
def test_a_file_cut_short_is_refused(
    kind: str,
    share: float,
    files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = files[kind].read_bytes()
    cut = tmp_path / f"cut.{kind}"
    cut.write_bytes(data[: int(share * len(data))])
    assert_one_sentence(run_inspect(monkeypatch, cut), capsys, f"cut.{kind}", "damaged")


def test_what_is_no_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "text.onnx").write_text("a text, not a model\n" * 20)
    (tmp_path / "header.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    for name, word in (
        ("nowhere.onnx", "No such file"),
        ("empty.onnx", "empty"),
        ("text.onnx", "neither a TFLite nor an ONNX"),
        ("header.tflite", "damaged"),
        ("", "Is a directory"),
    ):
        assert_one_sentence(run_inspect(monkeypatch, tmp_path / name), capsys, name, word)


@pytest.mark.parametrize("kind", ["int8.onnx", "int8.tflite"])
def test_damage_anywhere_is_read_or_refused(
    kind: str, files: dict[str, Path], tmp_path: Path
) -> None:
    """Whatever bytes are wrong, there is a report or a sentence, never another exception."""
    whole = np.frombuffer(files[kind].read_bytes(), np.uint8)
    random = np.random.default_rng(7)
    head = 6000  # most of the rest is weights, which no damage makes unreadable
    path = tmp_path / kind
    for _ in range(12):
        damaged = whole.copy()
        places = random.integers(0, head, 4)
        damaged[places] = random.integers(0, 256, 4, np.uint8)
        path.write_bytes(damaged.tobytes())
        try:
            found: Inspection | None = inspect_file(path)
        except EdgeSerError as error:
            assert "\n" not in str(error)
        else:
            assert found is not None and json.dumps(found.to_dict())


def onnx_bytes(nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: Any) -> bytes:
    """A small ONNX model."""
    graph = helper.make_graph(nodes, "small", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    return bytes(model.SerializeToString())


def run_inspect(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    """The command's exit code."""
    monkeypatch.setattr(sys, "argv", ["edge-ser", "inspect", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def assert_one_sentence(code: object, capsys: pytest.CaptureFixture[str], *words: str) -> None:
    said = capsys.readouterr().err
    assert code == 2, said
    assert len(said.strip().splitlines()) == 1, said
    assert all(word in said for word in words), said
