"""The folder of a training: its settings, and the state that a stopped one goes on from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from firmware_host.errors import EdgeSerError
from firmware_host.files import write_whole

STATE_FILE, SETTINGS_FILE = "state.safetensors", "settings.json"
METADATA_KEY = "edge_ser"


@dataclass
class RunState:
    """Where a training stands, after a whole epoch.

    Args:
        stage: "float" or "qat".
        epoch: the next one.
        best_uar: of this stage, on validation speakers.
        float_uar: what the float stage ended with, once it has.
        tensors: network, running average, best average, optimiser, under `net/` and so on.
    """

    stage: str = "float"
    epoch: int = 0
    best_uar: float = -1.0
    float_uar: float = -1.0
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def under(self, prefix: str, device: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix`, without it."""
        return {
            name.removeprefix(prefix): value.to(device)
            for name, value in self.tensors.items()
            if name.startswith(prefix)
        }


def open_run(run: Path, settings: Mapping[str, Any]) -> None:
    """Make the run's folder, or check that what stands in it is the same training.

    Raises:
        EdgeSerError: when it is another training, or the folder cannot be written.
    """
    path = run / SETTINGS_FILE
    text = json.dumps(settings, indent=2, sort_keys=True)
    if path.exists() and path.read_text() != text:
        raise EdgeSerError(
            f"{run} holds a training with other settings: choose another folder with -o, "
            "or delete it"
        )
    write_whole(path, text)


def pack(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Mapping[str, Tensor],
    best: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """All tensors of a state under one flat set of names."""
    tensors = {f"net/{name}": value for name, value in net.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in average.items()}
    tensors |= {f"best/{name}": value for name, value in best.items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{key}": value for key, value in values.items()}
    return tensors


def restore(
    state: RunState,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor],
    best: dict[str, Tensor],
    device: str,
) -> None:
    """The inverse of `pack`."""
    net.load_state_dict(state.under("net/", device))
    average.update(state.under("average/", device))
    best.update(state.under("best/", device))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in state.under("optimizer/", device).items():
        number, key = name.split("/")
        moments.setdefault(int(number), {})[key] = value
    whole = optimizer.state_dict()
    whole["state"] = moments
    optimizer.load_state_dict(whole)


def write_state(run: Path, state: RunState) -> None:
    """Replace the run's state by this one, whole."""
    from safetensors.torch import save

    metadata = {key: getattr(state, key) for key in ("stage", "epoch", "best_uar", "float_uar")}
    # Each in memory of its own: names may share tensors, and safetensors refuses that.
    tensors = {name: value.detach().cpu().clone() for name, value in state.tensors.items()}
    write_whole(run / STATE_FILE, save(tensors, {METADATA_KEY: json.dumps(metadata)}))


def read_state(run: Path) -> RunState:
    """The state of an interrupted training, or a fresh one.

    Raises:
        EdgeSerError: when the state cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = run / STATE_FILE
    if not path.exists():
        return RunState()
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads(file.metadata()[METADATA_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise EdgeSerError(
            f"{path} is damaged ({error}): delete the folder {run} and train again"
        ) from error
    return RunState(**metadata, tensors=tensors)
