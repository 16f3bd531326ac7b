from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from calibration.arrays import FloatArray
from calibration.binomial import critical_errors, upper_bound
from calibration.errors import InvalidArgument
from calibration.plan import advise, frontier, labels_needed
from calibration.plan.advice import accepted_labels_needed, certifiable_target
from calibration.plan.labels import certification_power
from tests.calibration.worlds.populations import COSTS, random_labels, wrong_on_the_remainder


@pytest.mark.parametrize(
    ("target_risk", "expected"),
    [
        (0.05, [45, 77, 105, 132]),
        (0.10, [22, 38, 52, 65]),
        (0.15, [15, 25, 34, 43]),
        (0.20, [11, 18, 25, 32]),
    ],
)
def test_accepted_labels_needed_have_their_known_values(
    target_risk: float, expected: list[int]
) -> None:
    assert [accepted_labels_needed(k, target_risk, 0.1) for k in range(4)] == expected


def test_negative_errors_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="errors"):
        accepted_labels_needed(-1, 0.1, 0.1)


@pytest.mark.parametrize(
    ("risk", "target_risk"), [(0.05, 0.1), (0.1, 0.15), (0.0, 0.05), (0.19, 0.2)]
)
def test_labels_needed_pass_from_there_on(risk: float, target_risk: float) -> None:
    needed = labels_needed(risk, 1.0, target_risk, 0.1)
    assert needed is not None
    sizes = np.arange(max(needed - 1, 1), 2 * needed + 50)
    critical = critical_errors(sizes, target_risk, 0.1)
    power = np.where(critical >= 0, stats.binom.cdf(np.maximum(critical, 0), sizes, risk), 0.0)
    assert (power[1:] >= 0.8).all()
    assert power[0] < 0.8


def test_labels_needed_grow_as_coverage_falls() -> None:
    whole, half = labels_needed(0.1, 1.0, 0.15, 0.1), labels_needed(0.1, 0.5, 0.15, 0.1)
    assert whole is not None
    assert half == 2 * whole


def test_no_number_of_labels_certifies_a_risk_at_the_target() -> None:
    assert labels_needed(0.15, 0.5, 0.15, 0.1) is None


def test_a_risk_just_below_the_target_takes_very_many_labels() -> None:
    needed = labels_needed(0.1499, 1.0, 0.15, 0.1)
    assert needed is not None
    assert needed > 1_000_000


@pytest.mark.parametrize(("coverage", "risk"), [(0.0, 0.1), (1.1, 0.1), (0.5, -0.1)])
def test_impossible_plans_are_refused(coverage: float, risk: float) -> None:
    with pytest.raises(InvalidArgument):
        labels_needed(risk, coverage, 0.15, 0.1)


def test_certifiable_target_is_the_smallest_of_eight_bounds() -> None:
    confidence = np.linspace(1.0, 0.5, 100)[:, None]
    correct = np.ones((100, 1))
    correct[60:] = 0
    found = certifiable_target(confidence, correct)
    assert found is not None
    assert found.coverage == pytest.approx(0.6)
    assert found.target_risk == pytest.approx(float(upper_bound(0, 60, 0.1 / 8)))


def test_nothing_is_certifiable_where_hardly_a_pair_is_scored() -> None:
    confidence = np.full((100, 1), np.nan)
    confidence[:20] = 0.9
    correct = np.ones((100, 1))
    assert certifiable_target(confidence, correct) is None


def test_a_walk_that_cannot_begin_where_it_would_begins_at_its_end() -> None:
    """A judge that answers a fifth of the pairs, and is right there, is certified with some labels."""
    confidence = np.full((100, 1), np.nan)
    confidence[:20] = 0.9
    correct = np.ones((100, 1))
    needed = advise(confidence, correct, target_risk=0.2).labels_needed
    assert needed is not None
    assert power(confidence, correct, needed) > 0.75
    assert power(confidence, correct, needed // 2) < 0.5
    nobody = np.full((100, 1), np.nan)
    assert advise(nobody, correct, target_risk=0.2).labels_needed is None


def power(confidence: FloatArray, correct: FloatArray, n: int) -> float:
    """Return how often so many labels certify, if the pilot is all there is."""
    found = certification_power(
        confidence, correct, n, target_risk=0.2, rng=0, is_pilot_uncertain=False, pool=confidence,
    )  # fmt: skip
    assert found.value is not None
    return found.value


@pytest.mark.parametrize(("seed", "is_hopeless"), [(0, False), (2, False), (4, True)])
def test_the_labels_needed_of_one_judge_suffice(seed: int, is_hopeless: bool) -> None:
    """From 600 labels on, a walk has two starts that share its level, and one judge has no order.

    What was advised before certified in .55, .22 and .03 of draws.
    """
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5, 1.0, (400, 1))
    correct = (rng.uniform(size=(400, 1)) < 0.78).astype(float)
    needed = advise(confidence, correct, target_risk=0.25).labels_needed
    assert (needed is None) == is_hopeless
    if needed is not None:
        found = certification_power(
            confidence, correct, needed, target_risk=0.25, rng=0, runs=60, is_pilot_uncertain=False,
            pool=confidence,
        )  # fmt: skip
        assert found.value is not None
        assert found.value > 0.7


def test_no_rows_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="confidence"):
        certifiable_target(np.zeros((0, 2)), np.zeros((0, 2)))


def test_advice_for_random_labels_is_that_no_number_will_do() -> None:
    sample = random_labels().draw(400, np.random.default_rng(0))
    advice = advise(*sample, target_risk=0.2)
    assert advice.labels_needed is None
    assert advice.certifiable is not None
    assert advice.certifiable.target_risk > 0.45


def test_frontier_answers_more_at_looser_targets() -> None:
    rng = np.random.default_rng(0)
    world = wrong_on_the_remainder(0.1)
    points = frontier(
        *world.draw(500, rng), [0.05, 0.15, 0.3], rng=rng, costs=COSTS, pool=world.pool(300, rng)
    )
    assert [point.target_risk for point in points] == [0.05, 0.15, 0.3]
    coverage = [point.coverage for point in points]
    assert coverage == sorted(coverage)
    assert not points[0].is_certified
    assert points[2].is_certified
    assert points[2].labels_needed is not None
    assert points[2].labels_needed < 500
    assert points[2].relative_cost is not None


def test_frontier_counts_labels_in_groups() -> None:
    rng = np.random.default_rng(0)
    confidence = np.repeat(rng.uniform(0.5, 1, (200, 1)), 3, axis=0)
    correct = np.repeat(rng.uniform(size=(200, 1)) < 0.9, 3, axis=0)
    groups = np.repeat(np.arange(200), 3)
    grouped = frontier(confidence, correct, [0.2], rng=rng, groups=groups)
    single = advise(confidence[::3], correct[::3], target_risk=0.2, has_pool=False)
    assert grouped[0].labels_needed == single.labels_needed


@pytest.mark.parametrize("is_stacked", [False, True])
def test_a_looser_target_never_asks_for_more_labels(is_stacked: bool) -> None:
    """86 labels with 76 right, and others like them: small samples whose first node may fail."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(60, 200))
        confidence = rng.uniform(0.5, 1.0, (n, 2))
        correct = (rng.uniform(size=(n, 2)) < 0.80 + 0.15 * confidence).astype(np.float64)
        strongest = (confidence[:, 1:], correct[:, 1:]) if is_stacked else None
        needed = [
            advise(confidence, correct, target_risk=risk, strongest=strongest).labels_needed
            for risk in np.linspace(0.08, 0.3, 12).tolist()
        ]
        numbers = [np.inf if one is None else one for one in needed]
        assert numbers == sorted(numbers, reverse=True)
