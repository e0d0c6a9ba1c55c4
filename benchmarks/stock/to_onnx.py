"""`python -m stock.to_onnx NAME CHECKPOINT WINDOWS FILE`: torch.onnx and onnxruntime's quantisers.

As their documentation shows them, with the options that suit a small Arm core.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from convert.build import INPUT_NAME, OUTPUT_NAME
from convert.checkpoint import read_checkpoint
from stock.network import check, folded_network


def main() -> None:
    """Write the one file that is named."""
    name, checkpoint, windows_file, file = sys.argv[1:]
    windows = np.load(windows_file)
    net = folded_network(read_checkpoint(Path(checkpoint)))
    examples = check(net, windows["inputs"], windows["logits"])
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "float32.onnx"
        torch.onnx.export(
            net,
            (examples[0],),
            str(exported),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            external_data=False,
            verbose=False,
        )
        make = {
            "ort-float32": as_exported,
            "ort-static-qdq": static,
            "ort-dynamic": dynamic,
            "ort-dynamic-lstm": dynamic_with_initializers,
        }[name]
        make(exported, Path(file), windows["inputs"])


def as_exported(exported: Path, file: Path, windows: Sequence[np.ndarray]) -> None:
    """The float32 file."""
    file.write_bytes(exported.read_bytes())


def static(exported: Path, file: Path, windows: Sequence[np.ndarray]) -> None:
    """quantize_static after its own preprocessing, weights per channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Windows(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(windows)

        def get_next(self) -> dict[str, np.ndarray] | None:
            window = next(self.rest, None)
            return None if window is None else {INPUT_NAME: window[None]}

    prepared = exported.with_name("prepared.onnx")
    quant_pre_process(str(exported), str(prepared))
    quantize_static(
        str(prepared), str(file), Windows(), quant_format=QuantFormat.QDQ, per_channel=True
    )


def dynamic(exported: Path, file: Path, windows: Sequence[np.ndarray]) -> None:
    """quantize_dynamic of the file as it is."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(exported), str(file), weight_type=QuantType.QInt8)


def dynamic_with_initializers(exported: Path, file: Path, windows: Sequence[np.ndarray]) -> None:
    """The same, once the LSTM's weights stand in the file as such.

    The exporter leaves them as slices and concatenations of torch's; onnxruntime folds those
    when it loads a file, and can write what it has then.
    """
    import onnxruntime

    folded = exported.with_name("folded.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    onnxruntime.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"])
    dynamic(folded, file, windows)


if __name__ == "__main__":
    main()
