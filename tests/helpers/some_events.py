"""Emotions to be told of, without anybody having to speak, and what an event must look like."""

import json
from pathlib import Path
from typing import Any

from firmware_host import Emotion, events

LABELS = ("neutral", "happy", "sad")


def emotion(window: int, label: str = "happy") -> Emotion:
    """What might have been heard in that window."""
    probabilities = {"neutral": 0.25, "happy": 0.625, "sad": 0.125}
    return Emotion(
        label=label,
        probability=0.625,
        probabilities=probabilities,
        start_seconds=0.25 * window,
        end_seconds=0.25 * window + 3.2,
        window=window,
        logits=(0.5, 1.5, -0.25),
        smoothed=probabilities,
    )


def check_event(event: Any) -> None:
    """Fail unless it is an event as `event.schema.json` documents it."""
    from jsonschema import Draft202012Validator

    Draft202012Validator(event_schema()).validate(event)


def event_schema() -> Any:
    """What stands in `event.schema.json`."""
    return json.loads(Path(events.__file__).with_name("event.schema.json").read_text())
