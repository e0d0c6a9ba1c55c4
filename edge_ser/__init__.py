"""The workbench: corpora, model, quantization-aware training, evaluation, command line."""
