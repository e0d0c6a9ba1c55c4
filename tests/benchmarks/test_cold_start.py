"""The bench of the cold start: what it measures, and how it sums up."""

import subprocess
import sys

import pytest

from cold_start import Run, measure, summarise


def test_ratios_are_taken_within_a_pair() -> None:
    """A machine that is busy for half of the pairs makes both of a pair slower."""
    quiet, busy = (Run(0.1, 0.1), Run(0.15, 0.16)), (Run(1.0, 0.1), Run(1.5, 0.16))
    found = summarise([quiet, busy, quiet, busy])
    assert found["pairs"] == 4
    assert found["seconds"]["ratio_median"] == pytest.approx(1.5)
    assert found["seconds"]["ratio_quartiles"] == pytest.approx([1.5, 1.5])
    assert found["cpu_seconds"]["ratio_median"] == pytest.approx(1.6)
    assert found["cpu_seconds"]["recognize_median"] == pytest.approx(0.16)


def test_a_process_is_measured_and_must_succeed() -> None:
    run = measure([sys.executable, "-c", "sum(range(10**6))"])
    assert run.cpu_seconds > 0
    assert run.seconds > 0
    with pytest.raises(subprocess.CalledProcessError):
        measure([sys.executable, "-c", "raise SystemExit(3)"])
