"""Training: the float network, then its quantization-aware twin, resumable at any moment.

A run is a folder. After every epoch the whole state is written beside and moved into place;
an epoch's randomness comes from the seed and the epoch's number alone. So a training that is
killed and started again ends with the same bits as one that was left alone. The float weights
kept are running averages over the last epochs, chosen by UAR on validation speakers; the
quantised network then follows the float one. Test speakers are never read here.
"""

import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from convert.architecture import ModelConfig
from convert.checkpoint import Checkpoint, write_checkpoint
from edge_ser.augment import AugmentConfig
from edge_ser.dataset import (
    Batch,
    ClipFeatures,
    TrainingBatches,
    normalisation,
    read_clips,
    recognition_windows,
)
from edge_ser.folds import VALIDATION_TEXT_SHARE, Split
from edge_ser.heads import Head, Heads
from edge_ser.metrics import fit_temperature, score
from edge_ser.model import EmotionNet
from edge_ser.qat import QuantizedEmotionNet, fold
from edge_ser.run_state import RunState, open_run, pack, read_state, restore, write_state
from firmware_host.features import FeatureConfig
from firmware_host.probabilities import label_of

LOG_FILE = "log.jsonl"
TEACHER = "float/"  # under which the float network stands in the state of the second stage
WARMUP_SHARE = 0.05  # of the steps, from zero to the full learning rate
AVERAGING_EPOCHS = 4  # horizon of the running average of weights
GRADIENT_NORM = 5.0  # larger gradients are scaled down to it
TEACHER_SEEDS = 1000  # between the seeds of the teachers of one seed and of the next
VALIDATION_WINDOWS = 256  # recognised at a time
CALIBRATION_BATCHES = 8
CALIBRATION_EPOCH = 2**20  # the number of an epoch of its own, which no training reaches

Float32 = NDArray[np.float32]
ReadClips = Callable[..., list[ClipFeatures]]
"""`edge_ser.dataset.read_clips`, or what gives the same from where it is kept."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training, beside its clips.

    Args:
        epochs, qat_epochs: of float training and of quantization-aware fine-tuning; without
            the latter the checkpoint holds the float network alone.
        learning_rate, qat_learning_rate: peaks of the two cosine schedules.
        seed: of initialisation, order, augmentation and dropout.
        threads: of torch; results repeat bit for bit only with the same number.
        teachers: networks of the same form, each with a seed of its own, that are trained first
            and that the float network then learns from, beside the labels; 0 leaves them out.
        teachers_share: of the loss, what comes from answering as the teachers do on average.
        fast: float training in bfloat16 where that is exact enough, its convolutions compiled:
            twice as fast on a processor with bfloat16 units, and other last bits. It needs a C++
            compiler.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    window_frames: int = 320
    hop_frames: int = 25
    epochs: int = 120
    qat_epochs: int = 24
    batch_size: int = 64
    learning_rate: float = 2e-3
    qat_learning_rate: float = 2e-4
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    dropout: float = 0.3
    seed: int = 0
    threads: int = 1
    teachers: int = 0
    teachers_share: float = 0.7
    fast: bool = False

    def of_teacher(self, number: int) -> "TrainConfig":
        """Settings of one of the teachers, counted from 1: float training, with another seed."""
        seed = (self.seed + 1) * TEACHER_SEEDS + number
        return replace(self, seed=seed, teachers=0, qat_epochs=0)


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did; handed to the progress display and written to the log.

    Args:
        stage: "float", "qat", or "teacher N".
    """

    stage: str
    epoch: int
    epochs: int
    loss: float
    validation_uar: float
    best_uar: float
    seconds: float


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
    on_epoch: Callable[[EpochReport], None] | None = None,
    read: ReadClips = read_clips,
) -> tuple[Path, ...]:
    """Train, fine-tune with quantization, and write a checkpoint for each head.

    Args:
        split: clips for training and validation; the test clips are not touched.
        heads: the classes; together they have the `n_labels` of the model, and each corpus of
            the clips has one.
        run: the folder of this training; made if missing, resumed if interrupted.
        facts: what the checkpoint says of its training beside the settings (corpora, terms).
        device: "cpu" or "cuda".
        jobs: processes that read recordings.
        read: gives the stored features of clips.

    Returns:
        The checkpoints' paths, in the order of the heads: `run/NAME.safetensors` of the only
        one, else `run/NAME-CORPUS.safetensors`.

    Raises:
        EdgeSerError: when the folder holds a training with other settings, or cannot be
            written, or a recording cannot be read.
    """
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings = {
        "name": name,
        "heads": [head.to_dict() for head in heads],
        "config": _plain(config),
        "facts": facts,
    }
    open_run(run, settings)
    names = [name]
    if len(heads) > 1:
        names = [f"{name}-{'-'.join(head.corpora)}".lower() for head in heads]
    paths = tuple(run / f"{of_head}.safetensors" for of_head in names)
    if all(path.exists() for path in paths):
        return paths
    rows = Heads(heads)
    train_clips, validation_clips = _read(split, rows, config, jobs, on_read, read)
    mean, std = normalisation(train_clips, config.features)
    batches = TrainingBatches(
        train_clips,
        config.features,
        config.window_frames,
        mean,
        std,
        config.augment,
        config.batch_size,
        config.seed,
    )
    windows = [
        (recognition_windows(c, config.features, config.window_frames, config.hop_frames) - mean)
        / std
        for c in validation_clips
    ]
    validation = _Validation(rows, validation_clips, windows)
    trainer = _Trainer(config, rows, batches, validation, run, device, on_epoch)
    result = trainer.run_stages()
    logits = validation.logits(result.net, "cpu")
    for path, of_head, head, own in zip(paths, names, rows.heads, rows.rows, strict=True):
        judged = _judged(head, validation_clips)
        checkpoint = Checkpoint(
            name=of_head,
            model=replace(config.model, n_labels=len(head.labels)),
            labels=head.labels,
            features=config.features,
            window_frames=config.window_frames,
            hop_frames=config.hop_frames,
            mean=tuple(map(float, mean)),
            std=tuple(map(float, std)),
            temperature=fit_temperature(
                [np.asarray(logits[i][:, own], np.float64) for i in judged],
                [validation_clips[i].label - own.start for i in judged],
            ),
            rejection_threshold=0.0,
            training={
                **facts,
                "label_of": dict(head.label_of),
                "seed": config.seed,
                "config": settings["config"],
                "clips": len(train_clips),
                "validation_uar": result.uars,
                "versions": versions(),
            },
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


class _Validation:
    """Clips that nothing is trained on, each recognised by the mean over its windows.

    Args:
        windows: of each clip, normalised. Shape: (windows, frames, n_features)
    """

    def __init__(
        self, heads: Heads, clips: Sequence[ClipFeatures], windows: Sequence[Tensor]
    ) -> None:
        self.heads, self.clips = heads, clips
        self._windows = torch.cat(list(windows))
        self._counts = [len(of_clip) for of_clip in windows]

    def logits(self, net: nn.Module, device: str) -> list[Float32]:
        """Of each clip's windows. Shape of each: (windows, rows), float32."""
        # Eager: compiled code is for the batches of training, whose number of windows is fixed.
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            parts = [
                net(some.to(device)).float().cpu()
                for some in self._windows.split(VALIDATION_WINDOWS)
            ]
        return [part.numpy() for part in torch.cat(parts).split(self._counts)]

    def uar(self, net: nn.Module, device: str) -> float:
        """The mean of the corpora's UAR, so that a large one does not drown the others."""
        recognised = []
        for clip, logits in zip(self.clips, self.logits(net, device), strict=True):
            rows = self.heads.rows_of(clip.label)
            recognised.append(rows.start + label_of(logits[:, rows]))
        uars = []
        for corpus in sorted({clip.clip.corpus for clip in self.clips}):
            chosen = [i for i, clip in enumerate(self.clips) if clip.clip.corpus == corpus]
            truth = [self.clips[i].label for i in chosen]
            uars.append(score(truth, [recognised[i] for i in chosen], len(self.heads)).uar)
        return float(np.mean(uars))


@dataclass(frozen=True)
class _Result:
    """What the stages end with.

    Args:
        net: the network that is deployed, on the CPU: the quantised one where there is one.
        float_tensors: of the folded float network.
        qat_tensors: what the quantised one exports, or empty.
        uars: of each on the validation speakers.
    """

    net: nn.Module
    float_tensors: Mapping[str, Tensor]
    qat_tensors: Mapping[str, Tensor]
    uars: Mapping[str, float]


class _Trainer:
    """The two stages over one set of batches."""

    def __init__(
        self,
        config: TrainConfig,
        heads: Heads,
        batches: TrainingBatches,
        validation: _Validation,
        run: Path,
        device: str,
        on_epoch: Callable[[EpochReport], None] | None,
    ) -> None:
        self.config, self.heads, self.batches = config, heads, batches
        self.validation, self.device = validation, device
        self.run, self.on_epoch = run, on_epoch

    def run_stages(self) -> _Result:
        """Train from wherever the run stands to its end."""
        config = self.config
        state = read_state(self.run)
        torch.manual_seed(config.seed)
        net = EmotionNet(config.model, config.dropout).to(self.device)
        if config.fast:
            net.local.compile()
        if state.stage == "float":
            teachers = [self._teacher(number) for number in range(1, config.teachers + 1)]
            float_uar = self._run_stage(net, self._float_stage(teachers), state)
            kept = {f"{TEACHER}{name}": value for name, value in net.state_dict().items()}
            state = RunState("qat", 0, -1.0, float_uar, kept)
            write_state(self.run, state)
        else:
            net.load_state_dict(state.under(TEACHER, self.device))
        tensors, uars = fold(net.eval()), {"float": state.float_uar}
        if not config.qat_epochs:
            return _Result(net.cpu(), tensors, {}, uars)
        quantised = QuantizedEmotionNet(config.model, tensors).to(self.device)
        if state.epoch == 0:
            epoch = self.batches.epoch(CALIBRATION_EPOCH)
            some = [batch.inputs.to(self.device) for batch in islice(epoch, CALIBRATION_BATCHES)]
            quantised.eval()
            quantised.calibrate(some)
        uars["qat"] = self._run_stage(quantised, self._qat_stage(net), state)
        exported = quantised.export()
        deployed = QuantizedEmotionNet.from_export(config.model, exported)
        return _Result(deployed, tensors, exported, uars)

    def _teacher(self, number: int) -> EmotionNet:
        """A network that the float one is to learn from; trained, or as it was trained before."""
        config, tell = self.config.of_teacher(number), self.on_epoch
        name = f"teacher {number}"
        run = self.run / name.replace(" ", "-")
        run.mkdir(exist_ok=True)
        trainer = _Trainer(
            config,
            self.heads,
            self.batches.with_seed(config.seed),
            self.validation,
            run,
            self.device,
            (lambda report: tell(replace(report, stage=name))) if tell else None,
        )
        net = trainer.run_stages().net
        assert isinstance(net, EmotionNet)
        return net.to(self.device)

    def _float_stage(self, teachers: Sequence[EmotionNet]) -> "_Stage":
        """The labels are learned; and to answer as an ensemble does, which knows them better.

        Source: "Born-Again Neural Networks" (arXiv 1805.04770), whose students have the form of
        their teachers, and surpass them.
        """
        config, device, heads = self.config, self.device, self.heads

        def loss(net: nn.Module, batch: Batch) -> Tensor:
            inputs = batch.inputs.to(device)
            with _arithmetic(device, config.fast):
                logits = net(inputs)
                with torch.no_grad():
                    taught = [teacher(inputs).float() for teacher in teachers]
            logits = logits.float()
            total: Tensor = logits.new_zeros(())
            for weight, labels in (
                (batch.share, batch.labels.to(device)),
                (1.0 - batch.share, batch.mixed_in.to(device)),
            ):
                part = heads.cross_entropy(logits, labels, config.label_smoothing)
                if taught:
                    wanted = torch.stack([heads.probabilities(t, labels) for t in taught])
                    of_teachers = functional.kl_div(
                        heads.log_softmax(logits, labels),
                        wanted.mean(dim=0),
                        reduction="batchmean",
                    )
                    part = torch.lerp(part, of_teachers, config.teachers_share)
                total = total + weight * part
            return total

        return _Stage(config.epochs, config.learning_rate, config.weight_decay, loss)

    def _qat_stage(self, teacher: EmotionNet) -> "_Stage":
        """The quantised network learns to answer as the float one does.

        Not the labels again: the INT8 file is then the same model as the float file, and
        what sets them apart is the quantisation alone (distillation, arXiv 1503.02531).
        """
        config, device, heads = self.config, self.device, self.heads

        def loss(net: nn.Module, batch: Batch) -> Tensor:
            inputs = batch.inputs.to(device)
            with torch.no_grad():
                wanted = teacher(inputs)
            return heads.divergence(net(inputs), wanted)

        return _Stage(config.qat_epochs, config.qat_learning_rate, 0.0, loss, teacher)

    def _run_stage(self, net: nn.Module, stage: "_Stage", state: RunState) -> float:
        """Train `net`; leave the chosen averaged weights in it, and return their UAR."""
        config, epochs = self.config, stage.epochs
        optimizer = torch.optim.AdamW(
            net.parameters(), lr=stage.learning_rate, weight_decay=stage.weight_decay
        )
        average = {name: value.clone() for name, value in net.state_dict().items()}
        best = {name: value.clone() for name, value in average.items()}
        kept = {}
        if stage.teacher is not None:
            kept = {f"{TEACHER}{name}": v for name, v in stage.teacher.state_dict().items()}
        if state.epoch:
            restore(state, net, optimizer, average, best, self.device)
        steps = len(self.batches)
        decay = 1.0 - 1.0 / (AVERAGING_EPOCHS * steps)
        for epoch in range(state.epoch, epochs):
            started, losses = time.monotonic(), []
            torch.manual_seed(config.seed * 1_000_003 + epoch)  # dropout
            net.train()
            for step, batch in enumerate(self.batches.epoch(epoch)):
                done = (epoch * steps + step) / (epochs * steps)
                for group in optimizer.param_groups:
                    group["lr"] = stage.learning_rate * _schedule(done)
                loss = stage.loss(net, batch)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), GRADIENT_NORM)
                optimizer.step()
                _average_into(average, net.state_dict(), decay)
                losses.append(float(loss.detach()))
            own = {name: value.clone() for name, value in net.state_dict().items()}
            net.load_state_dict(average)
            uar = self.validation.uar(net.eval(), self.device)
            net.load_state_dict(own)
            # A network that follows a teacher is closest to it at the end: nothing to choose.
            if uar >= state.best_uar or stage.teacher is not None:
                state.best_uar = uar
                best = {name: value.clone() for name, value in average.items()}
            state.epoch = epoch + 1
            state.tensors = pack(net, optimizer, average, best) | kept
            write_state(self.run, state)
            report = EpochReport(
                state.stage,
                epoch + 1,
                epochs,
                float(np.mean(losses)),
                uar,
                state.best_uar,
                time.monotonic() - started,
            )
            with (self.run / LOG_FILE).open("a") as log:
                log.write(json.dumps(asdict(report)) + "\n")
            if self.on_epoch:
                self.on_epoch(report)
        net.load_state_dict(best)
        net.eval()
        return state.best_uar


@dataclass(frozen=True)
class _Stage:
    """What sets float training and quantization-aware fine-tuning apart.

    Args:
        teacher: the network that is followed; None where the labels are learned.
    """

    epochs: int
    learning_rate: float
    weight_decay: float
    loss: Callable[[nn.Module, Batch], Tensor]
    teacher: EmotionNet | None = None


def _schedule(done: float) -> float:
    """Share of the peak learning rate after a share of the steps: warm-up, then half a cosine."""
    if done < WARMUP_SHARE:
        return (done + 1e-3) / (WARMUP_SHARE + 1e-3)
    return 0.5 + 0.5 * math.cos(math.pi * (done - WARMUP_SHARE) / (1.0 - WARMUP_SHARE))


def _average_into(average: dict[str, Tensor], current: Mapping[str, Tensor], decay: float) -> None:
    for name, value in current.items():
        if value.is_floating_point():
            average[name].lerp_(value, 1.0 - decay)
        else:
            average[name].copy_(value)


@contextmanager
def _arithmetic(device: str, fast: bool) -> Iterator[None]:
    """Where a network is evaluated: in float32, or faster and less exact."""
    with torch.autocast(device, torch.bfloat16, enabled=fast):
        yield


def _of_head(tensors: Mapping[str, Tensor], rows: slice) -> dict[str, NDArray[Any]]:
    """The network with the rows of one head as its output layer."""
    return {
        name: (value[rows].contiguous() if name.startswith("output.") else value).cpu().numpy()
        for name, value in tensors.items()
    }


def _judged(head: Head, clips: Sequence[ClipFeatures]) -> list[int]:
    """The validation clips that say how certain a head may be, by index.

    Those of speakers that were never heard; a corpus whose validation side is other texts of
    training speakers counts only where there is nothing else.
    """
    own = [i for i, clip in enumerate(clips) if clip.clip.corpus in head.corpora]
    unheard = [i for i in own if clips[i].clip.corpus not in VALIDATION_TEXT_SHARE]
    return unheard or own


def _read(
    split: Split,
    heads: Heads,
    config: TrainConfig,
    jobs: int,
    on_read: Callable[[int, int], None] | None,
    read: ReadClips,
) -> tuple[list[ClipFeatures], list[ClipFeatures]]:
    sides = [
        [(clip, row) for clip in side if (row := heads.row_of(clip)) is not None]
        for side in (split.train, split.validation)
    ]
    total, before = sum(map(len, sides)), 0
    out = []
    for side, augment, at_least in (
        (sides[0], config.augment, 0),
        (sides[1], None, config.window_frames),
    ):

        def tell(done: int, _: int, before: int = before) -> None:
            if on_read:
                on_read(before + done, total)

        clips, rows = [clip for clip, _ in side], [row for _, row in side]
        out.append(read(clips, rows, config.features, augment, config.seed, at_least, jobs, tell))
        before += len(side)
    return out[0], out[1]


def _plain(config: TrainConfig) -> dict[str, Any]:
    data = asdict(config)
    data["model"], data["features"] = config.model.to_dict(), config.features.to_dict()
    return data
