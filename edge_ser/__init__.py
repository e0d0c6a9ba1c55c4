"""edge-ser, the workbench: corpora, model, quantization-aware training, evaluation, command line."""
