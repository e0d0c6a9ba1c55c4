"""What of the software determines stored features: sources and versions, in one digest."""

import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path

import edge_ser.augment
import edge_ser.dataset
import firmware_host.audio
import firmware_host.features

MODULES = (edge_ser.augment, edge_ser.dataset, firmware_host.audio, firmware_host.features)
PACKAGES = ("numpy", "scipy", "soxr", "soundfile")


@cache
def sources_digest() -> str:
    """Changes when features may come out otherwise, which then are computed anew."""
    digest = hashlib.sha256()
    for module in MODULES:
        assert module.__file__ is not None
        digest.update(Path(module.__file__).read_bytes())
    for package in PACKAGES:
        digest.update(f"{package} {metadata.version(package)}\n".encode())
    return digest.hexdigest()
