"""`edge-ser doctor` as a person and as a program meet it: real processes, real states."""

import json
import subprocess
import sys
from pathlib import Path

from tiny_models import tiny_contract, write_tflite
from without_module import edge_ser_without


def doctor(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_ser", "doctor", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


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
