"""How far a model file, in a real engine, is from the numpy reference of its graph.

Measured on the golden vectors always, and on recordings where a person gives some. Both are
recordings here: a golden vector is one of a single window.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convert.graph import Graph
from convert.recordings import Recording
from convert.reference import run
from firmware_host.contract import Contract
from firmware_host.engines import Engine, load_engine
from firmware_host.golden import golden_features
from firmware_host.probabilities import label_of

if TYPE_CHECKING:
    from rich.table import Table

Float32 = NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Told how many recordings are done, and how many there are."""

GOLDEN, CLIPS = "reference", "clips"
"""Under which the agreement on each stands in a file's entry of `report.json`."""


@dataclass(frozen=True)
class Agreement:
    """A file's logits against the reference's.

    Args:
        engine: that computed the file's.
        recordings, windows: how many were compared.
        largest, mean: difference of a logit.
        step: of the grid of the logits; None for a float32 file, which has none.
        equal_labels: share of the recordings that both recognise as the same.
    """

    engine: str
    recordings: int
    windows: int
    largest: float
    mean: float
    step: float | None
    equal_labels: float

    def to_dict(self) -> dict[str, Any]:
        """As it stands in `report.json`."""
        out: dict[str, Any] = {
            "engine": self.engine,
            "recordings": self.recordings,
            "windows": self.windows,
            "largest_logit_difference": self.largest,
            "mean_logit_difference": self.mean,
            "equal_labels": self.equal_labels,
        }
        if self.step is not None:
            out["in_steps_of_the_output_grid"] = self.largest / self.step
            out["mean_in_steps_of_the_output_grid"] = self.mean / self.step
        return out


class Yardstick:
    """What the reference of a graph says of some recordings, to hold files of it against.

    Args:
        graph: float or int8, as the files.
        temperature: of the probabilities that the windows' labels are made of.
        on_recording: told how far it is, here and in `measure`.
    """

    def __init__(
        self,
        graph: Graph,
        recordings: Sequence[Recording],
        temperature: float,
        on_recording: Progress | None = None,
    ) -> None:
        self.recordings, self.temperature = recordings, temperature
        self._tell = on_recording or (lambda _done, _total: None)
        self.step = graph.output_grid.scale if graph.output_grid else None
        self._expected = self._logits(lambda window: run(graph, window))

    def measure(self, engine: Engine) -> Agreement:
        """The agreement of a file that is open in an engine."""
        found = self._logits(engine.infer)
        pairs = list(zip(found, self._expected, strict=True))
        differences = np.abs(np.concatenate([a - b for a, b in pairs]))
        equal = [label_of(a, self.temperature) == label_of(b, self.temperature) for a, b in pairs]
        return Agreement(
            engine.name,
            len(pairs),
            len(differences),
            float(differences.max()),
            float(differences.mean()),
            self.step,
            float(np.mean(equal)),
        )

    def _logits(self, infer: Callable[[Float32], Float32]) -> list[Float32]:
        """Of each recording. Shape: (windows, n_labels)."""
        out = []
        for recording in self.recordings:
            windows = map(recording.window, range(len(recording)))
            out.append(np.stack([infer(window) for window in windows]))
            self._tell(len(out), len(self.recordings))
        return out


def yardsticks(
    graph: Graph,
    contract: Contract,
    clips: Sequence[Recording] = (),
    on_recording: Progress | None = None,
) -> dict[str, Yardstick]:
    """One of the golden vectors and, if there are clips, one of these."""
    out = {GOLDEN: Yardstick(graph, golden_recordings(contract), contract.temperature)}
    if clips:
        out[CLIPS] = Yardstick(graph, clips, contract.temperature, on_recording)
    return out


def measure_file(
    path: Path, held_against: Mapping[str, Yardstick], reference_kernels: bool = False
) -> dict[str, Any]:
    """What a file's entry of `report.json` says of its agreement.

    Args:
        reference_kernels: of the engine, in place of its fast ones.

    Raises:
        EdgeSerError: when no engine that reads the file is installed.
    """
    engine = load_engine(path, reference_kernels=reference_kernels)
    return {name: stick.measure(engine).to_dict() for name, stick in held_against.items()}


def golden_recordings(contract: Contract) -> list[Recording]:
    """The waveforms of the golden vectors, a window each."""
    return [
        Recording(golden_features(vector.seed, contract.features, contract.window_frames), contract)
        for vector in contract.golden
    ]


def render(report: Mapping[str, Any]) -> "Table":
    """The agreement of all files as a table for a terminal."""
    from rich import box
    from rich.table import Table

    title = "off the numpy reference: logits, those of int8 in steps"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for heading in ("file", "on"):
        table.add_column(heading, no_wrap=True)
    for heading in ("windows", "largest", "mean", "equal labels"):
        table.add_column(heading, justify="right", no_wrap=True)
    for file in report["files"]:
        for name, what in ((GOLDEN, "golden vectors"), (CLIPS, "clips")):
            if name in file:
                kind = file["file"].removeprefix(f"{report['name']}.")
                table.add_row(kind, what, *_cells(file[name]))
    return table


def _cells(measured: Mapping[str, Any]) -> tuple[str, ...]:
    steps = measured.get("in_steps_of_the_output_grid")
    if steps is None:  # a float32 file has no grid: the logits themselves
        largest, mean = "largest_logit_difference", "mean_logit_difference"
        differences = [f"{measured[largest]:.1e}", f"{measured[mean]:.1e}"]
    else:
        differences = [f"{steps:.0f}", f"{measured['mean_in_steps_of_the_output_grid']:.3f}"]
    n = measured["recordings"]
    equal = round(measured["equal_labels"] * n)
    return f"{measured['windows']:,}", *differences, f"{equal:,} of {n:,}"
