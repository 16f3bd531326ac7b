"""Correlations equal scipy's, and their intervals cover at their rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy

from calibration.agreement import correlations, weighted_mean
from calibration.agreement.correlation import _kendall
from calibration.errors import InvalidArgument

STATISTICS: dict[str, Any] = {
    "pearson": scipy.stats.pearsonr,
    "spearman": scipy.stats.spearmanr,
    "kendall": scipy.stats.kendalltau,
}


def likert(rng: np.random.Generator, groups: int, size: int, shared: float) -> Any:
    """Two ratings from 1 to 5 of responses to the same prompts."""
    covariance = [[1, shared], [shared, 1]]
    of_group = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], size=(groups, 1))
    own = rng.multivariate_normal([0, 0], covariance, size=(groups, size))
    values = np.clip(np.round(1.5 * (0.7 * of_group + own) + 3), 1, 5)
    return values[..., 0].ravel(), values[..., 1].ravel()


def test_values_are_scipys_and_missing_ones_are_left_out() -> None:
    x, y = likert(np.random.default_rng(0), 40, 3, 0.6)
    groups = np.arange(120) // 3
    found = correlations(x, y, groups)
    gap = np.where(np.arange(120) % 7 == 0, np.nan, x)
    left = ~np.isnan(gap)
    with_gaps = correlations(gap, y, groups)
    for name, of in STATISTICS.items():
        assert getattr(found, name).value == pytest.approx(of(x, y).statistic, abs=1e-12)
        estimate = getattr(with_gaps, name)
        assert estimate.value == pytest.approx(of(x[left], y[left]).statistic, abs=1e-12)
        assert estimate.n == left.sum()
        assert estimate.low < estimate.value < estimate.high


def test_kendall_without_each_group_is_that_of_the_other_rows() -> None:
    x, y = likert(np.random.default_rng(1), 12, 4, 0.5)
    groups = np.arange(48) // 4
    _, others = _kendall(x, y, groups)
    by_hand = [
        scipy.stats.kendalltau(x[groups != one], y[groups != one]).statistic for one in range(12)
    ]
    assert others == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize(("x", "y"), [([1.0, 1, 1], [1.0, 2, 3]), ([1.0, 2], [1.0, 2]), ([], [])])
def test_what_does_not_vary_has_no_correlation(x: list[float], y: list[float]) -> None:
    found = correlations(x, y, np.arange(len(x)))
    assert {found.pearson.value, found.spearman.value, found.kendall.value} == {None}


def test_perfect_order_and_one_group_have_no_interval() -> None:
    same = correlations([1.0, 2, 3, 4], [1.0, 2, 3, 4], [0, 1, 2, 3])
    assert same.kendall.value == 1.0
    assert same.kendall.low is None
    alone = correlations([1.0, 2, 3, 4], [1.0, 3, 2, 4], [0, 0, 0, 0])
    assert alone.pearson.value is not None
    assert alone.pearson.low is None


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="one length"):
        correlations([1.0, 2], [1.0])
    with pytest.raises(InvalidArgument, match="finite"):
        correlations([1.0, np.inf, 2], [1.0, 2, 3])
    with pytest.raises(InvalidArgument, match="no criterion 'wit'"):
        weighted_mean({"style": [1.0]}, {"wit": 1.0})
    with pytest.raises(InvalidArgument, match="weights"):
        weighted_mean({"style": [1.0]}, {"style": 0.0})


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "size", "shared"), [(10, 3, 0.0), (30, 4, 0.6), (80, 2, 0.95)])
def test_intervals_cover_at_their_rate(groups: int, size: int, shared: float) -> None:
    rng = np.random.default_rng(groups)
    truth = {name: of(*likert(rng, 40_000, size, shared)).statistic
             for name, of in STATISTICS.items()}  # fmt: skip
    codes, runs = np.repeat(np.arange(groups), size), 1_000
    covered = dict.fromkeys(STATISTICS, 0)
    for _ in range(runs):
        x, y = likert(rng, groups, size, shared)
        found = correlations(x, y, codes)
        for name in STATISTICS:
            one = getattr(found, name)
            covered[name] += one.low is not None and one.low <= truth[name] <= one.high
    # four standard errors of a share of .95 about what was measured, .925 to .985
    assert all(0.92 <= count / runs <= 0.99 for count in covered.values()), covered
