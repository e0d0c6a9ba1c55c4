"""Events reach a real broker: all of them, in order, whatever becomes of it."""

import json
import random
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from broker import Broker, Link, Subscriber, free_port, missing, until
from jsonschema import Draft202012Validator
from some_events import LABELS, check_event, emotion

from firmware_host import EdgeSerError, MqttConfig, MqttPublisher
from firmware_host.decisions import NO_SPEECH, UNCERTAIN
from firmware_host.home_assistant import discovery_message
from firmware_host.mqtt import topics
from firmware_host.mqtt_config import QUEUE_EVENTS, read_credentials, split_address

TOPICS = topics("kitchen")
DISCOVERY = "homeassistant/device/edge-ser-kitchen/config"


@pytest.fixture
def broker(need: Callable[[str], None], tmp_path: Path) -> Iterator[Broker]:
    if why := missing():
        need(why)
    with Broker(tmp_path) as broker:
        yield broker


def publisher_to(port: int, **options: object) -> MqttPublisher:
    config = MqttConfig("127.0.0.1", port, device="kitchen", **options)  # type: ignore[arg-type]
    return MqttPublisher(config, LABELS, stream="s")


def ids(subscriber: Subscriber) -> list[str]:
    """Of the events, in the order of their arrival."""
    return [message.json["id"] for message in subscriber.on(TOPICS.event)]


def until_received(subscriber: Subscriber, n: int) -> None:
    until(lambda: len(subscriber.messages) >= n)


def until_in_flight(publisher: MqttPublisher, n: int) -> None:
    until(lambda: publisher.in_flight == n)


def expected(windows: range) -> list[str]:
    return [f"s-{window}" for window in windows]


def test_every_event_arrives_as_documented(broker: Broker) -> None:
    """In order, valid, none larger than a window's hop of sound could ever be packed into."""
    with Subscriber(broker.port) as subscriber, publisher_to(broker.port) as publisher:
        for window in range(100):
            publisher.publish(emotion(window))
        until(lambda: len(ids(subscriber)) == 100)
    assert ids(subscriber) == expected(range(100))
    for message in subscriber.on(TOPICS.event):
        check_event(message.json)
        assert message.json["dropped"] == 0


def test_who_comes_late_finds_the_state(broker: Broker) -> None:
    """Retained: that the device is there, what was heard last, and how to show it."""
    with publisher_to(broker.port) as publisher:
        publisher.publish(emotion(0, "happy"))
        publisher.publish(emotion(1, "happy"))
        publisher.publish(emotion(2, "sad"))
        with Subscriber(broker.port) as first:
            until(lambda: [m for m in first.on(TOPICS.state) if m.json["label"] == "sad"])
        with Subscriber(broker.port) as late:
            until(lambda: len(late.messages) >= 3)
            found = {message.topic: message for message in late.messages}
            assert all(message.retained for message in late.messages)
            assert set(found) == {TOPICS.availability, TOPICS.state, DISCOVERY}
            assert found[TOPICS.availability].payload == b"online"
            assert found[TOPICS.state].json["label"] == "sad"
            check_event(found[TOPICS.state].json)
            publisher.close()
            until(lambda: late.on(TOPICS.availability)[-1].payload == b"offline")


def test_states_are_few(broker: Broker) -> None:
    """A state at each new label, and one every ten seconds: not four a second."""
    with Subscriber(broker.port, TOPICS.state) as subscriber:
        with publisher_to(broker.port) as publisher:
            for window in range(100):
                publisher.publish(emotion(window, "happy" if window < 90 else "sad"))
                until(publisher._idle)
        windows = [message.json["window"] for message in subscriber.messages]
    assert windows == [0, 40, 80, 90]


def test_a_device_that_dies_is_offline(broker: Broker) -> None:
    """The last will: killed, it cannot say goodbye itself."""
    script = f"""
import time
from firmware_host import MqttConfig, MqttPublisher
config = MqttConfig("127.0.0.1", {broker.port}, device="kitchen")
publisher = MqttPublisher(config, ["sad", "happy"])
time.sleep(60)
"""
    with Subscriber(broker.port, TOPICS.availability) as subscriber:
        with subprocess.Popen([sys.executable, "-c", script]) as process:
            until(lambda: subscriber.messages)
            process.kill()
        until(lambda: len(subscriber.messages) == 2)
        assert [message.payload for message in subscriber.messages] == [b"online", b"offline"]


def test_nothing_is_lost_when_the_broker_is_killed_while_events_flow(broker: Broker) -> None:
    """SIGKILL, three times, at moments of chance: all arrive in order, and what was sent again
    was sent with the DUP flag."""
    moments = random.Random(0)
    flowing = threading.Event()
    with Subscriber(broker.port, TOPICS.event) as subscriber:
        broker.save()
        with publisher_to(broker.port) as publisher:

            def flow() -> None:
                window = 0
                while not flowing.wait(0.002):
                    publisher.publish(emotion(window))
                    window += 1
                publisher.publish(emotion(window))
                self_made.append(window + 1)

            self_made: list[int] = []
            thread = threading.Thread(target=flow)
            thread.start()
            for _ in range(3):
                seen = len(subscriber.messages) + moments.randrange(20, 120)
                until_received(subscriber, seen)
                broker.kill()
                broker.start()
            until_received(subscriber, len(subscriber.messages) + 20)
            flowing.set()
            thread.join()
            (made,) = self_made
            assert made < QUEUE_EVENTS
            until(lambda: ids(subscriber) and ids(subscriber)[-1] == f"s-{made - 1}")
        unique = list(dict.fromkeys(ids(subscriber)))
        assert unique == expected(range(made))
        assert publisher.dropped == 0
        assert {message.json["dropped"] for message in subscriber.messages} == {0}
    sent: set[str] = set()
    for number, again in broker.received(TOPICS.event):
        assert number not in sent or again
        sent.add(number)
    assert len(sent) == made


def test_what_is_sent_again_is_marked_and_known_by_its_id(broker: Broker) -> None:
    """The events arrive, their acknowledgements do not: they are sent again, before new ones."""
    with (
        Link(broker.port) as link,
        Subscriber(broker.port, TOPICS.event) as subscriber,
        publisher_to(link.port) as publisher,
    ):
        publisher.publish(emotion(0))
        until(lambda: ids(subscriber) and not publisher.waiting)
        link.lose_answers()
        for window in range(1, 6):
            publisher.publish(emotion(window))
        until(lambda: len(ids(subscriber)) == 6)
        link.cut()
        until(lambda: not publisher.connected)
        for window in range(6, 10):
            publisher.publish(emotion(window))
        until(lambda: len(ids(subscriber)) == 15)
        assert ids(subscriber) == expected(range(6)) + expected(range(1, 10))
        again = [message.payload for message in subscriber.messages[6:11]]
        assert again == [message.payload for message in subscriber.messages[1:6]]
    flags = [again for _, again in broker.received(TOPICS.event)]
    assert flags == [False] * 6 + [True] * 5 + [False] * 4


def test_beyond_the_bound_the_oldest_go_and_are_counted(broker: Broker) -> None:
    """While the broker is dead for longer than the queue is long."""
    with (
        Subscriber(broker.port, TOPICS.event) as subscriber,
        publisher_to(broker.port, queue_events=20) as publisher,
    ):
        broker.save()
        publisher.publish(emotion(0))
        until(lambda: ids(subscriber) and not publisher.waiting)
        broker.kill()
        until(lambda: not publisher.connected)
        for window in range(1, 101):
            publisher.publish(emotion(window))
        assert publisher.dropped == 80
        broker.start()
        until(lambda: len(ids(subscriber)) == 21)
        publisher.publish(emotion(101))
        until(lambda: len(ids(subscriber)) == 22)
        assert ids(subscriber) == ["s-0", *expected(range(81, 102))]
        counts = [message.json["dropped"] for message in subscriber.messages]
        assert counts == [0] + [80] * 21


def test_a_broker_that_stands_still_holds_nobody_up(broker: Broker) -> None:
    """Neither `publish` nor memory; what was on its way to it arrives, and the newest."""
    with (
        Subscriber(broker.port, TOPICS.event) as subscriber,
        publisher_to(broker.port, queue_events=20) as publisher,
    ):
        publisher.publish(emotion(0))
        until(lambda: ids(subscriber) and not publisher.waiting)
        broker.freeze()
        for window in range(1, 101):
            publisher.publish(emotion(window))
            if window <= 10:
                until_in_flight(publisher, window)
        broker.thaw()
        until(lambda: len(ids(subscriber)) == 31)
        assert ids(subscriber) == expected(range(11)) + expected(range(81, 101))
        counts = [message.json["dropped"] for message in subscriber.messages]
        assert counts == [0] * 11 + [70] * 20


def test_without_a_broker_events_wait_and_the_end_says_how_many_were_left() -> None:
    said: list[str] = []
    config = MqttConfig("127.0.0.1", free_port(), device="kitchen")
    with MqttPublisher(config, LABELS, on_status=said.append) as publisher:
        for window in range(7):
            publisher.publish(emotion(window))
        until(lambda: said)
    assert len(said) == 2, said
    assert "cannot be reached (Connection refused)" in said[0]
    assert said[1].startswith("7 messages were not delivered")


def test_what_is_no_broker_is_told() -> None:
    """Somebody else's port, or one where TLS is wanted: it takes the connection and hangs up."""
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = MqttConfig("127.0.0.1", server.getsockname()[1], device="kitchen")
        with MqttPublisher(config, LABELS, on_status=said.append) as publisher:
            publisher.publish(emotion(0))
            server.accept()[0].close()
            until(lambda: said)
    assert "hung up without a word of MQTT 5" in said[0] and "check the port" in said[0]
    assert said[1].startswith("1 message was not delivered")


def make_certificates(folder: Path) -> None:
    """ca.pem and, signed by it for 127.0.0.1, server.pem and server.key; and other.pem."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "other"):
        made = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")
        openssl("req", "-x509", *key, *made, "-days", "2")
    made = ("-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=broker")
    openssl("req", *key, *made)
    (folder / "server.ext").write_text("subjectAltName=IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "server.ext")
    openssl("x509", "-req", "-in", "server.csr", *signed, "-days", "2", "-out", "server.pem")


def test_tls_and_password(need: Callable[[str], None], tmp_path: Path) -> None:
    """Who has both is let in; a wrong password and a certificate of somebody else's are told."""
    if why := missing():
        need(why)
    if shutil.which("openssl") is None or shutil.which("mosquitto_passwd") is None:
        need("openssl or mosquitto_passwd is not installed")
    make_certificates(tmp_path)
    secret = ["mosquitto_passwd", "-b", "-c", "passwords", "pi", "a secret"]
    subprocess.run(secret, cwd=tmp_path, check=True, capture_output=True)
    more = f"""
password_file {tmp_path}/passwords
cafile {tmp_path}/ca.pem
certfile {tmp_path}/server.pem
keyfile {tmp_path}/server.key
"""
    file = tmp_path / "mqtt.secret"
    file.write_text("pi\na secret\n")
    file.chmod(0o600)
    username, password = read_credentials(file)

    def configure(client: object) -> None:
        client.tls_set(str(tmp_path / "ca.pem"))  # type: ignore[attr-defined]
        client.username_pw_set(username, password)  # type: ignore[attr-defined]

    def said_of(port: int, password: str | None, ca: str) -> str:
        said: list[str] = []
        config = MqttConfig(
            "127.0.0.1",
            port,
            device="kitchen",
            username=username,
            password=password,
            tls=True,
            ca_file=str(tmp_path / ca),
        )
        with MqttPublisher(config, LABELS, stream=ca[:-4], on_status=said.append) as publisher:
            publisher.publish(emotion(0))
            until(lambda: said)
        assert "secret" not in repr(config) + " ".join(said)
        return said[0]

    with Broker(tmp_path, more) as broker, Subscriber(broker.port, "#", configure) as subscriber:
        port = broker.port
        assert said_of(port, password, "ca.pem") == f"connected to the MQTT broker 127.0.0.1:{port}"
        assert "Not authorized" in said_of(port, "another", "ca.pem")
        assert "CERTIFICATE_VERIFY_FAILED" in said_of(port, password, "other.pem")
        assert [message.json["id"] for message in subscriber.on(TOPICS.event)] == ["ca-0"]
    with pytest.raises(EdgeSerError, match="no file of CA certificates"):
        MqttPublisher(MqttConfig("127.0.0.1", tls=True, ca_file=str(file)), LABELS)


def test_home_assistant_is_told_what_it_documents() -> None:
    topic, payload = discovery_message("kitchen", LABELS, TOPICS)
    assert topic == DISCOVERY
    told = json.loads(payload)
    schema = json.loads(Path(__file__).with_name("home_assistant.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(told)
    sensors = told["components"]
    assert len({sensor["unique_id"] for sensor in sensors.values()}) == len(sensors)
    # A state that is no option would be an error in Home Assistant.
    assert set(sensors["emotion"]["options"]) == {*LABELS, UNCERTAIN, NO_SPEECH}
    assert (told["state_topic"], told["availability_topic"]) == (TOPICS.state, TOPICS.availability)


def test_addresses() -> None:
    assert split_address("broker") == ("broker", 0)
    assert split_address("[fe80::1]:1884") == ("fe80::1", 1884)
    for wrong in ("", ":1883", "broker:", "broker:mqtt", "::1", "[::1", "[::1]1883"):
        with pytest.raises(EdgeSerError, match="HOST:PORT is expected"):
            split_address(wrong)
    for host, port in (("broker", 65_536), ("..", 1883), ("", 1883)):
        with pytest.raises(EdgeSerError, match="a host and a port"):
            MqttConfig(host, port)
    assert (MqttConfig("broker").port, MqttConfig("broker", tls=True).port) == (1883, 8883)


def test_credentials_come_from_a_private_file_or_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_credentials(None) == (None, None)
    monkeypatch.setenv("EDGE_SER_MQTT_USERNAME", "pi")
    monkeypatch.setenv("EDGE_SER_MQTT_PASSWORD", "a secret")
    assert read_credentials(None) == ("pi", "a secret")
    file = tmp_path / "secret"
    file.write_text("pi\na secret\n")
    file.chmod(0o644)
    with pytest.raises(EdgeSerError, match="everybody may read"):
        read_credentials(file)
    file.chmod(0o600)
    for wrong in ("", "\nx\n", "a\nb\nc\n"):
        file.write_text(wrong)
        with pytest.raises(EdgeSerError, match="are expected"):
            read_credentials(file)
    with pytest.raises(EdgeSerError, match="cannot be read"):
        read_credentials(tmp_path / "missing")
