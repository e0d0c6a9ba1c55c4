"""`edge-ser bench`: accuracy against size, float32 against INT8."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_ser.cli.app import app
from edge_ser.cli.options import DataOption

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as TerminalTable

    from edge_ser.bench.report import Table


@app.command()
def bench(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE|DIR",
            help="Model files that `edge-ser convert` wrote, or folders of them. "
            "Default: the model in the package, converted here to float32 and INT8.",
            show_default=False,
        ),
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            "--corpus",
            "-c",
            metavar="NAME",
            help="Also recognise the test speakers of this corpus; repeat it for several.",
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
    fold: Annotated[
        int | None,
        typer.Option(
            "--fold",
            metavar="N",
            help="Test speakers of this fold. Default: those held out in the model's training.",
            show_default=False,
        ),
    ] = None,
    allow_seen: Annotated[
        bool,
        typer.Option(
            "--allow-seen",
            help="Measure on speakers of the training too; the result is marked.",
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="At most N recordings a corpus, the same ones every time.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            "--engine",
            metavar="NAME",
            help="litert, tflite-runtime, tensorflow or onnxruntime; repeat it to compare "
            "several. Default: the first installed that reads the file.",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, metavar="N", help="Timed windows a file.")] = 300,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that recognise recordings. Default: all cores.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder for bench.md, bench.json and the pictures; made if missing.",
        ),
    ] = Path("bench"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print bench.json instead of the tables.")
    ] = False,
) -> None:
    """Set accuracy against size, speed and memory: a line for each model file.

    Without --corpus, only size, speed and memory are measured. With it, the
    test speakers that the model's own training held out are recognised.

    Examples:

    • edge-ser bench

    • edge-ser bench --data corpora --corpus RAVDESS models/

    • edge-ser bench model.int8.tflite --engine litert --engine tensorflow --json
    """
    import tempfile

    from rich.console import Console

    from edge_ser.bench.measure import bench as measure
    from edge_ser.bench.report import (
        can_plot,
        certainty_table,
        check_writable,
        files_table,
        notes,
        scores_table,
        to_json,
        to_markdown,
        write_report,
    )

    check_writable(out)  # now, not after all has been measured
    errors = Console(stderr=True)
    if not corpus:
        errors.print("no accuracy is measured: name a corpus with --corpus for it", style="dim")
    with tempfile.TemporaryDirectory(prefix="edge-ser-bench-") as folder:
        measured = files or [_converted(Path(folder), errors)]
        with _progress(errors) as tell:
            result = measure(
                measured,
                data,
                corpus or (),
                fold,
                allow_seen,
                limit,
                engine or (),
                runs,
                jobs or os.cpu_count() or 1,
                tell,
            )
    written = write_report(result, out)
    if as_json:
        sys.stdout.write(to_json(result))
    elif not sys.stdout.isatty():
        sys.stdout.write(to_markdown(result))
    else:
        console = Console()
        console.print(_terminal_table(files_table(result).brief()))
        if any(row.scores for row in result.rows):
            console.print(_terminal_table(scores_table(result).brief()))
        if any(row.certainty for row in result.rows):
            console.print(_terminal_table(certainty_table(result).brief()))
        for line in notes(result):
            console.print(f"• {line}", markup=False, highlight=False)
    errors.print("written: " + ", ".join(map(str, written)), highlight=False)
    if not can_plot():
        errors.print("no picture: it needs matplotlib (pip install 'edge-ser[bench]')")


def _converted(folder: Path, console: "Console") -> Path:
    """The checkpoint in the package as model files of both precisions."""
    from convert.pipeline import boxed_checkpoint, convert

    with console.status("converting the model in the package") as status:
        convert(boxed_checkpoint(), folder, int8=True, on_step=status.update)
    return folder


@contextmanager
def _progress(console: "Console") -> Iterator[Callable[[str, int, int], None]]:
    """Bars on a terminal, one a stage; elsewhere nothing, as logs want no bars."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    tasks: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield tell


def _terminal_table(table: "Table") -> "TerminalTable":
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table as TerminalTable

    out = TerminalTable(box=SIMPLE_HEAD)
    for column, heading in enumerate(table.headings):
        right = column in table.numbers
        out.add_column(
            escape(heading),
            justify="right" if right else "left",
            overflow="fold",  # of long file names; a number is never broken
            min_width=max(len(row[column]) for row in table.rows) if right else None,
        )
    for row in table.rows:
        out.add_row(*map(escape, row))
    return out
