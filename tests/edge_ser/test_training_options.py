"""The options of `edge-ser train` and `evaluate` default to what the library does by itself.

The commands repeat those values: importing them would import PyTorch, and slow down every --help.
"""

import inspect
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from edge_ser.cli.evaluate import evaluate
from edge_ser.cli.train import train
from edge_ser.evaluation.units import Settings
from edge_ser.trainer import TrainConfig


def defaults_of(command: Callable[..., None]) -> dict[str, Any]:
    return {name: option.default for name, option in inspect.signature(command).parameters.items()}


def test_a_training_without_options_is_the_librarys() -> None:
    given, settings = defaults_of(train), asdict(TrainConfig())
    same = given.keys() & settings.keys()
    assert len(same) >= 12
    assert {name: given[name] for name in same} == {name: settings[name] for name in same}
    assert given["size"] == Settings.size and given["lstm_scales"] == Settings.lstm_scales
    augment = settings["augment"]
    surroundings = augment["surroundings"]
    assert given["gain"] == augment["max_gain_db"]
    assert given["noise"] == surroundings["noise_share"]
    assert given["min_snr"] == surroundings["min_snr_db"]
    assert given["clatter"] == surroundings["clatter_share"]
    assert given["ending"] == surroundings["ending_share"]
    assert given["narrow"] == surroundings["band_share"]


def test_an_evaluation_without_options_is_the_librarys() -> None:
    given, settings = defaults_of(evaluate), Settings().to_dict()
    assert given.pop("features").split(",") == settings.pop("kinds")
    assert settings == {name: given[name] for name in settings}
