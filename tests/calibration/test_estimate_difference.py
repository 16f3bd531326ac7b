from __future__ import annotations

import numpy as np
import pytest

from calibration.estimate import Estimate, difference_of


def test_distances_are_squared_and_added() -> None:
    after, before = Estimate(0.8, 0.7, 0.85, 0.95, 100), Estimate(0.6, 0.52, 0.68, 0.95, 80)
    found = difference_of(after, before)
    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(0.2 - np.hypot(0.1, 0.08))
    assert found.high == pytest.approx(0.2 + np.hypot(0.05, 0.08))
    assert found.n == 80


def test_without_a_value_or_an_interval_there_is_none() -> None:
    known, open_ended = Estimate(0.8, 0.7, 0.9, 0.95, 9), Estimate(0.6, None, None, 0.95, 5)
    assert difference_of(known, Estimate(None, None, None, 0.95, 0)).value is None
    found = difference_of(known, open_ended)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (None, None)
    other_level = difference_of(known, Estimate(0.6, 0.5, 0.7, 0.9, 5))
    assert other_level.low is None


def test_intervals_cover_the_true_difference() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        made = []
        for share in (0.8, 0.6):
            hits = rng.binomial(150, share) / 150
            half = 1.96 * np.sqrt(hits * (1 - hits) / 150)
            made.append(Estimate(hits, hits - half, hits + half, 0.95, 150))
        found = difference_of(*made)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.2 <= found.high
    assert 0.92 <= covered / 400 <= 0.98
