"""The result book: every table of RESULTS.md recomputed, a fold at a time, resumable.

    python benchmarks/result_book.py --data corpora            # all of it; or: make results
    python benchmarks/result_book.py --plan                    # what it would do, and for how long
    python benchmarks/result_book.py --only speaker --only cross
    python benchmarks/result_book.py --scheduler tcp://host:8786
    python benchmarks/result_book.py --report                  # RESULTS.md again, nothing computed

What each table asks for stands in book_plan.toml. A fold of a seed leaves one file in
benchmarks/results/book/; what is there is not computed again. Features, trainings and model
files lie in runs/book/ and may be deleted afterwards. RESULTS.md is made of the plan and the
files alone, and of what benchmarks/robustness.py measures of the model in the package (`--only
robustness`). Kill it at any moment; the same command goes on.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from book_filled import fill
from book_pictures import draw
from book_plan import CERTAINTY, PLAN, PlannedTable, chosen, estimate_minutes, read_plan
from book_report import ROBUSTNESS, to_markdown
from edge_ser.corpora import CORPORA, corpora_root
from edge_ser.evaluation.outcome import Outcome, read_outcome, read_outcomes
from edge_ser.evaluation.protocols import FOUR_CORPORA
from edge_ser.evaluation.run import Place
from edge_ser.evaluation.spread import run_all
from edge_ser.evaluation.units import Unit, joined
from edge_ser.metrics import percent
from edge_ser.program import run
from firmware_host.files import write_whole
from robustness import boxed_models, publish, read_results

ROOT = Path(__file__).resolve().parent.parent
OUTCOMES = ROOT / "benchmarks" / "results" / "book"
PAGE = ROOT / "RESULTS.md"


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    tables = read_plan(given.plan_file)
    named = [name for name in given.only if name != ROBUSTNESS]
    wanted = chosen(tables, named) if named or not given.only else []
    if given.plan:
        print(plan_in_words(wanted, given.out))
        return
    if not given.report:
        place = Place(given.out, given.work, given.data, given.device, given.jobs)
        asked = joined([unit for table in _possible(wanted, given) for unit in table.units])
        # Every table has its first seed before any has its second.
        units = sorted(asked, key=lambda unit: unit.seed)
        try:
            run_all(units, place, given.jobs, given.scheduler, _say, on_failed=_say_failed)
            if not given.only or ROBUSTNESS in given.only:
                _measure_robustness(given)
        finally:  # also of what is there when something failed or a person stopped it
            write_page(tables, given.out, given.page)
        return
    write_page(tables, given.out, given.page)


def write_page(tables: Sequence[PlannedTable], outcomes: Path, page: Path) -> None:
    """RESULTS.md, of what is there, and its pictures beside the outcomes."""
    known = read_outcomes(outcomes)
    drawn = [table for table in tables if table.layout == CERTAINTY]
    for stem, picture in draw(fill(drawn, known)).items():
        write_whole(outcomes / f"{stem}.svg", picture)
    write_whole(page, to_markdown(tables, known, read_results(outcomes.parent / ROBUSTNESS)))
    print(f"written: {page}", flush=True)


def plan_in_words(tables: Sequence[PlannedTable], outcomes: Path) -> str:
    """What there is to do, in fold-minutes of one core."""
    known = read_outcomes(outcomes)
    counted: set[str] = set()
    taught: set[str] = set()
    pretrained: set[object] = set()
    lines, total = [], 0.0
    for table in tables:
        fresh = [unit for unit in joined(table.units) if unit.slug not in counted]
        counted |= {unit.slug for unit in fresh}
        missing = [unit for unit in fresh if read_outcome(outcomes, unit) is None]
        minutes = 0.0
        for unit in missing:
            before = unit.key.pretrain_on, unit.seed, unit.settings
            minutes += estimate_minutes(
                unit, known, unit.teachers_slug in taught, before in pretrained
            )
            taught.add(unit.teachers_slug)
            pretrained.add(before)
        total += minutes
        shared = len(joined(table.units)) - len(fresh)
        lines.append(
            f"{table.name:14} {len(missing):4} of {len(fresh):4} folds to compute, "
            f"about {minutes:6,.0f} fold-minutes"
            + (f"; {shared} more are shared with tables above" if shared else "")
            + ("; only where the corpus is there" if table.optional else "")
        )
    lines.append(f"{'all':14} about {total:,.0f} fold-minutes, {total / 60:,.1f} hours of one core")
    return "\n".join(lines)


def _possible(tables: Sequence[PlannedTable], given: argparse.Namespace) -> list[PlannedTable]:
    """Without optional tables whose corpora are not here, unless they were asked for by name."""
    out = []
    for table in tables:
        absent = _absent(table.units, given.data) if table.optional else []
        if absent and table.name not in given.only:
            print(f"{table.name}: left out, {absent[0]} is not here", flush=True)
            continue
        out.append(table)
    return out


def _absent(units: Sequence[Unit], data: Path | None) -> list[str]:
    root = corpora_root(data)
    names = dict.fromkeys(name for unit in units for name in unit.key.corpora)
    return [name for name in names if CORPORA[name].folder(root) is None]


def _measure_robustness(given: argparse.Namespace) -> None:
    """Of the model in the package; what was heard already is not heard again."""
    root = corpora_root(given.data)
    absent = [name for name in FOUR_CORPORA if CORPORA[name].folder(root) is None]
    if absent and not given.only:
        print(f"{ROBUSTNESS}: left out, {absent[0]} is not here", flush=True)
        return
    parts = given.work / ROBUSTNESS
    publish(
        boxed_models(parts), root, out=given.out.parent / ROBUSTNESS, parts=parts, jobs=given.jobs
    )


def _say(outcome: Outcome, done: int, total: int) -> None:
    heard = ", ".join(f"{name} {percent(outcome.score(name).uar)}" for name in outcome.heard)
    leaks = " (leaks)" if outcome.leaks else ""
    minutes = outcome.seconds["all"] / 60
    print(f"{done} of {total}: {outcome.unit.slug}{leaks}: UAR % {heard}; {minutes:.1f} min")
    sys.stdout.flush()


def _say_failed(unit: Unit, sentence: str) -> None:
    print(f"failed, the others go on: {unit.slug}: {sentence}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the corpora (or EDGE_SER_CORPORA)")
    parser.add_argument("--only", action="append", default=[], metavar="TABLE")
    parser.add_argument("--plan", action="store_true", help="say what would be done, and stop")
    parser.add_argument("--report", action="store_true", help="write RESULTS.md, compute nothing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="folds at a time")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that computes")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--plan-file", type=Path, default=PLAN, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=OUTCOMES, help="of the outcomes")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "book")
    parser.add_argument("--page", type=Path, default=PAGE, help="default: %(default)s")
    return parser


if __name__ == "__main__":
    run(main)
