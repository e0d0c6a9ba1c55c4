"""Which MQTT broker, and as whom; the secrets come from a file or from the environment."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from firmware_host.errors import EdgeSerError
from firmware_host.events import device_name

PORT, TLS_PORT = 1883, 8883  # as registered with IANA
USERNAME_VARIABLE = "EDGE_SER_MQTT_USERNAME"
PASSWORD_VARIABLE = "EDGE_SER_MQTT_PASSWORD"
QUEUE_EVENTS = 2_400  # ten minutes of four a second; a few megabytes


@dataclass(frozen=True)
class MqttConfig:
    """Where and how events are published.

    Args:
        host: the broker's name or address.
        port: 0: 8883 with TLS, else 1883.
        device: the device's name in topics, which no other device of this broker may have;
            None or "": made of the host's name.
        username, password: None: the broker lets everybody in.
        tls: encrypted, and the broker's certificate verified.
        ca_file: certificates that it is verified with; None: the system's.
        queue_events: how many events wait at most while the broker is away.
        discovery: whether Home Assistant is told of the device.

    Raises:
        EdgeSerError: when a value is impossible.
    """

    host: str
    port: int = 0
    device: str = ""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: str | None = None
    queue_events: int = QUEUE_EVENTS
    discovery: bool = True

    def __post_init__(self) -> None:
        if not self.port:
            object.__setattr__(self, "port", TLS_PORT if self.tls else PORT)
        object.__setattr__(self, "device", device_name(self.device or None))
        try:
            valid = bool(self.host.encode("idna")) and self.port in range(1, 65_536)
        except UnicodeError:
            valid = False
        if not valid:
            raise EdgeSerError(
                f"the MQTT broker {self.host}:{self.port} was given, but a host and a port of 1 "
                "to 65535 are expected"
            )
        if self.queue_events < 1:
            raise EdgeSerError(
                f"a queue of {self.queue_events} events was given, but 1 or more is expected"
            )

    @property
    def address(self) -> str:
        """The broker, in words."""
        return f"the MQTT broker {self.host}:{self.port}"


def split_address(address: str) -> tuple[str, int]:
    """Host and port of HOST, HOST:PORT, [IPV6] or [IPV6]:PORT; 0 where there is no port.

    >>> split_address("broker.local:1884")
    ('broker.local', 1884)
    >>> split_address("[::1]")
    ('::1', 0)

    Raises:
        EdgeSerError: for anything else.
    """
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        valid = bool(bracket) and (not rest or rest.startswith(":"))
        port = rest[1:]
    else:
        host, colon, port = address.partition(":")
        valid = bool(port) or not colon
    if not (host and valid and (not port or (port.isascii() and port.isdecimal()))):
        raise EdgeSerError(
            f"the MQTT broker {address!r} was given, but HOST or HOST:PORT is expected, an IPv6 "
            "address in brackets"
        )
    return host, int(port) if port else 0


def read_credentials(file: Path | None) -> tuple[str | None, str | None]:
    """User name and password; (None, None) when there are none.

    Args:
        file: its first line is the user name, its second the password; not for others to
            read. None: the variables EDGE_SER_MQTT_USERNAME and EDGE_SER_MQTT_PASSWORD.

    Raises:
        EdgeSerError: when the file is not like that.
    """
    if file is None:
        return os.environ.get(USERNAME_VARIABLE), os.environ.get(PASSWORD_VARIABLE)
    try:
        with file.open(encoding="utf-8") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            lines = opened.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        raise EdgeSerError(
            f"{file}: cannot be read ({why}); name a file with the MQTT user name in its first "
            "line and the password in its second"
        ) from error
    if mode & stat.S_IROTH:
        raise EdgeSerError(f"{file}: everybody may read this password: `chmod 600 {file}`")
    if len(lines) not in (1, 2) or not lines[0]:
        raise EdgeSerError(
            f"{file}: {len(lines)} lines were found, but the MQTT user name in the first and the "
            "password in the second are expected"
        )
    return lines[0], lines[1] if len(lines) == 2 else None
