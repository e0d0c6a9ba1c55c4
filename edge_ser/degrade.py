"""Degradation: what happens to a voice between a mouth and a model, made to measure.

For tests of robustness only; training has its own augmentation (`edge_ser.augment`), whose
noise and room are made otherwise. Each function takes mono float32 at `RATE` and full scale 1,
one sample at least, and gives back as many; what is random in it is determined by its seed.
"""

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from firmware_host.audio import resample
from firmware_host.errors import EdgeSerError

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

RATE = 16_000  # Hz
NARROW_RATE = 8_000  # Hz, of telephones
FRAME = 400  # samples, 25 ms: over which speech counts as active or not
ACTIVITY_MARGIN_DB = 15.9  # below the level of speech, as ITU-T P.56 has it
TELEPHONE_HZ = (300.0, 3_400.0)
TELEPHONE_ORDER = 4  # of each edge's Butterworth filter: 24 dB an octave

SPEED_OF_SOUND = 343.0  # m/s
ROOM_METRES = ((3.0, 3.0, 2.4), (8.0, 6.0, 3.2))  # smallest and largest, length, width, height
WALL_METRES = 0.5  # that mouth and microphone keep from the walls
LEAST_DISTANCE = 0.5  # metres between mouth and microphone
JITTER_METRES = 0.08  # of the images' places, against the beat of a perfect box's echoes
HUM_HZ = 100.0  # below it a simulated room is silent
DECAY_CORRECTIONS = 3  # each leaves a fraction of the last one's error
ROOMS = 8  # of one reverberation; a seed picks one
DECAY_DB = (-5.0, -35.0)  # between which a decay is measured: T30 of ISO 3382-2


def add_noise(samples: Float32, noise: Float32, snr_db: float, seed: int) -> Float32:
    """A voice with noise of a given level beside it.

    The seed picks where in the noise the piece starts; a noise that is shorter than the voice
    goes round. The piece itself has the level asked for, also where a noise comes and goes. A
    mixture above full scale is turned down to it, voice and noise together, as whoever records
    it would do.

    Args:
        noise: mono, at `RATE`, of any level.
        snr_db: the level of active speech (`speech_rms`) over the noise's.

    Raises:
        EdgeSerError: when the noise is empty or silent.
    """
    if not noise.size or not noise.any():
        raise EdgeSerError("the noise has no samples or is silent: give a recording of a noise")
    piece = _piece(noise, samples.size, seed)
    level = _rms(piece)
    if level == 0.0:  # it holds its breath just there
        piece = _from(noise, int(np.flatnonzero(noise)[0]), samples.size)
        level = _rms(piece)
    mixed = samples + piece * (speech_rms(samples) * 10 ** (-snr_db / 20) / level)
    peak = float(np.abs(mixed).max(initial=0.0))
    return np.asarray(mixed / max(1.0, peak), np.float32)


def coloured_noise(n_samples: int, slope_db: float, seed: int) -> Float32:
    """Synthetic noise of unit power whose spectrum falls steadily.

    Args:
        slope_db: decibels an octave: 0 white, 3 pink, 6 brown.
    """
    random = np.random.default_rng(seed)
    spectrum = np.fft.rfft(random.standard_normal(n_samples))
    # Power falls with f ** -(slope / 3.01), amplitude with half of that.
    spectrum[1:] *= np.arange(1, spectrum.size) ** (-slope_db / (20 * np.log10(2)))
    spectrum[0] = 0.0
    noise = np.fft.irfft(spectrum, n_samples)
    return np.asarray(noise / _rms(noise), np.float32)


def speech_rms(samples: Float32) -> float:
    """Level of the speech, without its pauses: the root mean square of its active frames.

    Active is a frame within `ACTIVITY_MARGIN_DB` of that very level, after ITU-T P.56; so
    silence before and after a sentence changes nothing.
    """
    n_frames = max(1, samples.size // FRAME)
    parts = np.array_split(np.asarray(samples, np.float64), n_frames)
    powers = np.array([np.mean(np.square(part)) if part.size else 0.0 for part in parts])
    level = powers.mean()
    while level > 0.0:
        # Fewer frames of more power each time, so it ends.
        active = powers[powers >= level * 10 ** (-ACTIVITY_MARGIN_DB / 10)].mean()
        if active == level:
            break
        level = active
    return float(np.sqrt(level))


def change_gain(samples: Float32, gain_db: float) -> Float32:
    """Louder or quieter; what goes above full scale is cut there."""
    return np.asarray(np.clip(samples * 10 ** (gain_db / 20), -1.0, 1.0), np.float32)


def clip_peaks(samples: Float32, share: float) -> Float32:
    """Cut off at a share of the recording's peak, as an overdriven microphone does.

    Args:
        share: above 0, up to 1, which changes nothing.

    Raises:
        EdgeSerError: for another share.
    """
    if not 0 < share <= 1:
        raise EdgeSerError(f"a share of {share} of the peak was given: give one above 0, up to 1")
    limit = share * np.abs(samples).max(initial=0.0)
    return np.asarray(np.clip(samples, -limit, limit), np.float32)


def narrow(samples: Float32) -> Float32:
    """What a source of 8 kHz has of it, as the recogniser hears it: by the same resampler."""
    there = resample(samples, RATE, NARROW_RATE)
    return _as_long(resample(there, NARROW_RATE, RATE), samples.size)


def telephone(samples: Float32) -> Float32:
    """Through a telephone: 300 to 3400 Hz, 8 kHz, eight bits a sample by G.711's mu-law."""
    import soundfile
    from scipy.signal import butter, sosfilt

    band = butter(TELEPHONE_ORDER, TELEPHONE_HZ, "bandpass", fs=RATE, output="sos")
    there = resample(np.asarray(sosfilt(band, samples), np.float32), RATE, NARROW_RATE)
    line = io.BytesIO()
    there = np.clip(there, -1.0, 1.0)  # libsndfile's encoder takes nothing beyond
    soundfile.write(line, there, NARROW_RATE, format="RAW", subtype="ULAW")
    line.seek(0)
    here, _ = soundfile.read(
        line, dtype="float32", format="RAW", subtype="ULAW", samplerate=NARROW_RATE, channels=1
    )
    return _as_long(resample(here, NARROW_RATE, RATE), samples.size)


def reverberate(
    samples: Float32, decay_seconds: float, direct_to_reverberant_db: float, seed: int
) -> Float32:
    """A voice in a room, the direct sound as loud and as early as it was.

    A mixture above full scale is turned down to it.

    Args:
        decay_seconds: T60: the time in which the room's sound falls by 60 dB.
        direct_to_reverberant_db: energy of the direct sound over that of all the rest.
        seed: picks one of `ROOMS` rooms of those two figures.
    """
    from scipy.signal import oaconvolve

    response = room_response(decay_seconds, direct_to_reverberant_db, seed % ROOMS)
    heard = oaconvolve(np.asarray(samples, np.float64), response)[: samples.size]
    peak = float(np.abs(heard).max(initial=0.0))
    return np.asarray(heard / max(1.0, peak), np.float32)


@lru_cache(maxsize=4 * ROOMS)
def room_response(decay_seconds: float, direct_to_reverberant_db: float, room: int) -> Float64:
    """Impulse response of a shoebox room of random size, mouth and microphone anywhere in it.

    By the image source method (Allen and Berkley, "Image method for efficiently simulating
    small-room acoustics", 1979), the images' places shaken against sweeping echoes (De Sena et
    al., "On the modeling of rectangular geometries in room acoustic simulations", 2015). All
    walls absorb alike, as much as Eyring's formula asks for; as it is inexact for a box, the
    decay is measured and corrected. Then the reflections get the level asked for.

    Args:
        room: which one.

    Shape:
        - returns: (about decay_seconds * RATE,), float64; the direct sound is sample 0, of 1
    """
    from scipy.signal import butter, sosfilt

    random = np.random.default_rng([room, round(1e3 * decay_seconds)])
    size = random.uniform(*ROOM_METRES)
    mouth, microphone = random.uniform(WALL_METRES, size - WALL_METRES, (2, 3))
    while np.linalg.norm(mouth - microphone) < LEAST_DISTANCE:
        microphone = random.uniform(WALL_METRES, size - WALL_METRES)
    length, width, height = size
    surface = 2 * (length * width + length * height + width * height)
    # Eyring: T60 = 24 ln(10) / c * V / (-S ln(1 - a)); a reflection keeps sqrt(1 - a) of it.
    kept = np.exp(-12 * np.log(10) / SPEED_OF_SOUND * size.prod() / (surface * decay_seconds))
    reach = SPEED_OF_SOUND * decay_seconds
    distances, reflections = _images(size, mouth, microphone, reach)
    distances = distances + random.uniform(-JITTER_METRES, JITTER_METRES, distances.size)
    direct = float(np.linalg.norm(mouth - microphone))
    late = (reflections > 0) & (distances > direct) & (distances < reach)
    delays = np.round((distances[late] - direct) / SPEED_OF_SOUND * RATE).astype(int)
    echoes = np.bincount(delays, kept ** reflections[late] / distances[late])
    # Echoes of one sign pile up to a hum that no room has; the source takes it out, too.
    no_hum = butter(2, HUM_HZ, "highpass", fs=RATE, output="sos")
    tail = np.asarray(sosfilt(no_hum, echoes), np.float64)
    time = np.arange(tail.size) / RATE
    for _ in range(DECAY_CORRECTIONS):
        tail *= 10.0 ** (-3.0 * time * (1 / decay_seconds - 1 / measure_decay(tail)))
    tail[0] = 0.0
    tail *= 10 ** (-direct_to_reverberant_db / 20) / np.sqrt(np.sum(np.square(tail)))
    tail[0] = 1.0
    tail.flags.writeable = False  # it is kept, and everybody gets the same one
    return tail


def measure_decay(response: Float64) -> float:
    """T60 in seconds: by the slope of the energy that is still to come (Schroeder 1965)."""
    left = np.cumsum(np.square(response[::-1]))[::-1]
    left = left[left > 0]
    level = 10 * np.log10(left / left[0])
    high, low = DECAY_DB
    between = np.flatnonzero((level <= high) & (level >= low))
    slope = np.polyfit(between / RATE, level[between], 1)[0]
    return float(-60.0 / slope)


def _images(
    size: Float64, mouth: Float64, microphone: Float64, reach: float
) -> tuple[Float64, NDArray[np.int64]]:
    """Distance of each image of the mouth, and how many walls it was mirrored at.

    Of those within reach along each axis. Shape: (images,) each.
    """
    squares, counts = [], []
    for axis in range(3):
        most = int(np.ceil(reach / (2 * size[axis]))) + 1
        shift = np.arange(-most, most + 1)
        # The mouth shifted by an even number of rooms, and its mirror image.
        even = 2 * shift * size[axis] + mouth[axis]
        odd = 2 * shift * size[axis] - mouth[axis]
        squares.append(np.square(np.concatenate([even, odd]) - microphone[axis]))
        counts.append(np.concatenate([np.abs(2 * shift), np.abs(2 * shift - 1)]))
    distance = (
        squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]
    ).ravel()
    count = (counts[0][:, None, None] + counts[1][None, :, None] + counts[2][None, None, :]).ravel()
    near = distance < reach**2
    return np.sqrt(distance[near]), count[near]


def _piece(noise: Float32, n_samples: int, seed: int) -> Float32:
    return _from(noise, int(np.random.default_rng(seed).integers(noise.size)), n_samples)


def _from(noise: Float32, start: int, n_samples: int) -> Float32:
    """From there on, and from the start again where it ends."""
    return np.take(noise, np.arange(start, start + n_samples), mode="wrap")


def _rms(samples: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if samples.size else 0.0


def _as_long(samples: Float32, n_samples: int) -> Float32:
    """Cut or filled up with silence: resampling there and back may miss by a sample."""
    return np.pad(samples[:n_samples], (0, max(0, n_samples - samples.size)))
