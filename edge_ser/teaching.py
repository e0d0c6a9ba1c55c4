"""Teachers and their pupil: large networks are trained and judged, a small one learns from them.

The validation speakers choose the teachers' epochs and say how sure they may be. Afterwards there
is nothing left that these speakers could choose, and their recordings teach as well as anybody's:
the pupil hears them, and so may its teachers, trained on for some epochs (a refit).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from edge_ser.dataset import TrainingBatches
from edge_ser.heads import Heads
from edge_ser.trainer import OnEpoch, Result, TrainConfig, Trainer, named
from edge_ser.validation import Validation

MODEL = "the model"
"""What the network that is deployed is called in reports."""

Start = Mapping[str, Tensor]
"""Tensors that a network starts with."""


@dataclass(frozen=True)
class Teaching:
    """The trainings of teachers, and of pupils of theirs.

    Args:
        config: of the pupil; it has teachers.
        starts: of each network by its name, what it starts from; of those that are not there,
            at random.
        others: what the pupil is asked about beside its own batches, where there is something.
        folder: of the teachers' trainings.
        device, on_epoch: as `edge_ser.train.train` has them.
    """

    config: TrainConfig
    heads: Heads
    starts: Mapping[str, Start]
    others: TrainingBatches | None
    folder: Path
    device: str
    on_epoch: OnEpoch

    def judged(self, heard: TrainingBatches, validation: Validation) -> dict[str, Result]:
        """Each teacher by its name, its epoch chosen by the validation speakers."""
        return {
            name: self._teacher(name, config, heard, validation, self.starts.get(name))
            for name, config in teachers_of(self.config).items()
        }

    def refitted(self, judged: Mapping[str, Result], everybody: TrainingBatches) -> list[nn.Module]:
        """The teachers after some epochs more, with the validation speakers among the others."""
        epochs = self.config.refit_epochs
        return [
            self._teacher(
                f"{epochs}-epoch refit of {name}",
                replace(config, epochs=epochs),
                everybody,
                None,
                judged[name].net.state_dict(),
            ).net
            for name, config in teachers_of(self.config).items()
        ]

    def pupil(
        self,
        teachers: Sequence[nn.Module],
        heard: TrainingBatches,
        folder: Path,
        on_epoch: OnEpoch,
    ) -> Result:
        """The network that is deployed, or one like it; its last average is kept."""
        both, start = heard.for_pupil(self.others), self.starts.get(MODEL)
        return Trainer(
            self.config, self.heads, both, None, folder, self.device, on_epoch, teachers, start
        ).run_stages()

    def _teacher(
        self,
        name: str,
        config: TrainConfig,
        heard: TrainingBatches,
        validation: Validation | None,
        start: Start | None,
    ) -> Result:
        return Trainer(
            config,
            self.heads,
            heard.another(config.augment, config.seed),
            validation,
            self.folder / name.replace(" ", "-"),
            self.device,
            named(name, self.on_epoch),
            start=start,
        ).run_stages()


def teachers_of(config: TrainConfig) -> dict[str, TrainConfig]:
    """The settings of each teacher, by its name."""
    return {f"teacher {n}": config.of_teacher(n) for n in range(1, config.teachers + 1)}
