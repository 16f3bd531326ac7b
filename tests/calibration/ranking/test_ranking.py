from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InvalidArgument
from calibration.intervals import ClusterBootstrap
from calibration.ranking import (
    Comparisons,
    DisconnectedComparisons,
    Intervals,
    Leaderboard,
    Method,
    ModelRating,
    RankingOptions,
    TieRule,
    rank_models,
)
from tests.calibration.ranking.test_bradley_terry import random_comparisons

METHODS: list[Method] = ["bradley_terry", "win_rate", "average_win_rate", "counting", "elo"]
ORDER_FREE = [method for method in METHODS if method != "elo"]


def by_model(board: Leaderboard) -> dict[str, ModelRating]:
    return {row.model: row for row in board.rows}


def bootstrap(groups: np.ndarray | list[int], seed: int = 0, n: int = 100) -> ClusterBootstrap:
    return ClusterBootstrap.over(groups, np.random.default_rng(seed), n_resamples=n)


def test_records_and_win_rates_of_a_small_board() -> None:
    played = Comparisons.between(
        ["p", "p", "q", "r", "p"], ["q", "r", "r", "p", "q"], [1, 0.5, 0, 1, 0.7]
    )
    rows = by_model(rank_models(played, RankingOptions(method="win_rate")))
    p, q, r = rows["p"], rows["q"], rows["r"]
    assert (p.n, p.wins, p.losses, p.ties) == (4, 2, 1, 1)
    assert (q.n, q.wins, q.losses, q.ties) == (3, 0, 3, 0)
    assert r.win_rate.value == pytest.approx(2.5 / 3)
    assert p.rating.value == pytest.approx(2.2 / 4)
    assert [row.rank for row in (r, p, q)] == [1, 2, 3]
    assert p.strength is None


def test_rate_against_a_baseline_counts_its_comparisons_alone() -> None:
    played = Comparisons.between(
        ["p", "base", "q", "p", "r"], ["base", "q", "base", "q", "q"], [1, 0, 0.5, 0, 1]
    )
    board = rank_models(played, RankingOptions(method="win_rate", baseline="base"))
    rows = by_model(board)
    assert rows["base"].rating.value == 0.5
    assert rows["p"].rating.value == 1.0
    assert rows["q"].rating.value == 0.75
    assert (rows["q"].n, rows["q"].wins, rows["q"].ties) == (2, 1, 1)
    assert rows["r"].rating.value is None
    assert board.rows[-1].model == "r"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_intervals_around_its_ratings(method: Method) -> None:
    played = random_comparisons(1, 600)
    board = rank_models(played, RankingOptions(method=method), bootstrap(np.arange(600) // 10))
    assert [row.rank for row in board.rows] == sorted(row.rank for row in board.rows)
    assert board.n_resamples == 100
    assert board.n_resamples_undefined == 0
    for row in board.rows:
        for estimate in (row.rating, row.win_rate):
            assert estimate.value is not None
            assert estimate.low is not None
            assert estimate.high is not None
            assert estimate.low < estimate.value < estimate.high
            assert estimate.n == row.n == row.wins + row.losses + row.ties
        assert 1 <= row.rank_low <= row.rank <= row.rank_high <= 6


def test_strengths_sum_to_one_and_ratings_have_mean_zero() -> None:
    rows = rank_models(random_comparisons(2)).rows
    assert sum(row.strength or 0 for row in rows) == pytest.approx(1)
    assert sum(row.rating.value or 0 for row in rows) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        *(RankingOptions(method=method) for method in ORDER_FREE),
        RankingOptions(intervals="sandwich"),
    ],
)
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 200))
def test_sides_and_order_of_comparisons_do_not_matter(options: RankingOptions, seed: int) -> None:
    played = random_comparisons(seed, 200, 4)
    rng = np.random.default_rng(seed)
    order, turned = rng.permutation(200), rng.random(200) < 0.5
    left, right = np.where(turned, (played.right, played.left), (played.left, played.right))
    score = np.where(turned, 1 - played.score, played.score)
    other = Comparisons(played.models, left[order], right[order], score[order], played.weight)
    groups = np.arange(200) // 5
    first = rank_models(played, options, bootstrap(groups, n=20)).rows
    second = rank_models(other, options, bootstrap(groups[order], n=20)).rows
    for one, two in zip(first, second, strict=True):
        assert one.model == two.model
        assert one.rating.value == pytest.approx(two.rating.value, abs=1e-8)
        assert one.rating.low == pytest.approx(two.rating.low, abs=1e-8)
        assert (one.rank, one.rank_low, one.rank_high) == (two.rank, two.rank_low, two.rank_high)


@pytest.mark.parametrize("method", METHODS)
def test_new_names_rename_the_rows(method: Method) -> None:
    played = random_comparisons(8)
    renamed = Comparisons(
        ("u", "z", "y", "x", "w", "v"), played.left, played.right, played.score, played.weight
    )
    options = RankingOptions(method=method)
    new_name = dict(zip(played.models, renamed.models, strict=True))
    first, second = rank_models(played, options).rows, rank_models(renamed, options).rows
    assert [new_name[row.model] for row in first] == [row.model for row in second]
    assert [row.rating for row in first] == [row.rating for row in second]


def test_weight_two_is_the_same_as_playing_twice() -> None:
    played = random_comparisons(9)
    weighted = Comparisons(
        played.models, played.left, played.right, played.score, np.where(played.left == 0, 2.0, 1.0)
    )
    rows = np.concatenate([np.arange(300), np.nonzero(played.left == 0)[0]])
    once, twice = by_model(rank_models(weighted)), by_model(rank_models(played.take(rows)))
    for model in once:
        assert once[model].strength == pytest.approx(twice[model].strength, abs=1e-9)


def test_ties_may_be_left_out() -> None:
    played = random_comparisons(10)
    board = rank_models(played, RankingOptions(ties="exclude"), bootstrap(np.arange(300) // 3))
    wanted = rank_models(played.take(~played.is_tie))
    assert board.n_comparisons == int((~played.is_tie).sum())
    assert [row.strength for row in board.rows] == [row.strength for row in wanted.rows]
    assert all(row.ties == 0 and row.rating.low is not None for row in board.rows)


def test_davidson_reports_its_tie_parameter() -> None:
    played = random_comparisons(11)
    board = rank_models(played, RankingOptions(ties="davidson"), bootstrap(np.arange(300), n=30))
    assert board.log_tie == pytest.approx(0, abs=0.5)  # a third of the results are ties
    assert rank_models(played).log_tie is None
    assert all(row.rating.low is not None for row in board.rows)


def test_fragile_link_leaves_no_interval_but_a_count() -> None:
    """One model's only win is in one group, which 37 % of the resamples miss."""
    played = random_comparisons(12, 100, 3)
    models = (*played.models, "weak")
    left = np.append(played.left, [3, 0, 1])
    right = np.append(played.right, [0, 3, 3])
    whole = Comparisons(models, left, right, np.append(played.score, [1, 1, 1]), np.ones(103))
    groups = np.append(np.arange(100) // 10, [50, 51, 52])
    board = rank_models(whole, None, bootstrap(groups, n=500))
    assert 0.3 < board.n_resamples_undefined / 500 < 0.75
    for row in board.rows:
        assert row.rating.low is None
        assert row.win_rate.low is not None
        assert (row.rank_low, row.rank_high) == (1, 4)


@pytest.mark.parametrize(
    ("per_group", "options", "source"),
    [
        (6, RankingOptions(), "sandwich"),
        (7, RankingOptions(), "bootstrap"),
        (6, RankingOptions(intervals="bootstrap"), "bootstrap"),
        (30, RankingOptions(intervals="sandwich"), "sandwich"),
        (6, RankingOptions(method="elo"), "bootstrap"),
    ],
)
def test_intervals_come_from_the_sandwich_from_fifty_groups_on(
    per_group: int, options: RankingOptions, source: str
) -> None:
    board = rank_models(random_comparisons(1), options, bootstrap(np.arange(300) // per_group))
    assert board.intervals == source
    assert all(row.rating.high is not None for row in board.rows)


def test_a_model_that_rests_on_one_prompt_is_left_to_the_bootstrap() -> None:
    played = random_comparisons(12, 600, 3)
    models = (*played.models, "weak")
    left, right = np.append(played.left, [3, 0, 1]), np.append(played.right, [0, 3, 3])
    score = np.append(played.score, [1, 1, 1])
    whole = Comparisons(models, left, right, score, np.ones(603))
    board = rank_models(whole, None, bootstrap(np.append(np.arange(600) // 8, [80, 81, 82])))
    assert board.intervals == "bootstrap"
    assert board.n_resamples_undefined > 0


def test_sandwich_and_bootstrap_agree_on_many_prompts() -> None:
    played, groups = random_comparisons(3, 1_200), np.arange(1_200) // 4
    boards = [
        by_model(rank_models(played, RankingOptions(intervals=source), bootstrap(groups, n=2_000)))
        for source in ("sandwich", "bootstrap")
    ]
    for model, row in boards[0].items():
        for one, two in (
            (row.rating.low, boards[1][model].rating.low),
            (row.rating.high, boards[1][model].rating.high),
        ):
            assert one == pytest.approx(two, abs=0.03)
        assert row.win_rate == boards[1][model].win_rate


@pytest.mark.parametrize("intervals", ["sandwich", "bootstrap"])
def test_noise_alone_is_not_rankable_and_a_clear_order_is(intervals: Intervals) -> None:
    options = RankingOptions(intervals=intervals)
    noise = rank_models(random_comparisons(16), options, bootstrap(np.arange(300) // 5))
    assert noise.is_rankable is False
    assert {(row.rank_low, row.rank_high) for row in noise.rows} == {(1, 6)}
    played = random_comparisons(16, 300, 3)
    clear = Comparisons(
        played.models, played.left, played.right,
        np.where(np.arange(300) % 10 == 0, 0.5, played.left < played.right), played.weight,
    )  # fmt: skip
    board = rank_models(clear, options, bootstrap(np.arange(300) // 5))
    assert board.is_rankable is True
    assert [(row.rank_low, row.rank_high) for row in board.rows] == [(1, 1), (2, 2), (3, 3)]


def test_without_a_bootstrap_every_rank_is_possible() -> None:
    board = rank_models(random_comparisons(13))
    assert {(row.rank_low, row.rank_high) for row in board.rows} == {(1, 6)}
    assert all(row.rating.low is None for row in board.rows)
    assert board.n_resamples == 0
    assert board.is_rankable is None


@pytest.mark.parametrize("intervals", ["auto", "sandwich"])
def test_one_prompt_gives_no_interval(intervals: Intervals) -> None:
    options = RankingOptions(intervals=intervals)
    board = rank_models(random_comparisons(13), options, bootstrap(np.zeros(300)))
    assert {(row.rank_low, row.rank_high) for row in board.rows} == {(1, 6)}
    assert all(row.rating.low is None for row in board.rows)
    assert board.is_rankable is False


def test_evidence_for_a_win_rate_is_counted_in_the_models_own_prompts() -> None:
    played = random_comparisons(14, 100, 3)
    left, right = np.append(played.left, [3, 3]), np.append(played.right, [0, 1])
    models = (*played.models, "rare")
    whole = Comparisons(models, left, right, np.append(played.score, [1, 1]), np.ones(102))
    groups = np.append(np.arange(100) // 5, [0, 1])
    board = rank_models(whole, RankingOptions(method="win_rate"), bootstrap(groups))
    assert board.rows[0].model == "rare"
    assert board.rows[0].win_rate.low == pytest.approx(0.342, abs=1e-3)  # Wilson, two groups


def test_unbeaten_model_has_a_win_rate_with_an_honest_interval() -> None:
    played = Comparisons.between(["p"] * 30, ["q", "r"] * 15, np.ones(30))
    board = rank_models(played, RankingOptions(method="win_rate"), bootstrap(np.arange(30) // 3))
    best = board.rows[0]
    assert best.win_rate.value == best.win_rate.high == 1
    assert best.win_rate.low == pytest.approx(0.722, abs=1e-3)  # Wilson, ten groups
    with pytest.raises(DisconnectedComparisons):
        rank_models(played)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (RankingOptions(method="elo", ties="davidson"), "bradley_terry"),
        (RankingOptions(baseline="m0"), "method win_rate"),
        (RankingOptions(method="win_rate", baseline="nobody"), "nobody is not among"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: RankingOptions, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        rank_models(random_comparisons(1), options)


def test_shares_do_not_fit_davidson() -> None:
    with pytest.raises(InvalidArgument, match="shares"):
        rank_models(Comparisons.between(["p"], ["q"], [0.7]), RankingOptions(ties="davidson"))


@pytest.mark.parametrize("ties", ["half", "exclude"])
def test_nothing_to_rank_is_refused(ties: TieRule) -> None:
    played = Comparisons.between(["p"], ["q"], [0.5], [0.0 if ties == "half" else 1.0])
    with pytest.raises(InvalidArgument, match="no comparison"):
        rank_models(played, RankingOptions(ties=ties))
