"""Standard error, turned aside while a library in C would chatter there.

File descriptor 2 is the whole process's: two who turned it aside at once could each put back
what the other had put there, and leave it closed for good. So one waits for the other.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_alone = threading.RLock()


@contextmanager
def turned_aside(descriptor: int) -> Iterator[None]:
    """Whatever the process writes to standard error meanwhile goes to this file descriptor.

    Another thread that has something to say in such a moment needs a way of its own. Where
    there is no standard error, nothing is turned aside.
    """
    with _alone:
        try:
            kept = os.dup(2)
        except OSError:
            yield
            return
        try:
            os.dup2(descriptor, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
