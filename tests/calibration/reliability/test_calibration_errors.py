from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy import stats

from calibration.binomial import two_sided_interval
from calibration.estimate import Estimate
from calibration.intervals import ClusterBootstrap, bootstrap, expanded_tail
from calibration.reliability import (
    calibration_error,
    debiased_calibration_error,
    equal_width_edges,
    estimate_calibration_error,
    estimate_maximum_calibration_error,
    maximum_calibration_error,
)
from tests.calibration.worlds.verdicts import World

EDGES = equal_width_edges(10)


def estimate_maximum(
    confidence: ArrayLike, correct: ArrayLike, edges: ArrayLike, boot: ClusterBootstrap
) -> Estimate:
    return estimate_maximum_calibration_error(confidence, correct, edges, boot.groups)


ESTIMATES: list[Any] = [
    (estimate_calibration_error, calibration_error),
    (estimate_maximum, maximum_calibration_error),
]
every_estimate = pytest.mark.parametrize(
    ("estimate", "measure"), ESTIMATES, ids=lambda function: function.__name__
)


def over(groups: Any, n_resamples: int = 300) -> ClusterBootstrap:
    return ClusterBootstrap.over(groups, np.random.default_rng(1), n_resamples=n_resamples)


def test_clear_gaps_have_the_reversed_bootstrap_interval() -> None:
    rng = np.random.default_rng(0)
    n = 2000
    confidence = rng.choice([0.72, 0.93], n)
    correct = rng.random(n) < confidence - 0.2
    groups = np.arange(n) // 4
    boot, errors = over(groups), []
    for drawn in np.concatenate(list(boot.multiplicities(1))):
        rows = np.repeat(np.arange(n), drawn[groups])
        errors.append(calibration_error(confidence[rows], correct[rows], EDGES) or 0.0)
    found = estimate_calibration_error(confidence, correct, EDGES, boot)
    tail = expanded_tail(500, 0.05)
    high, low = np.quantile(errors, [1 - tail, tail])
    assert found.value is not None
    # standard errors replace the resamples' own spread, which is itself uncertain by some percent
    assert found.low == pytest.approx(2 * found.value - high, abs=0.003)
    assert found.high == pytest.approx(2 * found.value - low, abs=0.003)


def test_interval_of_a_calibrated_judge_reaches_zero() -> None:
    sample = World().draw(1000, np.random.default_rng(2))
    boot = over(sample.group)
    found = estimate_calibration_error(sample.confidence, sample.correct, EDGES, boot)
    assert found.value is not None
    assert found.value > 0.015
    assert found.low == 0
    assert found.high is not None
    assert found.high < 3 * found.value


def test_few_verdicts_of_a_calibrated_judge_do_not_convict_it() -> None:
    reaching = 0
    for seed in range(60):
        sample = World().draw(30, np.random.default_rng(seed))
        boot = over(sample.group, n_resamples=200)
        found = estimate_calibration_error(sample.confidence, sample.correct, EDGES, boot)
        reaching += found.low == 0
    assert reaching >= 57


def test_interval_of_an_overconfident_judge_is_far_from_zero() -> None:
    sample = World(sharpness=3.0).draw(1000, np.random.default_rng(2))
    boot = over(sample.group)
    found = estimate_calibration_error(sample.confidence, sample.correct, EDGES, boot)
    assert found.low is not None
    assert found.low > 0.05


@pytest.mark.parametrize("sharpness", [1.0, 1.5, 3.0])
def test_debiasing_takes_away_at_least_a_third_of_the_bias(sharpness: float) -> None:
    world = World(sharpness, group_size=2)
    whole = world.population()
    truth = calibration_error(whole.confidence, whole.correct, EDGES)
    plain, less = [], []
    for seed in range(60):
        sample = world.draw(150, np.random.default_rng(seed))
        boot = sample.group
        plain.append(calibration_error(sample.confidence, sample.correct, EDGES))
        less.append(debiased_calibration_error(sample.confidence, sample.correct, EDGES, boot))
    before, after = (np.mean([x or 0 for x in found]) - (truth or 0) for found in (plain, less))
    assert before > 0.005
    assert abs(after) < 0.67 * before


def test_debiased_error_of_far_gaps_is_the_plain_one() -> None:
    confidence, correct = np.full(2000, 0.95), np.arange(2000) % 2
    plain = calibration_error(confidence, correct, EDGES)
    assert debiased_calibration_error(confidence, correct, EDGES) == pytest.approx(plain)
    sure = np.ones(50)
    assert debiased_calibration_error(sure, sure, EDGES) == 0
    assert debiased_calibration_error(np.full(30, 0.8), np.arange(30) < 24, EDGES) == 0


def test_debiased_error_needs_two_groups() -> None:
    assert debiased_calibration_error([0.7], [1], EDGES) is None
    assert debiased_calibration_error([], [], EDGES) is None
    assert debiased_calibration_error([0.7] * 5, [1] * 5, EDGES, ["one"] * 5) is None


def test_largest_gap_lies_between_what_all_bins_allow_at_once() -> None:
    confidence = np.repeat([0.55, 0.95], [10, 90])
    correct = np.concatenate([np.arange(10) < 4, np.arange(90) < 60])
    found = estimate_maximum_calibration_error(confidence, correct, EDGES)
    small, large = (two_sided_interval(k, n, 0.975) for k, n in ((4, 10), (60, 90)))
    assert found.value == pytest.approx(0.95 - 60 / 90)
    assert found.low == pytest.approx(0.95 - float(large.high))
    assert found.high == pytest.approx(0.55 - float(small.low))
    groups = np.arange(100) // 2
    grouped = estimate_maximum_calibration_error(confidence, correct, EDGES, groups)
    assert grouped.low is not None
    assert found.low is not None
    assert grouped.low < found.low


@every_estimate
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), decimals=st.integers(1, 4))
def test_order_of_rows_does_not_matter_and_the_value_lies_inside(
    estimate: Any, measure: Any, seed: int, decimals: int
) -> None:
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.uniform(0.5, 1, 50), decimals)
    correct, groups, order = rng.random(50) < 0.8, np.arange(50) // 2, rng.permutation(50)
    straight = estimate(confidence, correct, EDGES, over(groups, 100))
    shuffled = estimate(confidence[order], correct[order], EDGES, over(groups[order], 100))
    assert straight.low == pytest.approx(shuffled.low, abs=1e-9)
    assert straight.high == pytest.approx(shuffled.high, abs=1e-9)
    assert straight.value == pytest.approx(measure(confidence, correct, EDGES))
    assert 0 <= straight.low <= straight.value <= straight.high <= 1


def test_small_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = World(2.0).draw(80, np.random.default_rng(2))
    boot = over(sample.group)
    whole = estimate_calibration_error(sample.confidence, sample.correct, EDGES, boot)
    monkeypatch.setattr(bootstrap, "_BLOCK_CELLS", 200)
    again = estimate_calibration_error(sample.confidence, sample.correct, EDGES, boot)
    assert (again.low, again.high) == pytest.approx((whole.low, whole.high))


def test_verdicts_without_any_gap_may_have_errors_not_seen() -> None:
    sure = np.ones(30)
    found = estimate_calibration_error(sure, sure, EDGES, over(np.arange(30)))
    assert (found.value, found.low) == (0, 0)
    # Wilson's interval reaches z^2 / (n + z^2) below 1, here with Student's quantile for one z
    normal, student = stats.norm.isf(0.025), stats.t.isf(0.025, 29)
    assert found.high == pytest.approx(student * normal / (30 + normal**2))


def test_constant_confidence_of_right_verdicts_is_not_known_exactly() -> None:
    found = estimate_calibration_error(np.full(100, 0.8), np.ones(100), EDGES, over(np.arange(100)))
    assert found.low is not None
    assert found.high is not None
    assert found.value == pytest.approx(0.2)
    assert 0.15 < found.low < 0.17
    assert 0.23 < found.high < 0.25


def test_two_groups_have_students_width() -> None:
    rng = np.random.default_rng(1)
    confidence, correct = rng.uniform(0.5, 1, 50), np.arange(50) % 3 > 0
    found = estimate_calibration_error(confidence, correct, EDGES, over(np.arange(50) // 25))
    assert found.value == pytest.approx(0.197, abs=0.001)
    assert found.high is not None
    assert found.high > 0.4  # the three resamples there are differ by .1 at most


def test_bin_of_one_group_may_hide_any_gap() -> None:
    groups = np.repeat([0, 1], 4)
    found = estimate_maximum_calibration_error(
        np.repeat([0.6, 0.9], 4), [1, 0, 1, 1, 1, 0, 1, 1], EDGES, groups
    )
    assert found.value == pytest.approx(0.15)
    assert found.low == 0
    assert found.high is not None
    assert found.high > 0.85


@every_estimate
def test_no_interval_for_one_group_and_no_value_for_none(estimate: Any, measure: Any) -> None:
    alone = estimate([0.7, 0.8], [1, 0], EDGES, over(["one"] * 2))
    assert (alone.value, alone.low) == (measure([0.7, 0.8], [1, 0], EDGES), None)
    nothing = estimate([], [], EDGES, over([]))
    assert (nothing.value, nothing.low, nothing.n) == (None, None, 0)


def test_empty_resamples_give_no_interval() -> None:
    kept = np.array([[0, 0, 3], [1, 2, 0]], dtype=np.uint8)
    boot = ClusterBootstrap(np.array([0, 1]), 3, 0, n_resamples=2, kept=kept)
    found = estimate_calibration_error([0.7, 0.8], [1, 0], EDGES, boot)
    assert found.value == pytest.approx(0.55)
    assert found.low is None


def test_calibration_error_has_no_interval_without_resamples() -> None:
    assert estimate_calibration_error([0.7, 0.8], [1, 0], EDGES).low is None
