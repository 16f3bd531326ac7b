from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InvalidArgument
from calibration.ranking import Comparisons, PairLayout


def test_totals_are_kept_by_pair_whichever_model_stood_left() -> None:
    played = Comparisons.between(
        ["x", "y", "x", "z", "y"], ["y", "x", "y", "x", "z"], [1, 1, 0.5, 0.25, 0], [1, 2, 1, 4, 1]
    )
    totals = PairLayout.of(played).whole()
    assert played.models == ("x", "y", "z")
    assert list(zip(totals.first, totals.second, strict=True)) == [(0, 1), (0, 2), (1, 2)]
    assert totals.first_wins.tolist() == [[1, 3, 0]]
    assert totals.second_wins.tolist() == [[2, 1, 1]]
    assert totals.ties.tolist() == [[1, 0, 0]]
    assert totals.games.tolist() == [[4, 4, 1]]


def test_amounts_of_pairs_add_up_by_model() -> None:
    totals = PairLayout.of(Comparisons.between(["x", "x"], ["y", "z"], [1, 1])).whole()
    summed = totals.by_model(np.array([[1.0, 2.0]]), np.array([[10.0, 20.0]]))
    assert summed.tolist() == [[3.0, 10.0, 20.0]]


@pytest.mark.parametrize(
    ("right", "score", "weight", "message"),
    [
        (["y", "y"], [1, 0], None, "y meets itself"),
        (["x", "x"], [1, 1.5], None, "scores"),
        (["x", "x"], [1, np.nan], None, "scores"),
        (["x", "x"], [1, 0], [1, -1], "weights"),
        (["x", "x"], [1, 0], [1, np.inf], "weights"),
        (["x"], [1, 0], None, "same length"),
    ],
)
def test_impossible_comparisons_are_refused(
    right: list[str], score: list[float], weight: list[float] | None, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Comparisons.between(["z", "y"], right, score, weight)


def test_models_are_numbered_in_alphabetical_order_whoever_comes_first() -> None:
    played = Comparisons.between(["zeta", "beta"], ["beta", "alpha"], [1, 0])
    assert played.models == ("alpha", "beta", "zeta")
    assert (played.left.tolist(), played.right.tolist()) == ([2, 1], [1, 0])


def test_lengths_of_scores_and_weights_must_fit() -> None:
    for score, weight in (([1.0], None), ([1.0, 0.0], [1.0])):
        with pytest.raises(InvalidArgument, match="same length"):
            Comparisons.between(["x", "y"], ["y", "x"], score, weight)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_sums_by_group_add_up_to_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = np.array([rng.choice(4, 2, replace=False) for _ in range(50)])
    score, weight = rng.choice([0, 0.5, 1, 0.3], 50), rng.integers(0, 3, 50).astype(float)
    played = Comparisons(tuple("abcd"), pairs[:, 0], pairs[:, 1], score, weight)
    layout = PairLayout.of(played)
    by_group = layout.by_group(rng.integers(0, 7, 50), 7)
    assert by_group.shape == (7, layout.n_sums)
    whole = layout.whole()
    sums = layout.totals(by_group.toarray().sum(axis=0, keepdims=True))
    for name in ("first_wins", "second_wins", "ties"):
        assert getattr(sums, name) == pytest.approx(getattr(whole, name))
    assert layout.parts.sum() == pytest.approx(weight.sum())


def test_very_many_models_are_laid_out_by_sorting() -> None:
    n_models = 3_000
    left = np.arange(n_models - 1)
    played = Comparisons(
        tuple(map(str, range(n_models))), left[::-1].copy(), left[::-1] + 1,
        np.ones(n_models - 1), np.ones(n_models - 1),
    )  # fmt: skip
    totals = PairLayout.of(played).whole()
    assert totals.first.tolist() == left.tolist()
    assert totals.first_wins.sum() == n_models - 1


@pytest.mark.parametrize("weight", [1e-101, 1e101, np.inf, np.nan, -1.0])
def test_weights_that_leave_the_range_of_numbers_are_refused(weight: float) -> None:
    with pytest.raises(InvalidArgument, match="weights"):
        Comparisons.between(["p"], ["q"], [1], [weight])


def test_a_table_of_scores_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="length"):
        Comparisons.between(["p"], ["q"], [[1]])
