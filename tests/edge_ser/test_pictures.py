"""Pictures of recognition: they show the figures they are given, and repeat bit for bit."""

import io
import re

import numpy as np
import pytest

from edge_ser.bench.pictures import (
    ConfidencePanel,
    ConfusionPanel,
    draw_confidence,
    draw_confusions,
)
from edge_ser.outcomes import make_outcomes
from edge_ser.rejection import coverage_curve
from edge_ser.reliability import reliability

LABELS = ("neutral", "happy", "sad")
CONFUSION = ConfusionPanel("a model", LABELS, ((1234, 0, 617), (7, 21, 0), (0, 0, 0)))


def texts(svg: bytes) -> str:
    """What stands in an SVG whose letters are drawn: matplotlib notes each text in a comment."""
    return " ".join(re.findall(r"<!-- (.*?) -->", svg.decode(), re.DOTALL))


def pixels(png: bytes) -> np.ndarray:
    from matplotlib.image import imread

    return np.asarray(imread(io.BytesIO(png), format="png"))


def confidence_panel(title: str, seed: int) -> ConfidencePanel:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet([1, 1, 1], 200)
    outcomes = make_outcomes(random.integers(3, size=200), probabilities, ["one"] * 200)
    bins = {"model": reliability(outcomes, 8, equal_mass=True).bins}
    return ConfidencePanel(title, bins, bins, {"model": coverage_curve(outcomes)})


def test_confusions_show_shares_and_counts() -> None:
    """Of the classes that occur; each row's shares are of that row."""
    shown = texts(draw_confusions([CONFUSION])["svg"])
    for text in ("a model", *LABELS, "1,234", "617", "67", "33", "21", "75", "25"):
        assert text in shown
    assert shown.count("sad") == 1  # a column, and no row: nobody was


@pytest.mark.parametrize("n_panels", [1, 3])
def test_pictures_are_drawn_and_repeat(n_panels: int) -> None:
    """Same figures, same bytes, without the day; other figures, other pictures."""
    panels = [confidence_panel(f"corpus {number}", number) for number in range(n_panels)]
    others = [confidence_panel(f"corpus {number}", number + 9) for number in range(n_panels)]
    once, again, other = (draw_confidence(p) for p in (panels, panels, others))
    confusions = [draw_confusions([CONFUSION] * n_panels, columns=2) for _ in range(2)]
    assert once == again
    assert confusions[0] == confusions[1]
    for pictures in (once, confusions[0]):
        assert "<dc:date>" not in pictures["svg"].decode()
        image = pixels(pictures["png"])
        assert min(image.shape[:2]) > 300
        assert image[..., :3].std() > 0.02  # not blank
    assert once["png"] != other["png"]
    assert "corpus 0" in texts(once["svg"])
