"""Options that say where else than to standard output `edge-ser listen` sends its events."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from firmware_host.mqtt_config import MqttConfig

PANEL = "Events"

NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="This device's name in events and topics, which no other has: brokers end the "
        "connection of one when another of its name comes. Default: the host's name.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
MqttOption = Annotated[
    str | None,
    typer.Option(
        "--mqtt",
        metavar="HOST[:PORT]",
        help="Also publish to this MQTT broker, under edge-ser/NAME/; Home Assistant finds the "
        "device by itself.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
CredentialsOption = Annotated[
    Path | None,
    typer.Option(
        "--mqtt-credentials",
        metavar="FILE",
        help="User name in the first line, password in the second. Default: the variables "
        "EDGE_SER_MQTT_USERNAME and EDGE_SER_MQTT_PASSWORD.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
TlsOption = Annotated[
    bool,
    typer.Option(
        "--mqtt-tls",
        help="Encrypt, and verify the broker's certificate with the system's.",
        rich_help_panel=PANEL,
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option(
        "--mqtt-ca",
        metavar="FILE",
        help="As --mqtt-tls, and verify with these certificates (PEM).",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
QueueOption = Annotated[
    int | None,
    typer.Option(
        "--mqtt-queue",
        metavar="EVENTS",
        help="How many events wait for a broker that is away; then the oldest is given up and "
        "counted. Default: 2400, ten minutes.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
NoDiscoveryOption = Annotated[
    bool,
    typer.Option(
        "--no-discovery", help="Do not announce it to Home Assistant.", rich_help_panel=PANEL
    ),
]


def mqtt_config(
    name: str | None,
    address: str | None,
    credentials: Path | None,
    tls: bool,
    ca: Path | None,
    queue: int | None,
    no_discovery: bool,
) -> "MqttConfig | None":
    """What these options ask for; None: no broker.

    Raises:
        EdgeSerError: when a value is impossible, or there is no --mqtt for the others.
    """
    from firmware_host.errors import EdgeSerError
    from firmware_host.mqtt_config import (
        QUEUE_EVENTS,
        MqttConfig,
        read_credentials,
        split_address,
    )

    if address is None:
        if credentials or tls or ca or queue is not None or no_discovery:
            raise EdgeSerError(
                "an option for an MQTT broker was given, but no broker: give --mqtt HOST too, or "
                "leave it out"
            )
        return None
    host, port = split_address(address)
    username, password = read_credentials(credentials)
    return MqttConfig(
        host,
        port,
        device=name or "",
        username=username,
        password=password,
        tls=tls or ca is not None,
        ca_file=None if ca is None else str(ca),
        queue_events=QUEUE_EVENTS if queue is None else queue,
        discovery=not no_discovery,
    )
