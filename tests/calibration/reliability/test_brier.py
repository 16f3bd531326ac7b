from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from calibration.binomial import wilson_interval
from calibration.intervals import ClusterBootstrap, expanded_tail
from calibration.reliability import (
    BrierParts,
    brier_parts,
    brier_score,
    equal_mass_edges,
    equal_width_edges,
    estimate_brier_parts,
)
from tests.calibration.worlds.verdicts import World

EDGES = equal_width_edges(10)


def over(groups: Any, n_resamples: int = 300) -> ClusterBootstrap:
    return ClusterBootstrap.over(groups, np.random.default_rng(1), n_resamples=n_resamples)


def parts_of(confidence: Any, correct: Any, edges: Any = None) -> BrierParts:
    found = brier_parts(confidence, correct, edges)
    assert found is not None
    return found


@settings(deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 6),
    st.integers(0, 10_000),
    st.sampled_from(["width", "mass", "distinct"]),
)
def test_parts_add_up_to_the_score(n: int, decimals: int, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    confidence, correct = np.round(rng.uniform(0.5, 1, n), decimals), rng.random(n) < 0.7
    edges = {"width": EDGES, "mass": equal_mass_edges(confidence, 5), "distinct": None}[kind]
    parts = parts_of(confidence, correct, edges)
    assert parts.score == pytest.approx(brier_score(confidence, correct), abs=1e-12)
    assert min(parts.reliability, parts.resolution, parts.within_variance) >= 0
    assert parts.resolution <= parts.uncertainty + 1e-12
    if edges is None:
        assert (parts.within_variance, parts.within_covariance) == pytest.approx((0, 0))


def test_parts_of_two_groups_of_forecasts() -> None:
    confidence = [0.6] * 4 + [0.9] * 6
    correct = [1, 1, 0, 0, 1, 1, 1, 1, 1, 0]
    found = parts_of(confidence, correct)
    assert found.reliability == pytest.approx(0.4 * 0.1**2 + 0.6 * (0.9 - 5 / 6) ** 2)
    assert found.resolution == pytest.approx(0.4 * 0.2**2 + 0.6 * (5 / 6 - 0.7) ** 2)
    assert found.uncertainty == pytest.approx(0.21)


def test_one_bin_hides_what_the_confidences_know() -> None:
    confidence, correct = np.array([0.6, 0.8]), np.array([0, 1])
    found = parts_of(confidence, correct, [0.5, 1.0])
    assert found.resolution == 0
    assert found.within_variance == pytest.approx(0.01)
    assert found.within_covariance == pytest.approx(2 * 0.1 / 2)


def test_intervals_hold_where_percentiles_do_not() -> None:
    world = World(group_size=2)
    whole = world.population()
    truth = parts_of(whole.confidence, whole.correct, EDGES)
    covered, percentile = 0, 0
    for seed in range(25):
        sample = world.draw(100, np.random.default_rng(seed))
        boot = over(sample.group, 60)
        found = estimate_brier_parts(sample.confidence, sample.correct, EDGES, boot)
        assert found is not None
        assert found.reliability.low is not None
        assert found.reliability.high is not None
        covered += found.reliability.low <= truth.reliability <= found.reliability.high
        draws = []
        for drawn in np.concatenate(list(boot.multiplicities(1))):
            rows = np.repeat(np.arange(len(sample.group)), drawn[sample.group])
            draws.append(parts_of(sample.confidence[rows], sample.correct[rows], EDGES).reliability)
        percentile += int(np.quantile(draws, 0.025) <= truth.reliability)
    assert covered >= 23
    assert percentile <= 3


def test_limits_are_the_wider_of_two_corrections() -> None:
    sample = World().draw(300, np.random.default_rng(8))
    boot = over(sample.group, 100)
    drawn = []
    for multiplicity in np.concatenate(list(boot.multiplicities(1))):
        rows = np.repeat(np.arange(300), multiplicity)
        drawn.append(parts_of(sample.confidence[rows], sample.correct[rows], EDGES).resolution)
    value = parts_of(sample.confidence, sample.correct, EDGES).resolution
    tail, quantile = expanded_tail(300, 0.05), stats.t.isf(0.025, 299)
    bias, variance = np.mean(drawn) - value, np.var(drawn) * 300 / 299
    at_zero = 2 * bias**2 / 9
    # |value - bias - t| = quantile sqrt(at_zero + (variance - at_zero) t / value)
    linear = -2 * (value - bias) - quantile**2 * (variance - at_zero) / value
    constant = (value - bias) ** 2 - quantile**2 * at_zero
    ends = np.roots(np.array([1.0, linear, constant]))
    found = estimate_brier_parts(sample.confidence, sample.correct, EDGES, boot)
    assert found is not None
    reversed_ends = 2 * value - np.quantile(drawn, [1 - tail, tail])
    assert found.resolution.low == pytest.approx(max(min(ends.min(), reversed_ends[0]), 0))
    assert found.resolution.high == pytest.approx(max(ends.max(), reversed_ends[1]))
    assert ends.max() > reversed_ends[1]


def test_estimates_carry_the_values_and_the_size() -> None:
    sample = World(2.0).draw(300, np.random.default_rng(0))
    found = estimate_brier_parts(sample.confidence, sample.correct, EDGES, over(sample.group))
    parts = parts_of(sample.confidence, sample.correct, EDGES)
    assert found is not None
    for name in ("reliability", "resolution", "uncertainty"):
        estimate = getattr(found, name)
        assert estimate.value == pytest.approx(getattr(parts, name))
        assert 0 <= estimate.low <= estimate.value <= estimate.high
        assert estimate.n == 300


def test_uncertainty_is_largest_at_one_half() -> None:
    correct, confidence = np.arange(40) < 21, np.full(40, 0.7)
    found = estimate_brier_parts(confidence, correct, EDGES, over(np.arange(40)))
    assert found is not None
    assert found.uncertainty.high == 0.25
    assert found.uncertainty.low is not None
    assert found.uncertainty.low < 0.24
    assert found.resolution.value == 0
    assert found.resolution.low is None  # one bin cannot tell verdicts apart, nor say how far


def test_verdicts_all_right_leave_room_for_errors_not_seen() -> None:
    boot = over(np.arange(100))
    one_bin = estimate_brier_parts(np.full(100, 0.8), np.ones(100), EDGES, boot)
    assert one_bin is not None
    least = wilson_interval(100, 100, 0.95).low
    assert (one_bin.reliability.value, one_bin.reliability.high) == pytest.approx((0.04, 0.04))
    assert one_bin.reliability.low == pytest.approx((least - 0.8) ** 2)
    confidence = np.repeat([0.72, 0.93], 50)
    for verdicts in (np.ones(100), np.zeros(100)):
        found = estimate_brier_parts(confidence, verdicts, EDGES, boot)
        assert found is not None
        assert (found.resolution.value, found.resolution.low) == (0, 0)
        assert found.resolution.high == found.uncertainty.high == pytest.approx(least * (1 - least))


def test_reliability_of_rare_errors_covers() -> None:
    world = World(sharpness=0.5, ease=2.0)
    whole = world.population()
    truth = parts_of(whole.confidence, whole.correct, EDGES).reliability
    covered = 0
    for seed in range(60):
        sample = world.draw(60, np.random.default_rng(seed))
        found = estimate_brier_parts(
            sample.confidence, sample.correct, EDGES, over(sample.group, 100)
        )
        assert found is not None
        assert found.reliability.low is not None
        assert found.reliability.high is not None
        covered += found.reliability.low <= truth <= found.reliability.high
    assert covered >= 54


def test_few_verdicts_to_a_bin_give_no_interval() -> None:
    confidence = np.linspace(0.51, 0.99, 40)
    found = estimate_brier_parts(confidence, np.ones(40), EDGES, over(np.arange(40)))
    assert found is not None
    assert found.reliability.low is found.resolution.low is None
    assert found.uncertainty.high is not None


def test_no_interval_without_resamples_or_groups() -> None:
    confidence, correct = np.full(40, 0.7), np.arange(40) < 30
    alone = estimate_brier_parts(confidence, correct, EDGES, over(["one"] * 40))
    plain = estimate_brier_parts(confidence, correct, EDGES)
    assert alone is not None
    assert plain is not None
    assert alone.uncertainty.low is alone.reliability.low is plain.reliability.low is None
    assert plain.uncertainty.low is not None


def test_empty_resamples_give_no_interval() -> None:
    confidence, correct = np.full(10, 0.7), np.arange(10) < 7
    kept = np.array([[0, 0, 3]] * 2 + [[1, 2, 0]] * 2, dtype=np.uint8)
    boot = ClusterBootstrap(np.arange(10) % 2, 3, 0, n_resamples=4, kept=kept)
    found = estimate_brier_parts(confidence, correct, EDGES, boot)
    assert found is not None
    assert found.reliability.value is not None
    assert found.reliability.low is found.resolution.low is None


def test_nothing_has_no_parts() -> None:
    assert brier_parts([], []) is None
    assert estimate_brier_parts([], [], EDGES, over([])) is None
