"""Writing a file so that it is never half there: beside its place first, then moved into it."""

import os
from pathlib import Path

from firmware_host.errors import EdgeSerError


def write_whole(path: Path, data: bytes | str) -> None:
    """Write `data` to `path`; whatever happens, the old file or the new one stands there.

    Raises:
        EdgeSerError: when the folder cannot be made or written.
    """
    beside = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave an empty file under the name
        beside.replace(path)
    except OSError as error:
        raise EdgeSerError(
            f"cannot write {path} ({error.strerror}): choose a folder that you may write to"
        ) from error
