"""Writing a file so that it is never half there: without a name first, then under its own."""

import errno
import os
from pathlib import Path

from firmware_host.errors import EdgeSerError

WITHOUT_NAME = getattr(os, "O_TMPFILE", 0)
"""Linux can: a file without a name goes with its process, so that a kill leaves nothing of it."""

CANNOT = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
"""What a file system says that has no files without a name."""


def write_whole(path: Path, data: bytes | str) -> None:
    """Write `data` to `path`; whatever happens, the old file or the new one stands there.

    Raises:
        EdgeSerError: when the folder cannot be made or written.
    """
    whole = data.encode() if isinstance(data, str) else data
    beside = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _write_without_name(beside, whole):
            with beside.open("wb") as file:
                _write_out(file.fileno(), whole)
        beside.replace(path)
    except OSError as error:
        raise EdgeSerError(
            f"cannot write {path} ({error.strerror}): choose a folder that you may write to"
        ) from error


def _write_without_name(path: Path, data: bytes) -> bool:
    """Write a file that gets its name when all is in it; False where that cannot be done.

    It is not the final name at once: a link never replaces a file that is there.
    """
    if not WITHOUT_NAME:
        return False
    try:
        descriptor = os.open(path.parent, WITHOUT_NAME | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in CANNOT:
            return False
        raise
    try:
        _write_out(descriptor, data)
        path.unlink(missing_ok=True)
        # The folder makes Python follow the link to the file; the path being whole, it is not read.
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)
    except FileNotFoundError:  # no /proc
        return False
    finally:
        os.close(descriptor)
    return True


def _write_out(descriptor: int, data: bytes) -> None:
    """To the disk: else a power cut may leave an empty file under the name."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)
