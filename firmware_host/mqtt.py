"""Events over MQTT 5, and a device that Home Assistant finds by itself.

    edge-ser/<device>/event          every event (`event.schema.json`), QoS 1
    edge-ser/<device>/state          the latest, retained: at each new label, else every 10 s
    edge-ser/<device>/availability   "online" or "offline", retained; also the last will
    homeassistant/device/edge-ser-<device>/config      discovery, retained

While the broker is away, events wait in a queue of bounded length; when it is full the oldest
is given up, and every later event carries the count of those. What was sent and not acknowledged
is sent again with the DUP flag, before anything newer: so events arrive in order and at least
once, and a duplicate is known by its id.

Source: MQTT Version 5.0 (OASIS Standard), sections 3.1.2.5 and 4.3.2 to 4.6.
"""

import json
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from firmware_host.errors import EdgeSerError
from firmware_host.events import event_json, new_stream
from firmware_host.home_assistant import discovery_message
from firmware_host.mqtt_config import MqttConfig
from firmware_host.stream import Emotion

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

ONLINE, OFFLINE = "online", "offline"
MAX_IN_FLIGHT = 10  # not yet acknowledged; brokers take 20 or more
KEEPALIVE_SECONDS = 20  # a broker that fell silent is given up after one and a half
RETRY_SECONDS = (1, 16)  # between attempts to connect: the first wait, and the longest
CLOSE_SECONDS = 5.0  # for what still waits, when the program ends
STATE_SECONDS = 10.0  # Home Assistant records every state; four a second would fill its disk


class Topics(NamedTuple):
    """Where a device publishes."""

    event: str
    state: str
    availability: str


def topics(device: str) -> Topics:
    """The topics of a device."""
    return Topics(*(f"edge-ser/{device}/{name}" for name in Topics._fields))


class MqttPublisher:
    """Publishes a stream's events from a thread of its own; `publish` never waits.

    >>> with MqttPublisher(MqttConfig("broker.local"), recognizer.labels) as publisher:
    ...     Listener(recognizer, microphone, on_event=publisher.publish).run()  # doctest: +SKIP

    Args:
        config: which broker, and as whom.
        labels: the emotions of the model, which Home Assistant is told.
        stream: names the stream in the events; None: a new name.
        on_status: called with a sentence when the broker comes, goes or refuses something,
            from a thread of the publisher.

    Raises:
        EdgeSerError: when paho-mqtt is not installed, or the certificate file is no such file.
    """

    def __init__(
        self,
        config: MqttConfig,
        labels: Sequence[str],
        *,
        stream: str | None = None,
        on_status: Callable[[str], None] | None = None,
    ) -> None:
        self._config, self._topics = config, topics(config.device)
        self._stream = stream or new_stream()
        self._on_status = on_status or (lambda sentence: None)
        self._said = ""
        self._discovery = discovery_message(config.device, labels, self._topics)
        self._changed = threading.Condition()  # guards all below; never held while calling paho
        self._events: deque[dict[str, Any]] = deque()
        self._state: dict[str, Any] | None = None  # to be published
        self._state_of: tuple[str, float] | None = None  # label and time of the last one
        self._greet = False  # availability and discovery are to be published
        self._connected: bool | None = None  # None: not known yet
        self._in_flight = 0
        self._resent = 0  # of those, how many must be acknowledged before anything newer is sent
        self._dropped = 0
        self._closing = False
        self._client = self._make_client()
        self._client.connect_async(config.host, config.port, KEEPALIVE_SECONDS)
        self._client.loop_start()
        self._sender = threading.Thread(target=self._send, name="edge-ser-mqtt", daemon=True)
        self._sender.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def dropped(self) -> int:
        """How many events were given up so far."""
        with self._changed:
            return self._dropped

    @property
    def waiting(self) -> int:
        """How many messages the broker has not acknowledged yet."""
        with self._changed:
            return len(self._events) + (self._state is not None) + self._in_flight

    @property
    def in_flight(self) -> int:
        """How many of them were sent already; at most about ten."""
        with self._changed:
            return self._in_flight

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return bool(self._connected)

    def publish(self, emotion: Emotion) -> None:
        """Send an event, now or when the broker is back."""
        event = event_json(emotion, device=self._config.device, stream=self._stream)
        with self._changed:
            if len(self._events) == self._config.queue_events:
                self._events.popleft()
                self._dropped += 1
            self._events.append(event)
            if self._state_is_due(emotion):
                self._state = event
                self._state_of = emotion.label, emotion.end_seconds
            self._changed.notify_all()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Send what waits, if the broker is there to take it, say goodbye, and disconnect.

        Args:
            seconds: how long that may take at most.
        """
        end = time.monotonic() + seconds
        self._wait(end, lambda: self._connected is False or self._idle())
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
            left = len(self._events) + self._in_flight
            connected = self._connected
        self._sender.join()
        if connected:
            # A clean goodbye takes the last will back: say it ourselves.
            with self._changed:
                self._in_flight += 1
            self._client.publish(self._topics.availability, OFFLINE, qos=1, retain=True)
            self._wait(end, lambda: not self._connected or self._in_flight == 0)
        self._client.disconnect()
        self._client.loop_stop()
        if left:
            what = "1 message was" if left == 1 else f"{left} messages were"
            self._say(f"{what} not delivered to {self._config.address}")

    def _wait(self, end: float, condition: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(condition, max(0.0, end - time.monotonic()))

    def _idle(self) -> bool:
        return not (self._events or self._state or self._greet or self._in_flight)

    def _state_is_due(self, emotion: Emotion) -> bool:
        if self._state_of is None:
            return True
        label, seconds = self._state_of
        return emotion.label != label or emotion.end_seconds - seconds >= STATE_SECONDS

    def _make_client(self) -> "Client":
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
        except ModuleNotFoundError as error:
            raise EdgeSerError(
                "MQTT needs paho-mqtt, which is not installed: `pip install 'edge-ser[mqtt]'` "
                "brings it"
            ) from error
        config = self._config
        # Always the same name: the broker then ends a predecessor that it takes for alive, and
        # publishes its last will before we are online, not after.
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"edge-ser-{config.device}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        if config.tls:
            try:
                context = ssl.create_default_context(cafile=config.ca_file)
            except OSError as error:  # an SSLError is one too
                raise EdgeSerError(
                    f"{config.ca_file}: no file of CA certificates in PEM form "
                    f"({error.strerror or error}); name the one that signed the broker's"
                ) from error
            client.tls_set_context(context)
        if config.username is not None:
            client.username_pw_set(config.username, config.password)
        client.will_set(self._topics.availability, OFFLINE, qos=1, retain=True)
        client.reconnect_delay_set(*RETRY_SECONDS)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _send(self) -> None:
        """The sender's thread: the only one that publishes, until it ends."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._may_send())
                if self._closing:
                    return
                messages = self._next_messages()
                self._in_flight += len(messages)
            for topic, payload, retain in messages:
                self._client.publish(
                    topic, payload, qos=1, retain=retain, properties=_properties(payload)
                )

    def _may_send(self) -> bool:
        if not self._connected or self._resent or self._in_flight >= MAX_IN_FLIGHT:
            return False
        return bool(self._events or self._state or self._greet)

    def _next_messages(self) -> list[tuple[str, str, bool]]:
        """What is to be sent next: (topic, payload, whether it is retained)."""
        where = self._topics
        if self._greet:
            self._greet = False
            greeting = [(where.availability, ONLINE, True)]
            if self._config.discovery:
                greeting.append((*self._discovery, True))
            return greeting
        if self._events:
            event = self._events.popleft() | {"dropped": self._dropped}
            return [(where.event, json.dumps(event), False)]
        state, self._state = self._state, None
        assert state is not None
        return [(where.state, json.dumps(state | {"dropped": self._dropped}), True)]

    def _on_connect(
        self,
        client: "Client",
        userdata: object,
        flags: "ConnectFlags",
        reason: "ReasonCode",
        properties: "Properties | None",
    ) -> None:
        if reason.is_failure:
            self._away(f"refuses the connection ({reason})")
            return
        with self._changed:
            self._connected = self._greet = True
            self._resent = self._in_flight
            self._changed.notify_all()
        self._say(f"connected to {self._config.address}")

    def _on_connect_fail(self, client: "Client", userdata: object) -> None:
        error = sys.exc_info()[1]  # paho calls this while it handles it, and does not hand it on
        why = getattr(error, "strerror", None) or error or "no answer"
        self._away(f"cannot be reached ({why})")

    def _on_disconnect(
        self,
        client: "Client",
        userdata: object,
        flags: "DisconnectFlags",
        reason: "ReasonCode",
        properties: "Properties | None",
    ) -> None:
        if self._connected:
            self._away(f"is gone ({reason})")
        elif self._connected is None:  # else it was told why not
            self._away(
                f"hung up without a word of MQTT 5 ({reason}): check the port, and whether it "
                "wants TLS"
            )

    def _on_publish(
        self,
        client: "Client",
        userdata: object,
        number: int,
        reason: "ReasonCode",
        properties: "Properties",
    ) -> None:
        with self._changed:
            self._in_flight -= 1
            self._resent = max(0, self._resent - 1)
            self._changed.notify_all()
        if reason.is_failure:
            self._say(
                f"{self._config.address} refuses what is published ({reason}): let this user "
                f"write to edge-ser/{self._config.device}/#"
            )

    def _away(self, why: str) -> None:
        with self._changed:
            self._connected = False
            closing = self._closing
            self._changed.notify_all()
        if not closing:
            self._say(f"{self._config.address} {why}; events wait for it")

    def _say(self, sentence: str) -> None:
        if sentence != self._said:  # not at each attempt again
            self._said = sentence
            self._on_status(sentence)


def _properties(payload: str) -> "Properties | None":
    """That the payload is JSON, where it is; the broker hands it on to who receives it."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    if not payload.startswith("{"):
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1  # UTF-8
    properties.ContentType = "application/json"
    return properties
