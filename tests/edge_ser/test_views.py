"""What `edge-ser listen` shows: here only what is said beside what is heard."""

from contextlib import ExitStack

import pytest

from edge_ser.cli.views import open_view
from firmware_host import portaudio


@pytest.mark.parametrize("as_json", [True, False])
def test_what_a_broker_says_is_heard_while_the_microphone_is_opened(
    as_json: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is said once, from another thread, and PortAudio's libraries are silenced meanwhile."""
    with ExitStack() as stack:
        view = open_view(as_json, stack, "kitchen", "s")
        with portaudio.quiet():
            view.status("the MQTT broker is gone")
        view.status("the MQTT broker is back")
    said = capfd.readouterr()
    assert said.err == "edge-ser: the MQTT broker is gone\nedge-ser: the MQTT broker is back\n"
    assert said.out == ""
