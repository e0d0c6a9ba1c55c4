"""The whole way from a checkpoint to model files: build, write, prove, report.

Every file is written beside its place and moved there whole, and an INT8 file with a float
weight is refused before. How far a file's answers are from the reference's stands in the
report.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convert.agreement import measure_file, yardsticks
from convert.architecture import GATE, count_macs, count_parameters
from convert.build import build_graph
from convert.c_array import c_header, c_source
from convert.calibration import calibrate as calibrate_grids
from convert.checkpoint import Checkpoint, read_checkpoint
from convert.graph import FusedBiLstm, Graph, weights_of
from convert.onnx_writer import write_onnx
from convert.quantization import quantise_network
from convert.recordings import find_recordings, read_recordings, some_windows
from convert.reference import run
from convert.report import check_int8, check_micro, describe
from convert.targets import MICRO, PI, targets_of
from convert.tflite_writer import write_tflite
from firmware_host.contract import (
    FORMAT_VERSION,
    Contract,
    GoldenVector,
    embed_in_tflite,
)
from firmware_host.errors import EdgeSerError
from firmware_host.files import write_whole
from firmware_host.golden import golden_features

BOXED_CHECKPOINT = "edge-ser-small.safetensors"
GOLDEN_SEEDS = (1, 2)
GOLDEN_ROWS = (80, 240)  # frames of the window kept in the contract
REPORT_FILE = "report.json"
TRAINING_FACTS = (
    "corpora",
    "fold",
    "protocol",
    "breaches",
    "seed",
    "versions",
    "label_of",
    "test_speakers",
    "terms",
)
"""What a device's file keeps of the checkpoint's training facts."""

FLOAT32, INT8, POST_TRAINING = "float32", "int8", "ptq.int8"
"""What the files are called after the model's name."""
QAT_METHOD = "quantization-aware training"

MOST_CALIBRATION_WINDOWS = 512
"""Seconds of work; with more the grids do not move visibly."""
MOST_CLIPS = 1000

Tell = Callable[[str], None]


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


@dataclass(frozen=True)
class _Variant:
    """One network of a checkpoint, and what its files are called.

    Args:
        precision: `FLOAT32`, `INT8` or `POST_TRAINING`.
        method: of its quantization; None for the float network.
        target: whose kernels its files are for.
    """

    precision: str
    checkpoint: Checkpoint
    method: str | None
    target: str = PI

    @property
    def kind(self) -> str:
        """What the files are called after the model's name."""
        return self.precision if self.target == PI else f"{self.target}.{self.precision}"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of its model files."""
        return ("tflite",) if self.target == MICRO else ("onnx", "tflite")


def convert(
    checkpoint: Path,
    out_dir: Path,
    int8: bool = True,
    on_step: Tell | None = None,
    calibrate: Sequence[Path] = (),
    clips: Sequence[Path] = (),
    target: str = PI,
    c_array: bool = False,
) -> Conversion:
    """Write NAME.float32.onnx, NAME.float32.tflite, their int8 twins, and report.json.

    For the target `micro` the INT8 file is NAME.micro.int8.tflite.

    The scales of NAME.int8 are those that quantization-aware training learned. With recordings
    for a calibration, NAME.ptq.int8 files are written too: the float network quantised after
    training, on grids that fit what it computes on these recordings.

    Args:
        checkpoint: what `edge-ser train` wrote.
        out_dir: made if missing.
        int8: whether to write the INT8 files beside the float32 ones.
        on_step: told in words what is done next.
        calibrate: audio files or folders of them; `MOST_CALIBRATION_WINDOWS` windows, evenly
            spread over them, are heard.
        clips: audio files or folders of them, on which every file is held against the
            reference besides the golden vectors; at most `MOST_CLIPS`, evenly spread.
        target: whose kernels the INT8 files are for, one of `targets.TARGETS` or "all".
        c_array: write the `micro` file as C too: NAME.micro.c and NAME.micro.h.

    Raises:
        EdgeSerError: when the checkpoint or a recording cannot be read, or the folder not
            written, or there is nothing to make INT8 files of, or one did not pass its checks.
    """
    tell = on_step or (lambda _: None)
    tell(f"reading {checkpoint.name}")
    trained = read_checkpoint(checkpoint)
    if int8 and not (trained.qat_tensors or calibrate):
        raise EdgeSerError(
            f"the checkpoint {trained.name} was trained without quantization: give recordings "
            "to calibrate INT8 files on with --calibrate DIR, or choose --no-int8"
        )
    targets = targets_of(target)
    if not int8 and targets != (PI,):
        raise EdgeSerError(f"the target {target} has INT8 files alone: leave --no-int8 out")
    if c_array and not (int8 and MICRO in targets):
        raise EdgeSerError(
            "a C array is made of the INT8 file for microcontrollers: "
            "choose --int8 and the target micro, or all"
        )
    contract = contract_of(trained, build_graph(trained, quantised=False))
    variants = [_Variant(FLOAT32, trained, None)]
    if int8 and trained.qat_tensors:
        variants += [_Variant(INT8, trained, QAT_METHOD, target) for target in targets]
    if int8 and calibrate:
        variants += _quantised_after_training(trained, calibrate, targets, contract, tell)
    heard = read_recordings(find_recordings(clips), contract, MOST_CLIPS, _counter(tell, "reading"))
    files, described = [], []
    for variant in variants:
        tell(f"building the {variant.kind} graph")
        quantise, micro = variant.method is not None, variant.target == MICRO
        graph = build_graph(variant.checkpoint, quantise, variant.target)
        contract = contract_of(variant.checkpoint, graph, variant.method or QAT_METHOD)
        held_against = yardsticks(
            graph, contract, heard, _counter(tell, f"comparing {variant.kind} on")
        )
        for suffix in variant.suffixes:
            path = out_dir / f"{trained.name}.{variant.kind}.{suffix}"
            tell(f"writing {path.name}")
            data = encode(graph, contract, suffix)
            if graph.quantised:
                check_int8(path.name, data)
            if micro:
                check_micro(path.name, data)
            write_whole(path, data)
            tell(f"checking {path.name} against the reference")
            described.append(describe(path) | measure_file(path, held_against, micro))
            files.append(path)
            if micro and c_array:
                files += _write_c(path, graph, contract, data)
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


def _quantised_after_training(
    trained: Checkpoint,
    recordings: Sequence[Path],
    targets: Sequence[str],
    contract: Contract,
    tell: Tell,
) -> list[_Variant]:
    """The float network of a checkpoint, for each target, on grids that fit these recordings."""
    most = MOST_CALIBRATION_WINDOWS
    found = find_recordings(recordings)
    heard = read_recordings(found, contract, most, _counter(tell, "reading"))
    windows = some_windows(heard, most)
    grids = calibrate_grids(trained, windows, _counter(tell, "calibrating on", "window"))
    method = f"post-training, calibrated on {len(heard)} recordings"
    variants = []
    for target in targets:
        model = replace(trained.model, lstm_scales=GATE) if target == MICRO else trained.model
        tensors = quantise_network(model, trained.float_tensors, grids)
        quantised = replace(trained, model=model, qat_tensors=tensors)
        variants.append(_Variant(POST_TRAINING, quantised, method, target))
    return variants


def _write_c(path: Path, graph: Graph, contract: Contract, data: bytes) -> list[Path]:
    """The source and the header of a model file, beside it."""
    stem = path.name.removesuffix(".tflite").removesuffix(f".{INT8}")
    source, header = path.with_name(f"{stem}.c"), path.with_name(f"{stem}.h")
    write_whole(header, c_header(graph, contract, data))
    write_whole(source, c_source(header.name, contract, data))
    return [source, header]


def _counter(tell: Tell, doing: str, what: str = "recording") -> Callable[[int, int], None]:
    return lambda done, total: tell(f"{doing} {what} {done:,} of {total:,}")


def encode(graph: Graph, contract: Contract, suffix: str) -> bytes:
    """The bytes of a model file, contract included; `suffix` is "onnx" or "tflite"."""
    if suffix == "onnx":
        return write_onnx(graph, contract.to_json())
    return embed_in_tflite(write_tflite(graph), contract)


def contract_of(checkpoint: Checkpoint, graph: Graph, method: str = QAT_METHOD) -> Contract:
    """What a file of this graph says about itself, golden vectors by the reference.

    Args:
        method: how the scales of an int8 graph were found.
    """
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
            "method": method,
            "target": graph.target,
        }
    if graph.target == MICRO:
        quantization |= {
            "weights": "int8, symmetric, per output channel; the LSTM's per gate"
            + (", rounded once more from per row" if _rounded_again(checkpoint, graph) else ""),
            "activations": "int8, affine, per tensor; the LSTM's gates and cell int16",
        }
    facts = checkpoint.training
    contract = Contract(
        format_version=FORMAT_VERSION,
        name=checkpoint.name,
        labels=checkpoint.labels,
        window_frames=checkpoint.window_frames,
        hop_frames=checkpoint.hop_frames,
        features=checkpoint.features,
        normalisation=checkpoint.normalisation,
        temperature=checkpoint.temperature,
        rejection_threshold=checkpoint.rejection_threshold,
        quantization=quantization,
        scores=checkpoint.scores,
        training={key: facts[key] for key in TRAINING_FACTS if key in facts},
        golden=(),
    )
    return replace(contract, golden=tuple(_golden(contract, graph, s) for s in GOLDEN_SEEDS))


def _rounded_again(checkpoint: Checkpoint, graph: Graph) -> bool:
    """Whether an LSTM's weights in the graph are not those of the checkpoint, value by value."""
    return any(
        not np.array_equal(weight.values, checkpoint.qat_tensors[name])
        for operator in graph.operators
        if isinstance(operator, FusedBiLstm)
        for name, weight in weights_of(operator)
    )


def _golden(contract: Contract, graph: Graph, seed: int) -> GoldenVector:
    frames = golden_features(seed, contract.features, contract.window_frames)
    rows = tuple(tuple(map(float, frames[row])) for row in GOLDEN_ROWS)
    logits = run(graph, contract.normalise(frames))
    return GoldenVector(seed, GOLDEN_ROWS, rows, tuple(map(float, logits)))
