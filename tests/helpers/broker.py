"""A real MQTT broker of the tests' own, who listens to it, and a link that loses its answers."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

WAIT_SECONDS = 30.0  # for what takes milliseconds, on a machine that is busy
# As root it would become another user, who may not write where the test wants it to.
CONFIG = """
user root
listener {port} 127.0.0.1
persistence true
persistence_location {folder}/
autosave_interval 0
max_queued_messages 0
queue_qos0_messages true
log_type all
log_dest stderr
{more}
"""


def missing() -> str | None:
    """What is not there that a broker needs, or None."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin"  # where Debian has it
    if shutil.which("mosquitto", path=path) is None:
        return "mosquitto is not installed (apt-get install mosquitto)"
    try:
        import paho.mqtt.client  # noqa: F401
    except ImportError:
        return "paho-mqtt is not installed (pip install 'edge-ser[mqtt]')"
    return None


def until(condition: Callable[[], object]) -> None:
    """Wait until it holds; fail when it does not come to hold."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Broker:
    """mosquitto on a port of its own; a context manager.

    Args:
        folder: for its files.
        more: lines of its configuration.
    """

    def __init__(self, folder: Path, more: str = "allow_anonymous true") -> None:
        self.port = free_port()
        self.log = folder / "mosquitto.log"
        self._saved = folder / "mosquitto.db"
        self._config = folder / "mosquitto.conf"
        self._config.write_text(CONFIG.format(port=self.port, folder=folder, more=more))
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        path = os.environ.get("PATH", os.defpath) + ":/usr/sbin"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["mosquitto", "-c", str(self._config)],
                stderr=log,
                env=os.environ | {"PATH": path},
            )
        until(self._answers)

    def kill(self) -> None:
        """SIGKILL: it says goodbye to nobody and saves nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it stand still, with every connection open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def save(self) -> None:
        """Have it save subscriptions, so that they outlive a kill."""
        self._saved.unlink(missing_ok=True)
        self._signal(signal.SIGUSR1)
        until(self._saved.exists)

    def received(self, topic: str) -> list[tuple[str, bool]]:
        """What it was sent on a topic, as its log tells: (message number, DUP flag)."""
        found = []
        for line in self.log.read_text().splitlines():
            if "Received PUBLISH from " in line and f"'{topic}'" in line:
                dup, _, _, number, *_ = line.partition(" (d")[2].split(", ")
                found.append((number, dup == "1"))
        return found

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class Message:
    """What a subscriber received."""

    topic: str
    payload: bytes
    retained: bool

    @property
    def json(self) -> Any:
        """The payload, which is JSON."""
        return json.loads(self.payload)


class Subscriber:
    """Receives what is published; its session outlives its connection; a context manager.

    At QoS 0, so that what the broker handed on before it was killed is read to its end: one who
    answers to a broker that is dead closes the connection, and what is unread with it.

    Args:
        port: the broker's.
        topic: what it subscribes to; may have wildcards.
        configure: given the client before it connects.
    """

    def __init__(
        self, port: int, topic: str = "#", configure: Callable[[Any], None] | None = None
    ) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self.messages: list[Message] = []
        self._client = client = Client(
            CallbackAPIVersion.VERSION2, f"subscriber-{port}", protocol=MQTTProtocolVersion.MQTTv5
        )
        if configure is not None:
            configure(client)
        ready = threading.Event()
        client.on_message = lambda client, data, m: self.messages.append(
            Message(m.topic, bytes(m.payload), m.retain)
        )
        client.on_connect = lambda client, data, flags, reason, properties: client.subscribe(
            topic, qos=0
        )
        client.on_subscribe = lambda *arguments: ready.set()
        client.reconnect_delay_set(1, 1)
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = 3_600
        client.connect("127.0.0.1", port, clean_start=False, properties=session)
        client.loop_start()
        assert ready.wait(WAIT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def on(self, topic: str) -> list[Message]:
        """What was received on a topic."""
        return [message for message in list(self.messages) if message.topic == topic]


class Link:
    """A way to a port that can lose the answers, and be cut; a context manager."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._deaf = False
        self._ends: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        self.cut()

    def lose_answers(self) -> None:
        """Whatever comes back from now on is lost, until the link is cut."""
        self._deaf = True

    def cut(self) -> None:
        """End every connection; the next one is whole again."""
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._deaf = False

    def _accept(self) -> None:
        while True:
            try:
                near = self._server.accept()[0]
            except OSError:  # closed
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._ends += [near, far]
            for source, sink, answers in ((near, far, False), (far, near, True)):
                threading.Thread(
                    target=self._carry, args=(source, sink, answers), daemon=True
                ).start()

    def _carry(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(65_536):
                if not (answers and self._deaf):
                    sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
