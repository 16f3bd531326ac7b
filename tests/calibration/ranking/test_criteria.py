from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.errors import InvalidArgument
from calibration.intervals import ClusterBootstrap
from calibration.ranking import (
    Comparisons,
    Criterion,
    RankingOptions,
    rank_by_criteria,
    rank_models,
    win_matrix,
)


def criterion(name: str, weight: float, seed: int, n: int = 200) -> Criterion:
    rng = np.random.default_rng(seed)
    left = rng.integers(0, 3, n)
    right = (left + rng.integers(1, 3, n)) % 3
    score = (rng.random(n) < 0.5 + 0.1 * (right - left)).astype(np.float64)
    played = Comparisons.between(["xyz"[i] for i in left], ["xyz"[i] for i in right], score)
    groups = np.arange(n) // 4
    bootstrap = ClusterBootstrap.over(groups, np.random.default_rng(9), n_resamples=200)
    return Criterion(name, weight, played, bootstrap)


def test_one_criterion_with_all_the_weight_is_its_own_leaderboard() -> None:
    both = [criterion("a", 2.0, 1), criterion("b", 0.0, 2)]
    found = rank_by_criteria(both)
    options = RankingOptions(intervals="bootstrap")
    alone = rank_models(both[0].comparisons, options, both[0].bootstrap)
    for row, own in zip(found.combined.rows, alone.rows, strict=True):
        assert row.rating.value == pytest.approx(own.rating.value, abs=1e-12)
        assert row.rating.low == pytest.approx(own.rating.low, abs=1e-12)
    assert found.criteria[0] == alone


def test_equal_criteria_gain_nothing_and_other_prompts_do() -> None:
    """The mean of one thing with itself is as sure as before; of two it is surer."""
    one, other = criterion("a", 1.0, 1), criterion("b", 1.0, 2)
    width = {}
    for name, second in (("same", replace(one, name="b")), ("other", other)):
        rating = rank_by_criteria([one, second]).combined.rows[0].rating
        assert rating.low is not None
        assert rating.high is not None
        width[name] = rating.high - rating.low
    alone = rank_by_criteria([one]).combined.rows[0].rating
    assert alone.low is not None
    assert alone.high is not None
    assert width["same"] == pytest.approx(alone.high - alone.low)
    assert width["other"] < 0.9 * width["same"]


def test_what_cannot_be_averaged_is_refused() -> None:
    one = criterion("a", 1.0, 1)
    lone = replace(
        one, name="b", comparisons=Comparisons.between(["x"] * 200, ["y"] * 200, [1] * 200)
    )
    resampled = replace(one, name="b", bootstrap=replace(one.bootstrap, seed=1))
    for criteria, message in (
        ([replace(one, weight=0.0)], "one positive"),
        ([replace(one, weight=-1.0)], "none negative"),
        ([one, resampled], "criterion b: its resamples"),
        ([one, lone], "criterion b: no comparison of z"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            rank_by_criteria(criteria)


def test_ties_can_be_left_out_of_every_criterion() -> None:
    one = criterion("a", 1.0, 1)
    score = one.comparisons.score.copy()
    score[:50] = 0.5
    tied = replace(one, comparisons=replace(one.comparisons, score=score))
    found = rank_by_criteria([tied, replace(tied, name="b")], RankingOptions(ties="exclude"))
    assert found.criteria[0].n_comparisons == 150
    assert all(row.ties == 0 for row in found.combined.rows)


def test_models_that_never_met_have_no_meetings() -> None:
    played = Comparisons.between(["x", "z"], ["y", "x"], [1, 0])
    one = Criterion("a", 1.0, played, ClusterBootstrap.over(["q1", "q2"], 0))
    assert win_matrix([one], ["y", "z"]) == ()
    assert [(met.first, met.second) for met in win_matrix([one], ["x", "y"])] == [("x", "y")]
