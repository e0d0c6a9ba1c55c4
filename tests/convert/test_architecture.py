"""Sizes and switches of the network, as checkpoints and training runs keep them."""

import pytest

from convert.architecture import GATE, ROW, ModelConfig
from firmware_host.errors import EdgeSerError


@pytest.mark.parametrize("scales", [ROW, GATE])
def test_what_a_checkpoint_keeps_comes_back(scales: str) -> None:
    config = ModelConfig(channels=(8, 16), kernels=(3, 5), pools=(2, 2), lstm_scales=scales)
    assert ModelConfig.from_dict(config.to_dict()) == config


def test_rows_with_scales_of_their_own_go_without_saying() -> None:
    """As in checkpoints and unfinished trainings from before there was a choice."""
    silent = ModelConfig(lstm_scales=ROW).to_dict()
    assert "lstm_scales" not in silent
    assert ModelConfig.from_dict(silent).lstm_scales == ROW


def test_only_the_lstms_rows_share_a_scale() -> None:
    config = ModelConfig(lstm_scales=GATE, lstm_hidden=32)
    names = ("gfb.forward.input", "gfb.backward.recurrent", "hidden.weight", "alfb.0.weight")
    assert [config.rows_a_scale(name) for name in names] == [32, 32, 1, 1]
    assert ModelConfig(lstm_scales=ROW).rows_a_scale("gfb.forward.input") == 1


def test_other_scales_are_refused() -> None:
    with pytest.raises(EdgeSerError, match="'column': choose row or gate"):
        ModelConfig(lstm_scales="column")
