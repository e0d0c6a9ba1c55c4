"""Pretraining: a network learns other corpora first, and its own after them.

Few recordings teach little of how voices differ; those of other people do, in whatever language
they speak. A network is trained on all of them, each corpus with classes of its own; what it
learned below its output layer is where the training on its own corpus starts. Nothing of that
corpus takes part, so all folds of it may start from the same networks, and each is trained once.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import Tensor

from edge_ser.corpora.clip import Clip
from edge_ser.dataset import ReadClips, TrainingBatches, normalisation_of
from edge_ser.folders import locked
from edge_ser.heads import Heads, own_heads
from edge_ser.run_state import open_run
from edge_ser.trainer import OnEpoch, TrainConfig, Trainer, batches_of, named, plain
from firmware_host.files import write_whole

START_FILE = "start.safetensors"
OUTPUT = "output."  # begins the names of the last layer's tensors, which know the classes
DIGEST_LETTERS = 16


@dataclass(frozen=True)
class Pretraining:
    """Networks trained on other corpora, kept by what determines them.

    Args:
        clips: all that they are trained on.
        config: of the training that comes after; its seed determines the augmented copies.
        folder: of the networks; several trainings at once may share it.
        device, jobs, read, on_read, on_epoch: as `edge_ser.train.train` has them.
    """

    clips: Sequence[Clip]
    config: TrainConfig
    folder: Path
    device: str
    jobs: int
    read: ReadClips
    on_read: Callable[[int, int], None] | None
    on_epoch: OnEpoch

    @cached_property
    def heads(self) -> Heads:
        """A head for each corpus."""
        return Heads(own_heads(self.clips))

    @cached_property
    def batches(self) -> TrainingBatches:
        """Of all clips; read when a network is not there yet."""
        known = [(clip, row) for clip in self.clips if (row := self.heads.row_of(clip)) is not None]
        clips, rows = [clip for clip, _ in known], [row for _, row in known]
        config = self.config
        read = self.read(
            clips, rows, config.features, config.augment, config.seed, 0, self.jobs, self.on_read
        )
        return batches_of(read, config, normalisation_of(read, config.features))

    def starts(self, configs: Mapping[str, TrainConfig]) -> dict[str, dict[str, Tensor]]:
        """What networks of these settings start from: everything below their output layers.

        Raises:
            EdgeSerError: when a recording cannot be read, or the folder cannot be written.
        """
        done: dict[str, dict[str, Tensor]] = {}
        # What another process is at comes last: it may be done by then.
        for wait in (False, True):
            for name in [name for name in configs if name not in done]:
                config = self._before(configs[name])
                settings = self._settings(config)
                told = json.dumps(settings, sort_keys=True).encode()
                folder = self.folder / hashlib.sha256(told).hexdigest()[:DIGEST_LETTERS]
                with locked(folder.with_suffix(".lock"), wait) as ours:
                    if ours:
                        open_run(folder, settings)
                        done[name] = self._start(name, config, folder)
        return done

    def _start(self, name: str, config: TrainConfig, folder: Path) -> dict[str, Tensor]:
        from safetensors.torch import load_file, save

        path = folder / START_FILE
        if not path.exists():
            trainer = Trainer(
                config,
                self.heads,
                self.batches.another(config.augment, config.seed),
                None,
                folder,
                self.device,
                named(f"pretraining of {name}", self.on_epoch),
            )
            learned = trainer.run_stages().net.state_dict()
            kept = {k: v.contiguous() for k, v in learned.items() if not k.startswith(OUTPUT)}
            write_whole(path, save(kept))
        start: dict[str, Tensor] = load_file(path)
        return start

    def _before(self, config: TrainConfig) -> TrainConfig:
        """The settings of what comes before a training with these."""
        model = replace(config.model, n_labels=len(self.heads))
        # More decay is for where recordings are few; here they are many, and it did not help.
        return replace(
            config.without_teachers,
            model=model,
            epochs=config.pretraining_epochs,
            weight_decay=TrainConfig.weight_decay,
        )

    def _settings(self, config: TrainConfig) -> dict[str, object]:
        names = sorted(f"{clip.corpus} {clip.path.name}" for clip in self.clips)
        return {
            "clips_sha256": hashlib.sha256("\n".join(names).encode()).hexdigest(),
            "copies_seed": self.config.seed,
            "config": plain(config),
        }
