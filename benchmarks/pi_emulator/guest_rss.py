"""Resident memory of the emulated program alone.

Of the emulator's own process, qemu-user 7.2 shows the guest's mappings in /proc/self/maps and
the host's, all of them, in /proc/self/smaps: what lies in both is the guest's.
"""

from pathlib import Path


def guest_rss() -> int:
    """In bytes; a program that is not emulated gets its own resident memory."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    guest = [_range(line.split()[0]) for line in maps]
    total, share = 0.0, 0.0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        word = line.split()
        if "-" in word[0] and not word[0].endswith(":"):
            low, high = _range(word[0])
            inside = sum(max(0, min(high, end) - max(low, begin)) for begin, end in guest)
            share = inside / (high - low)
        elif word[0] == "Rss:":
            total += int(word[1]) * 1024 * share
    return round(total)


def _range(text: str) -> tuple[int, int]:
    low, high = (int(part, 16) for part in text.split("-"))
    return low, high
