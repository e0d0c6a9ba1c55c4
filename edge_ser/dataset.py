"""Recordings as stored features: read once, augmented copies for training, windows for testing.

Stored are log-mel, RMS and zero-crossing rate, as float16; the cepstra are derived from the
log-mel when a batch is made. A window for testing is exactly the window that the runtime
would recognise: a clip shorter than one is followed by silence, a longer one is covered at
the hop.
"""

import copy
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_ser.augment import (
    AugmentConfig,
    FeatureAugmenter,
    add_cepstra,
    augment_waveform,
    change,
    limit_range,
)
from edge_ser.corpora.clip import Clip
from firmware_host.audio import read_audio, resample
from firmware_host.errors import EdgeSerError
from firmware_host.features import FeatureConfig, extract
from firmware_host.normalisation import Normalisation

Float16 = NDArray[np.float16]
STORED_KINDS = ("log_mel", "rms", "zcr")
Progress = Callable[[int, int], None]
"""Called with how many clips are done, and how many there are."""
ReadClips = Callable[..., list["ClipFeatures"]]
"""`read_clips`, or what gives the same from where it is kept."""


@dataclass(frozen=True)
class ClipFeatures:
    """Stored features of one clip: the recording first, then its augmented copies.

    Shape:
        - copies: each (frames, n_mels + 2), float16
    """

    clip: Clip
    label: int
    copies: tuple[Float16, ...]


def read_clips(
    clips: Sequence[Clip],
    labels: Sequence[int],
    features: FeatureConfig,
    augment: AugmentConfig | None = None,
    seed: int = 0,
    at_least_frames: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
) -> list[ClipFeatures]:
    """Read recordings and compute their stored features.

    Args:
        clips, labels: the recordings and the class of each, of equal length.
        augment: of training clips; None for validation and test.
        seed: with the clip's name it determines each augmented copy.
        at_least_frames: a shorter recording is followed by silence up to that, as the
            runtime does it.
        jobs: processes to spread the work over.

    Raises:
        EdgeSerError: when a recording cannot be read.
    """
    at_least = features.samples_for(at_least_frames) if at_least_frames else 0
    work = partial(_read_one, features=features, augment=augment, seed=seed, at_least=at_least)
    out = []
    for clip, label, copies in zip(clips, labels, _spread(work, clips, jobs), strict=True):
        out.append(ClipFeatures(clip, label, copies))
        if progress:
            progress(len(out), len(clips))
    return out


def _spread(
    work: Callable[[Clip], tuple[Float16, ...]], clips: Sequence[Clip], jobs: int
) -> Iterator[tuple[Float16, ...]]:
    if jobs <= 1:
        yield from map(work, clips)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(work, clips, chunksize=16)


def _read_one(
    clip: Clip, features: FeatureConfig, augment: AugmentConfig | None, seed: int, at_least: int
) -> tuple[Float16, ...]:
    samples, rate = read_audio(clip.path)
    samples = resample(samples, rate, features.sample_rate)
    stored = replace(features, kinds=STORED_KINDS)
    samples = np.pad(samples, (0, max(0, at_least - samples.size)))
    copies = [extract(samples, stored).astype(np.float16)]
    for number in range(augment.copies if augment else 0):
        assert augment is not None
        key = copy_seed(seed, clip, number)
        changed = augment_waveform(samples, features.sample_rate, augment, key)
        copies.append(extract(changed, stored).astype(np.float16))
    return tuple(copies)


def copy_seed(seed: int, clip: Clip, number: int) -> int:
    """Seed of a clip's augmented copy: the run's seed, clip and number (from 0) determine it."""
    text = f"{seed}/{clip.corpus}/{clip.path.name}/{number}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


@dataclass(frozen=True)
class Batch:
    """Inputs of one step, each a mixture of two clips (mixup).

    Args:
        inputs: those with a label first; others may follow.
        share: of the clips of `labels`; the rest is of those of `mixed_in`.
        undisturbed: the same clips, of which nothing else is heard, for networks that are asked
            about them.

    Shape:
        - inputs, undisturbed: (n, window_frames, n_features), float32, normalised
        - labels, mixed_in: (at most n,), int64
    """

    inputs: Tensor
    labels: Tensor
    mixed_in: Tensor
    share: float
    undisturbed: Tensor | None = None

    def before(self, others: "Batch") -> "Batch":
        """With another batch's inputs after its own."""
        both = replace(self, inputs=torch.cat([self.inputs, others.inputs]))
        if self.undisturbed is not None and others.undisturbed is not None:
            both = replace(both, undisturbed=torch.cat([self.undisturbed, others.undisturbed]))
        return both


class Normaliser(NamedTuple):
    """A `Normalisation` as tensors, so that what is compiled for one serves others."""

    mean: Tensor
    std: Tensor
    floor: Tensor
    by_window: Tensor

    @classmethod
    def of(cls, normalisation: Normalisation) -> "Normaliser":
        """Shape of each: (n_features,)."""
        std = torch.tensor(normalisation.std)
        floor = normalisation.std_floor * std
        return cls(
            torch.tensor(normalisation.mean), std, floor, torch.tensor(normalisation.by_window)
        )

    def __call__(self, windows: Tensor) -> Tensor:
        """What `Normalisation` itself makes of each of these windows.

        Shape:
            - windows, returns: (n, window_frames, n_features)
        """
        own = windows.mean(dim=1, keepdim=True)
        deviation = (windows - own).square().mean(dim=1, keepdim=True).sqrt()
        centred = windows - torch.where(self.by_window, own, self.mean)
        return centred / torch.where(self.by_window, deviation + self.floor, self.std)


def prepare(
    stored: Tensor,
    gain_db: Tensor,
    bands: Tensor,
    times: Tensor,
    features: FeatureConfig,
    normaliser: Normaliser,
) -> Tensor:
    """What a network is given of windows that are changed as `FeatureAugmenter.draw` says.

    Shape:
        - stored: (batch, frames, n_mels + 2)
        - returns: (batch, frames, n_features)
    """
    return normaliser(limited(change(stored, gain_db, bands, times, features), features))


class TrainingBatches:
    """Random windows of the training clips, augmented; what counts is people and classes.

    A clip is drawn with a probability that falls with the square root of how many clips of
    its class its speaker has: a class of few is heard, and so are people of few words. Four
    hundred recordings of one voice say little of how others sound. Every epoch is determined
    by the seed and its number alone, which is what makes an interrupted training resumable bit
    for bit.
    """

    def __init__(
        self,
        clips: Sequence[ClipFeatures],
        features: FeatureConfig,
        window_frames: int,
        normalisation: Normalisation,
        augment: AugmentConfig,
        batch_size: int,
        seed: int,
        fast: bool = False,
    ) -> None:
        if not clips:
            raise EdgeSerError("there are no training clips: choose other corpora or folds")
        self.features = features
        self.normaliser, self.batch_size, self.seed = Normaliser.of(normalisation), batch_size, seed
        self._prepare = torch.compile(prepare, dynamic=False) if fast else prepare
        self.augment = augment
        self._augmenter = FeatureAugmenter(augment, features)
        self._shelf = _Shelf(clips, features, window_frames)
        self._labels = torch.tensor([clip.label for clip in clips])
        groups = [(clip.clip.corpus, clip.clip.speaker, clip.label) for clip in clips]
        sizes = Counter(groups)
        self._weights = torch.tensor([sizes[group] ** -0.5 for group in groups])
        self._undisturbed: FeatureAugmenter | None = None
        self._others: TrainingBatches | None = None

    def another(self, augment: AugmentConfig, seed: int) -> "TrainingBatches":
        """The same recordings, of which copies are there already, in another order and way."""
        other = copy.copy(self)
        other.augment, other.seed = augment, seed
        other._augmenter = FeatureAugmenter(augment, self.features)
        return other

    def for_pupil(self, others: "TrainingBatches | None" = None) -> "TrainingBatches":
        """The same with what teachers are asked about.

        Args:
            others: as many clips of these in each batch too, whose labels do not count.
        """
        both = copy.copy(self)
        both._undisturbed = FeatureAugmenter(self.augment.undisturbed, self.features)
        if others is not None:
            both._others = others.for_pupil()
            both._others.normaliser = self.normaliser
        return both

    def alone(self) -> "TrainingBatches":
        """The same without what is for pupils."""
        own = copy.copy(self)
        own._undisturbed = own._others = None
        return own

    def __len__(self) -> int:
        """Batches an epoch: as many draws as there are clips."""
        return max(1, len(self._labels) // self.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch."""
        if self._others is not None:
            # As many epochs of the others as it takes, and never one of them twice.
            times = -(-len(self) // len(self._others))
            first = number * times
            others = chain.from_iterable(map(self._others.epoch, range(first, first + times)))
            for own, other in zip(self._own_epoch(number), others, strict=False):
                yield own.before(other)
        else:
            yield from self._own_epoch(number)

    def _own_epoch(self, number: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        draws = torch.multinomial(
            self._weights, len(self) * self.batch_size, replacement=True, generator=generator
        )
        for chosen in draws.split(self.batch_size):
            stored = self._shelf.windows(chosen, generator)
            views = [self._inputs(stored, self._augmenter, generator)]
            if self._undisturbed is not None:
                views.append(self._inputs(stored, self._undisturbed, generator))
            labels = self._labels[chosen]
            share = 1.0
            alpha = self.augment.mixup
            if alpha > 0:
                # Beta(a, a) from numpy, seeded from the generator: torch has no seeded Beta.
                number_seed = int(torch.randint(2**31, (1,), generator=generator))
                share = float(np.random.default_rng(number_seed).beta(alpha, alpha))
                share = max(share, 1.0 - share)
            other = torch.randperm(len(chosen), generator=generator)
            mixed = [share * view + (1 - share) * view[other] for view in views]
            yield Batch(mixed[0], labels, labels[other], share, *mixed[1:])

    def _inputs(
        self, stored: Tensor, augmenter: FeatureAugmenter, generator: torch.Generator
    ) -> Tensor:
        surrounded = augmenter.surroundings(stored, generator)
        changes = augmenter.draw(stored, generator)
        inputs: Tensor = self._prepare(surrounded, *changes, self.features, self.normaliser)
        return inputs


class _Shelf:
    """Every frame of every copy of the clips, end to end, so that a batch is one indexing."""

    def __init__(self, clips: Sequence[ClipFeatures], features: FeatureConfig, window: int) -> None:
        copies = [copy for clip in clips for copy in clip.copies]
        quiet = silence(features).half()  # the first frame; what lies outside a copy is that one
        self._frames = torch.cat([quiet, *(torch.from_numpy(copy) for copy in copies)])
        lengths = torch.tensor([len(copy) for copy in copies])
        self._lengths = lengths.view(len(clips), -1)
        self._starts = (len(quiet) + lengths.cumsum(0) - lengths).view(len(clips), -1)
        self._offsets = torch.arange(window)

    def windows(self, clips: Tensor, generator: torch.Generator) -> Tensor:
        """A random window of a random copy of each clip; a short one stands anywhere in silence.

        Shape:
            - clips: (batch,), indices
            - returns: (batch, window, n_mels + 2), float32
        """
        n = len(clips)
        chosen = torch.randint(self._lengths.shape[1], (n,), generator=generator)
        length, start = self._lengths[clips, chosen], self._starts[clips, chosen]
        spare = length - len(self._offsets)
        place = (torch.rand(n, generator=generator) * (spare.abs() + 1)).long() * spare.sign()
        frame = place[:, None] + self._offsets
        inside = (frame >= 0) & (frame < length[:, None])
        return self._frames[torch.where(inside, start[:, None] + frame, 0)].float()


def silence(features: FeatureConfig) -> Tensor:
    """Stored features of a frame of zeros. Shape: (1, n_mels + 2)."""
    stored = replace(features, kinds=STORED_KINDS)
    return torch.from_numpy(extract(np.zeros(features.frame_length, np.float32), stored))


def normalisation_of(clips: Sequence[ClipFeatures], features: FeatureConfig) -> Normalisation:
    """By mean and standard deviation of each feature over the frames of the recordings."""
    total, squares, count = torch.zeros(()), torch.zeros(()), 0
    for clip in clips:
        frames = add_cepstra(torch.from_numpy(clip.copies[0]).float(), features).double()
        total = total + frames.sum(dim=0)
        squares = squares + frames.square().sum(dim=0)
        count += len(frames)
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=1e-6).sqrt()
    return Normalisation.of(features, tuple(mean.float().tolist()), tuple(std.float().tolist()))


def recognition_windows(clip: ClipFeatures, window: int, hop: int) -> Tensor:
    """Stored features of the windows that the runtime recognises of this clip.

    The clip was read with `at_least_frames=window`.

    Shape:
        - returns: (windows, window, n_mels + 2), float32
    """
    frames = torch.from_numpy(clip.copies[0]).float()
    starts = range(0, len(frames) - window + 1, hop)
    return torch.stack([frames[s : s + window] for s in starts])


def limited(stored: Tensor, features: FeatureConfig) -> Tensor:
    """Features of stored windows, limited in range as the runtime does it; not normalised.

    Shape:
        - stored: (batch, frames, n_mels + 2)
        - returns: (batch, frames, n_features)
    """
    return add_cepstra(limit_range(stored, features), features)
