"""The devices that an INT8 file is written for, by whose kernels compute it."""

from firmware_host.errors import EdgeSerError

PI = "pi"
"""Small Linux machines: onnxruntime, or TFLite with XNNPACK; float32 in and out."""

MICRO = "micro"
"""Microcontrollers, TensorFlow Lite Micro: nothing but integers, int8 in and out."""

TARGETS = (PI, MICRO)
ALL = "all"


def targets_of(choice: str) -> tuple[str, ...]:
    """The targets that a person chose: one by its name, or `ALL`.

    Raises:
        EdgeSerError: when it is neither.
    """
    if choice not in (*TARGETS, ALL):
        raise EdgeSerError(f"there is no target {choice!r}: choose {', '.join(TARGETS)} or {ALL}")
    return TARGETS if choice == ALL else (choice,)


MICRO_OPERATORS = frozenset(
    {
        "CONCATENATION",
        "CONV_2D",
        "LOGISTIC",
        "MAX_POOL_2D",
        "MEAN",
        "MUL",
        "RESHAPE",
        "STRIDED_SLICE",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
    }
)
"""What a microcontroller's file may consist of: TensorFlow Lite Micro has all of these in int8.

Source: micro_mutable_op_resolver.h of tflite-micro.
"""
