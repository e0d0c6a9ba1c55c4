"""Labels follow the voice and do not flicker, and each means against flicker can be turned off."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from firmware_host.decisions import (
    EACH_WINDOW,
    NO_SPEECH,
    UNCERTAIN,
    Decider,
    Decision,
    DecisionConfig,
)
from firmware_host.errors import EdgeSerError

LABELS = ("neutral", "happy", "sad", "angry")
HOP = 0.25


def probabilities(happy: float) -> NDArray[np.float64]:
    """Happy against sad; the other two have nothing."""
    return np.array([0.0, happy, 1 - happy, 0.0])


def decide(
    config: DecisionConfig,
    windows: list[NDArray[np.float64]],
    speech: list[float] | None = None,
    threshold: float = 0.0,
) -> list[Decision]:
    decider = Decider(config, LABELS, threshold)
    return [
        decider.decide(window, HOP * number, None if speech is None else speech[number - 1])
        for number, window in enumerate(windows, 1)
    ]


def random_windows(seed: int, count: int = 60) -> list[NDArray[np.float64]]:
    return list(np.random.default_rng(seed).dirichlet([0.5] * len(LABELS), count))


def test_with_everything_off_each_window_speaks_for_itself() -> None:
    for window, decision in zip(
        random_windows(0), decide(EACH_WINDOW, random_windows(0)), strict=True
    ):
        assert decision.label == LABELS[int(np.argmax(window))]
        assert decision.probability == window.max()
        assert np.array_equal(decision.smoothed, window)


def test_smoothing_is_the_exponential_mean_in_time() -> None:
    """Its constant is in seconds: a model with another hop is smoothed alike."""
    config = replace(EACH_WINDOW, smoothing_seconds=0.7)
    windows = random_windows(1)
    expected = windows[0]
    for window, decision in zip(windows[1:], decide(config, windows)[1:], strict=True):
        kept = math.exp(-HOP / 0.7)
        expected = kept * expected + (1 - kept) * window
        assert np.allclose(decision.smoothed, expected)
        assert decision.smoothed.sum() == pytest.approx(1)
    decider = Decider(config, LABELS, 0.0)
    decider.decide(probabilities(1.0), 0.0)
    late = decider.decide(probabilities(0.0), 60.0)
    assert late.smoothed[1] < 1e-9, "a minute later nothing of it is left"


def test_a_new_label_must_lead_by_the_margin() -> None:
    config = replace(EACH_WINDOW, margin=0.2)
    heard = [0.6, 0.45, 0.41, 0.39, 0.5, 0.59, 0.61]
    labels = [d.label for d in decide(config, [probabilities(x) for x in heard])]
    assert labels == ["happy", "happy", "happy", "sad", "sad", "sad", "happy"]


def test_the_probability_is_that_of_the_label() -> None:
    """A held label is not to boast with another emotion's probability."""
    _, held = decide(replace(EACH_WINDOW, margin=0.5), [probabilities(0.9), probabilities(0.4)])
    assert (held.label, held.probability) == ("happy", 0.4)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**16), st.sampled_from([0.5, 1.0, 2.0]), st.booleans())
def test_a_label_stays_as_long_as_it_must(seed: int, hold: float, gated: bool) -> None:
    """Whatever comes: emotions, doubt, or silence."""
    config = replace(EACH_WINDOW, hold_seconds=hold, threshold=0.5)
    speech = np.random.default_rng(seed).uniform(0, 0.2, 60).tolist() if gated else None
    labels = [decision.label for decision in decide(config, random_windows(seed), speech)]
    changes = [n for n in range(1, len(labels)) if labels[n] != labels[n - 1]]
    assert all((b - a) * HOP >= hold for a, b in itertools.pairwise(changes))


def test_the_defaults_calm_what_flickers() -> None:
    """Less than a third of the changes on random windows, and a clear new emotion still shows."""
    windows = random_windows(3, 400)

    def changes(config: DecisionConfig) -> int:
        labels = [decision.label for decision in decide(config, windows)]
        return sum(a != b for a, b in itertools.pairwise(labels))

    assert changes(replace(DecisionConfig(), gate=False)) < changes(EACH_WINDOW) / 3
    turned = [probabilities(0.9)] * 8 + [probabilities(0.1)] * 8
    assert decide(DecisionConfig(), turned)[8 + 4].label == "sad"


def test_doubt_is_uncertain() -> None:
    """By the contract's threshold, by one's own, or never."""
    windows = [probabilities(x) for x in (0.9, 0.55, 0.7)]

    def labels(config: DecisionConfig) -> list[str]:
        return [decision.label for decision in decide(config, windows, threshold=0.6)]

    assert labels(EACH_WINDOW) == ["happy", UNCERTAIN, "happy"]
    assert labels(replace(EACH_WINDOW, threshold=0.8)) == ["happy", UNCERTAIN, UNCERTAIN]
    assert labels(replace(EACH_WINDOW, threshold=0.0)) == ["happy"] * 3
    # Out of doubt it takes a margin's part of what is missing to certainty: 0.6 + 0.3 * 0.4.
    assert labels(replace(EACH_WINDOW, margin=0.3)) == ["happy", UNCERTAIN, UNCERTAIN]


def test_silence_has_no_emotion() -> None:
    """And what was said before it has no weight after it."""
    config = replace(EACH_WINDOW, smoothing_seconds=10.0)
    windows = [probabilities(x) for x in (1.0, 1.0, 1.0, 0.2)]
    decisions = decide(config, windows, speech=[0.5, 0.09, 0.0, 0.1])
    assert [d.label for d in decisions] == ["happy", NO_SPEECH, NO_SPEECH, "sad"]
    assert np.array_equal(decisions[-1].smoothed, windows[-1])


def test_reset_forgets_and_nothing_is_shared() -> None:
    config = replace(DecisionConfig(), threshold=0.4)
    decider, other = (Decider(config, LABELS, 0.0) for _ in range(2))

    def run(one: Decider, seed: int) -> list[tuple[str, float]]:
        decisions = [one.decide(x, HOP * n, 0.5) for n, x in enumerate(random_windows(seed), 1)]
        return [(decision.label, decision.probability) for decision in decisions]

    first = run(decider, 5)
    run(other, 6)
    decider.reset()
    assert run(decider, 5) == first


@pytest.mark.parametrize(
    "wrong",
    [
        {"smoothing_seconds": -1.0},
        {"hold_seconds": float("nan")},
        {"hold_seconds": 6_000.0},
        {"margin": 1.0},
        {"threshold": 1.5},
        {"min_speech": 50},
    ],
)
def test_impossible_values_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(EdgeSerError, match=f"^{next(iter(wrong))} of .* is expected"):
        DecisionConfig(**wrong)  # type: ignore[arg-type]
