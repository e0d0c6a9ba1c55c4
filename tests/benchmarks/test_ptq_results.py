"""The published comparison of quantization after training and in training."""

import json

from ptq import RESULTS, to_markdown


def test_the_published_table_is_that_of_the_published_numbers() -> None:
    summary = json.loads((RESULTS / "ptq.json").read_text())
    assert (RESULTS / "ptq.md").read_text() == to_markdown(summary)


def test_all_kinds_of_files_are_compared_on_recordings_that_no_calibration_heard() -> None:
    summary = json.loads((RESULTS / "ptq.json").read_text())
    bench = json.loads((RESULTS / "bench.json").read_text())
    kinds = {file["file"] for file in summary["files"]}
    assert kinds == {
        f"{kind}.{suffix}"
        for kind in ("float32", "ptq.int8", "int8")
        for suffix in ("onnx", "tflite")
    }
    assert "calibrated on 300 recordings of RAVDESS's training speakers" in summary["post_training"]
    statuses = {score["status"] for row in bench["rows"] for score in row["scores"]}
    assert statuses == {"held out"}
