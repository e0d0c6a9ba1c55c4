"""The bench on emulated Pi cores: what of it can be held to without an emulator."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pi_emulator import regions
from pi_emulator.count_file import ENGINE, INTERPRETER
from pi_emulator.emulator import CORES, Count, Emulator, EmulatorError
from pi_emulator.guest_rss import guest_rss
from pi_table import CLASSES, TARGETS, PiTable, Row, Target, to_json, to_markdown

BENCHMARKS = Path(regions.__file__).resolve().parents[1]
PLUGIN = BENCHMARKS / "pi_emulator" / "insncount.c"


def counts(*marks: tuple[int, int, int]) -> str:
    """What the plugin writes: a line a mark, then the whole program."""
    lines = [f"mark {mark} total={total} alu=1 dotprod={dot}" for mark, total, dot in marks]
    return "\n".join([*lines, "exit 0 total=99999999 alu=1 dotprod=0", ""])


def test_a_regions_count_is_per_repeat_and_without_the_marks_own_cost() -> None:
    text = counts(
        (0, 1_000, 0),
        (1, 1_040, 0),  # a mark costs 40
        (2, 2_000, 7),
        (3, 2_040 + 5 * 300, 7 + 5 * 10),
        (0, 8_000, 57),
        (1, 8_040, 57),
        (4, 9_000, 57),
        (5, 9_040 + 5 * 500, 57),
    )
    found = regions.read_counts(text)
    assert found == {
        INTERPRETER: {"total": 300, "alu": 0, "dotprod": 10},
        ENGINE: {"total": 500, "alu": 0, "dotprod": 0},
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "exit 0 total=12 alu=3 dotprod=0\n",
        counts((0, 1, 0), (1, 2, 0)),  # nothing but the calibration
        counts((0, 1, 0), (1, 2, 0), (2, 3, 0)),  # the program died within the region
        counts((2, 3, 0), (3, 4, 0)),  # nothing says what a mark costs
    ],
)
def test_a_run_that_did_not_end_gives_no_count(text: str) -> None:
    with pytest.raises(ValueError, match="whole regions"):
        regions.read_counts(text)


def test_outside_the_emulator_marks_do_nothing_and_the_work_is_done() -> None:
    done: list[int] = []
    regions.count_region(lambda: done.append(1), 1)
    assert len(done) == regions.WARM_UPS + regions.REPEATS


def test_the_plugin_and_its_reader_mean_the_same() -> None:
    """A number for the mark and names for the classes stand in both languages."""
    source = PLUGIN.read_text()
    assert f"== {regions.MARK_CALL})" in source
    assert all(f'"{name}"' in source for name in ("total", *CLASSES))


def test_resident_memory_without_an_emulator_is_the_process() -> None:
    script = (
        "from pathlib import Path; from pi_emulator.guest_rss import guest_rss; "
        "pages = int(Path('/proc/self/statm').read_text().split()[1]); "
        "print(pages * 4096, guest_rss())"
    )
    told = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(BENCHMARKS)},
        check=True,
        capture_output=True,
        text=True,
    )
    kernel, ours = map(int, told.stdout.split())
    assert 0.7 * kernel < ours < 1.3 * kernel
    assert guest_rss() > 1e6


def test_an_unknown_suite_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match="suite woody is unknown: give bookworm or trixie"):
        Emulator(tmp_path, "woody").make([])


def count(total: float, infer: float | None = None) -> Count:
    """A count of which a tenth are dot products."""
    by_class = dict.fromkeys(CLASSES, 0.0) | {"total": total, "dotprod": total / 10}
    return Count(by_class, infer or total + 2e4, "litert", 30_000_000, (0.5, -0.5))


def table(*rows: Row, spread: float | None = 0.0001) -> PiTable:
    base = Row(
        "net.float32.onnx",
        "edge-ser convert",
        n_bytes=1000,
        x86_ms=0.5,
        x86_baseline_ms=0.5,
        counts=dict.fromkeys(CORES, count(8e6)),
    )
    return PiTable((base, *rows), base.file, {"name": "net", "x86": {"cpu": "some"}}, spread)


def int8_tflite(a53: float, a72: float = 4e6, a76: float = 1.7e6) -> Row:
    return Row(
        "net.int8.tflite",
        "edge-ser convert",
        n_bytes=310,
        x86_ms=0.2,
        x86_baseline_ms=0.4,
        counts=dict(zip(CORES, map(count, (a53, a72, a76)), strict=True)),
    )


def test_ratios_are_to_the_baselines_instructions_bytes_and_latency() -> None:
    """The latency's to what the baseline took in turn with this very file."""
    row = int8_tflite(6e6)
    whole = table(row)
    found = [whole.ratio(row, name) for name in (*CORES, "bytes", "x86 latency")]
    assert found == pytest.approx([0.75, 0.5, 0.2125, 0.31, 0.5])


def test_targets_are_also_held_against_the_stock_file() -> None:
    """Its latency was measured at another moment: both are taken relative to the baseline."""
    stock = Row("stock.onnx", "stock", 2000, 1.2, 0.6, dict.fromkeys(CORES, count(1e7)))
    whole = replace(table(int8_tflite(6e6), stock), stock_baseline=stock.file)
    found = {verdict.target.quantity: verdict.stock_ratio for verdict in whole.verdicts()[:5]}
    expected = [0.6, 0.4, 0.17, 0.25, 0.155]
    assert list(found.values()) == pytest.approx(expected)
    assert "| 0.750 | 0.600 | <= 1.00 |" in to_markdown(whole)


@pytest.mark.parametrize(
    ("a53", "met", "reached"), [(6.7e6, True, True), (8e6, True, False), (8.01e6, False, False)]
)
def test_a_target_is_met_up_to_its_limit(a53: float, met: bool, reached: bool) -> None:
    target = Target(".int8.tflite", "cortex-a53", 1.0, 0.85)
    (verdict,) = table(int8_tflite(a53)).verdicts([target])
    assert (verdict.met, verdict.reached) == (met, reached)


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    """A run of one core, or of one file, must not look like a success."""
    row = int8_tflite(6e6)
    part = replace(row, counts={"cortex-a53": row.counts["cortex-a53"]})
    verdicts = {
        (verdict.target.suffix, verdict.target.quantity): verdict.met
        for verdict in table(part).verdicts()
    }
    assert verdicts[".int8.tflite", "cortex-a53"] is True
    assert verdicts[".int8.tflite", "cortex-a76"] is None
    assert verdicts[".int8.onnx", "bytes"] is None
    assert "not measured" in to_markdown(table(part))


def test_the_tables_say_what_was_measured_and_what_failed() -> None:
    failed = Row("keras-int8.tflite", "legacy Keras", failure="does not install: no such wheel")
    whole = table(int8_tflite(6e6), failed)
    markdown = to_markdown(whole)
    for text in (
        "| net.int8.tflite | edge-ser convert | 310 (0.31) | 0.200 (0.50) | 6.00 (0.75) |",
        "| keras-int8.tflite | legacy Keras | - | - | - |",
        "- keras-int8.tflite (legacy Keras): does not install: no such wheel",
        "| cortex-a53 instructions | net.int8.tflite | 0.750 | <= 1.00 | 0.85 | met, aim reached |",
        "| cortex-a76 instructions | net.int8.onnx | - | <= 0.75 | - | not measured |",
        "within 0.010 %",
        "| net.int8.tflite | cortex-a72 | 4.000 | 0.400 |",
    ):
        assert text in markdown
    assert not [line for line in markdown.splitlines() if "NOT met" in line]
    assert "| NOT met |" in to_markdown(table(int8_tflite(8.1e6)))


def test_the_json_holds_every_number_and_verdict() -> None:
    told = json.loads(json.dumps(to_json(table(int8_tflite(6e6)))))
    (row,) = [row for row in told["rows"] if row["file"] == "net.int8.tflite"]
    assert row["counts"]["cortex-a53"]["invoke"]["dotprod"] == 6e5
    assert row["ratio_to_baseline"]["cortex-a76"] == pytest.approx(0.2125)
    assert len(told["targets"]) == len(TARGETS)
    assert [target["met"] for target in told["targets"][:5]] == [True] * 5
