"""Options that say how `edge-ser listen` decides what it heard."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from firmware_host.decisions import DecisionConfig

PANEL = "Decisions"

GateOption = Annotated[
    bool | None,
    typer.Option(
        "--gate/--no-gate",
        help="Whether a speech gate tells when nobody speaks. Default: where `edge-ser[gate]` is "
        "installed.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
NoSmoothingOption = Annotated[
    bool,
    typer.Option(
        "--no-smoothing",
        help="Judge every window by itself: --smoothing, --margin and --hold are 0.",
        rich_help_panel=PANEL,
    ),
]
SmoothingOption = Annotated[
    float | None,
    typer.Option(
        "--smoothing",
        metavar="SECONDS",
        help="Time constant over which probabilities are averaged; 0: none. Default: 0.5.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
MarginOption = Annotated[
    float | None,
    typer.Option(
        "--margin",
        metavar="SHARE",
        help="By how much a new emotion must be more probable than the present one. Default: 0.1.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
HoldOption = Annotated[
    float | None,
    typer.Option(
        "--hold",
        metavar="SECONDS",
        help="How long a label stays at least; 0: not at all. Default: 1.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="SHARE",
        help="Less probable than this is 'uncertain'; 0: nothing is. Default: the model's own.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]


def decision_config(
    gate: bool | None,
    no_smoothing: bool,
    smoothing: float | None,
    margin: float | None,
    hold: float | None,
    threshold: float | None,
) -> "DecisionConfig":
    """What these options ask for; None: as `DecisionConfig` has it.

    Raises:
        EdgeSerError: when a value is impossible, or the options contradict each other.
    """
    from firmware_host.decisions import DecisionConfig
    from firmware_host.errors import EdgeSerError

    given = {"smoothing_seconds": smoothing, "margin": margin, "hold_seconds": hold}
    asked = {name: value for name, value in given.items() if value is not None}
    if no_smoothing and any(asked.values()):
        raise EdgeSerError(
            "--no-smoothing turns --smoothing, --margin and --hold off, but one of them was given "
            "too: leave one or the other out"
        )
    if no_smoothing:
        asked = dict.fromkeys(given, 0.0)
    return DecisionConfig(gate=gate, threshold=threshold, **asked)
