"""What systemd is told goes to its socket, a filesystem's or an abstract one; else nowhere."""

import os
import socket
from pathlib import Path

import pytest

from firmware_host.systemd import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_messages_reach_the_socket(
    abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """READY once it is said; WATCHDOG at once, and then not more often than it needs to be."""
    name = f"@edge-ser-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        systemd.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        monkeypatch.setenv("WATCHDOG_USEC", "60000000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        notifier = Notifier()
        notifier.ready()
        for _ in range(1_000):
            notifier.alive()
        notifier.stopping()
        received = [systemd.recv(100) for _ in range(3)]
    assert received == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]
    notifier.ready()  # systemd went away: no reason to fail


def test_no_watchdog_where_none_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither when there is none, nor when it is another process's."""
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name)
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        Notifier().alive()
        monkeypatch.setenv("WATCHDOG_USEC", "60000000")
        monkeypatch.setenv("WATCHDOG_PID", "1")
        Notifier().alive()
        with pytest.raises(BlockingIOError):
            systemd.recv(100)


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    notifier.ready()
    notifier.alive()
    notifier.stopping()
