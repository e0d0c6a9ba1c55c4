"""What all tests share: the corpora, and the rule that on CI nothing is skipped."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from convert.checkpoint import Checkpoint, write_checkpoint
from firmware_host.features import FeatureConfig

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

    from convert.architecture import ModelConfig
    from edge_ser.emotions import SEVEN_EMOTIONS
    from edge_ser.model import EmotionNet
    from edge_ser.qat import QuantizedEmotionNet, fold

    torch.manual_seed(0)
    config = replace(ModelConfig(), **model)  # type: ignore[arg-type]
    net = EmotionNet(config)
    # A batch in training mode gives batch norm statistics of its own, as a trained one has.
    batch = torch.randn(16, 320, config.n_features)
    net(batch)
    tensors = fold(net.eval())
    # Untrained logits lie close together: spread them, so that labels mean something.
    tensors["output.weight"] *= 20.0
    quantised = QuantizedEmotionNet(config, tensors).eval()
    quantised.calibrate([batch])
    return Checkpoint(
        name="untrained",
        model=config,
        labels=SEVEN_EMOTIONS,
        features=FeatureConfig(),
        window_frames=320,
        hop_frames=25,
        mean=(0.0,) * config.n_features,
        std=(1.0,) * config.n_features,
        temperature=1.0,
        rejection_threshold=0.0,
        training={"corpora": []},
        scores=(),
        float_tensors={name: tensor.numpy() for name, tensor in tensors.items()},
        qat_tensors={name: np.asarray(t) for name, t in quantised.export().items()},
    )


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
