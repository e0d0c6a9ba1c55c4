"""The table of benchmarks/pi.py: rows, targets, and both as Markdown and JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pi_emulator.emulator import CORES, Count
from targets import in_a_word

MILLION = 1e6
NOTHING = "-"
LATENCY = "x86 latency"
CLASSES = {
    "dotprod": "dot product",
    "simd_fp": "other SIMD and float",
    "ldst_simd": "SIMD loads and stores",
    "ldst": "loads and stores",
    "alu": "integer",
    "branch": "branches",
}
"""Classes of insncount.c, in the order of the table."""


@dataclass(frozen=True)
class Row:
    """One model file, or a path that led to none.

    Args:
        file: its name.
        made_by: what wrote it.
        n_bytes: of the file.
        x86_ms: median latency of `Engine.infer` on the machine that made the table.
        x86_baseline_ms: the baseline's, measured in turn with it.
        counts: by core.
        int8_share: of the multiply-accumulates, where it is known.
        failure: why numbers are missing; empty when none is.
    """

    file: str
    made_by: str
    n_bytes: int | None = None
    x86_ms: float | None = None
    x86_baseline_ms: float | None = None
    counts: Mapping[str, Count] = field(default_factory=dict)
    int8_share: float | None = None
    failure: str = ""


@dataclass(frozen=True)
class Target:
    """What a file is to reach, as a ratio to the baseline.

    Args:
        suffix: of the file.
        quantity: "bytes", "x86 latency", or a core, whose instructions are meant.
        limit: not to be exceeded; `aim` is what one hopes for.
    """

    suffix: str
    quantity: str
    limit: float
    aim: float | None = None


INT8_TFLITE, INT8_ONNX, MICRO = ".int8.tflite", ".int8.onnx", ".micro.int8.tflite"
TARGETS = (
    Target(INT8_TFLITE, "cortex-a53", 1.00, 0.85),
    Target(INT8_TFLITE, "cortex-a72", 0.70, 0.55),
    Target(INT8_TFLITE, "cortex-a76", 0.27, 0.22),
    Target(INT8_TFLITE, LATENCY, 0.50),
    Target(INT8_TFLITE, "bytes", 0.35),
    Target(INT8_ONNX, "cortex-a76", 0.75),
    Target(INT8_ONNX, LATENCY, 0.80),
    Target(INT8_ONNX, "bytes", 0.30),
    Target(MICRO, "bytes", 0.28),
)


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured, None where nothing was.

    Args:
        ratio: to the baseline: it decides.
        stock_ratio: to the stock converter's float file.
    """

    target: Target
    file: str
    ratio: float | None
    stock_ratio: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the limit holds; None when that is not known."""
        return None if self.ratio is None else self.ratio <= self.target.limit

    @property
    def reached(self) -> bool | None:
        """Whether the aim is reached too; None without one."""
        if self.ratio is None or self.target.aim is None:
            return None
        return self.ratio <= self.target.aim


@dataclass(frozen=True)
class PiTable:
    """Everything that one run measured.

    Args:
        baseline: name of the file that ratios refer to.
        facts: of checkpoint, machine and emulator.
        spread: largest relative difference between two counts of the same file.
        stock_baseline: name of the stock converter's file that targets are also held against.
    """

    rows: tuple[Row, ...]
    baseline: str
    facts: Mapping[str, Any]
    spread: float | None
    stock_baseline: str = ""

    def ratio(self, row: Row, quantity: str) -> float | None:
        """Of a row to the baseline; None where either is unknown."""
        (base,) = (row for row in self.rows if row.file == self.baseline)
        ours, theirs = quantity_of(row, quantity), quantity_of(base, quantity)
        if quantity == LATENCY:
            theirs = row.x86_baseline_ms  # measured in turn with this row's
        return None if ours is None or not theirs else ours / theirs

    def ratio_to_stock(self, row: Row, quantity: str) -> float | None:
        """Of a row to the stock converter's float file."""
        stock = [self.ratio(row, quantity) for row in self.rows if row.file == self.stock_baseline]
        ours = self.ratio(row, quantity)
        return None if ours is None or not stock or not stock[0] else ours / stock[0]

    def verdicts(self, targets: Sequence[Target] = TARGETS) -> tuple[Verdict, ...]:
        """Of the files that `convert` wrote: theirs are the targets."""
        name = self.facts["name"]
        found = []
        for target in targets:
            file = f"{name}{target.suffix}"
            ratio, stock_ratio = None, None
            for row in self.rows:
                if row.file == file:
                    ratio = self.ratio(row, target.quantity)
                    stock_ratio = self.ratio_to_stock(row, target.quantity)
            found.append(Verdict(target, file, ratio, stock_ratio))
        return tuple(found)


def quantity_of(row: Row, quantity: str) -> float | None:
    """Bytes, milliseconds, or instructions of the interpreter's call."""
    if quantity == "bytes":
        return row.n_bytes
    if quantity == LATENCY:
        return row.x86_ms
    return row.counts[quantity].invoke["total"] if quantity in row.counts else None


def to_json(table: PiTable) -> dict[str, Any]:
    """For programs: every number, uncut."""
    cores = _cores(table)
    quantities = ("bytes", LATENCY, *cores)
    return {
        "facts": dict(table.facts),
        "baseline": table.baseline,
        "spread_of_two_counts": table.spread,
        "rows": [
            asdict(row)
            | {"ratio_to_baseline": {name: table.ratio(row, name) for name in quantities}}
            for row in table.rows
        ],
        "targets": [
            asdict(verdict.target)
            | {
                "file": verdict.file,
                "ratio": verdict.ratio,
                "ratio_to_stock": verdict.stock_ratio,
                "met": verdict.met,
            }
            for verdict in table.verdicts()
        ],
    }


def to_markdown(table: PiTable) -> str:
    """For people."""
    parts = [
        "# One window on a Raspberry Pi's cores",
        _what(table),
        "\n".join(_main_table(table)),
        _failures(table),
        "## Targets",
        "\n".join(_targets(table)),
        "## Instructions by class",
        "\n".join(_classes(table)),
        "## With what",
        "\n".join(f"- {name}: {value}" for name, value in _flat(table.facts)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what(table: PiTable) -> str:
    boards = "; ".join(f"{core} is in {CORES[core]}" for core in _cores(table))
    spread = (
        ""
        if table.spread is None
        else f" Counting a file twice gave the same within {100 * table.spread:.3f} %."
    )
    return (
        "Millions of instructions that the interpreter executes for one window, on one thread, "
        f"counted on emulated cores ({boards}), and in brackets the ratio to {table.baseline}. "
        "Instructions are not time: cores differ in how many they do at once."
        f"{spread} `wrapper` is what the runtime's engine adds around the interpreter's call "
        "(setting the input, getting the output, in Python; on the last core). `x86 ms` is the "
        "median latency of the engine's call, and its ratio that to the baseline's in the same "
        "process, both in turn."
    )


def _main_table(table: PiTable) -> list[str]:
    cores = _cores(table)
    head = ["file", "made by", "bytes", "x86 ms", *cores, "wrapper", "resident MB"]
    shares = any(row.int8_share is not None for row in table.rows)
    if shares:
        head.append("int8 share of products")
    lines = _head(head, texts=2)
    for row in table.rows:
        last = row.counts.get(cores[-1]) if cores else None
        cells = [
            row.file,
            row.made_by,
            _with_ratio(table, row, "bytes", f"{row.n_bytes or 0:,}"),
            _with_ratio(table, row, LATENCY, _decimals(row.x86_ms)),
            *(_with_ratio(table, row, core, _millions(row, core)) for core in cores),
            f"{(last.infer - last.invoke['total']) / MILLION:.3f}" if last else NOTHING,
            f"{last.resident_bytes / MILLION:.0f}" if last else NOTHING,
        ]
        if shares:
            share = row.int8_share
            cells.append(NOTHING if share is None else f"{100 * share:.1f} %")
        lines.append(_line(cells))
    return lines


def _failures(table: PiTable) -> str:
    failed = [f"- {row.file} ({row.made_by}): {row.failure}" for row in table.rows if row.failure]
    return "\n".join(["Without a number:", "", *failed]) if failed else ""


def _targets(table: PiTable) -> list[str]:
    head = ["what", "of", f"to {table.baseline}"]
    if table.stock_baseline:
        head.append(f"to {table.stock_baseline}")
    lines = _head([*head, "target", "aim", ""], texts=2)
    for verdict in table.verdicts():
        target, word = verdict.target, in_a_word(verdict.met, verdict.reached)
        unit = " instructions" if target.quantity in CORES else ""
        cells = [target.quantity + unit, verdict.file, _decimals(verdict.ratio)]
        if table.stock_baseline:
            cells.append(_decimals(verdict.stock_ratio))
        aim = NOTHING if target.aim is None else f"{target.aim:.2f}"
        lines.append(_line([*cells, f"<= {target.limit:.2f}", aim, word]))
    return lines


def _decimals(ratio: float | None) -> str:
    return NOTHING if ratio is None else f"{ratio:.3f}"


def _classes(table: PiTable) -> list[str]:
    lines = _head(["file", "core", "all", *CLASSES.values()], texts=2)
    for row in table.rows:
        for core, count in row.counts.items():
            numbers = [f"{count.invoke[name] / MILLION:.3f}" for name in ("total", *CLASSES)]
            lines.append(_line([row.file, core, *numbers]))
    return lines


def _with_ratio(table: PiTable, row: Row, quantity: str, text: str) -> str:
    ratio = table.ratio(row, quantity)
    if quantity_of(row, quantity) is None:
        return NOTHING
    return text if ratio is None or row.file == table.baseline else f"{text} ({ratio:.2f})"


def _millions(row: Row, core: str) -> str:
    value = quantity_of(row, core)
    return NOTHING if value is None else f"{value / MILLION:.2f}"


def _cores(table: PiTable) -> tuple[str, ...]:
    counted = {core for row in table.rows for core in row.counts}
    return tuple(core for core in CORES if core in counted)


def _head(headings: Sequence[str], texts: int) -> list[str]:
    """The first `texts` columns to the left, the others to the right."""
    rule = ["---"] * texts + ["---:"] * (len(headings) - texts)
    return [_line(headings), _line(rule)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _flat(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, ", ".join(f"{k} {v}" for k, v in value.items()))
        if isinstance(value, Mapping)
        else (name, str(value))
        for name, value in facts.items()
    ]
