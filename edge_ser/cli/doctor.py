"""`edge-ser doctor`: can this machine recognise emotion, and if not, what mends it?"""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from edge_ser.cli.app import app
from edge_ser.cli.options import EngineOption, ModelOption
from edge_ser.program import EXIT_USER_CAN_MEND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_host.doctor import Check

STYLES = {"good": "green", "absent": "dim", "warning": "yellow", "problem": "bold red"}


@app.command()
def doctor(
    model: ModelOption = None,
    engine: EngineOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all of it as one JSON object.")
    ] = False,
) -> None:
    """Examine this machine: what recognising needs, what is there, and what mends the rest.

    Loads the model and computes its golden vectors. The exit code is 0 when emotion can be
    recognised here, and 2 when a problem prevents it.

    Examples:

    • edge-ser doctor

    • edge-ser doctor --model my-model.int8.tflite --engine tflite-runtime

    • edge-ser doctor --json | jq '.checks[] | select(.status == "problem") | .mend'
    """
    from firmware_host.doctor import examine, works

    checks = examine(model, engine)
    able = works(checks)
    if as_json:
        print(json.dumps({"works": able, "checks": [check.to_dict() for check in checks]}))
    else:
        _print_table(checks, able)
    if not able:
        raise typer.Exit(EXIT_USER_CAN_MEND)


def _print_table(checks: "Sequence[Check]", able: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from edge_ser.cli.output import output_console

    table = Table(box=None, show_header=False)
    for check in checks:
        style = STYLES[check.status.value]
        lines = [escape(check.found)]
        if check.mend and check.status.value != "good":
            lines.append(f"  mend it: [bold]{escape(check.mend)}[/]")
        table.add_row(f"[{style}]{check.status.value}[/]", escape(check.part), "\n".join(lines))
    console = output_console()
    console.print(table)
    verdict = "This machine can recognise emotion." if able else "Mend the problems first."
    console.print(verdict, style="bold green" if able else "bold red")
