"""`python -m stock.to_litert NAME CHECKPOINT WINDOWS FILE`: litert-torch, float and static int8."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convert.checkpoint import read_checkpoint
from edge_ser.model import EmotionNet
from stock.network import check, folded_network


def main() -> None:
    """Write the one file that is named."""
    name, checkpoint, windows_file, file = sys.argv[1:]
    windows = np.load(windows_file)
    net = folded_network(read_checkpoint(Path(checkpoint)))
    examples = check(net, windows["inputs"], windows["logits"])
    make = {"litert-float32": as_float, "litert-int8": as_int8}[name]
    make(net, examples).export(file)


def as_float(net: EmotionNet, examples: tuple[Tensor, ...]) -> Any:
    """The float32 model."""
    import litert_torch

    return litert_torch.convert(net, (examples[0],))


def as_int8(net: EmotionNet, examples: tuple[Tensor, ...]) -> Any:
    """PT2E's static quantization, symmetric, weights per channel, as litert-torch documents it."""
    import litert_torch
    from litert_torch.quantize.pt2e_quantizer import (
        PT2EQuantizer,
        get_symmetric_quantization_config,
    )
    from litert_torch.quantize.quant_config import QuantConfig
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
    quantizer = PT2EQuantizer().set_global(config)
    exported = torch.export.export(net, (examples[0],)).module()
    prepared = prepare_pt2e(exported, quantizer)
    with torch.no_grad():
        for example in examples:
            prepared(example)
    converted = convert_pt2e(prepared, fold_quantize=False)
    quantized = QuantConfig(pt2e_quantizer=quantizer)
    return litert_torch.convert(converted, (examples[0],), quant_config=quantized)


if __name__ == "__main__":
    main()
