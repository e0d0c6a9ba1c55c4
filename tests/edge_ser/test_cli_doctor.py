"""`edge-ser doctor` as a person and as a program meet it: real processes, real states."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import virtual_microphone
from tiny_models import tiny_contract, write_tflite
from without_module import edge_ser_without


def doctor(
    *arguments: str | Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_ser", "doctor", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=env
    )


def test_a_machine_that_works(tmp_path: Path) -> None:
    """Exit code 0, one JSON object, the model computed here."""
    model = write_tflite(tmp_path / "tiny.tflite", tiny_contract())
    done = doctor("--json", "--model", model)
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    assert data["works"] is True
    checks = {check["part"]: check for check in data["checks"]}
    assert checks["replay"]["status"] == "good"
    assert checks["model"]["facts"]["path"] == str(model)
    assert {"Python", "system", "CPU", "audio files", "microphones"} < set(checks)


def test_a_damaged_model_ends_in_exit_code_2(tmp_path: Path) -> None:
    """The table names the file, and the command that mends it, whole and on one line."""
    model = write_tflite(tmp_path / "tiny.tflite", tiny_contract())
    model.write_bytes(model.read_bytes()[:1000])
    done = doctor("--model", model)
    assert (done.returncode, done.stderr) == (2, "")
    assert "problem" in done.stdout
    assert "mend it: edge-ser convert" in done.stdout
    assert doctor("--json", "--model", model).returncode == 2


def test_a_machine_that_lacks_a_library(tmp_path: Path) -> None:
    """The package is installed, and one of its requirements is not."""
    model = write_tflite(tmp_path / "tiny.tflite", tiny_contract())
    done = edge_ser_without("soundfile", "doctor", "--model", str(model))
    assert done.returncode == 2
    assert "mend it: pip install soundfile" in done.stdout


def test_without_numpy_nothing_runs_and_it_is_named() -> None:
    """Not even the doctor; then one sentence has to do."""
    done = edge_ser_without("numpy", "doctor")
    assert (done.returncode, done.stdout) == (2, "")
    assert "`pip install 'numpy'` brings it" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_microphones_are_listed_with_their_rates(
    tmp_path: Path, need: Callable[[str], None]
) -> None:
    """And its being unplugged is a warning, as recordings are still recognised."""
    if reason := virtual_microphone.missing():
        need(reason)
    model = write_tflite(tmp_path / "tiny.tflite", tiny_contract())
    with virtual_microphone.VirtualMicrophone() as microphone:
        checks = []
        for _ in range(2):
            done = doctor("--json", "--model", model, env=microphone.env)
            assert (done.returncode, done.stderr) == (0, "")
            found = {check["part"]: check for check in json.loads(done.stdout)["checks"]}
            checks.append(found["microphones"])
            if len(checks) == 1:
                microphone.unplug()
    there, gone = checks
    assert there["status"] == "good"
    devices = {device["name"]: device for device in there["facts"]["devices"]}
    assert 16_000 in devices["default"]["rates"]
    assert "default (default) at 16000" in there["found"]
    # ALSA still names its default, which nothing can be captured from.
    assert all(not device["rates"] for device in gone["facts"]["devices"])
    assert gone["status"] == "warning"
