"""A folder that is computed once: whole or not there, whoever makes it, however many at once."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from firmware_host.errors import EdgeSerError


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, made by `make` if it is not there.

    It is made under another name beside, and moved into place whole. Two processes may make
    it at once: both make the same, the first one's stays.

    Args:
        make: fills the folder that it is given.

    Raises:
        EdgeSerError: when the folder cannot be made or written.
    """
    if folder.is_dir():
        return folder
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
    return folder
