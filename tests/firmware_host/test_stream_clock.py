"""The account of lost time and of arrivals is exact, however long a stream goes on."""

import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_host.stream_clock import StreamClock

YEAR_SAMPLES = 44_100 * 3_600 * 24 * 365


def test_a_gap_is_shared_out_over_the_windows_exactly() -> None:
    """The windows of a stream without overlap have, together, all that was lost."""
    clock = StreamClock(48_000, 16_000)
    clock.arrive(48_000, 1.0, 0)
    clock.lose(4_800)
    clock.arrive(48_000, 2.0, 0)
    clock.lose(48)
    assert [round(clock.lost_seconds(n * 8_000, (n + 1) * 8_000), 9) for n in range(5)] == [
        0.0, 0.0, 0.1, 0.0, 0.001,
    ]  # fmt: skip


def test_after_a_year_nothing_is_rounded() -> None:
    clock = StreamClock(44_100, 16_000)
    clock.arrive(YEAR_SAMPLES, None, 0)
    clock.lose(441)
    end = 16_000 * 3_600 * 24 * 365
    assert clock.lost_seconds(end - 16_000, end) == 0
    assert clock.lost_seconds(end - 16_000, end + 1_600) == 0.01


def test_a_window_that_was_lost_altogether_is_known_as_such() -> None:
    """Compared with ==, so it must be the same number at every rate."""
    for rate in (8_000, 11_025, 22_050, 44_100, 48_000, 96_001):
        clock = StreamClock(rate, 16_000)
        clock.lose(10 * rate)
        clock.lose(1)
        assert clock.lost_seconds(4_000, 4_000 + 51_440) == 51_440 / 16_000


@settings(deadline=None)
@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=20))
def test_losses_in_pieces_are_one_loss(pieces: list[int]) -> None:
    whole, parts = StreamClock(22_050, 16_000), StreamClock(22_050, 16_000)
    whole.lose(sum(pieces))
    for piece in pieces:
        parts.lose(piece)
    assert whole.lost_seconds(100, 51_540) == parts.lost_seconds(100, 51_540)


def test_a_window_arrived_when_its_last_sample_did() -> None:
    clock = StreamClock(48_000, 16_000)
    assert clock.arrived(16_000) is None
    for second in range(1, 5):
        clock.arrive(48_000, 100.0 + second, due=24_000)
    assert clock.arrived(24_000) == 102.0  # one and a half seconds
    assert clock.arrived(32_000) == 102.0  # exactly two
    assert clock.arrived(32_001) == 103.0
    assert clock.arrived(99_000) == 104.0  # filled up with silence: the last there was


def test_arrivals_are_not_hoarded() -> None:
    """One sample at a time is a stream too."""
    clock = StreamClock(16_000, 16_000)
    for n in range(20_000):
        clock.arrive(1, float(n), due=16_000 + n // 4_000 * 4_000)
        if n % 4_000 == 0:
            clock.arrived(n)
    assert len(clock._arrivals) < 5_000
    assert sys.getsizeof(clock._gaps) < 1_000
