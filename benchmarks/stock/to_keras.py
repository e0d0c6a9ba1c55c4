"""`python -m stock.to_keras NAME CHECKPOINT WINDOWS FILE`: legacy Keras, full-integer TFLite.

The float network built again in Keras 2, whose LSTM TensorFlow's converter still fuses.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
from numpy.typing import NDArray

from convert.architecture import DIRECTIONS
from convert.checkpoint import Checkpoint, read_checkpoint

LARGEST_DIFFERENCE = 1e-4  # of a logit, from the float reference's


def main() -> None:
    """Write the file."""
    import tensorflow as tf

    _, checkpoint, windows_file, file = sys.argv[1:]
    windows = np.load(windows_file)
    inputs = windows["inputs"]
    model = keras_network(read_checkpoint(Path(checkpoint)))
    found = np.concatenate([model(window[None]).numpy() for window in inputs])
    worst = float(np.abs(found - windows["logits"]).max())
    if worst > LARGEST_DIFFERENCE:
        raise AssertionError(f"the Keras network's logits are {worst:.1e} off the reference's")

    def representative() -> Iterator[list[NDArray[np.float32]]]:
        for window in inputs:
            yield [window[None]]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    Path(file).write_bytes(converter.convert())


def keras_network(checkpoint: Checkpoint) -> Any:
    """The checkpoint's float network, one window at a time (the converter wants a fixed batch)."""
    from tf_keras import Model, layers

    config, tensors = checkpoint.model, checkpoint.float_tensors
    if not (config.use_alfb and config.use_gfb):
        raise AssertionError("only the whole network is built here")
    source = layers.Input((checkpoint.window_frames, config.n_features), batch_size=1)
    x, weights = source, []  # (layer, its weights), set once the model is built
    for index, (channels, kernel, pool) in enumerate(
        zip(config.channels, config.kernels, config.pools, strict=True)
    ):
        conv = layers.Conv1D(channels, kernel, padding="same", activation="relu")
        weight = tensors[f"alfb.{index}.weight"].transpose(2, 1, 0)
        weights.append((conv, [weight, tensors[f"alfb.{index}.bias"]]))
        x = conv(x)
        if config.use_eca:
            eca = tensors[f"alfb.{index}.eca"].ravel()
            attention = layers.Conv1D(
                1, len(eca), padding="same", activation="sigmoid", use_bias=False
            )
            weights.append((attention, [eca[:, None, None]]))
            means = layers.Reshape((channels, 1))(layers.GlobalAveragePooling1D()(x))
            x = layers.Multiply()([x, layers.Reshape((1, channels))(attention(means))])
        x = layers.MaxPooling1D(pool)(x)
    lstm = layers.Bidirectional(layers.LSTM(config.lstm_hidden, return_sequences=True))
    parts = [
        tensors[f"gfb.{direction}.{part}"].T
        for direction in DIRECTIONS
        for part in ("input", "recurrent", "bias")
    ]
    weights.append((lstm, parts))
    fused = layers.Concatenate()(
        [layers.GlobalAveragePooling1D()(x), layers.GlobalAveragePooling1D()(lstm(x))]
    )
    hidden = layers.Dense(config.head_hidden, activation="relu")
    output = layers.Dense(config.n_labels)
    for name, layer in (("hidden", hidden), ("output", output)):
        weights.append((layer, [tensors[f"{name}.weight"].T, tensors[f"{name}.bias"]]))
    model = Model(source, output(hidden(fused)))
    for layer, values in weights:
        layer.set_weights(values)
    return model


if __name__ == "__main__":
    main()
