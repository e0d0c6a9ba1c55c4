"""The form in which an emotion leaves the device: one JSON object, the same on every way out.

`event.schema.json` beside this file documents it. Within version 1 keys may be added; none is
renamed, removed or given another meaning.
"""

import re
import socket
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from firmware_host.errors import EdgeSerError
from firmware_host.stream import Emotion

SCHEMA = "edge-ser/event/1"
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # stands in topics and in Home Assistant's identifiers


def event_json(emotion: Emotion, *, device: str, stream: str, dropped: int = 0) -> dict[str, Any]:
    """An emotion as the event that programs receive: plain JSON types.

    >>> heard = Emotion("sad", 0.6, {"sad": 0.6, "happy": 0.4}, 0.0, 3.2, 0, (1.0, 0.6))
    >>> event = event_json(heard, device="kitchen", stream="1f8a")
    >>> event["schema"], event["id"], event["label"]
    ('edge-ser/event/1', '1f8a-0', 'sad')

    Args:
        emotion: what was heard in a window.
        device: who heard it; see `device_name`.
        stream: which stream of the device; see `new_stream`.
        dropped: how many earlier events of the stream were never delivered.
    """
    return {
        "schema": SCHEMA,
        "id": f"{stream}-{emotion.window}",
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "device": device,
        "stream": stream,
        "dropped": dropped,
    } | emotion.to_dict()


def new_stream() -> str:
    """A name for a stream that no other stream has."""
    return uuid4().hex


def device_name(name: str | None = None) -> str:
    """The name that a device goes by in events and topics.

    Args:
        name: letters, digits, '_' and '-'; None: made of the host's name.

    Raises:
        EdgeSerError: for a name that cannot stand in a topic.
    """
    if name is None:
        host = socket.gethostname().partition(".")[0]
        return re.sub(r"[^A-Za-z0-9_-]", "-", host)[:64] or "edge-ser"
    if not NAME.fullmatch(name):
        raise EdgeSerError(
            f"a device's name of {name!r} was given, but 1 to 64 letters, digits, '_' and '-' "
            "are expected: choose another"
        )
    return name
