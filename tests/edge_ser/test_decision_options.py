"""The options of `edge-ser listen` for decisions reach the stream, and nonsense is refused."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny_contract, write_onnx
from typer.testing import CliRunner

from edge_ser.cli import app
from edge_ser.cli.decision_options import decision_config
from firmware_host.decisions import DecisionConfig
from firmware_host.errors import EdgeSerError
from firmware_host.golden import golden_waveform


def listen(tmp_path: Path, *options: str) -> list[dict[str, object]]:
    model = write_onnx(tmp_path / "a.onnx", tiny_contract())
    raw = tmp_path / "a.raw"
    (golden_waveform(7, 120_000) * 32_768).astype(np.int16).tofile(raw)
    command = ["listen", "--input", str(raw), "--format", "s16le", "--model", str(model), "--json"]
    result = CliRunner().invoke(app, [*command, *options])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def changes(events: list[dict[str, object]]) -> int:
    return sum(a["label"] != b["label"] for a, b in itertools.pairwise(events))


def test_labels_are_calm_unless_smoothing_is_off(tmp_path: Path) -> None:
    calm = listen(tmp_path, "--no-gate", "--hold", "2")
    plain = listen(tmp_path, "--no-gate", "--no-smoothing")
    assert changes(calm) < changes(plain)
    assert [event["probabilities"] for event in calm] == [event["probabilities"] for event in plain]
    assert all(event["speech"] is None for event in plain)


def test_a_threshold_makes_uncertain(tmp_path: Path) -> None:
    labels = {event["label"] for event in listen(tmp_path, "--no-gate", "--threshold", "0.999")}
    assert labels == {"uncertain"}


def test_what_is_not_given_is_as_by_default() -> None:
    assert decision_config(None, False, None, None, None, None) == DecisionConfig()
    off = decision_config(False, True, None, None, None, 0.5)
    assert off == DecisionConfig(0.0, 0.0, 0.0, 0.5, False)


@pytest.mark.parametrize(
    "options", [["--no-smoothing", "--hold", "2"], ["--threshold", "2"], ["--margin", "-1"]]
)
def test_nonsense_is_one_sentence(options: list[str]) -> None:
    runner = CliRunner()
    result = runner.invoke(app, ["listen", "--input", "none.wav", *options])
    assert result.exit_code != 0
    assert isinstance(result.exception, EdgeSerError)
