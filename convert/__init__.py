"""The translator: from a checkpoint to a quantised graph to INT8 ONNX and INT8 TFLite files."""
