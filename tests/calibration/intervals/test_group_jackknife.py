from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from calibration.intervals import (
    Groups,
    estimate_share,
    jackknife,
    jackknife_ratio,
    jackknife_statistic,
)


def over(groups: np.ndarray | list[int], level: float = 0.95) -> Groups:
    return Groups.of(groups, level)


def mean(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[:, 0] / sums[:, 1])


def test_variance_is_that_of_the_mean_of_equal_groups() -> None:
    """With groups of one size the jackknife is the classic standard error of their means."""
    rng = np.random.default_rng(1)
    hits = (rng.random(400) < 0.55).astype(float)
    by_group = hits.reshape(100, 4).mean(axis=1)
    variance = by_group.var(ddof=1) / 100
    normal, student = 1.959964, 1.984217
    trials = hits.mean() * (1 - hits.mean()) / variance * (normal / student) ** 2
    low, high = proportion_confint(trials * hits.mean(), trials, method="wilson")
    found = jackknife_ratio(hits, np.ones(400), over(np.arange(400) // 4))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)
    assert found.n == 400


def test_single_rows_are_independent_trials() -> None:
    hits = np.arange(40) < 13
    low, high = proportion_confint(13, 40, method="wilson")
    for groups in (over(np.arange(40)), None):
        found = estimate_share(hits, None, groups, method="jackknife")
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize("share", [0, 1])
def test_unanimous_groups_are_one_trial_each(share: int) -> None:
    found = estimate_share(np.full(60, share), None, over(np.arange(60) // 6), method="jackknife")
    low, high = proportion_confint(10 * share, 10, method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((share, low, high), abs=1e-9)


def test_coefficient_of_one_has_an_interval_that_ends_there() -> None:
    found = jackknife_statistic(np.ones((12, 2)), mean, 12, over(np.arange(12)))
    low, _ = proportion_confint(12, 12, method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((1, 2 * low - 1, 1))


def test_coefficient_below_minus_one_has_a_symmetric_interval() -> None:
    parts = np.column_stack([[-3.0, -1.0, -2.0, -1.5], np.ones(4)])
    found = jackknife_statistic(parts, mean, 4, over(np.arange(4)))
    error = parts[:, 0].std(ddof=1) / 2
    student = 3.182446  # three degrees of freedom
    assert found.value == -1.875
    assert found.low == pytest.approx(-1.875 - student * error, rel=1e-5)
    assert found.high == pytest.approx(-1.875 + student * error, rel=1e-5)


def test_value_that_rests_on_one_group_has_no_interval() -> None:
    parts = np.array([[1.0, 2.0], [0.5, 0.0], [0.25, 0.0]])
    found = jackknife_statistic(parts, mean, 2, over([0, 1, 2]))
    assert found.value == 0.875
    assert found.low is None


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_fewer_than_two_groups_give_no_interval(rows: int) -> None:
    found = jackknife_ratio(np.full(rows, 0.5), np.ones(rows), over([7] * rows))
    assert found.low is None
    assert found.value == (0.5 if rows else None)


def test_groups_that_add_nothing_are_no_evidence() -> None:
    hits, counted = np.tile([1.0, 0.0, 1.0, 1.0], 5), np.ones(20)
    alone = jackknife_ratio(hits, counted, over(np.arange(20) // 4))
    padded = jackknife_ratio(
        np.append(hits, np.zeros(30)), np.append(counted, np.zeros(30)),
        over(np.append(np.arange(20) // 4, np.arange(30) + 9)),
    )  # fmt: skip
    assert padded == alone


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 0.99))
def test_intervals_hold_the_value_and_stay_on_the_scale(seed: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    hits = rng.random(30) < rng.random()
    found = jackknife_ratio(hits, np.ones(30), over(rng.integers(0, 6, 30), level))
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hits = np.arange(50) % 3 == 0
    whole = jackknife_ratio(hits, np.ones(50), over(np.arange(50) // 2))
    monkeypatch.setattr(jackknife, "_BLOCK_CELLS", 8)
    assert jackknife_ratio(hits, np.ones(50), over(np.arange(50) // 2)) == whole
