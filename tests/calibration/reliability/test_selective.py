from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InvalidArgument
from calibration.reliability import (
    area_under_risk_coverage,
    auroc,
    excess_area_under_risk_coverage,
    generalised_area_under_risk_coverage,
    risk_coverage_curve,
    selective_risk,
)
from calibration.reliability.selective import best_ranked_losses, mean_risk, ranked_losses

NAN = float("nan")
CONFIDENCE = [0.9, 0.8, 0.8, 0.7, NAN]
CORRECT = [1, 1, 0, 0, NAN]
AREAS: list[Any] = [
    area_under_risk_coverage,
    excess_area_under_risk_coverage,
    generalised_area_under_risk_coverage,
]
every_area = pytest.mark.parametrize("area", AREAS, ids=lambda area: area.__name__)


@st.composite
def some_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Confidences with ties and failures, and agreement, some of it graded."""
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    confidence = np.round(rng.uniform(0.5, 1, n), draw(st.integers(1, 6)))
    confidence[1:][rng.random(n - 1) < 0.1] = NAN
    graded = draw(st.booleans())
    return confidence, rng.random(n) if graded else (rng.random(n) < 0.7).astype(float)


def test_risk_and_coverage_at_a_threshold() -> None:
    found = selective_risk(CONFIDENCE, CORRECT, 0.8)
    assert (found.answered, found.coverage) == (3, 0.6)
    assert found.risk == pytest.approx(1 / 3)
    assert selective_risk(CONFIDENCE, CORRECT, 0.95).risk is None
    assert selective_risk([], [], 0.5).coverage == 0.0


def test_ties_enter_the_curve_together() -> None:
    curve = risk_coverage_curve(CONFIDENCE, CORRECT)
    np.testing.assert_allclose(curve.thresholds, [0.9, 0.8, 0.7])
    np.testing.assert_allclose(curve.coverage, [0.2, 0.6, 0.8])
    np.testing.assert_allclose(curve.risk, [0, 1 / 3, 1 / 2])


def test_area_is_the_mean_risk_over_ranks_and_orders_of_ties() -> None:
    expected = (0 + (0 + 1 / 2) / 2 + 1 / 3 + 1 / 2) / 4
    assert area_under_risk_coverage(CONFIDENCE, CORRECT) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_area_is_the_average_over_every_order_of_tied_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, loss = np.array([0.9, 0.8, 0.8, 0.8, 0.6, 0.6]), rng.random(6)
    areas = []
    for order in itertools.permutations(range(6)):
        ranked = list(order)
        if (np.diff(confidence[ranked]) <= 0).all():
            areas.append(np.mean(np.cumsum(loss[ranked]) / np.arange(1, 7)))
    assert len(areas) == 12
    assert area_under_risk_coverage(confidence, 1 - loss) == pytest.approx(np.mean(areas))


@pytest.mark.parametrize("wrong", [0, 1, 3, 7, 10])
def test_excess_is_over_the_best_order_of_the_same_errors(wrong: int) -> None:
    n, rng = 10, np.random.default_rng(wrong)
    confidence, correct = rng.permutation(n) / n, np.arange(n) >= wrong
    best = sum((i - n + wrong) / i for i in range(n - wrong + 1, n + 1)) / n
    area = area_under_risk_coverage(confidence, correct)
    assert area is not None
    assert excess_area_under_risk_coverage(confidence, correct) == pytest.approx(area - best)
    assert excess_area_under_risk_coverage(np.arange(n), correct) == 0


def test_no_order_of_graded_losses_has_a_smaller_area_than_the_best() -> None:
    loss = np.random.default_rng(3).random(5)
    ranked = best_ranked_losses(np.arange(5), 1 - loss)
    best = float(mean_risk(ranked.masses, ranked.losses)[0])
    areas = [
        np.mean(np.cumsum(loss[list(order)]) / np.arange(1, 6))
        for order in itertools.permutations(range(5))
    ]
    assert best == pytest.approx(min(areas))


@settings(deadline=None)
@given(some_pairs())
def test_generalised_area_follows_from_accuracy_and_auroc(
    pairs: tuple[np.ndarray, np.ndarray],
) -> None:
    confidence, agreement = pairs
    scored, correct = ~np.isnan(confidence), agreement > 0.5
    accuracy = correct[scored].mean()
    separation = auroc(confidence[scored], correct[scored])
    lost = 0.0 if separation is None else (1 - separation) * accuracy * (1 - accuracy)
    expected = lost + (1 - accuracy) ** 2 / 2
    found = generalised_area_under_risk_coverage(confidence, correct)
    assert found == pytest.approx(expected, abs=1e-12)


@every_area
@settings(deadline=None)
@given(pairs=some_pairs(), seed=st.integers(0, 100))
def test_order_of_rows_and_a_monotone_map_change_no_area(
    area: Any, pairs: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    confidence, correct = pairs
    order = np.random.default_rng(seed).permutation(len(confidence))
    straight = area(confidence, correct)
    assert area(confidence[order], correct[order]) == pytest.approx(straight, abs=1e-12)
    assert area(confidence**3 / 2, correct) == pytest.approx(straight, abs=1e-12)


@settings(deadline=None)
@given(some_pairs())
def test_areas_are_ordered(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    excess, area = (
        measure(*pairs) for measure in (excess_area_under_risk_coverage, area_under_risk_coverage)
    )
    assert excess is not None
    assert area is not None
    assert 0 <= excess <= area + 1e-12
    assert area <= 1 + 1e-12


@every_area
def test_nothing_scored_has_no_area(area: Any) -> None:
    assert area([NAN], [NAN]) is None
    assert area([], []) is None


def test_pairs_drawn_twice_count_twice() -> None:
    confidence, correct = np.array([0.9, 0.8, 0.8, 0.6]), np.array([1, 0, 1, 0])
    ranked = ranked_losses(confidence, correct)
    doubled = ranked_losses(np.repeat(confidence, 2), np.repeat(correct, 2))
    np.testing.assert_allclose(2 * ranked.masses, doubled.masses)
    both = np.concatenate([ranked.masses, 2 * ranked.masses])
    losses = np.concatenate([ranked.losses, 2 * ranked.losses])
    found = mean_risk(both, losses)
    assert found[0] == pytest.approx(area_under_risk_coverage(confidence, correct))
    twice = area_under_risk_coverage(np.repeat(confidence, 2), np.repeat(correct, 2))
    assert found[1] == pytest.approx(twice)
    assert np.isnan(mean_risk(np.zeros((1, 2)), np.zeros((1, 2)))[0])


@given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1, max_size=20))
def test_order_of_rows_does_not_matter(rows: list[tuple[float, bool]]) -> None:
    confidence, correct = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    order = np.argsort(-correct, kind="stable")
    here = risk_coverage_curve(confidence, correct)
    there = risk_coverage_curve(confidence[order], correct[order])
    np.testing.assert_allclose(here.risk, there.risk)
    np.testing.assert_allclose(here.coverage, there.coverage)


@pytest.mark.parametrize(
    ("confidence", "correct"),
    [([0.5], [1, 1]), ([[0.5]], [[1]]), ([0.5], [2]), ([-np.inf], [1]), ([0.5], [NAN])],
)
@pytest.mark.parametrize("measure", [lambda c, y: selective_risk(c, y, 0.5), *AREAS])
def test_bad_arrays_are_refused(measure: Any, confidence: object, correct: object) -> None:
    with pytest.raises(InvalidArgument):
        measure(np.array(confidence), np.array(correct))


def test_a_threshold_is_a_number() -> None:
    assert selective_risk([0.9], [1], np.inf).answered == 0
    with pytest.raises(InvalidArgument, match=r"^threshold"):
        selective_risk([0.9], [1], NAN)
