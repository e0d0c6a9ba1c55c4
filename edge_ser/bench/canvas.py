"""What all pictures share: one look, and bytes that depend on what is drawn alone."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG_DPI = 160
COLOURS: Mapping[str, str] = {"ONNX": "#0072B2", "TFLite": "#D55E00"}
"""Two of Okabe and Ito's colours, which tell apart in every kind of colour vision."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""All of them but yellow, which is too pale for a line."""


@contextmanager
def canvas(inches: tuple[float, float]) -> Iterator["Figure"]:
    """An empty figure, drawn without a screen. Whatever is drawn on it is drawn in this context."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    look: dict[Any, Any] = {
        "svg.hashsalt": "edge-ser",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
    }
    with matplotlib.rc_context(look):
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def to_bytes(figure: "Figure") -> dict[str, bytes]:
    """The picture as "svg" and "png", without date and version of what drew it."""
    pictures = {}
    for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, dpi=PNG_DPI, metadata=metadata)
        pictures[suffix] = buffer.getvalue()
    return pictures
