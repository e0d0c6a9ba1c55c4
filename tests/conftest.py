"""What all tests share: the corpora, and the rule that on CI nothing is skipped."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from convert.checkpoint import Checkpoint, write_checkpoint

REQUIRE_ALL = os.environ.get("EDGE_SER_REQUIRE_ALL") == "1"


def skip_or_fail(reason: str) -> None:
    """Skip a test for want of something; where everything is required, fail instead."""
    if REQUIRE_ALL:
        pytest.fail(f"EDGE_SER_REQUIRE_ALL=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def need() -> Callable[[str], None]:
    """`need("why")` skips the running test, or fails it where everything is required."""
    return skip_or_fail


@pytest.fixture(scope="session")
def corpora_dir() -> Path:
    """The folder that holds the corpora, one folder each (EDGE_SER_CORPORA)."""
    folder = os.environ.get("EDGE_SER_CORPORA")
    if not folder or not Path(folder).is_dir():
        skip_or_fail("EDGE_SER_CORPORA does not name a folder of corpora")
    assert folder is not None
    return Path(folder)


def make_checkpoint(**model: object) -> Checkpoint:
    """A whole checkpoint of an untrained network, its grids calibrated on noise."""
    import torch
    from untrained import untrained_checkpoint

    from convert.architecture import ModelConfig
    from edge_ser.model import EmotionNet

    torch.manual_seed(0)
    config = replace(ModelConfig(), **model)  # type: ignore[arg-type]
    net = EmotionNet(config)
    return untrained_checkpoint(net, torch.randn(16, 320, config.n_features))


@pytest.fixture(scope="session")
def checkpoint_of() -> Callable[..., Checkpoint]:
    """`checkpoint_of(use_eca=False, ...)`: an untrained checkpoint of that architecture."""
    return cache(make_checkpoint)


@pytest.fixture(scope="session")
def checkpoint(checkpoint_of: Callable[..., Checkpoint]) -> Checkpoint:
    """An untrained checkpoint of the default architecture."""
    return checkpoint_of()


@pytest.fixture(scope="session")
def written(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of `checkpoint`."""
    path = tmp_path_factory.mktemp("checkpoint") / f"{checkpoint.name}.safetensors"
    write_checkpoint(path, checkpoint)
    return path
