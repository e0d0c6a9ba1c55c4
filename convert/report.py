"""What `edge-ser convert` says about the files that it wrote, read back from the files."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convert.contents import is_float
from convert.inspection import INT8_SHARE, inspect_bytes
from convert.targets import MICRO_OPERATORS
from firmware_host.errors import EdgeSerError

if TYPE_CHECKING:
    from rich.table import Table

LARGEST_FLOAT_CONSTANT = 1024
"""Bytes up to which an INT8 file may hold a float constant (a scalar, a row of scales)."""


def check_int8(name: str, data: bytes) -> None:
    """Refuse an INT8 file of which a matrix product or a weight is float.

    Raises:
        EdgeSerError: naming the first float constant over `LARGEST_FLOAT_CONSTANT`, or saying
            which share of the multiply-accumulates or of the weight bytes is int8.
    """
    inspection = inspect_bytes(data)
    for constant in inspection.contents.constants:
        if is_float(constant.dtype) and constant.n_bytes > LARGEST_FLOAT_CONSTANT:
            raise EdgeSerError(
                f"{name} is no INT8 file: its constant {constant.name or constant.shape} is "
                f"{constant.dtype} of {constant.n_bytes} bytes; please report this"
            )
    if inspection.uncounted:
        raise EdgeSerError(
            f"{name} cannot be proven to be an INT8 file: it is not known what its "
            f"{inspection.uncounted[0].name} costs; please report this"
        )
    if min(inspection.int8_mac_share, inspection.int8_weight_share) < INT8_SHARE:
        raise EdgeSerError(f"{name} is no INT8 file: {inspection.reason}; please report this")


def check_micro(name: str, data: bytes) -> None:
    """Refuse a microcontroller's file in which anything is float, or for which an operator lacks.

    Raises:
        EdgeSerError: naming the first such tensor or operator.
    """
    contents = inspect_bytes(data).contents
    for tensor in contents.tensors:
        if is_float(tensor.dtype):
            raise EdgeSerError(
                f"{name} is no microcontroller's file: its tensor {tensor.name or tensor.shape} "
                f"is {tensor.dtype}; please report this"
            )
    for operator in contents.operators:
        if operator.kind not in MICRO_OPERATORS:
            raise EdgeSerError(
                f"{name} is no microcontroller's file: its {operator.kind} is none of the "
                f"operators {', '.join(sorted(MICRO_OPERATORS))}; please report this"
            )


def describe(path: Path) -> dict[str, Any]:
    """Facts of one file for `report.json`."""
    inspection = inspect_bytes(path.read_bytes())
    contents = inspection.contents
    by_type: Counter[str] = Counter()
    for constant in contents.constants:
        by_type[constant.dtype] += constant.n_bytes
    operators = Counter(operator.kind for operator in contents.operators)
    return {
        "file": path.name,
        "bytes": contents.n_bytes,
        "sha256": inspection.sha256,
        "int8_mac_share": inspection.int8_mac_share,
        "int8_weight_share": inspection.int8_weight_share,
        "constant_bytes": dict(sorted(by_type.items())),
        "operators": dict(sorted(operators.items())),
    }


def render(report: Mapping[str, Any]) -> "Table":
    """The report as a table for a terminal; files by their names less the model's."""
    from rich import box
    from rich.table import Table

    name = report["name"]
    table = Table(
        title=f"{name}: {report['parameters']:,} parameters, "
        f"{report['macs_per_window'] / 1e6:.1f} M MACs per "
        f"{report['window_seconds']:.1f} s window",
        box=box.SIMPLE_HEAD,
        padding=0,  # the box has a space between columns; so it fits 80 of them
        show_edge=False,
    )
    table.add_column("file", no_wrap=True)
    headings = ("bytes", "of float", "int8 weights", "int8 MACs", "operators", "off reference")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    whole = report["files"][0]["bytes"]
    for file in report["files"]:
        difference = file["reference"]["largest_logit_difference"]
        steps = file["reference"].get("in_steps_of_the_output_grid")
        table.add_row(
            file["file"].removeprefix(f"{name}."),
            f"{file['bytes']:,}",
            f"{file['bytes'] / whole:.2f}",
            f"{file['int8_weight_share']:.0%}",
            f"{file['int8_mac_share']:.0%}",
            f"{sum(file['operators'].values()):,}",
            f"{difference:.1e}" if steps is None else f"{steps:.1f} steps",
        )
    return table
