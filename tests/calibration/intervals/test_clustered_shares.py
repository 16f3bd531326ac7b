from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from calibration.binomial import wilson_interval
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals import (
    ClusterBootstrap,
    Groups,
    effective_trials,
    estimate_paired_difference,
    estimate_share,
    estimate_share_difference,
    logit_limits,
    student_over_normal,
)

Z = 1.959963984540054
ESTIMATES: list[Any] = [
    estimate_share,
    estimate_paired_difference,
    lambda hits, counted, bootstrap: estimate_share_difference(
        hits, counted & (np.arange(len(hits)) % 2 > 0), counted & (np.arange(len(hits)) % 2 < 1),
        bootstrap,
    ),
]  # fmt: skip
every_estimate = pytest.mark.parametrize("estimate", ESTIMATES)


def over(groups: Any) -> Groups:
    return Groups.of(groups)


def width(found: Estimate) -> float:
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


def everything(n: int) -> np.ndarray:
    return np.ones(n, dtype=np.bool_)


def test_share_of_independent_rows_has_wilsons_interval() -> None:
    hits = np.arange(20) < 13
    low, high = (float(end) for end in wilson_interval(13, 20, 0.95))
    expected = Estimate(0.65, low, high, 0.95, 20)
    assert estimate_share(hits, everything(20)) == expected
    assert estimate_share(hits, everything(20), over(np.arange(20))) == expected


def test_rows_all_alike_in_their_groups_count_once() -> None:
    once = np.arange(200) % 3 > 0
    found = estimate_share(np.repeat(once, 4), everything(800), over(np.arange(800) // 4))
    alone = estimate_share(once, everything(200))
    assert found.value == alone.value
    assert found.low == pytest.approx(alone.low, abs=1e-3)
    assert found.high == pytest.approx(alone.high, abs=1e-3)


def test_effective_trials_leave_the_bootstraps_spread() -> None:
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(400), rng.integers(1, 8, 400))
    hits = (rng.random(group.size) < special.expit(1.5 * rng.normal(size=400))[group]).astype(float)
    boot = ClusterBootstrap.over(group, rng, n_resamples=4000)
    score = estimate_share(hits, groups=group)
    percentile = estimate_share(hits, None, boot, method="percentile")
    assert width(score) == pytest.approx(width(percentile), rel=0.04)
    assert width(score) > 1.3 * width(estimate_share(hits, everything(hits.size)))


def test_effective_trials_stay_between_groups_and_rows() -> None:
    groups = over(np.arange(90) // 3)
    opposed = np.tile([1.0, 0.0, 0.0], 30)
    assert effective_trials(opposed, groups, 0.025) == pytest.approx(90 * (Z / 2.0452) ** 2, 1e-3)
    lonely = np.zeros(90)
    lonely[0] = 1
    # as if 1 of 1.2 more rows had been found with both others of its group alike
    effect = 1 + 2 * 1.2 / 2.2
    assert effective_trials(lonely, groups, 0.025) == pytest.approx(
        90 / effect * (Z / 2.0452) ** 2, 1e-3
    )
    mirrored = effective_trials(1 - lonely, groups, 0.025)
    assert effective_trials(lonely, groups, 0.025) == pytest.approx(mirrored)
    alike = np.zeros(90)
    alike[:3] = 1
    assert effective_trials(alike, groups, 0.025) == pytest.approx(30)
    assert effective_trials(np.ones(90), groups, 0.025) == pytest.approx(30)
    uneven = over([0, 0, 0, 1])
    assert effective_trials(np.ones(4), uneven, 0.025) == pytest.approx(16 / 10)


@pytest.mark.parametrize(("more", "less", "n"), [(12, 4, 60), (0, 0, 40), (9, 0, 9), (1, 1, 30)])
def test_paired_difference_has_tangos_interval(more: int, less: int, n: int) -> None:
    values = np.repeat([1.0, -1.0, 0.0], [more, less, n - more - less])
    found = estimate_paired_difference(values, everything(n))

    def excess(delta: float) -> float:
        b = -more - less + (2 * n - more + less) * delta
        q = (np.sqrt(b**2 + 8 * n * less * delta * (1 - delta)) - b) / (4 * n)
        variance = n * (2 * q + delta * (1 - delta))
        return float((more - less - n * delta) ** 2 - Z**2 * variance)

    value = (more - less) / n
    assert found.value == pytest.approx(value)
    low = optimize.brentq(excess, -1 + 1e-9, value - 1e-12)
    assert found.low == pytest.approx(low, abs=1e-6)
    if value < 1:
        high = optimize.brentq(excess, value + 1e-12, 1 - 1e-9)
        assert found.high == pytest.approx(high, abs=1e-6)
    else:
        assert found.high == pytest.approx(1)


def test_difference_of_shares_has_newcombes_interval() -> None:
    # 56 / 70 against 48 / 80: Newcombe (1998), table II, example (a), method 10
    hits = np.concatenate([np.arange(70) < 56, np.arange(80) < 48])
    first = np.arange(150) < 70
    found = estimate_share_difference(hits, first, ~first)
    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(0.0524, abs=5e-5)
    assert found.high == pytest.approx(0.3339, abs=5e-5)
    assert found.n == 150


def test_groups_in_both_parts_tie_their_shares() -> None:
    rng = np.random.default_rng(1)
    luck = rng.normal(size=300)
    hits = np.concatenate([luck + rng.normal(size=300) > 0, luck + rng.normal(size=300) > 0])
    first = np.arange(600) < 300
    paired = estimate_share_difference(hits, first, ~first, over(np.tile(np.arange(300), 2)))
    apart = estimate_share_difference(hits, first, ~first)
    assert width(paired) < 0.9 * width(apart)
    by_pair = hits[:300].astype(float) - hits[300:]
    assert width(paired) == pytest.approx(2 * Z * by_pair.std() / np.sqrt(300), rel=0.02)


def test_identical_shares_without_spread_have_no_correlation() -> None:
    first = np.arange(40) < 20
    found = estimate_share_difference(np.ones(40), first, ~first, over(np.tile(np.arange(20), 2)))
    assert found.value == 0
    assert found.low == pytest.approx(-(found.high or 0))
    assert width(found) > 0.1


@every_estimate
def test_rows_of_one_group_have_no_interval(estimate: Any) -> None:
    found = estimate(np.arange(8) % 3 > 0, everything(8), over(["one"] * 8))
    assert found.value is not None
    assert (found.low, found.high, found.n) == (None, None, 8)


@every_estimate
def test_nothing_counted_has_no_value(estimate: Any) -> None:
    found = estimate(np.ones(4), ~everything(4), over(np.arange(4)))
    assert (found.value, found.low, found.high, found.n) == (None, None, None, 0)


@every_estimate
def test_rows_that_do_not_count_change_nothing(estimate: Any) -> None:
    hits, counted = np.arange(60) % 7 > 2, np.arange(60) < 40
    boot = over(np.arange(60) // 2)
    other = np.where(counted, hits, ~hits)
    assert estimate(hits, counted, boot) == estimate(other, counted, boot)


@every_estimate
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), spread=st.sampled_from([1, 2, 5]))
def test_order_of_rows_does_not_matter_and_the_value_lies_inside(
    estimate: Any, seed: int, spread: int
) -> None:
    rng = np.random.default_rng(seed)
    hits, groups = rng.random(30) < rng.random(), np.arange(30) // spread
    order = np.empty(30, dtype=np.int64)  # odd rows, the one part of the difference, stay odd
    order[1::2] = rng.permutation(np.arange(1, 30, 2))
    order[::2] = rng.permutation(np.arange(0, 30, 2))
    straight = estimate(hits, everything(30), over(groups))
    shuffled = estimate(hits[order], everything(30), over(groups[order]))
    assert straight.low == pytest.approx(shuffled.low, abs=1e-9)
    assert straight.high == pytest.approx(shuffled.high, abs=1e-9)
    assert straight.low - 1e-9 <= straight.value <= straight.high + 1e-9


def test_logit_limits_never_leave_the_unit_interval() -> None:
    low, high = logit_limits(0.98, 0.05, Z)
    assert low is not None
    assert high is not None
    assert 0 < low < 0.98 < high < 1
    assert 0.98 - low > high - 0.98
    assert logit_limits(1.0, 0.1, Z) == logit_limits(0.5, 0.0, Z) == (None, None)


def test_rows_of_one_group_count_as_one_trial() -> None:
    alone = over(["one"] * 8)
    assert effective_trials(np.array([0.0, 1.0] * 4), alone, 0.025) == 1


@pytest.mark.parametrize("value", [np.nan, 1.5, -1.5])
@every_estimate
def test_values_outside_their_range_are_refused_where_they_count(
    estimate: Any, value: float
) -> None:
    hits = np.array([1.0, 0.0, value, 1.0])
    with pytest.raises(InvalidArgument, match="must lie in"):
        estimate(hits, everything(4), over(range(4)))
    assert estimate(hits, np.arange(4) != 2, over(range(4))).n == 3


@every_estimate
def test_rows_of_other_lengths_are_refused(estimate: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"^groups"):
        estimate(np.ones(4), everything(4), over(range(5)))


def test_masks_must_fit() -> None:
    with pytest.raises(InvalidArgument, match=r"^hits"):
        estimate_share(np.ones(3), everything(4))
    with pytest.raises(InvalidArgument, match=r"^first and second"):
        estimate_share_difference(np.ones(3), everything(3), np.arange(3) < 1)


def test_quantiles_agree_where_both_vanish() -> None:
    assert student_over_normal(10**9, 0.025) == pytest.approx(1)
    assert student_over_normal(3, 0.025) == pytest.approx(3.182446 / Z)
    assert student_over_normal(3, 0.5) == 1


def test_differences_never_seen_count_once_a_group() -> None:
    once = estimate_paired_difference(np.zeros(10), everything(10), over(range(10)))
    grouped = estimate_paired_difference(np.zeros(30), everything(30), over(np.arange(30) // 3))
    assert width(grouped) == pytest.approx(width(once))
