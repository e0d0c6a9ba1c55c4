"""The level meter: loudness by the definition of dB below full scale."""

import numpy as np
import pytest

from edge_ser.level import SILENCE_DBFS, level_dbfs


def test_levels_are_those_of_the_definition() -> None:
    time = np.arange(16_000) / 16_000
    sine = np.sin(2 * np.pi * 100 * time).astype(np.float32)
    assert level_dbfs(sine) == pytest.approx(-3.01, abs=0.01)
    assert level_dbfs(sine / np.float32(10)) == pytest.approx(-23.01, abs=0.01)
    assert level_dbfs((sine * 32_767).astype(np.int16)) == pytest.approx(-3.01, abs=0.01)
    assert level_dbfs(np.full(10, -32_768, np.int16)) == pytest.approx(0.0, abs=1e-6)
    assert level_dbfs(np.zeros(100, np.float32)) == SILENCE_DBFS
