"""The ring buffer: nothing lost that has room, everything else counted, the order kept."""

import threading
from collections import deque

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_host.capture import Captured
from firmware_host.ring import RingBuffer

RATE = 16_000
BLOCKS = st.integers(0, 40)


def block(start: int, n: int) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    """Frames that tell where in the stream they stood."""
    return np.arange(start, start + n, dtype=np.int64).astype(np.int16)[:, None]


def drain(ring: RingBuffer) -> list[Captured]:
    return list(iter(ring.read, None))


@settings(deadline=None)
@given(st.lists(st.tuples(BLOCKS, st.booleans())), st.integers(1, 100))
def test_what_has_room_comes_out_as_it_went_in(
    steps: list[tuple[int, bool]], capacity: int
) -> None:
    """Below capacity nothing is lost, whatever the blocks and wherever the memory ends."""
    ring, written, waiting, heard = RingBuffer(capacity, 1, RATE), 0, 0, list[Captured]()
    for n, read in steps:
        if waiting + n > capacity:
            continue
        ring.write(block(written, n), arrived=float(written))
        written, waiting = written + n, waiting + n
        if read:
            heard += drain(ring)
            waiting = 0
    heard += drain(ring)
    together = np.concatenate([c.samples for c in heard] or [np.empty(0, np.int16)])
    assert together.dtype == np.int16
    assert np.array_equal(together, block(0, written)[:, 0])
    assert all(c.lost_samples == 0 and c.rate == RATE for c in heard)


@settings(deadline=None)
@given(st.lists(st.tuples(BLOCKS, st.integers(0, 3), BLOCKS)), st.integers(1, 60))
def test_what_has_no_room_is_counted_where_it_was_lost(
    steps: list[tuple[int, int, int]], capacity: int
) -> None:
    """Each sample stands where it stood in the stream once the losses before it are counted."""
    ring, written, at = RingBuffer(capacity, 1, RATE), 0, 0
    kept: deque[tuple[int, int]] = deque()

    def check(captured: Captured | None) -> None:
        nonlocal at
        assert (captured is None) == (not kept)
        if captured is None:
            return
        start, n = kept.popleft()
        at += captured.lost_samples
        assert (at, len(captured.samples), captured.arrived) == (start, n, float(start + n))
        assert np.array_equal(captured.samples, block(start, n)[:, 0])
        at += n

    for n, reads, lost_before in steps:
        written += lost_before
        fits = sum(size for _, size in kept) + n <= capacity
        ring.write(block(written, n), float(written + n), lost_before)
        if fits:
            kept.append((written, n))
        written += n
        for _ in range(reads):
            check(ring.read())
    while kept:
        check(ring.read())
    # What was lost at the very end is told with the next block, which may be empty.
    ring.write(block(0, 0), 0.0)
    (last,) = drain(ring)
    assert at + last.lost_samples == written


@settings(deadline=None)
@given(st.integers(2, 6), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_channels_are_averaged(channels: int, n: int, seed: int) -> None:
    """Full scale of both signs stays what it is, also where the memory ends within a block."""
    frames = np.random.default_rng(seed).integers(-(2**15), 2**15, (n, channels), np.int16)
    frames[0], frames[-1] = -(2**15), 2**15 - 1
    ring = RingBuffer(n + 1, channels, RATE)
    for _ in range(3):
        ring.write(frames, 0.0)
        (captured,) = drain(ring)
        difference = captured.samples - frames.mean(axis=1, dtype=np.float64)
        assert captured.samples.dtype == np.int16
        assert np.abs(difference).max() <= 0.51


def test_two_threads_at_once() -> None:
    """A writer that never waits and a reader: every sample is heard once or counted."""
    ring, n_blocks, n = RingBuffer(1_000, 1, RATE), 20_000, 7
    done = threading.Event()

    def write() -> None:
        for i in range(n_blocks):
            ring.write(block(i * n, n), 0.0)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    at = 0
    while not (done.is_set() and not ring._blocks):
        if (captured := ring.read()) is not None:
            at += captured.lost_samples
            assert np.array_equal(captured.samples, block(at, n)[:, 0])
            at += n
    writer.join()
    ring.write(block(0, 0), 0.0)
    assert at + drain(ring)[0].lost_samples == n_blocks * n
