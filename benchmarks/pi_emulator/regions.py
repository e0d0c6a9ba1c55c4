"""Counts the Arm instructions of regions of a Python program that runs in the emulator.

    count_region(interpreter.invoke, label=1)        # in the program; see pi-emu.sh on PI_COUNT
    read_counts(Path("counts.txt").read_text())[1]   # afterwards, anywhere

A mark is a system call that no kernel knows: the counting plugin (insncount.c) writes one line
of totals for it, and elsewhere it does nothing.
"""

import ctypes
import gc
import re
from collections.abc import Callable

REPEATS = 5
WARM_UPS = 3
"""Interpreters allocate and pack weights on the first calls."""

MARK_CALL = 4242  # as in insncount.c
NOTHING = 0  # label of the region that holds nothing: what a mark itself costs
_libc = ctypes.CDLL(None)
_libc.syscall.restype = ctypes.c_long


def count_region(work: Callable[[], object], label: int) -> None:
    """Run `work()`: `WARM_UPS` times uncounted, then `REPEATS` times between two marks.

    Args:
        label: from 1 on, one for each region of the program.
    """
    for _ in range(WARM_UPS):
        work()
    gc.collect()
    gc.disable()  # a collection that falls into one run and not into the next is no work of it
    try:
        _mark_begin(NOTHING)
        _mark_end(NOTHING)
        _mark_begin(label)
        for _ in range(REPEATS):
            work()
        _mark_end(label)
    finally:
        gc.enable()


def read_counts(text: str) -> dict[int, dict[str, float]]:
    """Instructions of one `work()` by label and class, from what a counted run wrote.

    Raises:
        ValueError: when a region has no beginning or no end.
    """
    marks: dict[int, dict[str, int]] = {}
    for line in text.splitlines():
        if found := re.match(r"mark (\d+) ", line):
            marks[int(found[1])] = {name: int(n) for name, n in re.findall(r"(\w+)=(\d+)", line)}
    labels = {mark // 2 for mark in marks} - {NOTHING}
    if not labels or any(2 * x not in marks or 2 * x + 1 not in marks for x in {NOTHING, *labels}):
        raise ValueError(f"these are no counts of whole regions: marks {sorted(marks)}")
    spent = {x: _difference(marks[2 * x], marks[2 * x + 1]) for x in {NOTHING, *labels}}
    return {
        label: {name: (n - spent[NOTHING][name]) / REPEATS for name, n in spent[label].items()}
        for label in labels
    }


def _difference(begin: dict[str, int], end: dict[str, int]) -> dict[str, int]:
    return {name: end[name] - begin[name] for name in end}


def _mark_begin(label: int) -> None:
    _mark(2 * label)


def _mark_end(label: int) -> None:
    _mark(2 * label + 1)


def _mark(number: int) -> None:
    _libc.syscall(ctypes.c_long(MARK_CALL), ctypes.c_long(number))
