from __future__ import annotations

from typing import Literal

import evalica
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics
from statsmodels.stats import inter_rater

from calibration.agreement import (
    accuracy_over_orders,
    agreement_rate,
    cohens_kappa,
    confusion,
    fleiss_kappa,
    gwets_ac1,
    krippendorffs_alpha,
    leave_one_out_agreement,
    macro_scores,
    percent_agreement,
)
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals import Groups
from calibration.labels import MISSING, TIE, A, B, mirrored, rating_counts, vote_counts

two_raters = st.integers(2, 60).flatmap(
    lambda n: st.tuples(*[hnp.arrays(np.int64, n, elements=st.integers(0, 2)) for _ in range(2)])
)
votes = hnp.arrays(np.int64, st.tuples(st.integers(2, 30), st.just(3)), elements=st.integers(0, 4))


def same(first: Estimate, second: Estimate) -> None:
    for one, other in ((first.value, second.value), (first.low, second.low)):
        assert (one is None) == (other is None)
        if one is not None:
            assert one == pytest.approx(other, abs=1e-9)
    assert first.n == second.n


def by_row(n: int) -> Groups:
    return Groups.of(np.arange(n))


@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
@settings(deadline=None)
@given(two_raters)
def test_cohens_kappa_is_that_of_scikit_learn(
    weights: Literal["linear", "quadratic"] | None, raters: tuple[np.ndarray, np.ndarray]
) -> None:
    found = cohens_kappa(*raters, weights=weights)
    if len(np.unique(np.concatenate(raters))) == 1:
        assert found.value is None
        return
    wanted = metrics.cohen_kappa_score(*raters, weights=weights, labels=[0, 1, 2])
    assert found.value == pytest.approx(wanted, abs=1e-12)


@settings(deadline=None)
@given(hnp.arrays(np.int64, st.tuples(st.integers(2, 30), st.just(4)), elements=st.integers(0, 2)))
def test_fleiss_kappa_is_that_of_statsmodels(ratings: np.ndarray) -> None:
    counts = vote_counts(np.repeat(np.arange(len(ratings)), 4), ratings.reshape(-1), len(ratings))
    found = fleiss_kappa(counts)
    if (counts.sum(axis=0) > 0).sum() == 1:
        assert found.value is None
        return
    assert found.value == pytest.approx(inter_rater.fleiss_kappa(counts), abs=1e-12)
    assert found.n == len(ratings)


@pytest.mark.parametrize("metric", ["nominal", "ordinal", "interval", "ratio"])
@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_krippendorffs_alpha_is_that_of_evalica(
    metric: Literal["nominal", "ordinal", "interval", "ratio"], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(1, 5, size=(12, 4)).astype(float)
    table[rng.random(table.shape) < 0.3] = np.nan
    counts, values = rating_counts(table)
    found = krippendorffs_alpha(counts, metric=metric, values=values)
    wanted = evalica.alpha(pd.DataFrame(table.T), distance=metric).alpha
    assert found.value == pytest.approx(wanted, abs=1e-9)


def test_gwets_ac1_of_a_worked_example() -> None:
    # High agreement on a rare category: kappa falls below 0, AC1 does not.
    first = np.repeat([0, 0, 1, 1], [90, 5, 5, 0])
    second = np.repeat([0, 1, 0, 1], [90, 5, 5, 0])
    counts = vote_counts(np.tile(np.arange(100), 2), np.concatenate([first, second]), 100, 2)
    share = 0.95
    chance = 2 * share * (1 - share)
    assert gwets_ac1(counts).value == pytest.approx((0.9 - chance) / (1 - chance))
    kappa = cohens_kappa(first, second, n_categories=2).value
    assert kappa == pytest.approx(-0.0526, abs=1e-4)


def test_gwets_ac1_takes_shares_from_single_votes_too() -> None:
    counts = np.array([[2, 0], [1, 1], [0, 1]])
    share = np.array([1.5, 1.5]) / 3
    chance = (share * (1 - share)).sum()
    assert gwets_ac1(counts).value == pytest.approx((0.5 - chance) / (1 - chance))
    assert gwets_ac1(counts).n == 2


def test_gwets_ac1_needs_two_categories() -> None:
    with pytest.raises(InvalidArgument):
        gwets_ac1(np.array([[3], [2]]))


def test_percent_agreement_weighs_pairs_of_votes_equally() -> None:
    found = percent_agreement(np.array([[3, 0, 1], [1, 1, 0], [1, 0, 0]]))
    assert found.value == pytest.approx(3 / 7)
    assert found.n == 7


def test_leave_one_out_needs_a_strict_majority_of_the_others() -> None:
    # First unit: each a-vote sees a and b (no majority), the b-vote sees a, a.
    assert leave_one_out_agreement(np.array([[2, 1, 0]])).value == 0.0
    assert leave_one_out_agreement(np.array([[2, 1, 0]])).n == 1
    assert leave_one_out_agreement(np.array([[3, 0, 0]])).n == 3
    assert leave_one_out_agreement(np.array([[1, 0, 3]])).n == 0
    assert leave_one_out_agreement(np.array([[1, 0, 3]]), tie=None).n == 4


def test_agreement_rate_among_decided_labels_leaves_out_the_rest() -> None:
    human = [A, B, TIE, A, MISSING, B]
    judge = [A, A, A, TIE, A, MISSING]
    assert agreement_rate(human, judge).value == 0.25
    assert agreement_rate(human, judge, among=(A, B)).value == 0.5
    assert agreement_rate(human, judge, among=(A, B)).n == 2


def test_accuracy_over_orders_counts_an_unparsed_verdict_as_wrong() -> None:
    found = accuracy_over_orders([A, B, MISSING], [A, MISSING, A], [B, B, A])
    assert (found.value, found.n) == (0.5, 4)


def test_confusion_has_people_in_rows() -> None:
    table = confusion([A, A, B, TIE, MISSING], [B, B, B, A, A])
    assert table.tolist() == [[0, 2, 0], [0, 1, 0], [1, 0, 0]]


@settings(deadline=None)
@given(two_raters)
def test_macro_scores_are_those_of_scikit_learn(raters: tuple[np.ndarray, np.ndarray]) -> None:
    wanted = metrics.precision_recall_fscore_support(*raters, average="macro", zero_division=0)
    assert macro_scores(confusion(*raters)) == pytest.approx(wanted[:3], abs=1e-12)


def test_macro_scores_of_nothing_are_zero() -> None:
    assert macro_scores(np.zeros((3, 3))) == (0.0, 0.0, 0.0)


@settings(deadline=None)
@given(two_raters)
def test_exchanging_raters_or_sides_changes_nothing(raters: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = raters
    boot = by_row(len(first))
    for statistic in (cohens_kappa, agreement_rate):
        straight = statistic(first, second, boot)
        same(straight, statistic(second, first, boot))
        same(straight, statistic(mirrored(first), mirrored(second), boot))


@settings(deadline=None)
@given(votes, st.permutations(range(3)), st.integers(0, 99))
def test_relabelling_and_reordering_change_nothing(
    counts: np.ndarray, categories: list[int], seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(counts))
    boot = by_row(len(counts))
    for statistic in (percent_agreement, fleiss_kappa, gwets_ac1, krippendorffs_alpha):
        straight = statistic(counts, boot)
        same(straight, statistic(counts[:, categories], boot))
        same(straight, statistic(counts[order], boot.take(order)))


@settings(deadline=None)
@given(votes)
def test_unanimous_votes_agree_perfectly(counts: np.ndarray) -> None:
    units = counts * np.eye(3, dtype=np.int64)[np.arange(len(counts)) % 3]
    for statistic in (percent_agreement, fleiss_kappa, gwets_ac1, krippendorffs_alpha):
        value = statistic(units).value
        assert value is None or value == pytest.approx(1)


def test_chance_corrected_statistics_are_undefined_for_one_category() -> None:
    counts = np.array([[3, 0, 0], [2, 0, 0]])
    assert fleiss_kappa(counts).value is None
    assert krippendorffs_alpha(counts).value is None
    assert cohens_kappa([A, A], [A, A]).value is None


def test_no_votes_at_all_are_no_error() -> None:
    empty = np.zeros((0, 3), dtype=np.int64)
    boot = Groups.of([])
    for statistic in (percent_agreement, fleiss_kappa, gwets_ac1, krippendorffs_alpha):
        assert statistic(empty, boot).value is None
    assert cohens_kappa([], [], boot).value is None
    assert leave_one_out_agreement(empty, boot).value is None


@pytest.mark.parametrize("ratings", [[[np.nan, np.nan]] * 2, np.zeros((2, 0)), np.zeros((0, 2))])
@pytest.mark.parametrize("metric", ["nominal", "ordinal", "interval", "ratio"])
def test_no_ratings_have_no_value_and_are_none(
    ratings: list[list[float]], metric: Literal["nominal", "ordinal", "interval", "ratio"]
) -> None:
    found = rating_counts(ratings)
    alpha = krippendorffs_alpha(found.counts, metric=metric, values=found.values)
    for one in (alpha, gwets_ac1(found.counts), percent_agreement(found.counts)):
        assert (one.value, one.n) == (None, 0)


def test_interval_by_group_is_wider_where_groups_are_alike() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 400)
    is_easy = np.repeat(rng.random(40) < 0.5, 10)
    judge = np.where(is_easy | (rng.random(400) < 0.5), truth, 1 - truth)
    by_pair = cohens_kappa(truth, judge, Groups.of(np.arange(400)))
    by_group = cohens_kappa(truth, judge, Groups.of(np.arange(400) // 10))
    assert by_pair.high is not None
    assert by_pair.low is not None
    assert by_group.high is not None
    assert by_group.low is not None
    assert by_group.high - by_group.low > 1.5 * (by_pair.high - by_pair.low)
