"""The lamp of `examples/` takes the colours of what a device hears, through a real broker."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from broker import Broker, Subscriber, missing, until
from some_events import LABELS, emotion

from firmware_host import MqttConfig, MqttPublisher

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "emotion_lamp.py"
LAMP = "zigbee2mqtt/desk/set"


def test_the_lamp_follows_the_emotion(need: Callable[[str], None], tmp_path: Path) -> None:
    """Its colour where one is heard, dark where nobody speaks, as it was where it is not sure."""
    if why := missing():
        need(why)
    with Broker(tmp_path) as broker, Subscriber(broker.port, LAMP) as subscriber:
        command = [
            sys.executable,
            str(EXAMPLE),
            "127.0.0.1",
            "--port",
            str(broker.port),
            "--lamp",
            LAMP,
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as lamp:
            assert lamp.stdout is not None
            assert lamp.stdout.readline() == b"connected\n"
            config = MqttConfig("127.0.0.1", broker.port, device="desk")
            with MqttPublisher(config, LABELS) as publisher:
                for window, label in enumerate(("happy", "uncertain", "sad", "no speech")):
                    publisher.publish(emotion(window, label))
                    # The state is the latest: each is to be seen.
                    until(lambda: not publisher.waiting)
                until(lambda: len(subscriber.messages) == 3)
            lamp.terminate()
    told = [json.loads(message.payload) for message in subscriber.messages]
    colours = [state.get("color", {}).get("hex", state["state"]) for state in told]
    assert colours == ["#ffb000", "#3050ff", "OFF"]
    assert told[0]["brightness"] == round(254 * 0.625)
