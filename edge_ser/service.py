"""`edge-ser listen` as a systemd service: its unit file, locked down as far as listening allows."""

import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware_host.errors import EdgeSerError
from firmware_host.files import write_whole

UNIT = "edge-ser.service"
SYSTEM_FOLDER = Path("/etc/systemd/system")
RUNNING = Path("/run/systemd/system")  # is there exactly where systemd runs: sd_booted(3)
WATCHDOG_SECONDS = 60  # without a portion of sound; one comes at least every second or two
CREDENTIAL = "mqtt"

# What a user's own service manager can do too, without privileges.
LOCKED = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
UMask=0077
"""
# A sound card is the only device it sees; nothing that it sees can it write to.
LOCKED_SYSTEM = """\
SupplementaryGroups=audio
DevicePolicy=closed
DeviceAllow=char-alsa rw
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
"""


@dataclass(frozen=True)
class Service:
    """What is to run.

    Args:
        arguments: of `edge-ser listen`, without secrets.
        user: whether it is a service of the user's own, which runs while they are logged in
            (`loginctl enable-linger` makes it run always), and hears through their sound server.
        run_as: the account of a service of the system's; None: one made for it while it runs.
        credentials: a file of MQTT credentials, which only root need be able to read.
    """

    arguments: tuple[str, ...] = ()
    user: bool = False
    run_as: str | None = None
    credentials: Path | None = None

    @property
    def path(self) -> Path:
        """Where its unit file belongs."""
        return unit_path(self.user)


def unit_path(user: bool) -> Path:
    """Where the unit file of the system's, or of the user's own service belongs."""
    if not user:
        return SYSTEM_FOLDER / UNIT
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "systemd" / "user" / UNIT


def unit_text(service: Service, python: str = sys.executable) -> str:
    """The unit file.

    Args:
        python: that edge-ser is installed for.

    Source: systemd.unit(5), systemd.service(5), systemd.exec(5).
    """
    command = [python, "-m", "edge_ser", "listen", *service.arguments]
    words = [_quoted(word) for word in command]
    account, network = "", ""
    if service.user:
        if service.credentials:
            words += ["--mqtt-credentials", _quoted(str(service.credentials))]
    else:
        account = "DynamicUser=yes\n" if service.run_as is None else f"User={service.run_as}\n"
        network = "Wants=network-online.target\nAfter=network-online.target sound.target\n"
        if service.credentials:
            account += f"LoadCredential={CREDENTIAL}:{service.credentials}\n"
            words += ["--mqtt-credentials", f"${{CREDENTIALS_DIRECTORY}}/{CREDENTIAL}"]
    # Where events are published, their lines would only fill the journal.
    output = "StandardOutput=null\n" if "--mqtt" in service.arguments else ""
    locked = LOCKED if service.user else LOCKED + LOCKED_SYSTEM
    target = "default.target" if service.user else "multi-user.target"
    return f"""\
# Written by `edge-ser service install`.
[Unit]
Description=Speech emotion recognition (edge-ser)
{network}StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={" ".join(words)}
{output}Environment=PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
Restart=on-failure
RestartSec=5
WatchdogSec={WATCHDOG_SECONDS}
{account}{locked}
[Install]
WantedBy={target}
"""


def install(service: Service, start: bool) -> Path:
    """Write the unit file; with `start` also start it, now and whenever the system starts.

    Raises:
        EdgeSerError: when it cannot be written or started, or its account cannot run this Python.
    """
    if not service.user:
        _check_reach(sys.executable, service.run_as)
    if start:
        _check_systemd()
    write_whole(service.path, unit_text(service))
    if start:
        _systemctl(service.user, "daemon-reload")
        _systemctl(service.user, "enable", UNIT)
        _systemctl(service.user, "restart", UNIT)
    return service.path


def uninstall(user: bool) -> bool:
    """Stop the service and remove its unit file; False when there is none.

    Raises:
        EdgeSerError: when it cannot be stopped or removed.
    """
    path = unit_path(user)
    if not path.exists():
        return False
    if RUNNING.is_dir():
        _systemctl(user, "disable", "--now", UNIT)
    try:
        path.unlink()
    except OSError as error:
        raise EdgeSerError(
            f"cannot remove {path} ({error.strerror}): run the same command with sudo"
        ) from error
    if RUNNING.is_dir():
        _systemctl(user, "daemon-reload")
    return True


def state(user: bool) -> dict[str, str | None]:
    """The unit file, if there is one, and what systemd says of it, if it runs here."""
    path = unit_path(user)
    known: dict[str, str | None] = {"unit": str(path) if path.exists() else None}
    if RUNNING.is_dir():
        names = ("ActiveState", "SubState", "UnitFileState", "NRestarts", "StatusText")
        said = _systemctl(user, "show", f"--property={','.join(names)}", UNIT)
        known |= dict.fromkeys(names, None)
        known |= {k: v or None for k, _, v in (line.partition("=") for line in said.splitlines())}
    return known


def _quoted(word: str) -> str:
    """A word of ExecStart as systemd reads it back: systemd.service(5), "Command lines"."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    escaped = escaped.replace("%", "%%").replace("$", "$$")
    plain = escaped and not set(escaped) & set(" \t;'\"\\")
    return escaped if plain else f'"{escaped}"'


def _check_reach(python: str, run_as: str | None) -> None:
    """That the account of the service may run this Python, as far as permissions tell."""
    if run_as is not None:
        try:
            pwd.getpwnam(run_as)
        except KeyError as error:
            raise EdgeSerError(
                f"there is no account {run_as!r} here: name another, or leave --run-as out"
            ) from error
        return
    for folder in Path(os.path.realpath(python)).parents, Path(sys.prefix, "bin").parents:
        for part in folder:
            if part.exists() and not part.stat().st_mode & stat.S_IXOTH:
                raise EdgeSerError(
                    f"edge-ser is installed within {part}, where the account made for the service "
                    "may not go: give --run-as NAME, or --user, or install edge-ser elsewhere"
                )


def _check_systemd() -> None:
    if not RUNNING.is_dir():
        raise EdgeSerError(
            "systemd does not run here, so no service can be started: give --no-start to write "
            "its unit file only, or --print to see it"
        )


def _systemctl(user: bool, *arguments: str) -> str:
    command: Sequence[str] = ["systemctl", *(["--user"] if user else []), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise EdgeSerError(
            f"systemctl cannot be run ({error.strerror}): install systemd"
        ) from error
    if done.returncode:
        why = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise EdgeSerError(
            f"`{' '.join(command)}` failed ({why}): look at `journalctl"
            f"{' --user' if user else ''} -u {UNIT}`, or run it with sudo"
        )
    return done.stdout
