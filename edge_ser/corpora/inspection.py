"""What a recording's samples and header say: decoded, so that containers do not matter."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firmware_host.errors import EdgeSerError

# Samples are compared as 32-bit integers; one step of a 16-bit recording is 2^16 of them.
STEP = 1 << 16
SILENT_STEPS = 2  # dither and rounding of digital silence stay within this
SILENT_SHARE = 0.5  # a recording with more silence than this is mostly silence
FULL_SCALE_STEPS = 32_767
CLIPPED_SAMPLES = 10  # fewer samples at full scale are peaks of a normalised recording

# libsndfile reads a file that was cut short as a shorter one, and says so only in its log.
CUT_SHORT = re.compile(r"^\s*(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)

# What libsndfile calls the containers whose files a suffix promises.
CONTAINERS = {
    ".wav": {"WAV", "WAVEX", "RF64"},
    ".flac": {"FLAC"},
    ".aif": {"AIFF"},
    ".aiff": {"AIFF"},
}


@dataclass(frozen=True)
class Inspection:
    """One recording.

    Args:
        digest: sha256 of the rate, the channels and every decoded sample; None where the file
            cannot be read.
        container: as libsndfile names it, "WAV", "AIFF", "FLAC".
        mostly_silent: more than half of its samples are near digital silence.
        clipped: its samples stand at full scale too often to be peaks.
        error: why it cannot be read; empty otherwise.
    """

    path: Path
    digest: str | None = None
    container: str = ""
    rate: int = 0
    channels: int = 0
    mostly_silent: bool = False
    clipped: bool = False
    error: str = ""

    @property
    def contradicts_suffix(self) -> bool:
        """The file holds another container than its suffix says."""
        expected = CONTAINERS.get(self.path.suffix.lower())
        return bool(self.container and expected) and self.container not in (expected or ())


def inspect(path: Path) -> Inspection:
    """Read a recording whole. A file that cannot be read gives its error, never raises."""
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise EdgeSerError(
            f"recordings cannot be read without soundfile ({error}): pip install soundfile"
        ) from error
    try:
        with soundfile.SoundFile(path) as file:
            container, rate, announced = file.format, file.samplerate, file.frames
            log = CUT_SHORT.search(file.extra_info)
            samples = file.read(dtype="int32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        return Inspection(path, error=str(error))
    if len(samples) == 0:
        return Inspection(path, container=container, error="it holds no samples")
    if len(samples) < announced or (log and int(log[1]) > int(log[2])):
        return Inspection(path, container=container, error="it ends before its header says")
    digest = hashlib.sha256(f"{rate}/{samples.shape[1]}/".encode())
    digest.update(np.ascontiguousarray(samples, dtype="<i4").data)
    silent = np.count_nonzero((samples >= -SILENT_STEPS * STEP) & (samples <= SILENT_STEPS * STEP))
    limit = FULL_SCALE_STEPS * STEP
    clipped = np.count_nonzero((samples >= limit) | (samples <= -limit))
    return Inspection(
        path=path,
        digest=digest.hexdigest(),
        container=container,
        rate=rate,
        channels=samples.shape[1],
        mostly_silent=bool(silent > SILENT_SHARE * samples.size),
        clipped=bool(clipped >= CLIPPED_SAMPLES),
    )
