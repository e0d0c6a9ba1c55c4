"""The whole way from a checkpoint to model files: build, write, prove, report.

Every file is written beside its place and moved there once it has passed the checks: an
INT8 file with a float weight, or one whose answers differ from the reference, is not left
lying about under the name of a good one.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convert.architecture import count_macs, count_parameters
from convert.build import build_graph
from convert.checkpoint import Checkpoint, read_checkpoint
from convert.graph import Dequantize, Graph
from convert.onnx_writer import write_onnx
from convert.reference import run
from convert.report import check_int8, describe
from convert.tflite_writer import write_tflite
from firmware_host.contract import (
    FORMAT_VERSION,
    Contract,
    GoldenVector,
    embed_in_tflite,
)
from firmware_host.engines import load_engine
from firmware_host.files import write_whole
from firmware_host.golden import golden_features

BOXED_CHECKPOINT = "edge-ser-small.safetensors"
GOLDEN_SEEDS = (1, 2)
GOLDEN_ROWS = (80, 240)  # frames of the window kept in the contract
REPORT_FILE = "report.json"
TRAINING_FACTS = ("corpora", "fold", "seed", "versions", "label_of", "test_speakers", "terms")
"""What a device's file keeps of the checkpoint's training facts."""


@dataclass(frozen=True)
class Conversion:
    """What `convert` wrote.

    Args:
        files: the model files, float32 before int8.
        report: what `report.json` says.
    """

    files: tuple[Path, ...]
    report: Mapping[str, Any]


def boxed_checkpoint() -> Path:
    """The checkpoint in the package."""
    import firmware_host

    return Path(firmware_host.__file__).parent / "models" / BOXED_CHECKPOINT


def convert(
    checkpoint: Path,
    out_dir: Path,
    int8: bool = True,
    on_step: Callable[[str], None] | None = None,
) -> Conversion:
    """Write NAME.float32.onnx, NAME.float32.tflite, their int8 twins, and report.json.

    Args:
        checkpoint: what `edge-ser train` wrote.
        out_dir: made if missing.
        int8: whether to write the INT8 files beside the float32 ones.
        on_step: told in words what is done next.

    Raises:
        EdgeSerError: when the checkpoint cannot be read, or the folder not written, or an
            INT8 file did not pass its own checks.
    """
    tell = on_step or (lambda _: None)
    tell(f"reading {checkpoint.name}")
    trained = read_checkpoint(checkpoint)
    files, described = [], []
    for precision in ("float32", "int8") if int8 else ("float32",):
        tell(f"building the {precision} graph")
        graph = build_graph(trained, quantised=precision == "int8")
        contract = contract_of(trained, graph)
        for suffix in ("onnx", "tflite"):
            path = out_dir / f"{trained.name}.{precision}.{suffix}"
            tell(f"writing {path.name}")
            data = encode(graph, contract, suffix)
            if precision == "int8":
                check_int8(path.name, data)
            write_whole(path, data)
            tell(f"checking {path.name} against the reference")
            described.append(describe(path) | {"reference": _differences(path, graph, contract)})
            files.append(path)
    report = {
        "name": trained.name,
        "parameters": count_parameters(trained.model),
        "macs_per_window": count_macs(trained.model, trained.window_frames),
        "window_seconds": contract.window_samples / trained.features.sample_rate,
        "labels": list(trained.labels),
        "files": described,
    }
    write_whole(out_dir / REPORT_FILE, json.dumps(report, indent=2) + "\n")
    return Conversion(tuple(files), report)


def encode(graph: Graph, contract: Contract, suffix: str) -> bytes:
    """The bytes of a model file, contract included; `suffix` is "onnx" or "tflite"."""
    if suffix == "onnx":
        return write_onnx(graph, contract.to_json())
    return embed_in_tflite(write_tflite(graph), contract)


def contract_of(checkpoint: Checkpoint, graph: Graph) -> Contract:
    """What a file of this graph says about itself, golden vectors by the reference."""
    quantization: dict[str, Any] = {
        "precision": "float32",
        "parameters": count_parameters(checkpoint.model),
        "macs_per_window": count_macs(checkpoint.model, checkpoint.window_frames),
    }
    if graph.quantised:
        quantization |= {
            "precision": "int8",
            "weights": "int8, symmetric, per output channel",
            "activations": "int8, affine, per tensor; the LSTM's cell float32",
            "biases": "int32",
            "method": "quantization-aware training",
        }
    facts = checkpoint.training
    contract = Contract(
        format_version=FORMAT_VERSION,
        name=checkpoint.name,
        labels=checkpoint.labels,
        window_frames=checkpoint.window_frames,
        hop_frames=checkpoint.hop_frames,
        features=checkpoint.features,
        mean=checkpoint.mean,
        std=checkpoint.std,
        temperature=checkpoint.temperature,
        rejection_threshold=checkpoint.rejection_threshold,
        quantization=quantization,
        scores=checkpoint.scores,
        training={key: facts[key] for key in TRAINING_FACTS if key in facts},
        golden=(),
    )
    return replace(contract, golden=tuple(_golden(contract, graph, s) for s in GOLDEN_SEEDS))


def _golden(contract: Contract, graph: Graph, seed: int) -> GoldenVector:
    frames = golden_features(seed, contract.features, contract.window_frames)
    rows = tuple(tuple(map(float, frames[row])) for row in GOLDEN_ROWS)
    logits = run(graph, contract.normalise(frames))
    return GoldenVector(seed, GOLDEN_ROWS, rows, tuple(map(float, logits)))


def _differences(path: Path, graph: Graph, contract: Contract) -> dict[str, Any]:
    """How far the file's logits are from the reference's on the golden windows."""
    engine = load_engine(path)
    worst = 0.0
    for vector in contract.golden:
        frames = golden_features(vector.seed, contract.features, contract.window_frames)
        features = contract.normalise(frames)
        difference = np.abs(engine.infer(features) - np.asarray(vector.logits, np.float32))
        worst = max(worst, float(difference.max()))
    out: dict[str, Any] = {"engine": engine.name, "largest_logit_difference": worst}
    last = graph.operators[-1]
    if isinstance(last, Dequantize) and last.x.grid:
        out["in_steps_of_the_output_grid"] = worst / last.x.grid.scale
    return out
