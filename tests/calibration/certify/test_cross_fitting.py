from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from calibration.errors import InvalidArgument
from calibration.reliability import (
    LogisticMap,
    brier_score,
    cross_fitted,
    fit_isotonic,
    fit_platt,
    fit_temperature,
)
from tests.calibration.reliability.recalibration_cases import NAN, overconfident


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
