from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from calibration.errors import InvalidArgument
from calibration.recalibration import (
    cross_fitted,
    fit_beta,
    fit_isotonic,
    fit_platt,
    fit_temperature,
)
from calibration.recalibration_maps import (
    IsotonicMap,
    LogisticMap,
    RecalibrationMap,
    recalibration_from,
)
from calibration.reliability import brier_score, calibration_error, equal_width_edges, log_loss

NAN = float("nan")
FITS: list[Any] = [fit_temperature, fit_platt, fit_beta, fit_isotonic]
LOGISTIC = FITS[:3]
every_fit = pytest.mark.parametrize("fit", FITS, ids=lambda fit: fit.__name__)
every_logistic = pytest.mark.parametrize("fit", LOGISTIC, ids=lambda fit: fit.__name__)


def overconfident(n: int, seed: int = 0, sharpness: float = 2.5) -> tuple[np.ndarray, np.ndarray]:
    """Confidences whose logits are too large by a factor, and agreement."""
    rng = np.random.default_rng(seed)
    logit = np.abs(2 * rng.normal(size=n))
    return special.expit(sharpness * logit), rng.random(n) < special.expit(logit)


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


@st.composite
def some_labels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Preferences with ties, one half, certainty and failures among them, and labels."""
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    p = np.round(rng.uniform(0, 1, n), draw(st.integers(1, 6)))
    p[rng.random(n) < 0.1] = NAN
    p[0] = draw(st.sampled_from([0.0, 0.3, 0.51, 1.0]))
    return p, (rng.random(n) < draw(st.floats(0, 1))).astype(float)


@settings(deadline=None, max_examples=60)
@given(some_labels(), st.floats(0, 1), st.sampled_from(FITS))
def test_swapping_the_responses_mirrors_the_map_exactly(
    labels: tuple[np.ndarray, np.ndarray], p: float, fit: Any
) -> None:
    fitted = fit(*labels)
    assert fitted.apply(1 - p) == 1 - fitted.apply(p)
    assert fitted.apply(0.5) == 0.5
    assert (fitted.apply(p) - 0.5) * (p - 0.5) >= 0  # no verdict is turned around


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


@settings(deadline=None, max_examples=60)
@given(some_labels(), st.sampled_from(FITS), st.booleans())
def test_maps_never_turn_the_ordering_around(
    labels: tuple[np.ndarray, np.ndarray], fit: Any, is_mirrored: bool
) -> None:
    fitted = fit(*labels, is_mirrored=is_mirrored)
    asked = np.sort(np.concatenate([np.linspace(0, 1, 1001), labels[0][~np.isnan(labels[0])]]))
    assert (np.diff(fitted.apply(asked)) >= -1e-15).all()
    assert ((fitted.apply(asked) >= 0) & (fitted.apply(asked) <= 1)).all()


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


@pytest.mark.parametrize("is_mirrored", [True, False])
@every_fit
def test_maps_survive_json(fit: Any, is_mirrored: bool) -> None:
    fitted = fit(*overconfident(80), is_mirrored=is_mirrored)
    again = recalibration_from(json.loads(json.dumps(fitted.parameters())))
    assert again == fitted


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"method": "platt", "is_mirrored": True, "a": 1.0},
        {"method": "isotonic", "is_mirrored": True, "confidence": 3, "probability": [1]},
        {"method": "oracle", "is_mirrored": True, "a": 1, "b": 1, "intercept": 0},
    ],
)
def test_parameters_of_no_map_are_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        recalibration_from(parameters)


def test_shape_is_kept_and_certainty_is_finite() -> None:
    fitted = LogisticMap("temperature", 0.1, 0.1, 0.0, True)
    assert fitted.apply(np.full((2, 3), 0.7)).shape == (2, 3)
    assert 0.9 < float(fitted.apply(1.0)) < 1
    assert fitted.apply([]).shape == (0,)


def test_isotonic_map_is_level_beyond_its_ends() -> None:
    fitted = IsotonicMap((0.6, 0.8), (0.55, 0.9), False)
    assert fitted.apply([0.5, 0.7, 1.0]).tolist() == pytest.approx([0.55, 0.725, 0.9])


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


def test_numbers_that_are_no_confidences_are_refused() -> None:
    with pytest.raises(InvalidArgument):
        fit_temperature([0.8], [1]).apply([0.7, -0.1])


def test_each_row_is_recalibrated_by_a_map_that_never_saw_its_group() -> None:
    confidence, correct = overconfident(60)
    groups = np.arange(60) // 3
    seen: list[np.ndarray] = []

    def fit(scores: np.ndarray, agreement: np.ndarray) -> LogisticMap:
        seen.append(scores)
        return fit_temperature(scores, agreement)

    found = cross_fitted(confidence, correct, groups, fit, np.random.default_rng(0), n_folds=4)
    fitted_on = [set(scores.tolist()) for scores in seen]
    assert len(seen) == 4
    assert not np.isnan(found).any()
    for group in range(20):
        # exactly one map lacks the group, and it lacks all of it
        holds = [{*confidence[groups == group].tolist()} & scores for scores in fitted_on]
        assert sorted(len(held) for held in holds) == [0, 3, 3, 3]
        aside = next(k for k, held in enumerate(holds) if not held)
        label = np.isin(confidence, seen[aside])
        own = fit_temperature(confidence[label], correct[label]).apply(confidence[groups == group])
        np.testing.assert_allclose(found[groups == group], own, atol=1e-12)


def test_cross_fitting_shows_what_refitting_hides() -> None:
    rng = np.random.default_rng(6)
    confidence, correct = rng.uniform(0.5, 1, 400), rng.random(400) < 0.7
    inside = fit_isotonic(confidence, correct).apply(confidence)
    outside = cross_fitted(confidence, correct, np.arange(400), fit_isotonic, rng)
    noise = brier_score(np.full(400, 0.7), correct)
    hidden, shown = brier_score(inside, correct), brier_score(outside, correct)
    assert noise is not None
    assert hidden is not None
    assert shown is not None
    assert hidden < noise - 0.002
    assert shown > noise


def test_order_of_rows_does_not_matter_to_cross_fitting() -> None:
    confidence, correct = overconfident(60)
    groups, order = np.arange(60) // 2, np.random.default_rng(1).permutation(60)
    run: Callable[..., np.ndarray] = cross_fitted
    straight = run(confidence, correct, groups, fit_platt, np.random.default_rng(2))
    shuffled = run(
        confidence[order], correct[order], groups[order], fit_platt, np.random.default_rng(2)
    )
    np.testing.assert_allclose(shuffled, straight[order], atol=1e-9)


def test_unlabelled_rows_are_recalibrated_and_failures_are_not() -> None:
    confidence, correct = overconfident(40)
    labels = correct.astype(float)
    confidence[3], labels[5] = NAN, NAN
    found = cross_fitted(
        confidence, labels, np.arange(40), fit_temperature, np.random.default_rng(0)
    )
    assert np.flatnonzero(np.isnan(found)).tolist() == [3]


@pytest.mark.parametrize(
    ("groups", "n_folds"), [(["one"] * 4, 5), ([1, 2, 3, 4], 1), ([1, 2, 3], 2)]
)
def test_cross_fitting_needs_groups_to_set_aside(groups: list[Any], n_folds: int) -> None:
    with pytest.raises(InvalidArgument):
        cross_fitted(
            [0.6, 0.7, 0.8, 0.9],
            [1, 0, 1, 1],
            groups,
            fit_platt,
            np.random.default_rng(0),
            n_folds=n_folds,
        )
