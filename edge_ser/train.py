"""Training: from recordings to checkpoints with every scale that INT8 needs.

A run is a folder, determined by its seed: killed at any moment and started again, it ends with
the same bits as one that was left alone (`trainer`). The float weights kept are running averages
over the last epochs, chosen by UAR on validation speakers; the quantised network then follows
the float one. Where there are teachers, it is they who are chosen and judged on the validation
speakers; after that they may hear those speakers too (a refit). Their pupil does, and its last
average is kept. Test speakers are never read here.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convert.checkpoint import Checkpoint, write_checkpoint
from edge_ser.dataset import (
    ClipFeatures,
    Normaliser,
    ReadClips,
    limited,
    normalisation_of,
    read_clips,
    recognition_windows,
)
from edge_ser.folds import Split
from edge_ser.heads import Head, Heads
from edge_ser.pretraining import OUTPUT, Pretraining
from edge_ser.run_state import open_run
from edge_ser.surroundings import Surroundings
from edge_ser.teaching import MODEL, Start, Teaching, teachers_of
from edge_ser.trainer import OnEpoch, TrainConfig, Trainer, batches_of, named, plain
from edge_ser.validation import WINDOWS_AT_ONCE, Validation
from firmware_host.contract import MAX_LABEL_LENGTH
from firmware_host.errors import EdgeSerError
from firmware_host.normalisation import Normalisation

PRETRAINED, REHEARSAL = "pretraining", "rehearsal"
"""Folders of a run: of pretrained networks, and of a pupil that is judged."""


def train(
    split: Split,
    heads: Sequence[Head],
    config: TrainConfig,
    run: Path,
    name: str,
    facts: Mapping[str, Any],
    device: str = "cpu",
    jobs: int = 1,
    on_read: Callable[[int, int], None] | None = None,
    on_epoch: OnEpoch = None,
    read: ReadClips = read_clips,
    teachers_in: Path | None = None,
    pretrained_in: Path | None = None,
    rehearse: bool = False,
) -> tuple[Path, ...]:
    """Train, fine-tune with quantization, and write a checkpoint for each head.

    Args:
        split: clips for training and validation, and for pretraining where there are any; the
            test clips are not touched.
        heads: the classes; together they have the `n_labels` of the model, and each corpus of
            the clips has one.
        run: the folder of this training; made if missing, resumed if interrupted.
        facts: what the checkpoint says of its training beside the settings (corpora, terms).
        device: "cpu" or "cuda".
        jobs: processes that read recordings.
        read: gives the stored features of clips.
        teachers_in: the folder of the teachers, which trainings that have the same ones share;
            None keeps them in the run's own.
        pretrained_in: the same of the pretrained networks.
        rehearse: train a pupil of the teachers once before, without the validation speakers, and
            set temperature and threshold by how it hears them: each recording as it is, and
            once more with what training puts around it. A small network is not as sure as its
            teachers, and of people that it heard itself it says nothing.

    Returns:
        The checkpoints' paths, in the order of the heads: `run/NAME.safetensors` of the only
        one, else `run/NAME-CORPUS.safetensors`.

    Raises:
        EdgeSerError: when the name is too long, there is a rehearsal without teachers, the folder
            holds a training with other settings or cannot be written, or a recording cannot be
            read.
    """
    names = _names(name, heads)
    if rehearse and not config.teachers:
        raise EdgeSerError(
            "a rehearsal was asked for without teachers: such a model never hears its validation "
            "speakers, and is calibrated on them anyway, so leave out one or give --teachers"
        )
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings = {
        "name": name,
        "heads": [head.to_dict() for head in heads],
        "config": plain(config),
        "facts": facts,
        "rehearse": rehearse,
    }
    open_run(run, settings)
    paths = tuple(run / f"{of_head}.safetensors" for of_head in names)
    if all(path.exists() for path in paths):
        return paths
    if config.teachers and teachers_in is not None:
        same = {"heads": settings["heads"], "config": plain(config.of_teacher(1)), "facts": facts}
        open_run(teachers_in, same)
    rows = Heads(heads)
    clips, validation_clips, also_heard = _read(split, rows, config, jobs, on_read, read)
    normalisation = normalisation_of(clips, config.features)

    batches = batches_of(clips, config, normalisation)
    validation = validation_of(rows, validation_clips, config, normalisation)
    pretraining = Pretraining(
        split.pretraining,
        config,
        pretrained_in or run / PRETRAINED,
        device,
        jobs,
        read,
        on_read,
        on_epoch,
    )
    starts: Mapping[str, Start] = {}
    if split.pretraining:
        starts = pretraining.starts({**teachers_of(config), MODEL: config})
    judge, uars = validation, {}
    judged: Sequence[nn.Module]
    if config.teachers:
        others = pretraining.batches if split.pretraining else None
        teaching = Teaching(config, rows, starts, others, teachers_in or run, device, on_epoch)
        taught = teaching.judged(batches, validation)
        uars = {teacher: result.uars["float"] for teacher, result in taught.items()}
        judged = teachers = [result.net for result in taught.values()]
        if rehearse:
            report = named(REHEARSAL, on_epoch)
            rehearsed = teaching.pupil(teachers, batches, run / REHEARSAL, report).net
            uars[REHEARSAL] = validation.uar(rehearsed, "cpu")
            judged = [rehearsed]
            # It is to be as sure as it may be where it will be used, and not in a studio alone.
            judge = validation_of(rows, validation_clips, config, normalisation, elsewhere=True)
        everybody = batches_of(clips + also_heard, config, normalisation)
        if config.refit_epochs:
            teachers = teaching.refitted(taught, everybody)
        result = teaching.pupil(teachers, everybody, run, on_epoch)
    else:
        result = Trainer(
            config, rows, batches, validation, run, device, on_epoch, (), starts.get(MODEL)
        ).run_stages()
        judged = [result.net]
    decisions = judge.decisions(judged, "cpu")
    training = {
        **facts,
        "seed": config.seed,
        "config": settings["config"],
        "clips": len(clips) + len(also_heard),
        "validation_uar": {**uars, **result.uars},
        "versions": versions(),
    }
    for path, of_head, head, own, decision in zip(
        paths, names, rows.heads, rows.rows, decisions, strict=True
    ):
        checkpoint = Checkpoint(
            name=of_head,
            model=replace(config.model, n_labels=len(head.labels)),
            labels=head.labels,
            features=config.features,
            window_frames=config.window_frames,
            hop_frames=config.hop_frames,
            normalisation=normalisation,
            temperature=decision.temperature,
            rejection_threshold=decision.threshold,
            training={**training, "label_of": dict(head.label_of)},
            scores=(),
            float_tensors=_of_head(result.float_tensors, own),
            qat_tensors=_of_head(result.qat_tensors, own),
        )
        write_checkpoint(path, checkpoint)
    return paths


def versions() -> dict[str, str]:
    """What a result file says of the software that made it."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _names(name: str, heads: Sequence[Head]) -> list[str]:
    """Of each head's model; one that is too long is told now, and not at the end."""
    names = [name]
    if len(heads) > 1:
        names = [f"{name}-{'-'.join(head.corpora)}".lower() for head in heads]
    if len(longest := max(names, key=len)) > MAX_LABEL_LENGTH:
        raise EdgeSerError(
            f"a model file has room for a name of {MAX_LABEL_LENGTH} letters, and {longest} has "
            f"{len(longest)}: give a shorter --name"
        )
    return names


def validation_of(
    heads: Heads,
    clips: Sequence[ClipFeatures],
    config: TrainConfig,
    normalisation: Normalisation,
    elsewhere: bool = False,
) -> Validation:
    """These clips, as a device hears them.

    Args:
        elsewhere: also once more, with what training puts around a clip.
    """
    windows = [recognition_windows(c, config.window_frames, config.hop_frames) for c in clips]
    if elsewhere:
        surroundings = Surroundings(config.augment.surroundings, config.features)
        generator = torch.Generator().manual_seed(config.seed)
        parts = torch.cat(windows).split(WINDOWS_AT_ONCE)
        around = torch.cat([surroundings(part, generator) for part in parts])
        windows += around.split([len(of_clip) for of_clip in windows])
        clips = [*clips, *clips]
    normaliser = Normaliser.of(normalisation)
    heard = [normaliser(limited(of_clip, config.features)) for of_clip in windows]
    return Validation(heads, clips, heard)


def _of_head(tensors: Mapping[str, Tensor], rows: slice) -> dict[str, NDArray[Any]]:
    """The network with the rows of one head as its output layer."""
    return {
        name: (value[rows].contiguous() if name.startswith(OUTPUT) else value).cpu().numpy()
        for name, value in tensors.items()
    }


def _read(
    split: Split,
    heads: Heads,
    config: TrainConfig,
    jobs: int,
    on_read: Callable[[int, int], None] | None,
    read: ReadClips,
) -> tuple[list[ClipFeatures], list[ClipFeatures], list[ClipFeatures]]:
    """Clips to train on, to judge by, and, for pupils, those of the latter with their copies."""
    sides = [(split.train, config.augment, 0), (split.validation, None, config.window_frames)]
    if config.teachers:
        sides.append((split.validation, config.augment, 0))
    known = [
        [(clip, row) for clip in side if (row := heads.row_of(clip)) is not None]
        for side, _, _ in sides
    ]
    total, before = sum(map(len, known)), 0
    out: list[list[ClipFeatures]] = [[], [], []]
    for number, (side, (_, augment, at_least)) in enumerate(zip(known, sides, strict=True)):

        def tell(done: int, _: int, before: int = before) -> None:
            if on_read:
                on_read(before + done, total)

        clips, rows = [clip for clip, _ in side], [row for _, row in side]
        out[number] = read(clips, rows, config.features, augment, config.seed, at_least, jobs, tell)
        before += len(side)
    return out[0], out[1], out[2]
