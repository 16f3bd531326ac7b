from __future__ import annotations

import numpy as np
import pytest

from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.powered import HumanLabels, predicted_comparisons, rank_by_predictions
from calibration.powered.leaderboard import ranks_of_intervals


def limits(*ends: tuple[float | None, float | None]) -> list[Estimate]:
    return [Estimate(None, low, high, 0.95, 1) for low, high in ends]


def test_a_model_is_below_those_whose_whole_interval_lies_above() -> None:
    sets = ranks_of_intervals(limits((0.8, 0.9), (0.4, 0.7), (0.3, 0.5), (None, None)))
    assert sets.low.tolist() == [1, 2, 2, 1]
    assert sets.high.tolist() == [2, 4, 4, 4]


def world(n: int, n_labelled: int) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """Three models of strengths 1, 0 and -1, and a judge that always adds a point for z."""
    rng = np.random.default_rng(4)
    first = rng.integers(0, 3, n)
    second = (first + rng.integers(1, 3, n)) % 3
    chance = 1 / (1 + np.exp(-(second - first).astype(np.float64)))
    truth = (rng.random(n) < chance).astype(np.float64)
    wrong = np.where(first == 2, 1.0, np.where(second == 2, 0.0, truth))
    labels = np.where(np.arange(n) < n_labelled, truth, np.nan)
    return ["xyz"[i] for i in first], ["xyz"[i] for i in second], wrong, labels


@pytest.mark.parametrize("n_labelled", [40, 600])
def test_strengths_are_peoples_and_not_the_judges(n_labelled: int) -> None:
    left, right, wrong, labels = world(2_000, n_labelled)
    predicted = predicted_comparisons(left, right, wrong)
    board = rank_by_predictions(predicted, HumanLabels(labels), rng=np.random.default_rng(1))
    assert board.rank_rule == ("intervals" if n_labelled < 50 else "differences")
    for row in board.rows:
        truth = {"x": 1.0, "y": 0.0, "z": -1.0}[row.model]
        assert row.rating.low is not None
        assert row.rating.high is not None
        assert row.rating.low <= truth <= row.rating.high
        assert row.rank_low <= 1 + "xyz".index(row.model) <= row.rank_high
    if n_labelled == 600:
        assert [row.rank_high for row in board.rows] == [1, 2, 3]
    assert sum(row.strength or 0 for row in board.rows) == pytest.approx(1)


def test_a_baseline_needs_win_rates_and_a_known_model() -> None:
    left, right, wrong, labels = world(200, 100)
    predicted = predicted_comparisons(left, right, wrong)
    with pytest.raises(InvalidArgument, match="method win_rate"):
        rank_by_predictions(predicted, HumanLabels(labels), baseline="x")
    with pytest.raises(InvalidArgument, match="not among the models"):
        rank_by_predictions(predicted, HumanLabels(labels), method="win_rate", baseline="w")
    board = rank_by_predictions(predicted, HumanLabels(labels), method="win_rate", baseline="x")
    own = next(row for row in board.rows if row.model == "x")
    assert (own.rating.value, own.rating.low) == (0.5, None)
