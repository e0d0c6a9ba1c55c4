"""Real model files small enough to write by hand: the mean over time, then one linear layer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from firmware_host.contract import (
    FORMAT_VERSION,
    METADATA_KEY,
    Contract,
    GoldenVector,
    embed_in_tflite,
)
from firmware_host.features import FeatureConfig
from firmware_host.golden import golden_features
from firmware_host.normalisation import Normalisation

LABELS = ("neutral", "happy", "sad", "angry")
GOLDEN_ROWS = (0, 20, 39)


def tiny_contract(**changes: Any) -> Contract:
    """A valid contract, with other values where given; its golden vector is right."""
    generator = np.random.default_rng(0)
    features = FeatureConfig()
    contract = Contract(
        format_version=FORMAT_VERSION,
        name="tiny",
        labels=LABELS,
        window_frames=40,
        hop_frames=25,
        features=features,
        normalisation=Normalisation.of(
            features,
            mean=tuple(generator.normal(-30, 10, features.n_features).tolist()),
            std=tuple(generator.uniform(1, 20, features.n_features).tolist()),
        ),
        temperature=1.5,
        rejection_threshold=0.0,
        quantization={"weights": "float32"},
        scores=({"corpus": "none", "protocol": "none", "uar": 0.25},),
        training={"corpora": []},
        golden=(),
    )
    if "golden" not in changes:
        made = golden_features(1, features, contract.window_frames)
        logits = reference_logits(contract.normalise(made))
        vector = GoldenVector(
            seed=1,
            rows=GOLDEN_ROWS,
            features=tuple(tuple(row) for row in made[list(GOLDEN_ROWS)].tolist()),
            logits=tuple(logits.tolist()),
        )
        contract = replace(contract, golden=(vector,))
    return replace(contract, **changes)


def weights(n_features: int = 64, n_labels: int = len(LABELS)) -> tuple[Any, Any]:
    """(n_labels, n_features) and (n_labels,), float32, always the same."""
    generator = np.random.default_rng(1)
    matrix = generator.normal(0, 0.5, (n_labels, n_features)).astype(np.float32)
    return matrix, generator.normal(0, 0.5, n_labels).astype(np.float32)


def reference_logits(normalised: NDArray[np.float32]) -> NDArray[np.float32]:
    """What both models compute, (n_labels,), for one window (window_frames, n_features)."""
    matrix, bias = weights()
    logits: NDArray[np.float32] = matrix @ normalised.max(axis=0) + bias
    return logits


def write_onnx(
    path: Path,
    contract: Contract,
    metadata: str | None = None,
    window_frames: int | None = None,
    input_type: int | None = None,
) -> Path:
    """The model as ONNX; what is given beside the contract makes a model that belies it.

    A device has no onnx: tests of its package that write this format are skipped there.
    """
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    frames = window_frames or contract.window_frames
    elements = input_type or TensorProto.FLOAT
    n_features, n_labels = contract.features.n_features, len(contract.labels)
    matrix, bias = weights()
    nodes = [
        helper.make_node("Cast", ["features"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["floats", "axes"], ["highest"], keepdims=0),
        helper.make_node("Gemm", ["highest", "matrix", "bias"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("features", elements, [1, frames, n_features])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, n_labels])],
        [
            numpy_helper.from_array(np.array([1], np.int64), "axes"),
            numpy_helper.from_array(matrix, "matrix"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    text = contract.to_json() if metadata is None else metadata
    if text:
        helper.set_model_props(model, {"another key": "another value", METADATA_KEY: text})
    onnx.save(model, str(path))
    return path


def write_tflite(path: Path, contract: Contract) -> Path:
    """The model as TFLite, with its contract appended."""
    path.write_bytes(embed_in_tflite(tflite_bytes(contract), contract))
    return path


def tflite_bytes(contract: Contract) -> bytes:
    """The bare flatbuffer: REDUCE_MAX over time, FULLY_CONNECTED."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    n_features, n_labels = contract.features.n_features, len(contract.labels)
    matrix, bias = weights()
    model = schema.ModelT()
    model.version = 3
    model.description = b"tiny"
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors = []

    def tensor(name: str, shape: list[int], values: Any = None, kind: int = 0) -> int:
        item = schema.TensorT()
        item.name, item.shape, item.type = name.encode(), shape, kind
        item.buffer = 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            model.buffers.append(buffer)
            item.buffer = len(model.buffers) - 1
        graph.tensors.append(item)
        return len(graph.tensors) - 1

    source = tensor("features", [1, contract.window_frames, n_features])
    axes = tensor("axes", [1], np.array([1], np.int32), schema.TensorType.INT32)
    highest = tensor("highest", [1, n_features])
    kernel = tensor("matrix", [n_labels, n_features], matrix)
    offset = tensor("bias", [n_labels], bias)
    logits = tensor("logits", [1, n_labels])

    def operator(code: int, inputs: list[int], output: int, options: Any, kind: int) -> Any:
        item = schema.OperatorT()
        item.opcodeIndex, item.inputs, item.outputs = code, inputs, [output]
        item.builtinOptions, item.builtinOptionsType = options, kind
        return item

    model.operatorCodes = []
    for builtin in (schema.BuiltinOperator.REDUCE_MAX, schema.BuiltinOperator.FULLY_CONNECTED):
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, builtin, 1
        model.operatorCodes.append(code)
    kinds = schema.BuiltinOptions
    graph.operators = [
        operator(0, [source, axes], highest, schema.ReducerOptionsT(), kinds.ReducerOptions),
        operator(
            1,
            [highest, kernel, offset],
            logits,
            schema.FullyConnectedOptionsT(),
            kinds.FullyConnectedOptions,
        ),
    ]
    graph.inputs, graph.outputs = [source], [logits]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
