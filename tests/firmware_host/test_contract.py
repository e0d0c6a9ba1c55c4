"""The contract survives its file, and whatever else stands in a file ends in one sentence."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_models import tflite_bytes, tiny_contract, write_onnx, write_tflite

from firmware_host.contract import (
    METADATA_KEY,
    TFLITE_ENTRY,
    Contract,
    embed_in_tflite,
    read_contract,
)
from firmware_host.errors import EdgeSerError
from firmware_host.features import FeatureConfig

CONTRACT = tiny_contract()
DATA = json.loads(CONTRACT.to_json())


def text_with(**changes: Any) -> str:
    return json.dumps(DATA | changes)


def test_json_round_trip_is_exact() -> None:
    """Not one bit of a scale or a mean may change between training and device."""
    assert Contract.from_json(CONTRACT.to_json()) == CONTRACT


def test_unknown_keys_are_left_alone() -> None:
    """A contract of the same version may say more than this runtime asks for."""
    assert Contract.from_json(text_with(colour="blue")) == CONTRACT


def test_newer_format_is_refused_before_anything_else() -> None:
    """A newer contract may have other keys: the person should hear of the version, not of them."""
    with pytest.raises(EdgeSerError, match=r"newer edge-ser.*update"):
        Contract.from_json('{"format_version": 3}')


@pytest.mark.parametrize("key", sorted(DATA))
def test_every_key_is_needed(key: str) -> None:
    with pytest.raises(EdgeSerError, match=key):
        Contract.from_json(json.dumps({k: v for k, v in DATA.items() if k != key}))


GOLDEN, NORMALISATION = DATA["golden"][0], DATA["normalisation"]


def normalised(**changes: object) -> dict[str, object]:
    return {"normalisation": NORMALISATION | changes}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format_version": 0}, "format_version"),
        ({"format_version": True}, "format_version"),
        ({"labels": ["happy"]}, "labels"),
        ({"labels": ["happy", "happy", "sad", "angry"]}, "labels"),
        ({"labels": ["happy", "sad", "\x1b[2J", "angry"]}, "labels"),
        ({"labels": ["happy", "sad", "angry"]}, "golden logits should be 3 numbers"),
        ({"window_frames": 0}, "window_frames"),
        ({"window_frames": 10**9}, "window_frames"),
        ({"window_frames": 40.0}, "window_frames"),
        ({"hop_frames": 41}, "hop_frames"),
        (normalised(std=NORMALISATION["std"][:-1]), "std should be 64 numbers, but is 63"),
        (normalised(std=[0.0, *NORMALISATION["std"][1:]]), "std should be numbers above 0"),
        (normalised(std=[1e39, *NORMALISATION["std"][1:]]), "std should be finite"),
        (normalised(mean=["1", *NORMALISATION["mean"][1:]]), "mean should be a number"),
        (normalised(mean=[10**400, *NORMALISATION["mean"][1:]]), "mean should be a number"),
        (normalised(std_floor=0), "std_floor should be a number above 0"),
        (normalised(by_window=[True]), "by_window should be 64 truth values"),
        (normalised(by_window=[1] * 64), "by_window should be true or false"),
        ({"format_version": 1}, "older edge-ser"),
        ({"temperature": 0}, "temperature"),
        ({"rejection_threshold": 1}, "rejection_threshold"),
        ({"features_digest": "0" * 64}, "features_digest"),
        ({"features": DATA["features"] | {"n_mfcc": 21}}, "features_digest"),
        ({"features": DATA["features"] | {"fmax": 10**400}}, "out of range"),
        ({"features": DATA["features"] | {"tempo": 1}}, "tempo"),
        ({"features": None}, "features should be a JSON object"),
        ({"scores": [1]}, "scores"),
        ({"golden": [GOLDEN | {"rows": [0, 1, 40]}]}, "golden rows"),
        ({"golden": [GOLDEN | {"rows": [0]}]}, "golden features should be 1 rows"),
        ({"golden": [GOLDEN | {"logits": [1.0]}]}, "golden logits"),
        ({"golden": [GOLDEN | {"seed": -1}]}, "golden seed"),
    ],
)
def test_contradictions_are_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(EdgeSerError, match=reason):
        Contract.from_json(text_with(**changes))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "[]",
        "null",
        "[" * 100_000,
        '{"format_version": NaN}',
        '{"format_version": ' + "1" * 5_000 + "}",
        "x" * 2**23,
        CONTRACT.to_json().replace('"temperature":1.5', '"temperature":Infinity'),
        CONTRACT.to_json().replace('"temperature":1.5', '"temperature":1e999'),
    ],
)
def test_hostile_texts_end_in_a_sentence(text: str) -> None:
    with pytest.raises(EdgeSerError) as caught:
        Contract.from_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from(sorted(DATA)), value=JSON_VALUES)
@example(key="features", value={"\n": None})  # found once in thousands of runs
def test_no_value_gets_through_as_another_error(key: str, value: Any) -> None:
    """Anything at all in place of a value is either honoured or refused in a sentence."""
    try:
        Contract.from_json(text_with(**{key: value}))
    except EdgeSerError as error:
        assert "\n" not in str(error)


def test_writing_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(EdgeSerError, match="JSON"):
        tiny_contract(training={"loss": float("nan")}).to_json()


def test_lengths_in_samples() -> None:
    assert CONTRACT.window_samples == 400 + 39 * 160
    assert CONTRACT.hop_samples == 4_000


@pytest.mark.parametrize("write", [write_tflite, write_onnx])
def test_both_model_files_carry_it(tmp_path: Path, write: Any) -> None:
    """Whatever the file is called: its content decides."""
    assert read_contract(write(tmp_path / "model.bin", CONTRACT)) == CONTRACT


def test_onnx_property_is_where_onnxruntime_finds_it(tmp_path: Path) -> None:
    """Our own walk over the file must read what every ONNX tool reads."""
    path = write_onnx(tmp_path / "model.onnx", CONTRACT)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    text = session.get_modelmeta().custom_metadata_map[METADATA_KEY]
    assert Contract.from_json(text) == read_contract(path)


def test_tflite_entry_is_a_plain_zip_entry(tmp_path: Path) -> None:
    """`unzip -p model.tflite` must work, as for any TFLite associated file."""
    path = write_tflite(tmp_path / "model.tflite", CONTRACT)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [TFLITE_ENTRY]
        assert archive.read(TFLITE_ENTRY).decode() == CONTRACT.to_json()


def test_embedding_is_deterministic_and_replaces() -> None:
    """The same model gives the same file, however often its contract was renewed."""
    bare = tflite_bytes(CONTRACT)
    once = embed_in_tflite(bare, CONTRACT)
    assert once.startswith(bare)
    assert once == embed_in_tflite(bare, CONTRACT)
    other = tiny_contract(name="another")
    assert embed_in_tflite(embed_in_tflite(bare, other), CONTRACT) == once


def test_embedding_refuses_what_it_would_destroy(tmp_path: Path) -> None:
    with pytest.raises(EdgeSerError, match="TFLite"):
        embed_in_tflite(b"something else", CONTRACT)
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_bytes(CONTRACT))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "happy")
    with pytest.raises(EdgeSerError, match=r"labels\.txt"):
        embed_in_tflite(path.read_bytes(), CONTRACT)


@pytest.mark.parametrize("write", [write_tflite, write_onnx])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, write: Any) -> None:
    """A copy that ran out of space, or a download that broke off."""
    whole = write(tmp_path / "model", CONTRACT).read_bytes()
    path = tmp_path / "cut"
    for length in [*range(12), *range(12, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(EdgeSerError) as caught:
            read_contract(path)
        assert str(path) in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_no_bytes_get_through_as_another_error(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bin"
    for start in (b"", b"\0\0\0\0TFL3"):
        path.write_bytes(start + data)
        with pytest.raises(EdgeSerError):
            read_contract(path)


def test_files_without_a_contract_say_so(tmp_path: Path) -> None:
    """Somebody else's model: the person should hear what it lacks."""
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(tflite_bytes(CONTRACT))
    for path in (bare, write_onnx(tmp_path / "bare.onnx", CONTRACT, metadata="")):
        with pytest.raises(EdgeSerError, match="no edge-ser contract"):
            read_contract(path)


def test_an_unreadable_contract_names_the_file(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "odd.onnx", CONTRACT, metadata='{"format_version": 9}')
    with pytest.raises(EdgeSerError, match=r"odd\.onnx: made by a newer"):
        read_contract(path)


def test_other_things_than_model_files(tmp_path: Path) -> None:
    text = tmp_path / "text.tflite"
    text.write_text("This is not a model. " * 100)
    for path in (text, tmp_path, tmp_path / "missing.tflite"):
        with pytest.raises(EdgeSerError, match=path.name):
            read_contract(path)


def test_a_zip_bomb_is_not_inflated(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tflite"
    path.write_bytes(tflite_bytes(CONTRACT))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(TFLITE_ENTRY, b" " * 2**25)
    with pytest.raises(EdgeSerError, match="a contract of 33554432 bytes"):
        read_contract(path)


def test_constructing_checks_too() -> None:
    """A writer must not be able to make what the reader refuses."""
    with pytest.raises(EdgeSerError, match="mean"):
        tiny_contract(features=FeatureConfig(n_mfcc=20), golden=())
