"""What ONNX's operators and onnxruntime's are, as far as `inspect_onnx` must know them.

Sources: the operator definitions of ONNX and onnxruntime (ContribOperators.md), and
onnxruntime's rules for fusing DequantizeLinear, operator, QuantizeLinear (qdq_selectors.cc).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Slots:
    """Which inputs of an operator are what."""

    x: int = 0
    weights: tuple[int, ...] = ()
    biases: tuple[int, ...] = ()
    parameters: tuple[int, ...] = ()


_CONV = Slots(0, (1,), (2,))
_MATMUL = Slots(0, (1, 0))
_RECURRENT = Slots(0, (1, 2), (3,))
_ATTENTION = Slots(0, (1,), (2,))
PRODUCTS = {
    "Attention": _ATTENTION,
    "Conv": _CONV,
    "ConvInteger": Slots(0, (1,), (), (2, 3)),
    "ConvTranspose": _CONV,
    "DeformConv": Slots(0, (1,), (3,)),
    "DynamicQuantizeLSTM": Slots(0, (1, 2), (3,), (8, 9, 10, 11)),
    "DynamicQuantizeMatMul": Slots(0, (1,), (4,), (2, 3)),
    "Einsum": _MATMUL,
    "FusedConv": _CONV,
    "FusedGemm": _CONV,
    "FusedMatMul": _MATMUL,
    "GRU": _RECURRENT,
    "Gemm": Slots(0, (1, 0), (2,)),
    "GroupQueryAttention": Slots(0, (1, 2)),
    "LSTM": _RECURRENT,
    "MatMul": _MATMUL,
    "MatMulInteger": Slots(0, (1, 0), (), (2, 3)),
    "MatMulIntegerToFloat": Slots(0, (1, 0), (6,), (2, 3, 4, 5)),
    "MatMulNBits": Slots(0, (1,), (5,), (2, 3)),
    "MultiHeadAttention": Slots(0, (1, 2)),
    "NhwcFusedConv": _CONV,
    "QAttention": Slots(0, (1,), (2,), (3, 4, 6, 7)),
    "QGemm": Slots(0, (3,), (6,), (1, 2, 4, 5, 7, 8)),
    "QLinearConv": Slots(0, (3,), (8,), (1, 2, 4, 5, 6, 7)),
    "QLinearMatMul": Slots(0, (3, 0), (), (1, 2, 4, 5, 6, 7)),
    "RNN": _RECURRENT,
}
"""Operators that multiply matrices."""

_TWO_GRIDS, _THREE_GRIDS = (1, 2, 3, 4), (1, 2, 4, 5, 6, 7)
PARAMETERS = {
    "DequantizeLinear": (1, 2),
    "QLinearAdd": _THREE_GRIDS,
    "QLinearAveragePool": _TWO_GRIDS,
    "QLinearGlobalAveragePool": _TWO_GRIDS,
    "QLinearLeakyRelu": _TWO_GRIDS,
    "QLinearMul": _THREE_GRIDS,
    "QLinearSigmoid": _TWO_GRIDS,
    "QLinearSoftmax": _TWO_GRIDS,
    "QuantizeLinear": (1, 2),
}
"""Scales and zero points of the other operators."""

CONVOLUTIONS = {"Conv", "ConvInteger", "FusedConv", "QLinearConv"}
RECURRENCES = {"DynamicQuantizeLSTM", "GRU", "LSTM", "RNN"}
MATRIX_PRODUCTS = {
    "DynamicQuantizeMatMul",
    "FusedGemm",
    "FusedMatMul",
    "Gemm",
    "MatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "QGemm",
    "QLinearMatMul",
}
QUANTISE_AT_RUN_TIME = {"DynamicQuantizeLSTM", "DynamicQuantizeMatMul"}

FUSED_PRODUCTS = {"Conv", "Gemm", "MatMul"}
"""What onnxruntime computes in integers between DequantizeLinears and a QuantizeLinear."""

FUSED_OTHERS = {
    *("Add", "AveragePool", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid", "Softmax"),
    *("MaxPool", "Relu", "Clip", "Resize"),
}
"""The same of operators that are no products."""

CLAMPS = {"Relu", "Clip"}
"""What may stand between a convolution and its QuantizeLinear: the grid's ends do the same."""

_MOVERS = """
    Cast CastLike Compress Concat ConstantOfShape DepthToSpace DequantizeLinear
    DynamicQuantizeLinear Expand Flatten Gather GatherElements GatherND Identity If Loop Pad
    QLinearConcat QuantizeLinear Reshape ReverseSequence Scan ScatterElements ScatterND Shape Slice
    SpaceToDepth Split SplitToSequence Squeeze Tile Transpose Unsqueeze Where
"""
MOVERS = frozenset(_MOVERS.split())
"""Operators that move numbers, or change their type, and compute nothing."""

LAYOUTS = {"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
LOOPS = {"If", "Loop", "Scan"}
