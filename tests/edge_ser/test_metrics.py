"""Metrics against their definitions, by other means."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_ser.metrics import fit_temperature, score
from firmware_host.probabilities import softmax

pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


@given(pairs)
def test_uar_is_the_mean_recall_of_the_classes_that_occur(outcomes: list[tuple[int, int]]) -> None:
    truth, found = zip(*outcomes, strict=True)
    recalls = [np.mean([f == t for t, f in outcomes if t == label]) for label in sorted(set(truth))]
    result = score(truth, found, 5)
    assert np.isclose(result.uar, np.mean(recalls))
    assert np.isclose(result.accuracy, np.mean([t == f for t, f in outcomes]))
    assert result.clips == len(outcomes) == int(np.sum(result.confusion))


def test_always_the_most_frequent_class_scores_chance() -> None:
    """What makes UAR the headline: it cannot be bought with the class balance."""
    truth = [0] * 90 + [1] * 10
    result = score(truth, [0] * 100, 2)
    assert result.uar == 0.5 and result.accuracy == 0.9


def test_the_fitted_temperature_undoes_an_overconfident_network() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(4000, 3))
    truth = [int(random.choice(3, p=p)) for p in softmax(logits)]
    fitted = fit_temperature([3.0 * row[None] for row in logits], truth)
    assert 2.7 < fitted < 3.3
