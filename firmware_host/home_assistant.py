"""What Home Assistant is told, so that the device appears there by itself.

Source: https://www.home-assistant.io/integrations/mqtt/, sections "Device discovery payload"
and "Using availability topics"; https://www.home-assistant.io/integrations/sensor.mqtt/ and
https://developers.home-assistant.io/docs/core/entity/sensor/ for the options of a sensor.
Device discovery came with Home Assistant 2024.11.
"""

import json
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Protocol

from firmware_host.decisions import NO_SPEECH, UNCERTAIN

PREFIX = "homeassistant"  # where Home Assistant listens unless it is told otherwise


class Where(Protocol):
    """The topics that Home Assistant reads."""

    @property
    def state(self) -> str:
        """The latest event, retained."""

    @property
    def availability(self) -> str:
        """Whether the device is there."""


def discovery_message(device: str, labels: Sequence[str], topics: Where) -> tuple[str, str]:
    """The topic and the payload that make the device appear; to be published retained.

    Args:
        device: its name, which stands in the topics.
        labels: the emotions that it knows.
        topics: of the device.
    """
    identifier = f"edge-ser-{device}"
    try:
        version = metadata.version("edge-ser")
    except metadata.PackageNotFoundError:  # run from its source, not installed
        version = "unknown"

    def sensor(key: str, name: str, template: str, **options: Any) -> dict[str, Any]:
        return {
            "platform": "sensor",
            "unique_id": f"{identifier}-{key}",
            "name": name,
            "value_template": template,
        } | options

    payload = {
        "device": {
            "identifiers": [identifier],
            "name": f"edge-ser {device}",
            "manufacturer": "edge-ser",
            "model": "Speech emotion recogniser",
            "sw_version": version,
        },
        "origin": {"name": "edge-ser", "sw_version": version},
        "state_topic": topics.state,
        "availability_topic": topics.availability,
        "qos": 1,
        "components": {
            "emotion": sensor(
                "emotion",
                "Emotion",
                "{{ value_json.label }}",
                device_class="enum",
                options=[*labels, UNCERTAIN, NO_SPEECH],
                icon="mdi:emoticon-outline",
                json_attributes_topic=topics.state,
            ),
            "probability": sensor(
                "probability",
                "Probability",
                "{{ (100 * value_json.probability) | round(0) }}",
                unit_of_measurement="%",
                state_class="measurement",
                icon="mdi:percent-outline",
            ),
            "dropped": sensor(
                "dropped",
                "Dropped events",
                "{{ value_json.dropped }}",
                state_class="total_increasing",
                entity_category="diagnostic",
                icon="mdi:tray-remove",
            ),
        },
    }
    return f"{PREFIX}/device/{identifier}/config", json.dumps(payload)
