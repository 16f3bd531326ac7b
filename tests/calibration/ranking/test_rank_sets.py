from __future__ import annotations

import numpy as np
import pytest

from calibration.ranking import RankSets, Spread, Support, rank_sets, ranks


def test_equal_values_share_the_better_rank() -> None:
    values = np.array([0.2, 0.9, 0.9 + 1e-13, np.nan, 0.5])
    assert ranks(values).tolist() == [4, 1, 1, 5, 3]


def by_draws(values: list[float] | np.ndarray, drawn: np.ndarray, n_groups: int) -> RankSets:
    return rank_sets(np.array(values), Spread.of_draws(drawn), support(len(values), n_groups))


def support(n_models: int, n_groups: int) -> Support:
    return Support(np.full(n_models, n_groups), np.zeros(n_models, dtype=np.bool_), 0.95)


def draws(spread: float, values: list[float], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(values) + spread * rng.normal(size=(1000, len(values)))


def test_distant_models_have_one_rank_and_close_ones_share() -> None:
    values = [3.0, 1.05, 1.0, -2.0]
    sets = by_draws(values, draws(0.1, values), 200)
    assert sets.low.tolist() == [1, 2, 2, 4]
    assert sets.high.tolist() == [1, 3, 3, 4]


def test_few_groups_say_less() -> None:
    values = [1.0, 0.5]
    many = by_draws(values, draws(0.1, values), 500)
    few = by_draws(values, draws(0.1, values), 3)
    assert many.high.tolist() == [1, 2]
    assert few.high.tolist() == [2, 2]


def test_one_group_says_nothing() -> None:
    sets = by_draws([5.0, 0.0, 1.0], draws(0.1, [5.0, 0.0, 1.0]), 1)
    assert (sets.low.tolist(), sets.high.tolist()) == ([1, 1, 1], [3, 3, 3])


@pytest.mark.parametrize(("n_groups", "is_separated"), [(5, False), (6, True)])
def test_unanimous_groups_count_as_a_sign_test(n_groups: int, is_separated: bool) -> None:
    values = np.array([1.0, 0.0])
    sets = by_draws(values, np.tile(values, (100, 1)), n_groups)
    assert sets.low.tolist() == ([1, 2] if is_separated else [1, 1])


def test_resamples_with_unknown_values_are_left_out() -> None:
    values = [1.02, 1.0, 0.2]
    drawn = draws(0.1, values)
    drawn[::7, 0] = np.nan
    assert by_draws(values, drawn, 100).low.tolist() == [1, 1, 3]


def test_what_two_models_share_does_not_blur_their_order() -> None:
    values = [1.0, 0.5, 0.7]
    shared = np.random.default_rng(2).normal(size=(1000, 1)) * [1, 1, 0]
    sets = by_draws(values, draws(0.05, values) + shared, 100)
    assert sets.low.tolist() == [1, 2, 1]


def test_covariance_gives_the_sets_of_draws_that_have_it() -> None:
    values, n_groups = np.array([1.0, 0.8, 0.75, 0.0]), 80
    root = np.random.default_rng(5).normal(size=(4, 4)) * 0.02
    drawn = values + np.random.default_rng(6).normal(size=(20_000, 4)) @ root.T
    covariance = root @ root.T * n_groups / (n_groups - 1)
    rng = np.random.default_rng(7)
    found = rank_sets(values, Spread.of_covariance(covariance, rng), support(4, n_groups))
    wanted = by_draws(values, drawn, n_groups)
    assert found.low.tolist() == wanted.low.tolist() == [1, 2, 2, 4]
    assert found.high.tolist() == wanted.high.tolist()


def test_covariance_of_one_group_says_nothing() -> None:
    values = np.array([5.0, 0.0])
    spread = Spread.of_covariance(np.eye(2), np.random.default_rng(0))
    sets = rank_sets(values, spread, support(2, 1))
    assert (sets.low.tolist(), sets.high.tolist()) == ([1, 1], [2, 2])


def test_critical_value_of_a_covariance_is_students() -> None:
    """Two models: the difference needs t of 9 degrees of freedom, two-sided 5 %, 2.262."""
    for difference, is_told in ((2.15, False), (2.38, True)):
        values = np.array([difference, 0.0])
        rng = np.random.default_rng(1)
        sets = rank_sets(values, Spread.of_covariance(np.eye(2) / 2, rng), support(2, 10))
        assert (sets.low.tolist() == [1, 2]) == is_told


def test_wrong_orders_are_as_rare_as_promised() -> None:
    """Six equal models: any separation at all is an error."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):
        sample = rng.normal(size=(30, 6))
        weights = rng.multinomial(30, np.full(30, 1 / 30), size=400) / 30
        sets = by_draws(sample.mean(axis=0), weights @ sample, 30)
        wrong += bool((sets.low > 1).any())
    assert wrong / 400 < 0.08  # .05 and two standard errors


def test_few_groups_of_one_model_blur_its_place_alone() -> None:
    values = np.array([1.0, 0.5, 0.0])
    spread = Spread.of_draws(draws(0.1, values.tolist()))
    few = Support(np.array([3, 300, 300]), np.zeros(3, dtype=np.bool_), 0.95)
    sets = rank_sets(values, spread, few)
    assert (sets.low.tolist(), sets.high.tolist()) == ([1, 1, 2], [3, 2, 3])


def unanimous(groups: list[int], is_unanimous: list[bool]) -> Support:
    return Support(np.array(groups), np.array(is_unanimous), 0.95)


@pytest.mark.parametrize(("n_groups", "is_first"), [(2, False), (12, False), (13, True)])
def test_an_unbeaten_model_is_placed_by_an_exact_bound(n_groups: int, is_first: bool) -> None:
    """.0125 ** (1 / 12) is .694 and .0125 ** (1 / 13) is .714; the other may reach .7001."""
    values = np.array([1.0, 0.7])
    drawn = np.column_stack([np.ones(1000), 0.7 + 1e-5 * np.sin(np.arange(1000))])
    support = unanimous([n_groups, 300], [True, False])
    sets = rank_sets(values, Spread.of_draws(drawn), support, is_share=True)
    assert sets.low.tolist() == ([1, 2] if is_first else [1, 1])


@pytest.mark.parametrize(("n_groups", "is_first"), [(6, False), (7, True)])
def test_unanimous_groups_in_another_scale_count_as_a_sign_test_too(
    n_groups: int, is_first: bool
) -> None:
    support = unanimous([n_groups, 300], [True, False])
    sets = rank_sets(np.array([9.0, 0.0]), Spread.of_draws(draws(0.1, [9.0, 0.0])), support)
    assert sets.low.tolist() == ([1, 2] if is_first else [1, 1])


@pytest.mark.parametrize(("n_groups", "is_first"), [(5, False), (6, True)])
def test_two_unanimous_shares_need_six_groups(n_groups: int, is_first: bool) -> None:
    values = np.array([1.0, 0.0])
    spread = Spread.of_draws(np.tile(values, (100, 1)))
    sets = rank_sets(values, spread, unanimous([n_groups] * 2, [True] * 2), is_share=True)
    assert sets.low.tolist() == ([1, 2] if is_first else [1, 1])


def test_without_resamples_nothing_is_told() -> None:
    assert by_draws([1.0, 0.0], np.full((5, 2), np.nan), 50).high.tolist() == [2, 2]
