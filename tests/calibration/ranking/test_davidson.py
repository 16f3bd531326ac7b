from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.ranking.bradley_terry import moments


@given(st.floats(-40, 40), st.floats(-10, 10))
def test_moments_are_those_of_three_outcomes(log_odds: float, log_tie: float) -> None:
    weights = np.exp([log_odds / 2, log_tie, -log_odds / 2])
    chance = weights / weights.sum()
    points, tie = np.array([1, 0.5, 0]), np.array([0, 1, 0])
    found = moments(np.array([log_odds]), np.array([log_tie]))
    mean = chance @ points
    assert found.points[0] == pytest.approx(mean, abs=1e-12)
    assert found.points_variance[0] == pytest.approx(chance @ (points - mean) ** 2, abs=1e-12)
    assert found.tie[0] == pytest.approx(chance[1], abs=1e-12)
    assert found.covariance[0] == pytest.approx(
        chance @ ((points - mean) * (tie - chance[1])), abs=1e-12
    )


def test_no_ties_are_the_limit_of_ever_rarer_ones() -> None:
    log_odds = np.linspace(-5, 5, 11)
    for one, two in zip(moments(log_odds, None), moments(log_odds, np.array([-60.0])), strict=True):
        assert one == pytest.approx(two, abs=1e-12)
