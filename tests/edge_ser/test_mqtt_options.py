"""Options of `edge-ser listen` that have to do with a broker: what is wrong is said at once."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from broker import Broker, Subscriber, missing
from without_module import edge_ser_without

from edge_ser.cli.mqtt_options import mqtt_config
from edge_ser.demo import CLIP
from firmware_host import EdgeSerError, MqttConfig

NONE = (None, None, None, False, None, None, False)


def test_what_is_asked_for_is_what_is_configured(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("pi\npassword\n")
    secret.chmod(0o600)
    config = mqtt_config("kitchen", "broker:8884", secret, False, Path("ca.pem"), 5, True)
    assert config == MqttConfig(
        "broker", 8884, "kitchen", "pi", "password", True, "ca.pem", 5, discovery=False
    )
    assert mqtt_config("kitchen", "broker", None, False, None, None, False) == MqttConfig(
        "broker", device="kitchen"
    )
    assert mqtt_config(*NONE) is None


@pytest.mark.parametrize("position", range(2, 7))
def test_options_for_a_broker_want_a_broker(position: int) -> None:
    options: list[object] = list(NONE)
    options[position] = {2: Path("secret"), 4: Path("ca.pem"), 5: 7}.get(position, True)
    with pytest.raises(EdgeSerError, match="--mqtt HOST"):
        mqtt_config(*options)  # type: ignore[arg-type]


def test_a_secret_is_no_option() -> None:
    """On the command line every user of the machine could read it."""
    command = [sys.executable, "-m", "edge_ser", "listen", "--mqtt-password", "secret"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_without_paho_the_package_that_brings_it_is_named() -> None:
    done = edge_ser_without("paho", "listen", "--input", str(CLIP), "--mqtt", "localhost")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'edge-ser[mqtt]'" in done.stderr


def test_what_does_not_listen_is_not_announced(need: Callable[[str], None], tmp_path: Path) -> None:
    """Nobody is told of a device whose microphone is not there, nor made to wait for a broker."""
    if why := missing():
        need(why)
    with Broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        command = [sys.executable, "-m", "edge_ser", "listen", "--device", "no such microphone"]
        command += ["--mqtt", f"127.0.0.1:{broker.port}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1, done.stderr
        assert not subscriber.messages
        assert "New client connected" not in broker.log.read_text().partition("subscriber-")[2]
