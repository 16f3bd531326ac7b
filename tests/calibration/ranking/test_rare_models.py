"""Models met in few groups, unbeaten models, judges that always say the same: nothing is too sure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from calibration.intervals import ClusterBootstrap
from calibration.ranking import (
    Comparisons,
    Leaderboard,
    Method,
    ModelRating,
    NoFiniteStrengths,
    RankingOptions,
    rank_models,
)
from tests.calibration.simulation import allowed_share

SHARES: list[Method] = ["win_rate", "average_win_rate"]
OTHERS: list[Method] = ["bradley_terry", "elo", "counting"]
TRUTH: dict[Method, float] = {"bradley_terry": 0.0, "win_rate": 0.5, "elo": 1000.0}
COMMON, PROMPTS = 4, 100


class Played(NamedTuple):
    comparisons: Comparisons
    group: np.ndarray


def equal_models(n_rare: int, rng: np.random.Generator, *, rare_wins: bool = False) -> Played:
    """Four models met in every prompt and one in `n_rare` of them, all equally good."""
    left = rng.integers(0, COMMON, 4 * PROMPTS)
    right = (left + rng.integers(1, COMMON, 4 * PROMPTS)) % COMMON
    left = np.append(left, np.full(n_rare, COMMON))
    right = np.append(right, rng.integers(0, COMMON, n_rare))
    group = np.append(np.repeat(np.arange(PROMPTS), 4), rng.permutation(PROMPTS)[:n_rare])
    score = (rng.random(len(left)) < 0.5).astype(np.float64)
    if rare_wins:
        score[left == COMMON] = 1.0
    return Played(
        Comparisons(("a", "b", "c", "d", "rare"), left, right, score, np.ones(len(left))), group
    )


def ranked(played: Played, method: Method, seed: int = 0) -> Leaderboard:
    bootstrap = ClusterBootstrap.over(played.group, np.random.default_rng(seed))
    return rank_models(played.comparisons, RankingOptions(method=method), bootstrap)


def row(board: Leaderboard, model: str) -> ModelRating:
    return next(each for each in board.rows if each.model == model)


@pytest.mark.parametrize("method", [*SHARES, "elo", "counting"])
@pytest.mark.parametrize("wins", [1, 2, 3, 5])
def test_a_few_wins_do_not_make_a_model_surely_the_best(method: Method, wins: int) -> None:
    board = ranked(equal_models(wins, np.random.default_rng(1), rare_wins=True), method)
    found = row(board, "rare")
    assert found.win_rate.value == 1
    assert found.win_rate.low is not None
    assert found.win_rate.low < 0.6
    assert (found.rank_low, found.rank_high) == (1, 5)


def test_many_wins_do() -> None:
    board = ranked(equal_models(40, np.random.default_rng(1), rare_wins=True), "win_rate")
    assert (row(board, "rare").rank_low, row(board, "rare").rank_high) == (1, 1)


def both_orders_by_a_judge_that_takes_the_first(n_prompts: int) -> Played:
    meetings = [("a", "b"), ("b", "c"), ("a", "c")] * n_prompts
    left, right = [m[0] for m in meetings], [m[1] for m in meetings]
    score = np.repeat([1.0, 0.0], len(meetings))
    group = np.tile(np.repeat(np.arange(n_prompts), 3), 2)
    return Played(Comparisons.between(left * 2, right * 2, score), group)


@pytest.mark.parametrize("method", [*SHARES, *OTHERS])
@pytest.mark.parametrize("n_prompts", [20, 80])
def test_equal_results_in_all_groups_give_no_interval_of_no_width(
    method: Method, n_prompts: int
) -> None:
    board = ranked(both_orders_by_a_judge_that_takes_the_first(n_prompts), method)
    for each in board.rows:
        assert each.win_rate.value == 0.5
        assert each.win_rate.low is not None
        assert each.win_rate.high is not None
        assert each.win_rate.high - each.win_rate.low > 0.2
        if method in SHARES:
            assert each.rating == each.win_rate
        else:
            assert each.rating.low is None


def test_one_group_of_equal_shares_has_no_interval() -> None:
    board = ranked(both_orders_by_a_judge_that_takes_the_first(1), "win_rate")
    assert all(each.win_rate.low is None for each in board.rows)


@pytest.mark.parametrize(("n_groups", "is_told"), [(5, False), (6, True)])
def test_elo_of_unanimous_groups_is_told_apart_by_their_number(
    n_groups: int, is_told: bool
) -> None:
    n = 4 * n_groups
    played = Comparisons.between(["p"] * n, ["q"] * n, np.ones(n))
    board = ranked(Played(played, np.arange(n) // 4), "elo")
    assert [each.rank_low for each in board.rows] == ([1, 2] if is_told else [1, 1])
    assert all(each.rating.low is None for each in board.rows)


def test_the_rate_of_the_baseline_against_itself_is_no_estimate() -> None:
    played = equal_models(20, np.random.default_rng(3))
    bootstrap = ClusterBootstrap.over(played.group, np.random.default_rng(0), n_resamples=200)
    options = RankingOptions(method="win_rate", baseline="a")
    found = row(rank_models(played.comparisons, options, bootstrap), "a").win_rate
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


class Figures(NamedTuple):
    """Share of intervals of the rare model that hold the truth; of boards with a wrong order."""

    covered: float
    wrong: float
    n: int


def figures(method: Method, n_rare: int, draws: int) -> Figures:
    given = covered = wrong = n = 0
    for draw in range(draws):
        played = equal_models(n_rare, np.random.default_rng([n_rare, draw]))
        try:
            board = ranked(played, method, draw)
        except NoFiniteStrengths:
            continue  # the rare model won or lost all
        rating = row(board, "rare").rating
        n += 1
        wrong += any(each.rank_low > 1 or each.rank_high < COMMON + 1 for each in board.rows)
        if rating.low is not None and rating.high is not None:
            given += 1
            covered += rating.low <= TRUTH[method] <= rating.high
    return Figures(covered / given, wrong / n, n)


@pytest.mark.parametrize("method", TRUTH)
def test_rare_models_are_not_placed_too_surely(method: Method) -> None:
    found = figures(method, 6, 60)
    assert 1 - found.covered <= allowed_share(0.05, found.n)
    assert found.wrong <= allowed_share(0.05, found.n)


@pytest.mark.slow
@pytest.mark.parametrize("n_rare", [6, 8, 15, 30])  # from 4 Wilson's own covers .875 at one half
@pytest.mark.parametrize("method", TRUTH)
def test_rare_models_are_not_placed_too_surely_over_many_draws(method: Method, n_rare: int) -> None:
    found = figures(method, n_rare, 500)
    print(f"{method}, a model met in {n_rare} of {PROMPTS} prompts: {found}")  # noqa: T201
    assert 1 - found.covered <= allowed_share(0.05, found.n)
    assert found.wrong <= allowed_share(0.05, found.n)
