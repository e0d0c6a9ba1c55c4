"""The devices that an INT8 file is written for, by whose kernels compute it."""

PI = "pi"
"""Small Linux machines: onnxruntime, or TFLite with XNNPACK; float32 in and out."""

MICRO = "micro"
"""Microcontrollers, TensorFlow Lite Micro: nothing but integers, int8 in and out."""

TARGETS = (PI, MICRO)

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
