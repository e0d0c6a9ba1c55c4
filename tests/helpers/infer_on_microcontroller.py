"""A program for an environment with TensorFlow Lite Micro: what its kernels make of windows.

    python infer_on_microcontroller.py MODEL WINDOWS.npy LOGITS.npy

WINDOWS: int8 (n, window_frames, n_features). LOGITS: int8 (n, n_labels). It knows nothing of
edge-ser: the file alone says what is computed.
"""

import sys

import numpy as np
from tflite_micro.python.tflite_micro import runtime

ARENA_BYTES = 64 * 1024
"""All the memory that the interpreter is given; without enough it does not start."""


def main() -> None:
    """Compute every window on its own."""
    model, given, computed = sys.argv[1:]
    interpreter = runtime.Interpreter.from_file(model, arena_size=ARENA_BYTES)
    logits = []
    for window in np.load(given):
        interpreter.reset()  # the LSTM's state
        interpreter.set_input(window[None], 0)
        interpreter.invoke()
        logits.append(interpreter.get_output(0)[0].copy())
    np.save(computed, np.stack(logits))


if __name__ == "__main__":
    main()
