"""What is computed from stored outcomes: intervals, pairs, reliability, rejection."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_ser.bootstrap import (
    RESAMPLES,
    SEED,
    percentile_interval,
    resample_folds,
    resample_speakers,
)
from edge_ser.outcomes import Outcomes, clip_probabilities, make_outcomes, pool
from edge_ser.paired import compare, sign_test, sign_test_over_speakers
from edge_ser.rejection import (
    choose_threshold,
    coverage_curve,
    rejected_share,
    rejection_gain,
)
from edge_ser.reliability import reliability
from firmware_host.errors import EdgeSerError
from firmware_host.probabilities import label_of, softmax

N_LABELS = 4
Float64 = NDArray[np.float64]


def some_outcomes(clips: int, speakers: int, seed: int, skill: float = 1.0) -> Outcomes:
    """Of a model whose logits favour the truth; each speaker is more or less easy."""
    random = np.random.default_rng(seed)
    truth = random.integers(N_LABELS, size=clips)
    of_clip = random.integers(speakers, size=clips)
    ease = skill * random.uniform(0.3, 1.7, speakers)[of_clip]
    logits = random.normal(size=(clips, N_LABELS)) + ease[:, None] * np.eye(N_LABELS)[truth]
    return make_outcomes(truth, softmax(logits), [f"s{speaker}" for speaker in of_clip])


def calibrated(clips: int, seed: int = 0) -> Outcomes:
    """Of a model whose probabilities are true: labels are drawn from them."""
    random = np.random.default_rng(seed)
    probabilities = softmax(2 * random.normal(size=(clips, N_LABELS)))
    truth = (random.random((clips, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return make_outcomes(truth, probabilities, ["one"] * clips)


def confident(confidence: Sequence[float], right: Sequence[bool]) -> Outcomes:
    """Two labels; label 0 is recognised with that confidence, rightly or not."""
    return make_outcomes(
        [0 if ok else 1 for ok in right], [[c, 1 - c] for c in confidence], ["one"] * len(right)
    )


def test_outcomes_that_do_not_fit_are_refused() -> None:
    half = [[0.5, 0.5]]
    with pytest.raises(EdgeSerError, match="one of each"):
        make_outcomes([0, 1], half, ["a"])
    with pytest.raises(EdgeSerError, match="count labels from 0"):
        make_outcomes([2], half, ["a"])
    for bad in ([[1.2, -0.2]], [[0.5, 0.2]], [[np.nan, 0.5]]):
        with pytest.raises(EdgeSerError, match="not logits"):
            make_outcomes([0], bad, ["a"])
    with pytest.raises(EdgeSerError, match="cannot be pooled"):
        pool([make_outcomes([0], half, ["a"]), make_outcomes([0], [[1, 0, 0]], ["a"])])


def test_a_clips_probabilities_are_what_its_label_is_chosen_by() -> None:
    """The runtime's label of a recording is the most probable one here."""
    random = np.random.default_rng(0)
    for _ in range(50):
        logits = random.normal(size=(3, N_LABELS))
        probabilities = clip_probabilities(logits, 1.7)
        assert probabilities.sum() == pytest.approx(1)
        assert probabilities.argmax() == label_of(logits, 1.7)


# --- intervals ---------------------------------------------------------------------------


def slow_bootstrap(outcomes: Outcomes) -> tuple[list[float], list[float]]:
    """By its definition: clips of the drawn speakers, one after the other."""
    names = sorted(set(outcomes.speakers))
    random = np.random.default_rng(SEED)
    draws = random.multinomial(len(names), [1 / len(names)] * len(names), size=RESAMPLES)
    uars, accuracies = [], []
    for draw in draws[:40]:
        truth: list[int] = []
        found: list[int] = []
        for name, times in zip(names, draw, strict=True):
            own = [n for n, speaker in enumerate(outcomes.speakers) if speaker == name]
            truth += outcomes.truth[own].tolist() * int(times)
            found += outcomes.recognised[own].tolist() * int(times)
        right = np.equal(truth, found)
        uars.append(np.mean([right[np.equal(truth, label)].mean() for label in set(truth)]))
        accuracies.append(right.mean())
    return uars, accuracies


def test_the_bootstrap_draws_whole_speakers() -> None:
    outcomes = some_outcomes(90, 5, 0)
    uar, accuracy = resample_speakers(
        outcomes.truth, outcomes.recognised, outcomes.speakers, N_LABELS
    )
    slow_uar, slow_accuracy = slow_bootstrap(outcomes)
    assert np.allclose(uar[:40], slow_uar)
    assert np.allclose(accuracy[:40], slow_accuracy)
    assert len(uar) == RESAMPLES


def test_the_bootstrap_gives_the_published_intervals() -> None:
    """The draws are those that the bench has always made: its results stay comparable."""
    truth = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]
    heard = [0, 1, 2, 0, 1, 1, 0, 2, 2, 1, 1, 0]
    speakers = [name for name in ("02", "05", "14", "15") for _ in range(3)]
    uar, accuracy = resample_speakers(truth, heard, speakers, 3)
    assert uar.sum() == pytest.approx(1333, abs=1e-9)
    assert uar[:3] == pytest.approx([1 / 2, 2 / 3, 2 / 3], abs=1e-12)
    assert percentile_interval(uar) == pytest.approx((5 / 12, 11 / 12), abs=1e-12)
    assert np.allclose(uar, accuracy)  # classes in balance


def test_folds_of_one_speaker_each_are_the_mean_over_speakers_drawn() -> None:
    """Leaving one speaker out, a draw is the mean of the drawn speakers' own UARs."""
    folds = [rename(some_outcomes(40, 1, seed), f"s{seed}") for seed in range(4)]
    uar = resample_folds(folds)
    random = np.random.default_rng(SEED)
    draws = random.multinomial(4, [0.25] * 4, size=RESAMPLES)
    assert np.allclose(uar, draws @ [fold.score().uar for fold in folds] / 4)
    assert not resample_folds(folds[:1]).size


def rename(outcomes: Outcomes, speaker: str) -> Outcomes:
    return Outcomes(outcomes.truth, outcomes.probabilities, (speaker,) * len(outcomes.speakers))


# --- pairs -------------------------------------------------------------------------------


def mistaken(outcomes: Outcomes, clips: Sequence[int]) -> Outcomes:
    """The same, but for some clips."""
    probabilities = outcomes.probabilities.copy()
    for clip in clips:
        probabilities[clip] = np.eye(N_LABELS)[(outcomes.truth[clip] + 1) % N_LABELS]
    return Outcomes(outcomes.truth, probabilities, outcomes.speakers)


def test_equal_models_differ_by_nothing() -> None:
    outcomes = some_outcomes(80, 6, 1)
    found = compare(outcomes, outcomes)
    assert (found.uar_points, found.uar_points_interval, found.agreement) == (0.0, (0.0, 0.0), 1.0)
    test = sign_test_over_speakers([(outcomes, outcomes)])
    assert (test.p_value, test.exact, test.n) == (1.0, True, 6)


def test_a_paired_interval_is_narrower_than_the_models_own() -> None:
    """What makes it worth pairing: the speakers' own ease cancels out."""
    whole = some_outcomes(600, 8, 2, skill=2.0)
    worse = mistaken(whole, range(0, 600, 20))
    found = compare(worse, whole)
    assert found.uar_points == pytest.approx(100 * (worse.score().uar - whole.score().uar))
    assert found.uar_points_interval is not None
    low, high = found.uar_points_interval
    assert low <= found.uar_points <= high < 0
    own = percentile_interval(
        resample_speakers(whole.truth, whole.recognised, whole.speakers, N_LABELS)[0]
    )
    assert own is not None
    assert high - low < 100 * (own[1] - own[0]) / 2
    assert sign_test_over_speakers([(worse, whole)]).p_value == 2 / 2**8  # all lean to one side


def test_models_of_different_recordings_are_not_compared() -> None:
    with pytest.raises(EdgeSerError, match="different recordings"):
        compare(some_outcomes(50, 4, 0), some_outcomes(50, 4, 1))
    with pytest.raises(EdgeSerError, match="different recordings"):
        sign_test_over_speakers([(some_outcomes(50, 4, 0), some_outcomes(50, 4, 1))])


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_the_sign_test_counts_every_choice_of_signs(differences: list[int]) -> None:
    values = np.array(differences, float)
    sums = [np.dot(signs, np.abs(values)) for signs in product((-1, 1), repeat=len(values))]
    below, above = (np.mean(np.asarray(sums) * side >= values.sum() * side) for side in (-1, 1))
    expected = min(1.0, 2 * min(below, above))
    assert sign_test(values).p_value == pytest.approx(expected)
    assert sign_test(values).exact


def test_speakers_of_all_folds_are_tested_and_each_counts_once() -> None:
    """Another seed is no other speaker: it makes nothing surer."""
    pairs = []
    for fold in range(2):
        base = some_outcomes(200, 3, fold, skill=2.0)
        names = [f"{fold}{speaker}" for speaker in base.speakers]
        whole = make_outcomes(base.truth, base.probabilities, names)
        pairs.append((mistaken(whole, range(0, 200, 5)), whole))
    once, twice = sign_test_over_speakers(pairs), sign_test_over_speakers([*pairs, *pairs])
    assert once.n == twice.n == 6
    assert once.p_value == twice.p_value == 2 / 2**6  # all lean to one side
    both_ways = [pairs[0], pairs[0][::-1]]  # what one seed loses another gains
    assert sign_test_over_speakers(both_ways).p_value == 1


# --- reliability -------------------------------------------------------------------------


def test_a_calibrated_models_error_vanishes_with_more_recordings() -> None:
    for equal_mass in (False, True):
        few, many = (
            reliability(calibrated(n), equal_mass=equal_mass).error for n in (100, 100_000)
        )
        assert many < 0.01 < few


def test_an_overconfident_models_error_is_its_overconfidence() -> None:
    """0.9 sure and right in six of ten: 0.3, whatever the bins."""
    outcomes = confident([0.9] * 100, [n % 10 < 6 for n in range(100)])
    for bins, equal_mass in ((15, False), (1, False), (1, True)):
        found = reliability(outcomes, bins, equal_mass)
        assert found.error == pytest.approx(0.3)
        assert found.overconfidence == pytest.approx(0.3)
        assert len(found.bins) == 1


def test_errors_in_both_directions_do_not_cancel_out() -> None:
    outcomes = confident([0.9] * 10 + [0.6] * 10, [n % 2 == 0 for n in range(10)] + [True] * 10)
    found = reliability(outcomes)
    assert found.error == pytest.approx(0.4)
    assert found.overconfidence == pytest.approx(0.0)
    assert [(one.clips, one.accuracy) for one in found.bins] == [(10, 1.0), (10, 0.5)]


def test_bins_end_where_the_source_has_them_end() -> None:
    """Bin m of M is ((m - 1) / M, m / M]; certainty is in the last."""
    found = reliability(confident([0.5, 0.75, 0.76, 1.0], [True] * 4), bins=4)
    assert [one.clips for one in found.bins] == [1, 1, 2]


@given(st.integers(1, 60), st.integers(1, 20), st.booleans(), st.integers(0, 9))
def test_every_recording_is_in_one_bin(clips: int, bins: int, mass: bool, seed: int) -> None:
    outcomes = calibrated(clips, seed)
    found = reliability(outcomes, bins, equal_mass=mass)
    assert sum(one.clips for one in found.bins) == clips
    assert len(found.bins) <= bins
    assert [one.confidence for one in found.bins] == sorted(one.confidence for one in found.bins)
    assert abs(found.overconfidence) <= found.error + 1e-12


# --- rejection ---------------------------------------------------------------------------


def test_accuracy_rises_as_the_least_certain_are_rejected() -> None:
    """Confidences that are true are worth something, at every coverage."""
    curve = coverage_curve(calibrated(20_000))
    accuracies = [point.accuracy for point in curve]
    assert curve[0].clips == 20_000
    assert accuracies == sorted(accuracies)
    assert accuracies[0] + 0.1 < accuracies[-1]
    assert rejection_gain(calibrated(20_000)) == pytest.approx(
        100 * (curve[3].accuracy - curve[0].accuracy)
    )


def test_confidence_that_says_nothing_gains_nothing() -> None:
    """Where all are equally sure, the accuracy is everybody's, in whatever order they come."""
    right = [True] * 30 + [False] * 10
    for order in (right, right[::-1]):
        curve = coverage_curve(confident([0.8] * 40, order))
        assert {round(point.accuracy, 12) for point in curve} == {0.75}


def test_half_rejected_by_hand() -> None:
    outcomes = confident([0.9, 0.6, 0.8, 0.7], [True, False, True, True])
    (point,) = coverage_curve(outcomes, (0.5,))
    assert (point.clips, point.threshold, point.accuracy) == (2, 0.8, 1.0)
    for coverage in (0.0, 1.1):
        with pytest.raises(EdgeSerError, match="coverage"):
            coverage_curve(outcomes, (coverage,))


@given(st.floats(0, 0.99), st.integers(1, 300), st.integers(0, 9))
def test_a_threshold_rejects_the_share_it_was_chosen_for(
    rejected: float, clips: int, seed: int
) -> None:
    validation = calibrated(clips, seed)
    threshold = choose_threshold(validation, rejected)
    assert 0 <= threshold < 1
    assert rejected - 1 / clips - 1e-6 < rejected_share(validation, threshold) <= rejected + 1e-9


def test_a_threshold_holds_on_others_of_the_same_kind() -> None:
    """Chosen on validation recordings, it rejects about as many of the test's."""
    threshold = choose_threshold(calibrated(5_000, 1), 0.3)
    assert rejected_share(calibrated(5_000, 2), threshold) == pytest.approx(0.3, abs=0.03)
    assert choose_threshold(calibrated(5), 0.0) == 0.0
    assert choose_threshold(confident([1.0] * 5, [True] * 5), 0.5) < 1  # as a contract needs it
    with pytest.raises(EdgeSerError, match="below 1"):
        choose_threshold(calibrated(5), 1.0)
