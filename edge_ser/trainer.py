"""The two stages of a training, float and quantization-aware, resumable at any moment.

After every epoch the whole state is written beside and moved into place; an epoch's randomness
comes from the seed and the epoch's number alone.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from convert.architecture import SIZES, ModelConfig, check_size
from edge_ser.augment import AugmentConfig
from edge_ser.dataset import Batch, ClipFeatures, TrainingBatches
from edge_ser.heads import Heads
from edge_ser.model import EmotionNet
from edge_ser.qat import QuantizedEmotionNet, fold
from edge_ser.run_state import RunState, pack, read_state, restore, write_state
from edge_ser.validation import Validation
from firmware_host.errors import EdgeSerError
from firmware_host.features import FeatureConfig
from firmware_host.normalisation import Normalisation

LOG_FILE = "log.jsonl"
TEACHER = "float/"  # under which the float network stands in the state of the second stage
WARMUP_SHARE = 0.05  # of the steps, from zero to the full learning rate
AVERAGING_EPOCHS = 4  # horizon of the running average of weights, and between looks at it
GRADIENT_NORM = 5.0  # larger gradients are scaled down to it
FINE_TUNING_SHARE = 0.5  # of the learning rate, where what was learned before is to be kept
TEACHER_SEEDS = 1000  # between the seeds of the teachers of one seed and of the next
BFLOAT16_UNITS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # of Intel's and Arm's processors
CALIBRATION_BATCHES = 8
CALIBRATION_EPOCH = 2**20  # the number of an epoch of its own, which no training reaches

DROPOUT: Mapping[str, float] = {"tiny": 0.1, "small": 0.3, "base": 0.3, "large": 0.3}
"""By size, a key of `SIZES`. With a third of its few channels gone, tiny learns too little of a
clip; chosen on validation speakers."""
RECIPE = 2
"""Of what the code does with the settings: raised when the same ones come to train another network,
so that no folder is gone on with in another way than it was begun."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training, beside its clips.

    Args:
        dropout: of float training, what `DROPOUT` has for the model's size.
        epochs, qat_epochs: of float training and of quantization-aware fine-tuning; without
            the latter the checkpoint holds the float network alone.
        learning_rate, qat_learning_rate: peaks of the two cosine schedules; after pretraining
            the former counts half where a network has no teachers.
        weight_decay: of float training, relative to the learning rate (AdamW, arXiv 1711.05101);
            pretraining has the default.
        seed: of initialisation, order, augmentation and dropout.
        threads: of torch; results repeat bit for bit only with the same number.
        teachers: networks, each with a seed of its own, that are trained first without the
            validation speakers, and that the float network then learns from, beside the labels,
            and from these speakers too; 0 leaves them out.
        teacher_size: a key of `SIZES`; larger networks know more than a small one learns from
            labels alone.
        refit_epochs: more of each teacher once it was judged, then with the validation speakers
            among those it hears: a pupil is told more by who heard more people. 0 leaves them out.
        pupil_epochs: of float training where there are teachers; 0: as many as theirs. They never
            answer twice alike, as no two mixtures of clips are: there is long something to learn.
        teachers_share: of the loss, what comes from answering as the teachers do on average.
        pretraining_epochs: on the other corpora's recordings, where there are some.
        fast: float training with convolutions compiled, in bfloat16 where that is exact enough
            and the processor has units for it: twice as fast with these, and other last bits. It
            needs a C++ compiler.

    Raises:
        EdgeSerError: when there is no such size, a batch has fewer clips than it has teachers, or
            a refit has none.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    window_frames: int = 320
    hop_frames: int = 25
    epochs: int = 120
    qat_epochs: int = 8
    batch_size: int = 64
    learning_rate: float = 2e-3
    qat_learning_rate: float = 2e-4
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    dropout: float = DROPOUT["small"]
    seed: int = 0
    threads: int = 1
    teachers: int = 0
    teacher_size: str = "large"
    refit_epochs: int = 0
    pupil_epochs: int = 0
    teachers_share: float = 0.7
    pretraining_epochs: int = 50
    fast: bool = False

    def __post_init__(self) -> None:
        check_size(self.teacher_size)
        if self.teachers > self.batch_size:
            raise EdgeSerError(
                f"{self.teachers} teachers were asked for, and each answers for at least one clip "
                f"of a batch of {self.batch_size}: take fewer teachers or larger batches"
            )
        if self.refit_epochs and not self.teachers:
            raise EdgeSerError(
                f"{self.refit_epochs} epochs of a refit were asked for, which is of teachers, "
                "without any: give --teachers too, or leave it out"
            )

    @property
    def own_epochs(self) -> int:
        """Of float training of the network itself, and not of its teachers."""
        return (self.pupil_epochs if self.teachers else 0) or self.epochs

    def of_teacher(self, number: int) -> "TrainConfig":
        """Settings of one of the teachers, counted from 1: float training, with another seed.

        Nothing disturbs what they hear, as nothing does when they are asked.
        """
        seed = (self.seed + 1) * TEACHER_SEEDS + number
        quiet = replace(self, augment=self.augment.undisturbed, seed=seed)
        return quiet.resized(self.teacher_size).without_teachers

    def resized(self, size: str) -> "TrainConfig":
        """The same of a network of this size, a key of `SIZES`: its channels and its dropout."""
        model: ModelConfig = replace(self.model, **SIZES[size])
        return replace(self, model=model, dropout=DROPOUT[size])

    @property
    def without_teachers(self) -> "TrainConfig":
        """Float training of a network that learns from labels alone."""
        return replace(self, teachers=0, refit_epochs=0, pupil_epochs=0, qat_epochs=0)


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did; handed to the progress display and written to the log.

    Args:
        stage: "float", "qat", "teacher N", "M-epoch refit of teacher N", "rehearsal", or
            "pretraining of" one of them.
        validation_uar: of the average of weights; None in an epoch without a look at it.
        best_uar: of the stage so far; None before the first look.
    """

    stage: str
    epoch: int
    epochs: int
    loss: float
    validation_uar: float | None
    best_uar: float | None
    seconds: float


OnEpoch = Callable[[EpochReport], None] | None
"""Is told of every epoch."""


@dataclass(frozen=True)
class Result:
    """What the stages end with.

    Args:
        net: the network that is deployed, on the CPU: the quantised one where there is one.
        float_tensors: of the folded float network.
        qat_tensors: what the quantised one exports, or empty.
        uars: of each on the validation speakers, where there are any.
    """

    net: nn.Module
    float_tensors: Mapping[str, Tensor]
    qat_tensors: Mapping[str, Tensor]
    uars: Mapping[str, float]


class Trainer:
    """The two stages over one set of batches.

    Args:
        validation: chooses the epoch; None where it was heard too, and the last one is kept.
        run: the folder of the state.
        teachers: whose answers are learned from, beside the labels.
        start: tensors that the network starts with; those that are not named start at random.
    """

    def __init__(
        self,
        config: TrainConfig,
        heads: Heads,
        batches: TrainingBatches,
        validation: Validation | None,
        run: Path,
        device: str,
        on_epoch: OnEpoch,
        teachers: Sequence[nn.Module] = (),
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.config, self.heads, self.batches = config, heads, batches
        self.validation, self.device = validation, device
        self.run, self.on_epoch, self.teachers = run, on_epoch, teachers
        self.start = start or {}

    def run_stages(self) -> Result:
        """Train from wherever the run stands to its end."""
        config = self.config
        self.run.mkdir(parents=True, exist_ok=True)
        state = read_state(self.run)
        torch.manual_seed(config.seed)
        net = EmotionNet(config.model, config.dropout).to(self.device)
        net.load_state_dict({**net.state_dict(), **self.start})
        if config.fast:
            _compile(net)
        if state.stage == "float":
            float_uar = self._run_stage(net, self._float_stage(), state)
            kept = {f"{TEACHER}{name}": value for name, value in net.state_dict().items()}
            state = RunState("qat", 0, -1.0, float_uar, kept)
            write_state(self.run, state)
        else:
            net.load_state_dict(state.under(TEACHER, self.device))
        tensors, uars = fold(net.eval()), {}
        if self.validation is not None:
            uars["float"] = state.float_uar
        if not config.qat_epochs:
            return Result(net.cpu(), tensors, {}, uars)
        quantised = QuantizedEmotionNet(config.model, tensors).to(self.device)
        if state.epoch == 0:
            epoch = self.batches.alone().epoch(CALIBRATION_EPOCH)
            some = [batch.inputs.to(self.device) for batch in islice(epoch, CALIBRATION_BATCHES)]
            quantised.eval()
            quantised.calibrate(some)
        qat_uar = self._run_stage(quantised, self._qat_stage(net), state)
        if self.validation is not None:
            uars["qat"] = qat_uar
        exported = quantised.export()
        deployed = QuantizedEmotionNet.from_export(config.model, exported)
        return Result(deployed, tensors, exported, uars)

    def _float_stage(self) -> "_Stage":
        """The labels are learned; and to answer as an ensemble does, which knows them better.

        The ensemble is asked about the clips undisturbed: what it knows of them is to be heard
        among other sounds too. Of clips without a label its answers are all there is to learn:
        they say of many more people how it hears them. See `answers` for who is asked.

        Sources: "Born-Again Neural Networks" (arXiv 1805.04770), whose students have the form of
        their teachers, and surpass them; "Model Compression" (Bucila et al., KDD 2006), which
        labels by its ensemble what has no label.
        """
        config, device, heads = self.config, self.device, self.heads
        teachers = [teacher.to(device).eval() for teacher in self.teachers]

        def loss(net: nn.Module, batch: Batch) -> Tensor:
            own = len(batch.labels)
            inputs = batch.inputs.to(device)
            asked = inputs if batch.undisturbed is None else batch.undisturbed.to(device)
            with _arithmetic(device, config.fast):
                logits = net(inputs)
                wanted = answers(teachers, asked) if teachers else None
            logits = logits.float()
            total: Tensor = logits.new_zeros(())
            for weight, labels in (
                (batch.share, batch.labels.to(device)),
                (1.0 - batch.share, batch.mixed_in.to(device)),
            ):
                part = heads.cross_entropy(logits[:own], labels, config.label_smoothing)
                if wanted is not None:
                    of_teachers = functional.kl_div(
                        heads.log_softmax(logits[:own], labels),
                        heads.probabilities(wanted[:own], labels),
                        reduction="batchmean",
                    )
                    part = torch.lerp(part, of_teachers, config.teachers_share)
                total = total + weight * part
            if wanted is not None and len(inputs) > own:
                total = total + heads.divergence(logits[own:], wanted[own:])
            return total

        # With labels alone a network soon forgets other corpora; teachers remind their pupil.
        keeps = self.start and not teachers
        rate = config.learning_rate * (FINE_TUNING_SHARE if keeps else 1.0)
        return _Stage(config.own_epochs, rate, config.weight_decay, self.batches, loss)

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

        own = self.batches.alone()
        return _Stage(config.qat_epochs, config.qat_learning_rate, 0.0, own, loss, teacher)

    def _run_stage(self, net: nn.Module, stage: "_Stage", state: RunState) -> float:
        """Train `net`; leave the chosen averaged weights in it, and return their UAR."""
        config, epochs = self.config, stage.epochs
        optimizer = torch.optim.AdamW(
            net.parameters(),
            lr=stage.learning_rate,
            weight_decay=stage.weight_decay,
            fused=True,
        )
        average = {name: value.clone() for name, value in net.state_dict().items()}
        best = {name: value.clone() for name, value in average.items()}
        kept = {}
        if stage.teacher is not None:
            kept = {f"{TEACHER}{name}": v for name, v in stage.teacher.state_dict().items()}
        if state.epoch:
            restore(state, net, optimizer, average, best, self.device)
        # A network that follows another is closest to it at the end: there is nothing to choose.
        keep_last = self.validation is None or stage.teacher is not None
        steps = len(stage.batches)
        decay = 1.0 - 1.0 / (AVERAGING_EPOCHS * steps)
        for epoch in range(state.epoch, epochs):
            started, losses = time.monotonic(), []
            torch.manual_seed(config.seed * 1_000_003 + epoch)  # dropout
            net.train()
            for step, batch in enumerate(stage.batches.epoch(epoch)):
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
            last = epoch + 1 == epochs
            uar = self._look(net, average) if last or not (epoch + 1) % AVERAGING_EPOCHS else None
            better = uar is not None and uar >= state.best_uar
            if uar is not None and (better or keep_last):
                state.best_uar = uar
            if last if keep_last else better:
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
                state.best_uar if state.best_uar >= 0 else None,
                time.monotonic() - started,
            )
            with (self.run / LOG_FILE).open("a") as log:
                log.write(json.dumps(asdict(report)) + "\n")
            if self.on_epoch:
                self.on_epoch(report)
        net.load_state_dict(best)
        net.eval()
        return state.best_uar

    def _look(self, net: nn.Module, average: Mapping[str, Tensor]) -> float | None:
        """UAR of the averaged weights on validation clips; the network is left as it was."""
        if self.validation is None:
            return None
        own = {name: value.clone() for name, value in net.state_dict().items()}
        net.load_state_dict(average)
        uar = self.validation.uar(net.eval(), self.device)
        net.load_state_dict(own)
        return uar


def answers(teachers: Sequence[nn.Module], asked: Tensor) -> Tensor:
    """Of each clip the logits of one of the teachers; each is asked about its share of them.

    That costs as much as one teacher. The gradient of the divergence from an answer is linear in
    the answer's probabilities: on average it is what following the mean of all would give.

    Shape:
        - asked: (batch, window_frames, n_features)
        - returns: (batch, n_labels), float32
    """
    shares = [asked[number :: len(teachers)] for number in range(len(teachers))]
    with torch.no_grad():
        said = [teacher(share).float() for teacher, share in zip(teachers, shares, strict=True)]
    logits: Tensor = said[0].new_empty(len(asked), said[0].shape[1])
    for number, of_one in enumerate(said):
        logits[number :: len(teachers)] = of_one
    return logits


def batches_of(
    clips: Sequence[ClipFeatures], config: TrainConfig, normalisation: Normalisation
) -> TrainingBatches:
    """What a training with these settings sees of these clips."""
    return TrainingBatches(
        clips,
        config.features,
        config.window_frames,
        normalisation,
        config.augment,
        config.batch_size,
        config.seed,
        config.fast,
    )


def named(stage: str, on_epoch: OnEpoch) -> OnEpoch:
    """Reports of a training that comes before another one's, under a name of its own."""
    if on_epoch is None:
        return None
    return lambda report: on_epoch(replace(report, stage=stage))


def plain(config: TrainConfig) -> dict[str, Any]:
    """Settings as plain JSON types, and the recipe that they are settings of."""
    data = asdict(config) | {"recipe": RECIPE}
    data["model"], data["features"] = config.model.to_dict(), config.features.to_dict()
    return data


@dataclass(frozen=True)
class _Stage:
    """What sets float training and quantization-aware fine-tuning apart.

    Args:
        teacher: the network that is followed; None where the labels are learned.
    """

    epochs: int
    learning_rate: float
    weight_decay: float
    batches: TrainingBatches
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


def _compile(net: EmotionNet) -> None:
    """Make the local blocks compile when they are first used.

    Raises:
        EdgeSerError: when there is no compiler.
    """
    compilers = [name for name in (os.environ.get("CXX"), "g++", "clang++") if name]
    if not any(map(shutil.which, compilers)):
        raise EdgeSerError(
            f"fast training compiles, and none of {', '.join(compilers)} was found: install g++, "
            "or train without --fast"
        )
    net.compile_local()


@contextmanager
def _arithmetic(device: str, fast: bool) -> Iterator[None]:
    """Where a network is evaluated: in float32, or faster and less exact."""
    with torch.autocast(device, torch.bfloat16, enabled=fast and _has_bfloat16(device)):
        yield


def _has_bfloat16(device: str) -> bool:
    """Whether there are units for bfloat16: without, it is emulated, and ten times slower."""
    if device != "cpu":
        return True
    return any(torch.cpu.get_capabilities().get(name) for name in BFLOAT16_UNITS)
