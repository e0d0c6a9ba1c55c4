"""`edge-ser service`: `edge-ser listen` whenever the machine runs, by systemd."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_ser.cli.app import app
from firmware_host.errors import EdgeSerError

service = typer.Typer(
    help="Listen whenever the machine runs: a systemd service.", no_args_is_help=True
)
app.add_typer(service, name="service")

UserOption = Annotated[
    bool, typer.Option("--user", help="A service of your own account, not of the system.")
]
CREDENTIALS = "mqtt_credentials"


# What is not known here is an option of `listen`.
@service.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    options_metavar="[OPTIONS] [-- LISTEN-OPTIONS]",
)
def install(
    context: typer.Context,
    user: UserOption = False,
    run_as: Annotated[
        str | None,
        typer.Option(
            "--run-as",
            metavar="NAME",
            help="Account that it runs as. Default: one that systemd makes for it.",
            show_default=False,
        ),
    ] = None,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the unit file, and change nothing.")
    ] = False,
    no_start: Annotated[
        bool, typer.Option("--no-start", help="Write the unit file, but start nothing.")
    ] = False,
) -> None:
    """Write a hardened unit file, start it, and have it started with the system.

    Options of `edge-ser listen` are handed on to it; MQTT credentials as a
    file that only root need be able to read. systemd restarts it when it
    fails, or when it has done nothing for a minute.

    Examples:

    • edge-ser service install --print --mqtt homeassistant.local

    • sudo edge-ser service install --mqtt broker:8883 --mqtt-tls --mqtt-credentials mqtt.secret

    • edge-ser service install --user -- --device usb --mqtt localhost
    """
    from edge_ser.service import Service, unit_text
    from edge_ser.service import install as install_service

    if user and run_as is not None:
        raise EdgeSerError(
            "--user is a service of your own account and --run-as NAME one of another's: give "
            "one of them"
        )
    arguments, credentials = _listen_arguments(context.args)
    wanted = Service(arguments, user, run_as, credentials)
    if only_print:
        print(unit_text(wanted), end="")
        return
    path = install_service(wanted, start=not no_start)
    print(f"written to {path}" + ("" if no_start else "; it listens, now and after every start"))
    if user and not no_start:
        print("It ends when you log out, unless: loginctl enable-linger")


@service.command()
def uninstall(user: UserOption = False) -> None:
    """Stop the service and remove its unit file."""
    from edge_ser.service import uninstall as uninstall_service
    from edge_ser.service import unit_path

    path = unit_path(user)
    removed = uninstall_service(user)
    print(f"removed {path}" if removed else f"nothing to remove: {path} is not there")


@service.command()
def status(
    user: UserOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Say whether the service is installed, and whether it runs."""
    from edge_ser.service import state

    known = state(user)
    if as_json:
        print(json.dumps(known))
        return
    print(f"unit file: {known.pop('unit') or 'none; edge-ser service install writes it'}")
    if not known:
        print("systemd does not run here")
    for name, value in known.items():
        print(f"{name}: {value or 'none'}")


def _listen_arguments(words: list[str]) -> tuple[tuple[str, ...], Path | None]:
    """What `listen` is given, files by their absolute paths; and the file of credentials.

    A service starts in another folder; and what `listen` does not understand is found out here,
    not by a service that never starts.
    """
    root: Any = typer.main.get_command(app)
    listen = root.commands["listen"]
    # As the program itself would parse it, with its own message for a mistake.
    with listen.make_context("edge-ser listen", list(words)) as parsed:
        given = parsed.params
    if given["devices"]:
        raise EdgeSerError("--list-devices lists them once: leave it out of a service")
    if given["source"] is not None:
        raise EdgeSerError(
            "--input is heard once and ends, but a service listens to a microphone: leave it out"
        )
    credentials = given.pop(CREDENTIALS)
    arguments: list[str] = []
    for option in listen.params:
        value = given.get(option.name)
        if value is None or value == option.default:
            continue
        if isinstance(value, bool):
            arguments.append((option.opts if value else option.secondary_opts)[0])
        else:
            arguments += [
                option.opts[0],
                str(value.resolve() if isinstance(value, Path) else value),
            ]
    return tuple(arguments), credentials.resolve() if credentials else None
