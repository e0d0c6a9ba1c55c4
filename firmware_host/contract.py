"""The contract: what a model file says about itself, and where in the file it says it.

One JSON text with all that a runtime needs beside the weights. In ONNX it is a metadata
property; in TFLite it is a file in a zip archive appended to the flatbuffer, as the TFLite
metadata specification does with associated files, so that `unzip -p model.tflite` prints it.
A contract comes out of a file that anybody may have made: everything in it is checked.
"""

import io
import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from firmware_host.errors import EdgeSerError
from firmware_host.features import FeatureConfig, limit_range
from firmware_host.normalisation import Normalisation

FORMAT_VERSION = 2
METADATA_KEY = "edge_ser_contract"
TFLITE_ENTRY = f"{METADATA_KEY}.json"

MAX_CONTRACT_BYTES = 4 * 2**20  # real ones are some 20 kB; a zip may claim anything
MAX_WINDOW_FRAMES = 100_000  # 1000 s at a hop of 10 ms
MAX_LABELS = 1_000
MAX_LABEL_LENGTH = 64
TFLITE_IDENTIFIER = b"TFL3"  # bytes 4 to 8 of every TFLite flatbuffer


@dataclass(frozen=True)
class GoldenVector:
    """What this model must give for the waveform that `golden.golden_waveform` makes of a seed.

    Args:
        seed: of the waveform, which is exactly one window long.
        rows: which frames of the window's features are kept here.
        features: those frames, not normalised; each of `n_features` numbers.
        logits: of the window, as the integer reference computes them.
    """

    seed: int
    rows: tuple[int, ...]
    features: tuple[tuple[float, ...], ...]
    logits: tuple[float, ...]


@dataclass(frozen=True)
class Contract:
    """All that a model file says about itself.

    Args:
        format_version: of the contract; this runtime honours `FORMAT_VERSION`.
        name: of the model.
        labels: emotion names, in the order of the logits.
        window_frames: frames that the model sees at once.
        hop_frames: frames from one window to the next in a stream.
        features: every constant of the features.
        normalisation: of the features.
        temperature: probabilities are softmax(logits / temperature).
        rejection_threshold: a highest probability below it means "uncertain"; 0 rejects nothing.
        quantization: what was quantised and how.
        scores: what it scored, and under which protocol.
        training: what it was trained on, and on what terms.
        golden: inputs and outputs by which a device can check itself.

    Raises:
        EdgeSerError: when the parts do not fit together.
    """

    format_version: int
    name: str
    labels: tuple[str, ...]
    window_frames: int
    hop_frames: int
    features: FeatureConfig
    normalisation: Normalisation
    temperature: float
    rejection_threshold: float
    quantization: Mapping[str, Any]
    scores: tuple[Mapping[str, Any], ...]
    training: Mapping[str, Any]
    golden: tuple[GoldenVector, ...]

    def __post_init__(self) -> None:
        n_features, n_labels = self.features.n_features, len(self.labels)
        _check_version(self.format_version)
        _check(_is_name(self.name), "name", "a printable name", self.name)
        _check(
            2 <= n_labels <= MAX_LABELS
            and len(set(self.labels)) == n_labels
            and all(_is_name(label) for label in self.labels),
            "labels",
            "two or more different printable names",
            self.labels,
        )
        _check(
            0 < self.window_frames <= MAX_WINDOW_FRAMES,
            "window_frames",
            f"1 to {MAX_WINDOW_FRAMES}",
            self.window_frames,
        )
        _check(
            0 < self.hop_frames <= self.window_frames,
            "hop_frames",
            "1 to window_frames",
            self.hop_frames,
        )
        how = self.normalisation
        _check_numbers(how.mean, n_features, "mean")
        _check_numbers(how.std, n_features, "std")
        _check(min(how.std) > 0, "std", "numbers above 0", min(how.std))
        _check(0 < how.std_floor < math.inf, "std_floor", "a number above 0", how.std_floor)
        given = len(how.by_window)
        _check(given == n_features, "by_window", f"{n_features} truth values", f"{given} of them")
        _check(0 < self.temperature < math.inf, "temperature", "a number above 0", self.temperature)
        _check(
            0 <= self.rejection_threshold < 1,
            "rejection_threshold",
            "0 to below 1",
            self.rejection_threshold,
        )
        for vector in self.golden:
            _check(0 <= vector.seed < 2**64, "golden seed", "64 bits", vector.seed)
            in_window = all(0 <= row < self.window_frames for row in vector.rows)
            _check(in_window, "golden rows", "frames of the window", vector.rows)
            _check(
                len(vector.features) == len(vector.rows),
                "golden features",
                f"{len(vector.rows)} rows",
                len(vector.features),
            )
            for row in vector.features:
                _check_numbers(row, n_features, "golden features")
            _check_numbers(vector.logits, n_labels, "golden logits")

    @property
    def window_samples(self) -> int:
        """Samples that make exactly one window."""
        return self.features.samples_for(self.window_frames)

    @property
    def hop_samples(self) -> int:
        """Samples from one window to the next."""
        return self.hop_frames * self.features.hop_length

    def normalise(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the model is given of a window's features: limited in range, and normalised.

        Shape:
            - window, returns: (window_frames, n_features), float32
        """
        return self.normalisation(limit_range(window, self.features))

    def by_label(self, probabilities: NDArray[np.float64]) -> dict[str, float]:
        """Probabilities in the order of the labels, (n_labels,), as plain numbers by name."""
        return dict(zip(self.labels, probabilities.tolist(), strict=True))

    def to_json(self) -> str:
        """The contract as the JSON text that goes into a model file.

        Raises:
            EdgeSerError: when a free-form part holds what JSON cannot.
        """
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        data["features"] = self.features.to_dict()
        data["features_digest"] = self.features.digest()
        data["normalisation"] = asdict(self.normalisation)
        data["golden"] = [asdict(vector) for vector in self.golden]
        try:
            return json.dumps(data, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            raise EdgeSerError(f"the contract cannot be written as JSON: {error}") from error

    @classmethod
    def from_json(cls, text: str) -> "Contract":
        """The inverse of `to_json`; keys it does not know are left alone.

        Raises:
            EdgeSerError: with the reason, when this is not a contract that can be honoured.
        """
        if len(text) > MAX_CONTRACT_BYTES:
            raise EdgeSerError(f"a contract of {len(text)} characters is too long to be one")
        try:
            data = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise EdgeSerError(f"the contract is not readable JSON: {error}") from error
        data = _mapping(data, "contract")
        # The version first: what a newer one holds need not be judged by this one's rules.
        _check_version(_integer(_get(data, "format_version"), "format_version"))
        try:
            features = FeatureConfig.from_dict(_mapping(_get(data, "features"), "features"))
        except OverflowError as error:
            raise EdgeSerError(f"a feature constant is out of range: {error}") from error
        digest = _text(_get(data, "features_digest"), "features_digest")
        _check(
            digest == features.digest(),
            "features_digest",
            f"{features.digest()}, the digest of its own feature constants",
            digest,
        )
        return cls(
            format_version=data["format_version"],
            name=_text(_get(data, "name"), "name"),
            labels=tuple(_text(v, "labels") for v in _list(_get(data, "labels"), "labels")),
            window_frames=_integer(_get(data, "window_frames"), "window_frames"),
            hop_frames=_integer(_get(data, "hop_frames"), "hop_frames"),
            features=features,
            normalisation=_normalisation(_get(data, "normalisation")),
            temperature=_number(_get(data, "temperature"), "temperature"),
            rejection_threshold=_number(_get(data, "rejection_threshold"), "rejection_threshold"),
            quantization=_mapping(_get(data, "quantization"), "quantization"),
            scores=tuple(_mapping(v, "scores") for v in _list(_get(data, "scores"), "scores")),
            training=_mapping(_get(data, "training"), "training"),
            golden=tuple(_golden(v) for v in _list(_get(data, "golden"), "golden")),
        )


def embed_in_tflite(model: bytes, contract: Contract) -> bytes:
    """The TFLite file with the contract appended; the same input gives the same bytes.

    A contract that is already there is replaced.

    Raises:
        EdgeSerError: when this is no TFLite file, or has other files appended to it.
    """
    if model[4:8] != TFLITE_IDENTIFIER:
        raise EdgeSerError("a contract can be appended to a TFLite file only, and this is none")
    buffer = io.BytesIO(model)
    if zipfile.is_zipfile(buffer):
        with zipfile.ZipFile(buffer) as archive:
            if archive.namelist() != [TFLITE_ENTRY]:
                names = ", ".join(map(repr, archive.namelist()))
                raise EdgeSerError(f"the TFLite file has other files appended already: {names}")
            buffer = io.BytesIO(model[: archive.infolist()[0].header_offset])
    entry = zipfile.ZipInfo(TFLITE_ENTRY, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3  # Unix, wherever it is written: the same bytes everywhere
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(entry, contract.to_json())
    return buffer.getvalue()


def read_contract(path: str | os.PathLike[str]) -> Contract:
    """The contract of a TFLite or ONNX file, whatever its name; needs no interpreter.

    Raises:
        EdgeSerError: when the file is not there, is no model file, is cut short, carries no
            contract, or carries one that this runtime cannot honour.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if is_tflite(path):
                text = _tflite_contract(file)
            else:
                text = _onnx_contract(file, path.stat().st_size)
    except OSError as error:
        raise EdgeSerError(
            f"{path}: cannot read a model file there: {error.strerror or error}"
        ) from error
    except _BrokenFileError as error:
        raise EdgeSerError(
            f"{path}: expected a TFLite or ONNX model file, but it is another kind of file or is "
            f"damaged ({error}); give a file made by `edge-ser convert`"
        ) from error
    if text is None:
        raise EdgeSerError(
            f"{path}: there is no edge-ser contract in this model file: it was not made by "
            "`edge-ser convert`, or its end is missing; convert or copy it again"
        )
    try:
        return Contract.from_json(text)
    except EdgeSerError as error:
        raise EdgeSerError(f"{path}: {error}") from error


def is_tflite(path: str | os.PathLike[str]) -> bool:
    """Whether the file is a TFLite flatbuffer, judged by its first bytes.

    Raises:
        OSError: when it cannot be read.
    """
    with Path(path).open("rb") as file:
        return file.read(8)[4:] == TFLITE_IDENTIFIER


class _BrokenFileError(Exception):
    """The file is not what it should be; the message says how."""


def _tflite_contract(file: BinaryIO) -> str | None:
    """The text of the appended entry, or None when there is none."""
    if not zipfile.is_zipfile(file):
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            if TFLITE_ENTRY not in archive.namelist():
                return None
            size = archive.getinfo(TFLITE_ENTRY).file_size  # no more than this is ever inflated
            if size > MAX_CONTRACT_BYTES:
                raise _BrokenFileError(f"a contract of {size} bytes")
            return archive.read(TFLITE_ENTRY).decode("utf-8")
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise _BrokenFileError(f"its contract cannot be unpacked: {error}") from error


# Fields of ModelProto and StringStringEntryProto in onnx.proto, and the wire types of protobuf.
_MODEL_IR_VERSION, _MODEL_GRAPH, _MODEL_METADATA = 1, 7, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


def _onnx_contract(file: BinaryIO, size: int) -> str | None:
    """The text of the metadata property, or None when there is none.

    Only the outermost message is walked, a handful of fields: no session has to be opened
    and no onnx package has to be there to learn what a model file says about itself.
    """
    seen, text = set(), None
    for field, start, length in _protobuf_fields(file, 0, size):
        seen.add(field)
        if field == _MODEL_METADATA:
            entry = {f: (s, n) for f, s, n in _protobuf_fields(file, start, start + length)}
            if _slice(file, *entry.get(_ENTRY_KEY, (0, 0))) == METADATA_KEY.encode():
                try:
                    text = _slice(file, *entry.get(_ENTRY_VALUE, (0, 0))).decode("utf-8")
                except UnicodeDecodeError as error:
                    raise _BrokenFileError("its contract is not text") from error
    if not {_MODEL_IR_VERSION, _MODEL_GRAPH} <= seen:
        raise _BrokenFileError("no graph in it")
    return text


def _protobuf_fields(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, length) of each field of the message between two places of the file."""
    position = start
    while position < end:
        file.seek(position)
        tag = _varint(file)
        start, kind = file.tell(), tag & 7
        if kind == _VARINT:
            _varint(file)
            length = file.tell() - start
        elif kind == _BYTES:
            length = _varint(file)
            start = file.tell()
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise _BrokenFileError(f"unreadable at byte {position}")
        position = start + length
        if position > end or tag >> 3 == 0:
            raise _BrokenFileError(f"unreadable or cut short at byte {start}")
        yield tag >> 3, start, length


def _varint(file: BinaryIO) -> int:
    """A base-128 integer, least significant group first."""
    value = 0
    for group in range(_MAX_VARINT_BYTES):
        byte = file.read(1)
        if not byte:
            raise _BrokenFileError("cut short")
        value |= (byte[0] & 0x7F) << (7 * group)
        if byte[0] < 0x80:
            return value
    raise _BrokenFileError(f"unreadable at byte {file.tell()}")


def _slice(file: BinaryIO, start: int, length: int) -> bytes:
    if length > MAX_CONTRACT_BYTES:
        raise _BrokenFileError(f"a contract of {length} bytes")
    file.seek(start)
    return file.read(length)


def _check(holds: bool, name: str, expected: str, given: object) -> None:
    if not holds:
        raise EdgeSerError(f"contract: {name} should be {expected}, but is {_short(given)}")


def _check_version(version: int) -> None:
    if version > FORMAT_VERSION:
        raise EdgeSerError(
            f"made by a newer edge-ser (contract format {version}; this one reads "
            f"{FORMAT_VERSION}): update edge-ser, or convert the model with this one"
        )
    _check(version >= 1, "format_version", "1 or more", version)
    if version < FORMAT_VERSION:
        raise EdgeSerError(
            f"made by an older edge-ser (contract format {version}; this one reads "
            f"{FORMAT_VERSION}), for input that was normalised otherwise: train the model again"
        )


def _check_numbers(values: Sequence[float], length: int, name: str) -> None:
    _check(len(values) == length, name, f"{length} numbers", f"{len(values)} of them")
    finite32 = all(abs(value) <= float(np.finfo(np.float32).max) for value in values)
    _check(finite32, name, "finite numbers", values)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_LABEL_LENGTH and text.isprintable() and text.strip() == text


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 80 else text[:77] + "..."


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _get(data: Mapping[str, Any], name: str) -> Any:
    if name not in data:
        raise EdgeSerError(f"contract: {name} is missing")
    return data[name]


def _mapping(value: Any, name: str) -> dict[str, Any]:
    _check(isinstance(value, dict), name, "a JSON object", value)
    return dict(value)


def _list(value: Any, name: str) -> list[Any]:
    _check(isinstance(value, list), name, "a JSON array", value)
    return list(value)


def _text(value: Any, name: str) -> str:
    _check(isinstance(value, str), name, "a text", value)
    return str(value)


def _integer(value: Any, name: str) -> int:
    _check(isinstance(value, int) and not isinstance(value, bool), name, "an integer", value)
    return int(value)


def _number(value: Any, name: str) -> float:
    right = isinstance(value, int | float) and not isinstance(value, bool)
    _check(right and abs(value) < 2**1000, name, "a number", value)  # so that an int fits a float
    return float(value)


def _numbers(value: Any, name: str) -> tuple[float, ...]:
    return tuple(_number(item, name) for item in _list(value, name))


def _truth(value: Any, name: str) -> bool:
    _check(isinstance(value, bool), name, "true or false", value)
    return bool(value)


def _normalisation(value: Any) -> Normalisation:
    data = _mapping(value, "normalisation")
    return Normalisation(
        mean=_numbers(_get(data, "mean"), "mean"),
        std=_numbers(_get(data, "std"), "std"),
        by_window=tuple(
            _truth(v, "by_window") for v in _list(_get(data, "by_window"), "by_window")
        ),
        std_floor=_number(_get(data, "std_floor"), "std_floor"),
    )


def _golden(value: Any) -> GoldenVector:
    data = _mapping(value, "golden")
    return GoldenVector(
        seed=_integer(_get(data, "seed"), "golden seed"),
        rows=tuple(_integer(v, "golden rows") for v in _list(_get(data, "rows"), "golden rows")),
        features=tuple(
            _numbers(row, "golden features")
            for row in _list(_get(data, "features"), "golden features")
        ),
        logits=_numbers(_get(data, "logits"), "golden logits"),
    )
