"""`edge-ser inspect`: what a model file is made of, and how much of it is int8."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_ser.cli.app import app

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from convert.contents import Operator
    from convert.inspection import Inspection

STYLES = {"int8": "bold green", "partly int8": "bold yellow", "float": "bold red"}
PIPED_WIDTH = 160  # of tables that no terminal cuts


@app.command()
def inspect(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Any TFLite or ONNX file, ours or not.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all of it as JSON, every operator included.")
    ] = False,
) -> None:
    """Say what a model file really holds: int8 or float, operator by operator, byte by byte.

    The shares of int8 are over the multiply-accumulates of matrix products (convolutions and
    recurrences included) and over the bytes of weights. Products that compute in float are
    named. "hybrid" stands for dynamic quantization: int8 weights, float activations that are
    quantised at run time. Nothing is executed.

    Examples:

    • edge-ser inspect models/edge-ser-small.int8.tflite

    • edge-ser inspect --json model.onnx | jq .float_islands
    """
    import json
    import sys

    from convert.inspection import inspect_file

    inspection = inspect_file(file)
    if as_json:
        json.dump({"file": str(file)} | inspection.to_dict(), sys.stdout, indent=2)
        print()
        return
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    _print_summary(console, file, inspection)
    console.print(_operator_table(inspection))


def _print_summary(console: "Console", file: Path, inspection: "Inspection") -> None:
    from rich.markup import escape

    from convert.contents import FLOAT, HYBRID, INT8, OTHER
    from convert.inspection import percent

    contents, style = inspection.contents, STYLES[inspection.verdict]
    console.print(f"{escape(str(file))}  {contents.format}, {contents.n_bytes:,} bytes")
    console.print(f"[{style}]{inspection.verdict}[/]: {escape(inspection.reason)}")
    counted = ", ".join(
        f"{inspection.macs_of(kind):,} {kind}"
        for kind in (INT8, HYBRID, FLOAT, OTHER)
        if inspection.macs_of(kind)
    )
    console.print(f"multiply-accumulates: {inspection.total_macs:,} ({counted or 'none'})")
    weights = ", ".join(f"{n:,} {dtype}" for dtype, n in inspection.weight_bytes.items())
    console.print(f"weight bytes: {weights or 'none'}")
    parts = ", ".join(
        f"{name.replace('_', ' ')} {size:,} ({percent(size / contents.n_bytes)})"
        for name, size in inspection.parts.items()
        if size
    )
    console.print(f"bytes of the file: {parts}")
    if inspection.float_operators:
        kinds = ", ".join(f"{n} {kind}" for kind, n in inspection.float_operators.items())
        console.print(f"other operators in float: {escape(kinds)}")
    contract = inspection.contract
    if contract is None:
        console.print("contract: none" if inspection.contract_error is None else "contract: broken")
    else:
        console.print(
            f"contract: format {contract.format_version}, {escape(contract.name)}, "
            f"{contract.quantization.get('precision', 'precision not said')}, "
            f"labels {escape(', '.join(contract.labels))}; window of {contract.window_frames} "
            f"frames of {contract.features.n_features} features, {len(contract.scores)} scores"
        )
    for note in inspection.notes:
        console.print(f"note: {escape(note)}")


def _operator_table(inspection: "Inspection") -> "Table":
    """Operators that do the same with the same shapes share a row, where the first stands."""
    from rich.markup import escape
    from rich.table import Table

    def signature(operator: "Operator") -> tuple[str, ...]:
        return (
            operator.kind,
            "constants" if inspection.is_constant(operator) else operator.arithmetic,
            _types(inspection, operator.inputs),
            _types(inspection, operator.outputs),
            "?" if operator.macs is None else f"{operator.macs:,}" if operator.product else "",
        )

    rows = Counter(map(signature, inspection.contents.operators))
    first = {signature(o): o.name for o in reversed(inspection.contents.operators)}
    table = Table(title=f"{len(inspection.contents.operators)} operators")
    for heading, justify in (("times", "right"), ("operator", "left"), ("first", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for heading in ("computes in", "inputs", "outputs"):
        table.add_column(heading)
    table.add_column("MACs each", justify="right")
    for row, times in rows.items():
        kind, arithmetic, inputs, outputs, macs = map(escape, row)
        shown = "" if arithmetic == "none" else arithmetic
        table.add_row(f"{times}", kind, escape(first[row]), shown, inputs, outputs, macs)
    return table


def _types(inspection: "Inspection", indices: tuple[int, ...]) -> str:
    """The tensors' types and shapes, those of equal ones once."""
    tensors = [inspection.contents.tensors[index] for index in indices]
    shown = Counter(f"{t.dtype or '?'} {_lengths(t.shape)}" for t in tensors)
    return ", ".join(text if times == 1 else f"{times} of {text}" for text, times in shown.items())


def _lengths(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return "?"
    return (
        "scalar"
        if shape == ()
        else "x".join("?" if length < 0 else str(length) for length in shape)
    )
