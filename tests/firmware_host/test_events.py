"""The form of an event: what is documented is what is sent, to the last key."""

import json
import re

import pytest
from jsonschema import Draft202012Validator, ValidationError
from some_events import check_event, emotion, event_schema

from firmware_host import EdgeSerError
from firmware_host.events import NAME, SCHEMA, device_name, event_json, new_stream


def test_an_event_is_as_documented() -> None:
    """It validates after a way through JSON, and holds every key that an emotion has."""
    heard = emotion(3)
    event = json.loads(json.dumps(event_json(heard, device="kitchen", stream="1f8a", dropped=2)))
    check_event(event)
    assert event["schema"] == SCHEMA
    assert (event["id"], event["device"], event["dropped"]) == ("1f8a-3", "kitchen", 2)
    assert {key: event[key] for key in heard.to_dict()} == json.loads(json.dumps(heard.to_dict()))


def test_the_schema_documents_every_key_and_takes_no_other() -> None:
    schema = event_schema()
    Draft202012Validator.check_schema(schema)
    assert set(schema["required"]) == set(schema["properties"])
    assert all(key["description"] for key in schema["properties"].values())
    event = event_json(emotion(0), device="kitchen", stream="1f8a")
    for wrong in (
        event | {"samples": [1, 2, 3]},
        event | {"schema": "edge-ser/event/2"},
        event | {"probability": 1.5},
        event | {"device": "kitchen/#"},
        {key: value for key, value in event.items() if key != "id"},
    ):
        with pytest.raises(ValidationError):
            check_event(wrong)


def test_streams_have_names_of_their_own() -> None:
    assert len({new_stream() for _ in range(100)}) == 100


def test_a_device_has_a_name_that_can_stand_in_a_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's, whatever it is, or one that was chosen well."""
    for host in ("raspberrypi", "pi.example.org", "my pi/#+", "küche", "", "a" * 200):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        assert re.fullmatch(NAME, device_name())
    assert device_name("living_room-2") == "living_room-2"
    for wrong in ("", "a/b", "+", "#", "a b", "a" * 65, "kitchen\n"):
        with pytest.raises(EdgeSerError, match="choose another"):
            device_name(wrong)
