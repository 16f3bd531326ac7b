from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from calibration.errors import InvalidArgument
from calibration.reliability import (
    RecalibrationMap,
    brier_score,
    calibration_error,
    equal_width_edges,
    fit_beta,
    fit_isotonic,
    fit_platt,
    fit_temperature,
    log_loss,
)
from tests.calibration.reliability.recalibration_cases import (
    FITS,
    LOGISTIC,
    NAN,
    every_fit,
    every_logistic,
    overconfident,
    some_labels,
)


def loss_of(fitted: RecalibrationMap, confidence: np.ndarray, correct: np.ndarray) -> float:
    found = log_loss(fitted.apply(confidence), correct)
    assert found is not None
    return found


@pytest.mark.parametrize("n", [30, 300, 3000])
def test_unsmoothed_fits_are_the_unregularised_logistic_regressions(n: int) -> None:
    confidence, correct = overconfident(n)
    logit = special.logit(confidence)[:, None]
    plain = {"C": np.inf, "tol": 1e-12, "max_iter": 10_000}
    through_zero = LogisticRegression(fit_intercept=False, **plain).fit(logit, correct)
    mine = fit_temperature(confidence, correct, is_smoothed=False)
    assert 1 / mine.temperature == pytest.approx(through_zero.coef_[0, 0], rel=1e-6)
    free = LogisticRegression(**plain).fit(logit, correct)
    platt = fit_platt(confidence, correct, is_smoothed=False, is_mirrored=False)
    assert platt.a == platt.b == pytest.approx(free.coef_[0, 0], rel=1e-6)
    assert platt.intercept == pytest.approx(free.intercept_[0], abs=1e-6)


def test_beta_is_the_logistic_regression_on_both_logarithms() -> None:
    confidence, correct = overconfident(5000)
    terms = np.column_stack([np.log(2 * confidence), -np.log(2 * (1 - confidence))])
    oracle = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(terms, correct)
    mine = fit_beta(confidence, correct, is_smoothed=False, is_mirrored=False)
    assert (mine.a, mine.b) == pytest.approx(tuple(oracle.coef_[0]), abs=1e-5)
    assert mine.intercept == pytest.approx(oracle.intercept_[0], abs=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(1, 4), st.integers(0, 10_000))
def test_isotonic_is_that_of_scikit_learn_with_ties_and_weights(
    n: int, decimals: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.uniform(0, 1, n), decimals)
    correct, weights = rng.random(n), rng.uniform(0.1, 3, n)
    mine = fit_isotonic(confidence, correct, weights, is_mirrored=False)
    oracle = IsotonicRegression(out_of_bounds="clip").fit(confidence, correct, weights)
    asked = np.linspace(0, 1, 501)
    np.testing.assert_allclose(mine.apply(asked), oracle.predict(asked), atol=1e-8)


def test_planted_temperature_is_found() -> None:
    confidence, correct = overconfident(200_000)
    assert fit_temperature(confidence, correct).temperature == pytest.approx(2.5, rel=0.03)


@every_fit
def test_recalibrated_confidences_of_fresh_verdicts_are_calibrated(fit: Any) -> None:
    fitted = fit(*overconfident(20_000, seed=1))
    confidence, correct = overconfident(20_000, seed=2)
    edges = equal_width_edges(10)
    before = calibration_error(confidence, correct, edges)
    after = calibration_error(fitted.apply(confidence), correct, edges)
    assert before is not None
    assert after is not None
    assert before > 0.1
    assert after < 0.02


@every_logistic
def test_soft_labels_count_as_their_two_outcomes(fit: Any) -> None:
    confidence, _ = overconfident(40)
    share = np.random.default_rng(5).random(40)
    soft = fit(confidence, share)
    both = fit(
        np.tile(confidence, 2),
        np.repeat([1.0, 0.0], 40),
        np.concatenate([share, 1 - share]),
    )
    asked = np.linspace(0.5, 1, 20)
    np.testing.assert_allclose(soft.apply(asked), both.apply(asked), atol=1e-9)


def test_richer_families_fit_the_sample_no_worse() -> None:
    confidence, correct = overconfident(400, seed=3)
    temperature, platt, beta = (
        loss_of(fit(confidence, correct, is_smoothed=False), confidence, correct)
        for fit in LOGISTIC
    )
    assert temperature >= platt - 1e-9
    assert platt >= beta - 1e-9


def test_no_monotone_map_beats_the_isotonic_one_in_squared_error() -> None:
    confidence, correct = overconfident(400, seed=3)
    isotonic = brier_score(fit_isotonic(confidence, correct).apply(confidence), correct)
    others = [brier_score(fit(confidence, correct).apply(confidence), correct) for fit in LOGISTIC]
    assert isotonic is not None
    assert all(other is not None and other > isotonic for other in others)


@settings(deadline=None, max_examples=60)
@given(some_labels(), st.sampled_from(FITS))
def test_swapping_the_training_pairs_fits_the_same_map(
    labels: tuple[np.ndarray, np.ndarray], fit: Any
) -> None:
    p, first_is_right = labels
    # swapped twice, so that both sides lost the same last bits
    swapped = fit(1 - p, 1 - first_is_right).parameters()
    straight = fit(1 - (1 - p), first_is_right).parameters()
    assert swapped == straight


@settings(deadline=None, max_examples=30)
@given(some_labels(), st.sampled_from(FITS), st.randoms())
def test_order_of_training_rows_does_not_matter(
    labels: tuple[np.ndarray, np.ndarray], fit: Any, shuffler: Any
) -> None:
    order = list(range(len(labels[0])))
    shuffler.shuffle(order)
    asked = np.linspace(0, 1, 101)
    straight, shuffled = fit(*labels), fit(labels[0][order], labels[1][order])
    np.testing.assert_allclose(straight.apply(asked), shuffled.apply(asked), atol=1e-8)


@every_fit
def test_weights_count_as_repetitions(fit: Any) -> None:
    confidence, correct = overconfident(60)
    times = np.random.default_rng(4).integers(0, 4, 60)
    weighted = fit(confidence, correct, times)
    repeated = fit(np.repeat(confidence, times), np.repeat(correct, times))
    asked = np.linspace(0.5, 1, 50)
    np.testing.assert_allclose(weighted.apply(asked), repeated.apply(asked), atol=1e-8)


@every_fit
def test_failed_judges_and_missing_labels_are_left_out_and_stay_nan(fit: Any) -> None:
    confidence, correct = overconfident(50)
    holes = fit(
        np.concatenate([confidence, [NAN, 0.9, 0.5]]), np.concatenate([correct, [1, NAN, 0]])
    )
    assert holes.parameters() == fit(confidence, correct).parameters()
    assert np.isnan(holes.apply([NAN, 0.9])).tolist() == [True, False]


@pytest.mark.parametrize("is_smoothed", [True, False])
@pytest.mark.parametrize("fit", [fit_platt, fit_beta])
def test_perfect_separation_has_a_finite_answer(fit: Any, is_smoothed: bool) -> None:
    confidence = np.linspace(0.51, 0.99, 40)
    fitted = fit(confidence, confidence > 0.75, is_smoothed=is_smoothed, is_mirrored=False)
    assert np.isfinite([fitted.a, fitted.b, fitted.intercept]).all()
    low, high = fitted.apply([0.6, 0.9])
    assert low < 0.2
    assert high > 0.8


@every_logistic
def test_all_right_is_never_certain(fit: Any) -> None:
    fitted = fit(np.full(20, 0.8), np.ones(20))
    assert fitted.apply(0.8) == pytest.approx(21 / 22, abs=1e-6)


@every_logistic
def test_one_label_is_enough_and_decides_little(fit: Any) -> None:
    right, wrong = (float(fit([0.8], [outcome]).apply(0.8)) for outcome in (1, 0))
    assert right == pytest.approx(2 / 3, abs=1e-6)
    assert wrong == 0.5  # a third, but a verdict is not turned around


def test_where_labels_do_not_decide_the_map_stays_near_the_identity() -> None:
    fitted = fit_platt(np.full(100, 0.8), np.arange(100) < 80)
    assert fitted.apply([0.6, 0.7, 0.95]) == pytest.approx([0.6, 0.7, 0.95], abs=0.02)


def test_confidence_that_misleads_is_flattened_not_reversed() -> None:
    confidence = np.linspace(0.51, 0.99, 200)
    correct = np.arange(200) % 100 < 80 - confidence * 40
    fitted = fit_platt(confidence, correct, is_mirrored=False)
    assert fitted.a == 0
    assert np.ptp(fitted.apply(confidence)) == 0
    mostly_wrong = fit_temperature(confidence, np.arange(200) % 10 == 0)
    assert mostly_wrong.temperature == np.inf
    assert (mostly_wrong.apply(confidence) == 0.5).all()


def test_plain_confidences_may_be_right_less_often_than_not() -> None:
    confidence = np.repeat([0.4, 0.6, 0.9], 50)
    correct = np.concatenate([np.arange(50) < k for k in (10, 20, 45)])
    fitted = fit_isotonic(confidence, correct, is_mirrored=False)
    assert fitted.apply([0.4, 0.6, 0.9]) == pytest.approx([0.2, 0.4, 0.9])
    assert (fit_platt(confidence, correct, is_mirrored=False).apply(confidence) < 0.5).any()
    assert fit_isotonic(confidence, correct).apply(0.6) >= 0.5


@pytest.mark.parametrize(
    ("confidence", "correct", "weights"),
    [
        ([0.7, 0.8], [1], None),
        ([[0.7]], [[1]], None),
        ([1.2], [1], None),
        ([0.7], [2], None),
        ([0.7], [1], [-1.0]),
        ([0.7], [1], [np.inf]),
        ([0.7], [1], [1.0, 1.0]),
        ([NAN, 0.7, 0.5], [1, NAN, 1], None),
        ([], [], None),
        ([0.7], [1], [0.0]),
    ],
)
@every_fit
def test_impossible_training_rows_are_refused(
    fit: Any, confidence: Any, correct: Any, weights: Any
) -> None:
    with pytest.raises(InvalidArgument):
        fit(confidence, correct, weights)
