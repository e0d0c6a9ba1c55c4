"""Many units over the processors there are, or over a cluster: each in a process of its own.

A process for each unit, because a training owns torch's random state, and because its memory
goes with it. On a cluster (Dask) the workers start them: a worker that is lost loses its
unit's current epoch, and another one gets the unit.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from edge_ser.corpora import corpora_root, corpus_folder, find_corpus
from edge_ser.evaluation.outcome import (
    Outcome,
    from_json,
    outcome_path,
    read_outcome,
    write_outcome,
)
from edge_ser.evaluation.run import Place, Tell, run_unit
from edge_ser.evaluation.units import Unit, joined
from edge_ser.trainer import OnEpoch
from firmware_host.errors import EdgeSerError

CONNECT_SECONDS = 30
OnDone = Callable[[Outcome, int, int], None]
"""Told of each outcome, how many there are by now, and how many there will be."""


def run_all(
    units: Sequence[Unit],
    place: Place,
    jobs: int = 1,
    scheduler: str | None = None,
    on_done: OnDone | None = None,
    tell: Tell | None = None,
    on_epoch: OnEpoch = None,
    on_failed: Callable[[Unit, str], None] | None = None,
) -> list[Outcome]:
    """Compute what is not there yet, and return the outcomes of all units.

    A unit that fails does not stop the others.

    Args:
        jobs: units at a time on this machine.
        scheduler: address of a Dask scheduler, as "tcp://host:8786", whose workers compute
            instead. They need edge-ser, and the corpora under `place.data`, or under what
            EDGE_SER_CORPORA names there.
        on_failed: told at once what failed, and why.
        tell, on_epoch: told how far a unit is, where there is one at a time.

    Raises:
        EdgeSerError: when a unit failed (after all others are done), or the scheduler does not
            answer.
    """
    units = joined(units)
    done: dict[Unit, Outcome] = {}
    for unit in units:
        if (outcome := read_outcome(place.outcomes, unit)) is not None:
            done[unit] = outcome
    missing = [unit for unit in units if unit not in done]
    if scheduler is None:  # now, not by every process after it has started
        for corpus in dict.fromkeys(name for unit in missing for name in unit.key.corpora):
            corpus_folder(corpora_root(place.data), find_corpus(corpus))
    if scheduler is not None:
        results = _on_cluster(missing, place, scheduler) if missing else iter(())
    elif jobs > 1 and len(missing) > 1:
        results = _in_processes(missing, place, jobs)
    else:
        results = _one_by_one(missing, place, tell, on_epoch)
    failed: list[tuple[Unit, str]] = []
    for unit, result in results:
        if isinstance(result, str):
            failed.append((unit, result))
            if on_failed:
                on_failed(unit, result)
            continue
        done[unit] = result
        if on_done:
            on_done(result, len(done), len(units))
    if failed:
        unit, sentence = failed[0]
        others = f" ({len(failed) - 1} others failed too)" if len(failed) > 1 else ""
        raise EdgeSerError(f"{unit.slug}: {sentence}{others}")
    return [done[unit] for unit in units]


Results = Iterator[tuple[Unit, Outcome | str]]
"""What came of each, or the sentence that says why not."""


def _one_by_one(
    units: Sequence[Unit],
    place: Place,
    tell: Tell | None,
    on_epoch: OnEpoch,
) -> Results:
    for unit in units:
        try:
            yield unit, run_unit(unit, place, tell, on_epoch)
        except EdgeSerError as error:
            yield unit, str(error)


def _by_teachers(units: Sequence[Unit]) -> list[tuple[Unit, ...]]:
    """Units that share teachers, together: else one would wait for the other."""
    groups: dict[str, list[Unit]] = {}
    for unit in units:
        groups.setdefault(unit.teachers_slug, []).append(unit)
    return [tuple(group) for group in groups.values()]


def _in_processes(units: Sequence[Unit], place: Place, jobs: int) -> Results:
    children: set[subprocess.Popen[str]] = set()
    results: SimpleQueue[tuple[Unit, Outcome | str]] = SimpleQueue()
    stopped = threading.Event()

    def compute(group: Sequence[Unit]) -> None:
        for unit in group:
            if stopped.is_set():
                return
            try:
                results.put((unit, _in_process(unit, place, children)))
            except EdgeSerError as error:
                results.put((unit, str(error)))

    pool = ThreadPoolExecutor(jobs)
    try:
        for group in _by_teachers(units):
            pool.submit(compute, group)
        for _ in units:
            yield results.get()
    finally:
        stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
        for child in list(children):
            child.kill()


def _on_cluster(units: Sequence[Unit], place: Place, scheduler: str) -> Results:
    import distributed

    # What workers leave on their own disks; what counts is written here.
    there = replace(place, outcomes=place.work / "outcomes")
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TypeError) as error:
        raise EdgeSerError(
            f"no Dask scheduler answers at {scheduler} ({type(error).__name__}): start one with "
            "`dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`"
        ) from error
    with client:
        futures = {
            client.submit(
                run_elsewhere,
                [unit.to_dict() for unit in group],
                _place_to_dict(there),
                pure=False,
            ): group
            for group in _by_teachers(units)
        }
        for future in distributed.as_completed(list(futures)):
            group = futures[future]
            try:
                results = future.result()
            except Exception as error:  # a worker that is no edge-ser, or was lost too often
                sentence = f"no worker could compute it ({type(error).__name__}: {error})"
                results = [("error", sentence)] * len(group)
            for unit, (kind, text) in zip(group, results, strict=True):
                if kind == "error":
                    yield unit, text
                    continue
                outcome = from_json(text, unit.slug)
                write_outcome(place.outcomes, outcome)
                yield unit, outcome


def run_elsewhere(
    units: Sequence[Mapping[str, Any]], place: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Units on a cluster's worker, each in a process of its own: ("outcome" or "error", text)."""
    return [_elsewhere(Unit.from_dict(unit), place_from_dict(place)) for unit in units]


def _elsewhere(unit: Unit, place: Place) -> tuple[str, str]:
    result = _in_process(unit, place, set())
    if isinstance(result, str):
        return "error", result
    return "outcome", outcome_path(place.outcomes, unit).read_text(encoding="utf-8")


def _in_process(unit: Unit, place: Place, children: set[subprocess.Popen[str]]) -> Outcome | str:
    """A unit in a process of its own, which ends when this one does."""
    command = [sys.executable, "-m", "edge_ser.evaluation.worker"]
    env = {"OMP_NUM_THREADS": "1"} | dict(os.environ)  # several side by side: a core each
    task = json.dumps({"unit": unit.to_dict(), "place": _place_to_dict(place)})
    with subprocess.Popen(
        command,
        env=env,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        stderr = child.stderr
        assert child.stdin and child.stdout and stderr
        children.add(child)
        errors: list[str] = []
        drain = threading.Thread(target=lambda: errors.append(stderr.read()), daemon=True)
        drain.start()
        try:
            # The pipe stays open: its end tells the child that nobody waits for it any more.
            child.stdin.write(task + "\n")
            child.stdin.flush()
            answer = child.stdout.read()
            code = child.wait()
        except (OSError, ValueError):
            answer, code = "", child.wait()
        finally:
            children.discard(child)
        drain.join()
    if code == 0:
        outcome = read_outcome(place.outcomes, unit)
        if outcome is not None:
            return outcome
        return "it left no outcome"
    if answer.strip():
        return str(json.loads(answer)["error"])
    lines = "".join(errors).strip().splitlines() or [f"exit code {code}"]
    return f"its process failed: {lines[-1]}"


def _place_to_dict(place: Place) -> dict[str, Any]:
    # Absolute, as the process that reads it may stand elsewhere.
    return {
        "outcomes": str(place.outcomes.absolute()),
        "work": str(place.work.absolute()),
        "data": None if place.data is None else str(place.data.absolute()),
        "device": place.device,
    }


def place_from_dict(data: Mapping[str, Any]) -> Place:
    """A place as it was told to another process, which has one processor to itself."""
    where = data["data"]
    return Place(
        Path(data["outcomes"]),
        Path(data["work"]),
        None if where is None else Path(where),
        data["device"],
    )
