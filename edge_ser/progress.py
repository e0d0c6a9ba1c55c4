"""How a training looks while it runs: bars on a terminal, plain lines in a log."""

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from edge_ser.trainer import EpochReport

STAGE_NAMES = {"float": "float training", "qat": "quantization-aware training"}
LINES_EVERY = 10  # epochs, where there is no terminal to draw on


class TrainingProgress:
    """A context that shows what `train` reports through `reading` and `epoch`."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "TrainingProgress":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def reading(self, done: int, total: int) -> None:
        """So many of so many recordings are read."""
        self._update("reading recordings", done, total, "")
        if not self._console.is_terminal and done == total:
            self._console.print(f"read {total} recordings")

    def epoch(self, report: EpochReport) -> None:
        """An epoch is done."""
        stage = STAGE_NAMES.get(report.stage, report.stage)
        note = f"loss {report.loss:.3f}"
        if report.validation_uar is not None:
            note += f"  validation UAR {100 * report.validation_uar:.1f}"
        if report.best_uar is not None:
            note += f" (best {100 * report.best_uar:.1f})"
        self._update(stage, report.epoch, report.epochs, note)
        last = report.epoch == report.epochs
        if not self._console.is_terminal and (report.epoch % LINES_EVERY == 1 or last):
            self._console.print(f"{stage}: epoch {report.epoch} of {report.epochs}  {note}")

    def _update(self, name: str, done: int, total: int, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, note=note)
        self._bars.update(self._tasks[name], completed=done, total=total, note=note)
