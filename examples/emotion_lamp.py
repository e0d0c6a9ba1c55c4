"""A lamp that takes the colour of what is heard, wherever in the house a device listens.

    pip install 'edge-ser[mqtt]'
    edge-ser listen --mqtt localhost                      # on every device with a microphone
    python examples/emotion_lamp.py localhost --lamp zigbee2mqtt/lamp/set

It reads edge-ser/<device>/state, which changes where the emotion does, and says to the lamp's
topic what Zigbee2MQTT's lamps understand. User name and password, if the broker asks for them,
come from EDGE_SER_MQTT_USERNAME and EDGE_SER_MQTT_PASSWORD.
"""

import argparse
import json
import os
from contextlib import suppress
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

COLOURS = {
    "neutral": "#ffd9a0",
    "happy": "#ffb000",
    "sad": "#3050ff",
    "angry": "#ff2010",
    "fearful": "#9030ff",
    "disgust": "#60a020",
    "surprised": "#20d0d0",
    "calm": "#80c0a0",
}
SURE = 0.5  # a lamp that follows every doubt is no pleasure


def light(state: dict[str, Any]) -> dict[str, Any] | None:
    """What the lamp is told of a state; None: it stays as it is."""
    if state["label"] == "no speech":
        return {"state": "OFF"}
    colour = COLOURS.get(state["label"])  # "uncertain" has none
    if colour is None or state["probability"] < SURE:
        return None
    return {
        "state": "ON",
        "color": {"hex": colour},
        "brightness": round(254 * state["probability"]),
    }


def main() -> None:
    """Follow every device's state until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A lamp that takes the colour of what is heard.")
    parser.add_argument("host", help="the MQTT broker")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--lamp", default="zigbee2mqtt/lamp/set", metavar="TOPIC")
    options = parser.parse_args()

    def on_connect(client: Client, *_: object) -> None:
        # Here, and not once: a new connection begins without subscriptions.
        client.subscribe("edge-ser/+/state", qos=1)
        print("connected", flush=True)

    def on_message(client: Client, data: object, message: MQTTMessage) -> None:
        wanted = light(json.loads(message.payload))
        if wanted is not None:
            client.publish(options.lamp, json.dumps(wanted), qos=1)

    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_connect, client.on_message = on_connect, on_message
    if username := os.environ.get("EDGE_SER_MQTT_USERNAME"):
        client.username_pw_set(username, os.environ.get("EDGE_SER_MQTT_PASSWORD"))
    try:
        client.connect(options.host, options.port)
    except OSError as error:
        parser.exit(1, f"{options.host}:{options.port} cannot be reached ({error.strerror})\n")
    client.loop_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
