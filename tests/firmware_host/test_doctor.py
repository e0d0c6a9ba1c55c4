"""The doctor finds what is wrong with a machine, names what mends it, and finds nothing else."""

import platform
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import tiny_contract, write_onnx, write_tflite

from firmware_host.doctor import Check, Status, examine, works
from firmware_host.engines import ENGINES, installed_engines
from firmware_host.errors import EdgeSerError
from firmware_host.recognizer import BOXED_TFLITE

CONTRACT = tiny_contract()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tflite(tmp_path_factory.mktemp("doctor") / "tiny.tflite", CONTRACT)


def problems(checks: tuple[Check, ...]) -> dict[str, Check]:
    """What prevents recognising, by part; each must say what mends it."""
    found = {check.part: check for check in checks if check.status is Status.PROBLEM}
    assert all(check.mend for check in found.values()), found
    assert works(checks) == (not found)
    return found


def part(checks: tuple[Check, ...], name: str) -> Check:
    (found,) = [check for check in checks if check.part == name]
    return found


def remove(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As if these were not installed."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def test_a_sound_machine_has_no_problem(need: Callable[[str], None]) -> None:
    """The one that runs this test, with the model in the package."""
    if not BOXED_TFLITE.is_file():
        need(f"{BOXED_TFLITE.name} is not in the package")
    checks = examine()
    assert not problems(checks)
    used = [check for check in checks if check.facts.get("used")]
    assert [check.part for check in used] == [f"engine {installed_engines()[0]}"]
    assert part(checks, "replay").facts["golden_vectors"] > 0
    assert len({check.part for check in checks}) == len(checks)
    assert {f"engine {name}" for name in ENGINES} < {check.part for check in checks}


def test_without_an_engine_the_command_depends_on_the_machine(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ai-edge-litert has no wheel for 32-bit Arm: its command would fail there."""
    remove(monkeypatch, *(kind.module.partition(".")[0] for kind in ENGINES.values()))
    for machine, command in (
        ("x86_64", "pip install ai-edge-litert"),
        ("aarch64", "pip install ai-edge-litert"),
        ("armv7l", "pip install tflite-runtime 'numpy<2'"),
    ):
        monkeypatch.setattr(platform, "machine", lambda machine=machine: machine)
        found = problems(examine(model))
        assert list(found) == ["engine"]
        assert str(found["engine"].mend).startswith(command)


def test_an_engine_that_was_asked_for_is_judged_alone(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one that would do does not hide that it is missing."""
    assert not problems(examine(model, installed_engines(tflite=True)[0]))
    remove(monkeypatch, "tflite_runtime")
    found = problems(examine(model, "tflite-runtime"))
    assert found["engine"].mend == "pip install tflite-runtime"
    assert "TFLite" in part(examine(model, "onnxruntime"), "engine onnxruntime").found or (
        "onnxruntime" not in installed_engines()
    )
    assert "engine" in problems(examine(model, "onnxruntime"))
    with pytest.raises(EdgeSerError, match="'abacus' is unknown; choose one of litert"):
        examine(model, "abacus")


def test_a_damaged_model_is_found(model: Path, tmp_path: Path) -> None:
    """Cut short, not there, no model, or with a graph that no engine can read."""
    whole = model.read_bytes()
    for name, data in {
        "half": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"no model\n" * 100,
        "graph": b"\xff" * 4 + whole[4:],
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        found = problems(examine(path))
        assert list(found) == ["engine" if name == "graph" else "model"], name
        assert "edge-ser convert" in str(next(iter(found.values())).mend)
    assert "No such file" in problems(examine(tmp_path / "missing"))["model"].found


def test_a_machine_that_computes_something_else_is_found(tmp_path: Path) -> None:
    """Golden logits that the weights do not give; golden features that numpy does not give."""
    (vector,) = CONTRACT.golden
    logits = tuple(logit + 5.0 for logit in vector.logits)
    contract = replace(CONTRACT, golden=(replace(vector, logits=logits),))
    found = problems(examine(write_tflite(tmp_path / "logits.tflite", contract)))
    assert "another model" in found["replay"].found
    assert str(found["replay"].mend).startswith("pip install --force-reinstall")
    rows = tuple(tuple(value + 1.0 for value in row) for row in vector.features)
    contract = replace(CONTRACT, golden=(replace(vector, features=rows),))
    found = problems(examine(write_tflite(tmp_path / "features.tflite", contract)))
    assert found["replay"].mend == "pip install --force-reinstall numpy"


def test_a_model_that_cannot_be_checked_still_works(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "bare.tflite", tiny_contract(golden=()))
    checks = examine(path)
    assert not problems(checks)
    assert part(checks, "replay").status is Status.WARNING


def test_an_onnx_model_takes_its_own_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, need: Callable[[str], None]
) -> None:
    path = write_onnx(tmp_path / "tiny.onnx", CONTRACT)
    if "onnxruntime" not in installed_engines():
        need("onnxruntime is not installed")
    assert part(examine(path), "engine onnxruntime").facts["used"] is True
    remove(monkeypatch, "onnxruntime")
    assert problems(examine(path))["engine"].mend == "pip install 'edge-ser[onnx]'"


@pytest.mark.parametrize(
    ("module", "name", "mend"),
    [
        ("soundfile", "audio files", "pip install soundfile"),
        ("soxr", "sample rates", "pip install soxr"),
    ],
)
def test_a_library_of_the_package_that_is_gone_is_a_problem(
    module: str, name: str, mend: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(monkeypatch, module)
    found = problems(examine(model))
    assert (list(found), found[name].mend) == ([name], mend)


def test_what_is_optional_is_no_problem(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that gets its samples from elsewhere needs neither microphone nor MQTT."""
    remove(monkeypatch, "pyaudio", "paho", "paho.mqtt")
    checks = examine(model)
    assert not problems(checks)
    for name, extra in (("microphones", "edge-ser[mic]"), ("MQTT", "edge-ser[mqtt]")):
        check = part(checks, name)
        assert (check.status, extra in str(check.mend)) == (Status.ABSENT, True)


def test_an_old_system_is_warned_of(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ai-edge-litert's Arm wheel installs on Bullseye, and does not load there."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    for version, status in (("2.31", Status.WARNING), ("2.36", Status.GOOD)):
        monkeypatch.setattr(platform, "libc_ver", lambda version=version: ("glibc", version))
        assert part(examine(model), "system").status is status
