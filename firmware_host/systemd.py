"""Telling systemd that a service is ready, alive, or about to end; nothing without systemd.

Source: systemd's sd_notify(3), sections "Description" and "Notes" (the protocol), and
sd_watchdog_enabled(3).
"""

import os
import socket
import time


class Notifier:
    """Sends datagrams to the socket that NOTIFY_SOCKET names, where it is set."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        # '@' stands for the zero byte of an abstract socket.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        wait = os.environ.get("WATCHDOG_USEC", "")
        # Twice as often as is asked for: one may come late.
        self._interval = int(wait) / 2e6 if ours and wait.isdecimal() else None
        self._last = float("-inf")

    def ready(self) -> None:
        """The service listens."""
        self._send("READY=1")

    def alive(self) -> None:
        """It still does; may be called as often as one likes."""
        now = time.monotonic()
        if self._interval is not None and now - self._last >= self._interval:
            self._last = now
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """It is about to end."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            try:
                sender.connect(self._address)
                sender.send(message.encode())
            except OSError:  # nobody listens: then nobody waits for it either
                pass
