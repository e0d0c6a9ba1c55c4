"""The bench: float32 beside INT8, accuracy against size, measured on the files themselves.

`measure` does it all; the others are what it does: which clips, recognition, speed, the
machine, the report, the picture. Nothing is imported here, because `process` measures the
memory of a fresh interpreter.
"""
