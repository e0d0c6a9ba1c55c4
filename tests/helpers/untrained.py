"""Whole checkpoints of untrained networks: made in a moment, else like trained ones."""

import numpy as np
import torch

from convert.checkpoint import Checkpoint
from edge_ser.emotions import SEVEN_EMOTIONS
from edge_ser.model import EmotionNet
from edge_ser.qat import QuantizedEmotionNet, fold
from firmware_host.features import FeatureConfig
from firmware_host.normalisation import Normalisation

SPREAD = 20.0
"""Untrained logits lie close together: so much wider apart, labels mean something."""


def untrained_checkpoint(net: EmotionNet, batch: torch.Tensor, centred: bool = False) -> Checkpoint:
    """A checkpoint of a new network, its statistics and grids those of a batch.

    Args:
        batch: normalised windows, (windows, 320, n_features).
        centred: whether the logits vary around zero on the batch, so that no label always wins.
    """
    net(batch)  # in training mode gives batch norm statistics of its own, as a trained one has
    net.eval()
    with torch.no_grad():
        net.output.weight.mul_(SPREAD)
        if centred:
            net.output.bias.sub_(net(batch).mean(dim=0))
    tensors = fold(net)
    quantised = QuantizedEmotionNet(net.config, tensors).eval()
    quantised.calibrate([batch])
    features, n_features = FeatureConfig(), net.config.n_features
    return Checkpoint(
        name="untrained",
        model=net.config,
        labels=SEVEN_EMOTIONS,
        features=features,
        window_frames=320,
        hop_frames=25,
        normalisation=Normalisation.of(features, (0.0,) * n_features, (1.0,) * n_features),
        temperature=1.0,
        rejection_threshold=0.0,
        training={"corpora": []},
        scores=(),
        float_tensors={name: tensor.numpy() for name, tensor in tensors.items()},
        qat_tensors={name: np.asarray(t) for name, t in quantised.export().items()},
    )
