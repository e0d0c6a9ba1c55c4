"""A folder that is computed once: whole or not there, whoever makes it, however many at once."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from firmware_host.errors import EdgeSerError


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, made by `make` if it is not there.

    It is made under another name beside, and moved into place whole. Who comes second waits;
    where locks do not work (some network file systems), both make the same, and one stays.

    Args:
        make: fills the folder that it is given.

    Raises:
        EdgeSerError: when the folder cannot be made or written.
    """
    if folder.is_dir():
        return folder
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():
            _make(folder, make)
    return folder


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Alone among all processes that lock this file; a lock goes with the process that holds it.

    Args:
        wait: until another one lets it go; else whether it is ours is what the context gives.

    Raises:
        EdgeSerError: when the file cannot be made.
    """
    try:
        import fcntl
    except ImportError:  # not on this system: nobody waits
        yield True
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise EdgeSerError(
            f"cannot write {path} ({error.strerror}): choose a folder that you may write to"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system that has no locks
            pass
        yield True


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    except OSError as error:
        raise EdgeSerError(
            f"cannot make {folder} ({error.strerror}): choose a folder that you may write to"
        ) from error
    try:
        make(beside)
        # Fails where another process was first, as a folder that holds something stays.
        with contextlib.suppress(OSError):
            beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    if not folder.is_dir():
        raise EdgeSerError(f"cannot make {folder}: choose a folder that you may write to")
