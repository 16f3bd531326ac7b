from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from calibration.errors import InvalidArgument
from calibration.monitor import (
    observe,
    risk_bounds,
    risk_so_far,
    start_monitor,
    weighted_risk_bounds,
)
from tests.calibration.worlds.audits import even, unequal


@given(st.integers(1, 400), st.floats(0, 1))
def test_bounds_enclose_the_mean_and_mirror_it(n: int, share: float) -> None:
    low, high = risk_bounds(share * n, n, 0.05)
    assert 0 <= low <= share <= high <= 1
    mirrored = risk_bounds(n - share * n, n, 0.05)
    np.testing.assert_allclose(mirrored, (1 - high, 1 - low), atol=1e-9)


@pytest.mark.parametrize("n", [50, 500, 5000, 100_000])
def test_bounds_are_wider_than_those_of_one_fixed_time_but_not_twice(n: int) -> None:
    low, high = risk_bounds(0.1 * n, n, 0.05)
    fixed = beta.ppf(0.025, 0.1 * n, 0.9 * n + 1), beta.ppf(0.975, 0.1 * n + 1, 0.9 * n)
    assert low < fixed[0] < fixed[1] < high
    assert high - low < 1.8 * (fixed[1] - fixed[0])


def test_tilted_losses_are_a_fair_bet_at_the_mean() -> None:
    tilts, mean = np.geomspace(0.005, 10, 40), 0.3
    expected = (1 - mean + mean * np.exp(tilts)) / np.exp(np.log1p(mean * np.expm1(tilts)))
    np.testing.assert_allclose(expected, 1, rtol=1e-12)
    low, _ = risk_bounds(30, 100, 0.1)
    wealth = np.mean(np.exp(tilts * 30 - 100 * np.log1p(low * np.expm1(tilts))))
    assert wealth == pytest.approx(20, rel=1e-6)


@pytest.mark.parametrize("audits", [1, 400])
def test_monitor_reports_the_risk_so_far(audits: int) -> None:
    losses = even(0.1, 1, audits, np.random.default_rng(0))[0]
    estimate = risk_so_far(observe(start_monitor(0.1), losses), 0.9)
    assert (estimate.value, estimate.n, estimate.confidence_level) == (losses.mean(), audits, 0.9)
    assert (estimate.low, estimate.high) == risk_bounds(losses.sum(), audits, 1 - 0.9)


def test_nothing_is_known_before_the_first_audit() -> None:
    estimate = risk_so_far(start_monitor(0.1))
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == (None, None, None, 0)


def test_unequal_probabilities_are_weighed() -> None:
    losses, drawn = unequal((0.05, 0.2), (0.35, 0.8), 20_000, np.random.default_rng(1))
    state = observe(start_monitor(0.2, min_audit_probability=0.2), losses, drawn)
    estimate = risk_so_far(state)
    assert estimate.value == pytest.approx(0.2, abs=0.01)
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < 0.2 < estimate.high < estimate.low + 0.1
    assert losses.mean() > estimate.high


@pytest.mark.parametrize("total", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_weighted_bounds_exist_at_the_edges(total: tuple[float, float]) -> None:
    low, high = weighted_risk_bounds(*total, 1, 0.05)
    assert 0 <= low <= high <= 1


def test_confidence_level_is_checked() -> None:
    with pytest.raises(InvalidArgument, match="confidence_level"):
        risk_so_far(start_monitor(0.1), 1.0)


@pytest.mark.parametrize("totals", [(np.nan, 5), (-0.1, 5), (5.1, 5), (0, 0)])
def test_totals_that_no_audits_have_are_refused(totals: tuple[float, int]) -> None:
    with pytest.raises(InvalidArgument, match="loss_total"):
        risk_bounds(*totals, 0.05)


@pytest.mark.parametrize("probability", [0.0, 1.0, np.nan])
def test_failure_probability_must_be_one(probability: float) -> None:
    with pytest.raises(InvalidArgument, match="failure_probability"):
        risk_bounds(1, 5, probability)
