"""Where and with what something was measured: processor, versions, commit, date."""

import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from firmware_host.cpu import read_cpu
from firmware_host.engines import ENGINES


def describe_machine(engines: Sequence[str] = ()) -> dict[str, Any]:
    """Facts for a result file.

    Args:
        engines: of `firmware_host.engines.ENGINES`, whose versions belong to it.
    """
    packages = ["edge-ser", "numpy", *dict.fromkeys(ENGINES[name].package for name in engines)]
    return {
        "cpu": read_cpu().name,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version()}
        | {package: _version(package) for package in packages},
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"  # a build of the interpreter under another package's name


def _commit() -> str | None:
    """The commit of the sources that run, "+ changes" when some differ; None when installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # else git might speak of a repository around it
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + (" + changes" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()
