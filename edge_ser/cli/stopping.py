"""How a command that runs for ever ends: on Ctrl-C, or when a service is stopped."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_TERMINATED = 0  # who sends SIGTERM asks for an end, and it was a clean one


class Stopping:
    """How far a command is from its end; made by `stoppable`.

    Args:
        stop: ends what the command waits for, in a moment; called by a signal handler, so it
            does no more than to set a flag. None: there is no such way, and it is interrupted.
    """

    def __init__(self) -> None:
        self.stop: Callable[[], None] | None = None
        self.exit_code: int | None = None
        """What to end with; None while no signal came."""

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again = self.exit_code is not None
        self.exit_code = EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_TERMINATED
        if again or self.stop is None:
            raise KeyboardInterrupt
        self.stop()


@contextmanager
def stoppable() -> Iterator[Stopping]:
    """Meanwhile SIGINT and SIGTERM end what is being done, and the exit code is kept.

    A stop lets the line that is being printed come to its end; who does not want to wait for
    it sends a second signal. One that is ignored stays ignored, as shells want it of
    background jobs.
    """
    stopping = Stopping()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heeded = [number for number in before if before[number] is not signal.SIG_IGN]
    try:
        for number in heeded:
            signal.signal(number, stopping._on_signal)
        yield stopping
    except KeyboardInterrupt:
        if stopping.exit_code is None:
            raise
    finally:
        for number in heeded:
            signal.signal(number, before[number])
