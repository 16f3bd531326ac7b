from __future__ import annotations

import numpy as np
import pytest

from calibration.comparisons import Comparisons, PairLayout
from calibration.errors import InvalidArgument


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
