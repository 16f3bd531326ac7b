from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy import sparse

from calibration.binomial import wilson_interval
from calibration.errors import InvalidArgument, UnavailableMethod
from calibration.estimate import Estimate
from calibration.intervals import (
    ClusterBootstrap,
    Groups,
    ShareMethod,
    bootstrap,
    bootstrap_statistic,
    estimate_from_draws,
    estimate_share,
    expanded_tail,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ratio(numerator: ArrayLike, denominator: ArrayLike, boot: ClusterBootstrap | None) -> Estimate:
    parts = np.column_stack([numerator, denominator]).astype(np.float64)
    n = round(float(parts[:, 1].sum()))
    return bootstrap_statistic(parts, lambda sums: sums[:, 0] / sums[:, 1], n, boot)


def share(hits: ArrayLike, counted: ArrayLike, boot: ClusterBootstrap) -> Estimate:
    return estimate_share(hits, counted, boot, method="percentile")


def all_multiplicities(boot: ClusterBootstrap) -> np.ndarray:
    return np.concatenate(list(boot.multiplicities(1)))


def test_every_resample_draws_as_many_groups_as_there_are() -> None:
    boot = ClusterBootstrap.over(["q1", "q1", "q2", "q3"], rng(), n_resamples=200)
    drawn = all_multiplicities(boot)
    assert drawn.shape == (200, 3)
    assert (drawn.sum(axis=1) == 3).all()
    assert len(np.unique(drawn, axis=0)) == 10  # all multisets of three groups out of three


def test_totals_are_the_sums_over_the_drawn_rows() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2])
    boot = ClusterBootstrap.over(groups, rng(1), n_resamples=50)
    parts = rng(2).normal(size=(6, 4))
    totals = np.concatenate(list(boot.totals(parts)))
    expected = [(drawn[groups][:, None] * parts).sum(axis=0) for drawn in all_multiplicities(boot)]
    assert totals == pytest.approx(np.array(expected))
    of_sparse = np.concatenate(list(boot.totals(sparse.csr_array(parts))))
    assert of_sparse == pytest.approx(totals)


def test_draws_are_the_same_whether_kept_or_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ClusterBootstrap.over(np.arange(40), rng(3), n_resamples=64)
    monkeypatch.setattr(bootstrap, "_KEPT_CELLS", 0)
    again = ClusterBootstrap.over(np.arange(40), rng(3), n_resamples=64)
    assert kept.kept is not None
    assert again.kept is None
    assert (all_multiplicities(kept) == all_multiplicities(again)).all()


def test_small_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    boot = ClusterBootstrap.over(np.arange(40) % 9, rng(3), n_resamples=64)
    parts = rng(4).normal(size=(40, 3))
    whole = np.concatenate(list(boot.totals(parts)))
    monkeypatch.setattr(bootstrap, "_BLOCK_CELLS", 30)
    blocks = list(boot.totals(parts))
    assert len(blocks) > 10
    assert np.concatenate(blocks) == pytest.approx(whole)


def test_subset_shares_the_draws_of_the_whole() -> None:
    boot = ClusterBootstrap.over(["x", "y", "x", "z"], rng(), n_resamples=30)
    part = boot.take(np.array([True, False, True, True]))
    assert part.n_groups_present == 2
    assert (all_multiplicities(part) == all_multiplicities(boot)).all()


def test_bootstrap_error_of_a_mean_is_the_clustered_one() -> None:
    groups = np.repeat(np.arange(200), 5)
    effect = np.repeat(rng(5).normal(size=200), 5)
    found = ratio(effect, np.ones(1000), ClusterBootstrap.over(groups, rng(6)))
    assert found.low is not None
    assert found.high is not None
    by_group = 2 * 1.96 * effect[::5].std() / np.sqrt(200)
    assert found.high - found.low == pytest.approx(by_group, rel=0.1)


def test_intervals_cover_with_few_groups() -> None:
    covered = 0
    for seed in range(300):
        draw = rng(seed)
        values = np.repeat(draw.normal(size=8), 3)
        boot = ClusterBootstrap.over(np.repeat(np.arange(8), 3), draw, n_resamples=400)
        found = ratio(values, np.ones(24), boot)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0 <= found.high
    # Plain percentiles of eight groups cover about .88.
    assert covered / 300 > 0.92


def test_expanded_tail_approaches_the_plain_one() -> None:
    assert expanded_tail(100_000, 0.05) == pytest.approx(0.025, abs=1e-5)
    assert expanded_tail(8, 0.05) == pytest.approx(0.00574, abs=1e-4)


@pytest.mark.parametrize("groups", [["only"] * 5, []])
def test_fewer_than_two_groups_give_no_interval(groups: list[str]) -> None:
    boot = ClusterBootstrap.over(groups, rng())
    found = ratio(np.arange(len(groups)), np.ones(len(groups)), boot)
    assert (found.low, found.high) == (None, None)
    assert found.value == (2.0 if groups else None)


def test_groups_without_a_counted_row_do_not_count() -> None:
    groups = np.arange(120) // 2
    counted = groups < 8
    boot = ClusterBootstrap.over(groups, rng())
    values = np.sin(np.arange(120)) * counted
    found = ratio(values, counted, boot)
    assert found == ratio(values[counted], np.ones(16), boot.take(counted))


def test_too_many_undefined_resamples_give_no_interval() -> None:
    boot = ClusterBootstrap.over(np.arange(10), rng(), n_resamples=100)
    draws = np.linspace(0, 1, 100)
    draws[:20] = np.nan
    assert boot.interval(draws, 0.5).low is not None
    draws[20] = np.nan
    assert boot.interval(draws, 0.5) == (None, None)


def test_share_of_independent_rows_has_the_wilson_interval() -> None:
    hits = np.arange(20) < 13
    with_groups = share(hits, np.ones(20, bool), ClusterBootstrap.over(range(20), rng()))
    alone = estimate_share(hits)
    assert alone == with_groups
    low, high = (float(end) for end in wilson_interval(13, 20, 0.95))
    assert alone == Estimate(0.65, low, high, 0.95, 20)


def test_unanimous_share_counts_one_trial_a_group() -> None:
    boot = ClusterBootstrap.over(np.repeat(np.arange(6), 5), rng())
    found = share(np.ones(30, bool), np.ones(30, bool), boot)
    least = float(wilson_interval(6, 6, 0.95).low)
    assert found.low == pytest.approx(least)
    assert found.high == 1.0
    none = share(np.zeros(30, bool), np.ones(30, bool), boot)
    assert none.low == 0.0
    assert none.high == pytest.approx(1 - least)
    assert found.n == none.n == 30


def test_share_of_nothing_is_undefined() -> None:
    found = estimate_share([True], [False])
    assert (found.value, found.low, found.high, found.n) == (None, None, None, 0)


def test_method_of_a_share_must_have_a_name_and_what_it_needs() -> None:
    with pytest.raises(UnavailableMethod, match=r"method must be one of .*, not exact"):
        estimate_share([True], method="exact")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="ClusterBootstrap"):
        estimate_share([True], method="percentile")


@pytest.mark.parametrize("method", ["effective_trials", "jackknife"])
def test_resamples_of_more_groups_serve_for_the_groups_of_a_part(method: ShareMethod) -> None:
    groups, hits = np.arange(60) // 3, np.arange(60) % 4 > 0
    counted = groups % 3 > 0
    boot = ClusterBootstrap.over(groups, rng())
    found = estimate_share(hits, counted, boot, method=method)
    assert found == estimate_share(hits[counted], None, groups[counted], method=method)


def test_undefined_value_has_no_interval() -> None:
    boot = ClusterBootstrap.over(np.arange(9), rng(), n_resamples=10)
    assert estimate_from_draws(np.nan, np.zeros(10), 9, boot).low is None


@pytest.mark.parametrize(("level", "n"), [(0.0, 10), (1.0, 10), (0.95, 0)])
def test_impossible_settings_are_refused(level: float, n: int) -> None:
    with pytest.raises(InvalidArgument):
        ClusterBootstrap.over(Groups.of([1, 2], level), rng(), n_resamples=n)


@settings(deadline=None)
@given(st.permutations(range(30)), st.integers(0, 5))
def test_order_of_rows_does_not_matter(order: list[int], seed: int) -> None:
    groups, values = np.arange(30) % 7, np.sin(np.arange(30))
    straight = ratio(values, np.ones(30), ClusterBootstrap.over(groups, rng(seed), n_resamples=50))
    shuffled = ratio(
        values[order], np.ones(30), ClusterBootstrap.over(groups[order], rng(seed), n_resamples=50)
    )
    assert straight.low is not None
    assert straight.low == pytest.approx(shuffled.low, abs=1e-12)
    assert straight.high == pytest.approx(shuffled.high, abs=1e-12)


def test_groups_of_equal_shares_count_as_one_trial_each() -> None:
    hits, groups = np.arange(60) % 2 == 0, np.arange(60) // 2
    boot = ClusterBootstrap.over(groups, rng())
    found = share(hits, np.ones(60, bool), boot)
    wanted = wilson_interval(15, 30, 0.95)
    assert (found.value, found.n) == (0.5, 60)
    assert (found.low, found.high) == pytest.approx((float(wanted.low), float(wanted.high)))
    assert ratio(hits, np.ones(60), boot).low is None
    one_group = ClusterBootstrap.over(np.zeros(60), rng())
    assert share(hits, np.ones(60, bool), one_group).low is None


def test_groups_of_other_rows_are_refused() -> None:
    boot = ClusterBootstrap.over(np.arange(6), rng())
    for estimate in (share, ratio):
        with pytest.raises(InvalidArgument, match="over the 5 rows, not over 6"):
            estimate(np.ones(5, bool), np.ones(5, bool), boot)


def test_ratio_without_groups_is_a_value_alone() -> None:
    found = ratio([1.0, 2.0], [2.0, 4.0], None)
    assert found == Estimate(0.5, None, None, 0.95, 6)
