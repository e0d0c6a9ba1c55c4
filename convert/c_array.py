"""A microcontroller's model file as C: its bytes, and what firmware must know to feed it.

Names do not depend on the model, so that another model is another pair of files and no line
of the firmware's. Both compile as C99 and as C++11.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from convert.graph import Graph
from convert.inspection import read_contents
from firmware_host.contract import Contract

ALIGNMENT = 16
"""Of the model's bytes: kernels read weights where they lie (`tflite_file.BUFFER_ALIGNMENT`)."""

BYTES_A_LINE, NUMBERS_A_LINE = 16, 6


def c_header(graph: Graph, contract: Contract, model: bytes) -> str:
    """The constants of the contract and of the file's ends, and what the source defines."""
    features, source, logits = contract.features, graph.inputs[0].grid, graph.output_grid
    assert source and logits, "a microcontroller's graph has int8 ends"
    kinds = sorted({operator.kind for operator in read_contents(model).operators})
    constants: dict[str, str] = {
        "NAME": _string(contract.name),
        "CONTRACT_VERSION": str(contract.format_version),
        "SAMPLE_RATE": str(features.sample_rate),
        "FRAME_LENGTH": str(features.frame_length),
        "HOP_LENGTH": str(features.hop_length),
        "N_FEATURES": str(features.n_features),
        "FEATURE_KINDS": _string(",".join(features.kinds)),
        "N_MELS": str(features.n_mels),
        "N_MFCC": str(features.n_mfcc),
        "FMIN": _float(features.fmin),
        "FMAX": _float(features.fmax),
        "LOG_FLOOR": _float(features.log_floor),
        "TOP_DB": _float(features.top_db),
        "FEATURES_DIGEST": _string(features.digest()),
        "WINDOW_FRAMES": str(contract.window_frames),
        "WINDOW_HOP_FRAMES": str(contract.hop_frames),
        "STD_FLOOR": _float(contract.normalisation.std_floor),
        "N_LABELS": str(len(contract.labels)),
        "TEMPERATURE": _float(contract.temperature),
        "REJECTION_THRESHOLD": _float(contract.rejection_threshold),
        "INPUT_SCALE": _float(source.scale),
        "INPUT_ZERO_POINT": _integer(source.zero_point),
        "OUTPUT_SCALE": _float(logits.scale),
        "OUTPUT_ZERO_POINT": _integer(logits.zero_point),
        "N_OPERATORS": str(len(kinds)),
        "MODEL_BYTES": str(len(model)),
    }
    defined = "\n".join(f"#define EDGE_SER_{name} {value}" for name, value in constants.items())
    operators = "\n *   ".join(kinds)
    return f"""\
/* A speech emotion recognition model for TensorFlow Lite Micro. Written by `edge-ser convert`.
 *
 * Input: int8 [1, EDGE_SER_WINDOW_FRAMES, EDGE_SER_N_FEATURES],
 *   round((feature - m) / d / EDGE_SER_INPUT_SCALE)
 *   + EDGE_SER_INPUT_ZERO_POINT, limited to -128 to 127. Where edge_ser_by_window is 1, m is the
 *   mean of that feature over the window, and d the square root of its mean squared distance from
 *   m, plus EDGE_SER_STD_FLOOR * edge_ser_std; elsewhere they are edge_ser_mean and edge_ser_std.
 *   Before that, log-mel more than EDGE_SER_TOP_DB below the window's largest is raised to it, and
 *   the cepstra are those of what is raised.
 * Output: int8 [1, EDGE_SER_N_LABELS],
 *   logit = (output - EDGE_SER_OUTPUT_ZERO_POINT) * EDGE_SER_OUTPUT_SCALE, and
 *   probabilities = softmax(logits / EDGE_SER_TEMPERATURE).
 * The LSTM remembers: reset the interpreter's variables before each window
 *   (MicroInterpreter::Reset).
 * Operators to register, EDGE_SER_N_OPERATORS:
 *   {operators}
 */
#ifndef EDGE_SER_MODEL_H
#define EDGE_SER_MODEL_H

#include <stddef.h>

{defined}

#ifdef __cplusplus
extern "C" {{
#endif

/* Normalisation: one number a feature. */
extern const float edge_ser_mean[EDGE_SER_N_FEATURES];
extern const float edge_ser_std[EDGE_SER_N_FEATURES];
extern const unsigned char edge_ser_by_window[EDGE_SER_N_FEATURES];

/* In the order of the logits. */
extern const char *const edge_ser_labels[EDGE_SER_N_LABELS];

/* The TFLite file, at a multiple of {ALIGNMENT} bytes. */
extern const unsigned char edge_ser_model[EDGE_SER_MODEL_BYTES];
extern const size_t edge_ser_model_length;

#ifdef __cplusplus
}}
#endif

#endif
"""


def c_source(header_name: str, contract: Contract, model: bytes) -> str:
    """The definitions of what `c_header` declares.

    Args:
        header_name: what the header's file is called.
    """
    return f"""\
/* Written by `edge-ser convert`. */
#include {_string(header_name)}

#if defined(__cplusplus)
#define EDGE_SER_ALIGNED alignas({ALIGNMENT})
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define EDGE_SER_ALIGNED _Alignas({ALIGNMENT})
#else
#define EDGE_SER_ALIGNED __attribute__((aligned({ALIGNMENT})))
#endif

const float edge_ser_mean[EDGE_SER_N_FEATURES] = {{
{_lines(map(_float, contract.normalisation.mean), NUMBERS_A_LINE)}
}};

const float edge_ser_std[EDGE_SER_N_FEATURES] = {{
{_lines(map(_float, contract.normalisation.std), NUMBERS_A_LINE)}
}};

const unsigned char edge_ser_by_window[EDGE_SER_N_FEATURES] = {{
{_lines((str(int(one)) for one in contract.normalisation.by_window), BYTES_A_LINE)}
}};

const char *const edge_ser_labels[EDGE_SER_N_LABELS] = {{
{_lines(map(_string, contract.labels), 1)}
}};

const size_t edge_ser_model_length = EDGE_SER_MODEL_BYTES;

EDGE_SER_ALIGNED const unsigned char edge_ser_model[EDGE_SER_MODEL_BYTES] = {{
{_lines([f"0x{byte:02x}" for byte in model], BYTES_A_LINE)}
}};
"""


def _lines(items: Iterable[str], items_a_line: int) -> str:
    listed: Sequence[str] = list(items)
    starts = range(0, len(listed), items_a_line)
    return "\n".join(f"    {', '.join(listed[i : i + items_a_line])}," for i in starts)


def _integer(value: int) -> str:
    return f"({value})" if value < 0 else str(value)


def _float(value: float) -> str:
    """The shortest decimal that is this float32 again."""
    digits = str(np.float32(value))
    text = digits if re.search("[.e]", digits) else f"{digits}.0"
    return f"({text}f)" if value < 0 else f"{text}f"


def _string(text: str) -> str:
    r"""A C string literal of the text's UTF-8 bytes.

    >>> print(_string('glücklich "?"'))
    "gl\303\274cklich \"\?\""
    """
    plain = {ord(character): f"\\{character}" for character in '"\\?'}
    shown = [
        plain.get(byte, chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}")
        for byte in text.encode()
    ]
    return f'"{"".join(shown)}"'
