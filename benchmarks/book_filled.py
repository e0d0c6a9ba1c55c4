"""The tables of the plan, filled with the figures of the outcomes that are there."""

from collections.abc import Sequence
from dataclasses import dataclass

from book_plan import PlannedTable, Row
from edge_ser.evaluation.outcome import Outcome
from edge_ser.evaluation.summary import Summary, summarise


@dataclass(frozen=True)
class FilledRow:
    """A row of the plan, and the figures of it that are there."""

    row: Row
    summary: Summary | None


Filled = Sequence[tuple[PlannedTable, Sequence[FilledRow]]]


def fill(tables: Sequence[PlannedTable], outcomes: Sequence[Outcome]) -> Filled:
    """The tables with the figures that are there."""
    known = {outcome.unit.slug: outcome for outcome in outcomes}
    summaries: dict[tuple[str, ...], Summary] = {}  # tables that are alike share them
    filled = []
    for table in tables:
        rows = []
        for row in table.rows:
            there = [
                known[unit.slug]
                for unit in row.units
                if unit.slug in known and unit.is_done_by(known[unit.slug].unit)
            ]
            slugs = tuple(outcome.unit.slug for outcome in there)
            if there and slugs not in summaries:
                summaries[slugs] = summarise(there)
            rows.append(FilledRow(row, summaries.get(slugs)))
        filled.append((table, rows))
    return filled
