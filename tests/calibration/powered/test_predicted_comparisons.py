from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.errors import InvalidArgument
from calibration.powered import (
    AbstentionBounds,
    HumanLabels,
    PredictionPowered,
    model_win_rates,
    predicted_comparisons,
    prediction_powered_mean,
)
from tests.calibration.worlds.leaderboards import draw_arena

LEFT = ["x", "y", "x", "z", "y", "x", "z", "y"]
RIGHT = ["y", "x", "z", "x", "z", "y", "y", "x"]
PREDICTION = [0.9, 0.2, 0.7, 0.4, 0.6, 0.8, 0.3, 0.1]
VALUE = [1.0, 0.0, 0.5, np.nan, 1.0, np.nan, 0.0, np.nan]


def test_each_model_is_estimated_from_its_own_comparisons() -> None:
    compared = predicted_comparisons(LEFT, RIGHT, PREDICTION)
    found = {row.model: row for row in model_win_rates(compared, HumanLabels(VALUE))}
    assert list(found) == ["x", "y", "z"]
    # The comparisons of y, those on the right seen from the other side.
    of_y = prediction_powered_mean(
        [0.1, 0.2, 0.6, 0.2, 0.7, 0.1], HumanLabels([0.0, 0.0, 1.0, np.nan, 1.0, np.nan])
    )
    rate = found["y"].rate
    assert isinstance(rate, PredictionPowered)
    assert rate.estimate.value == pytest.approx(of_y.estimate.value)
    assert rate.standard_error == pytest.approx(of_y.standard_error)
    assert (found["y"].n_labelled, found["y"].n_predicted) == (4, 6)


def test_swapped_comparisons_are_the_same_comparisons() -> None:
    straight = predicted_comparisons(LEFT, RIGHT, PREDICTION)
    swapped = predicted_comparisons(RIGHT, LEFT, 1 - np.array(PREDICTION))
    mirrored = HumanLabels(1 - np.array(VALUE))
    for one, other in zip(
        model_win_rates(straight, HumanLabels(VALUE)),
        model_win_rates(swapped, mirrored),
        strict=True,
    ):
        assert isinstance(one.rate, PredictionPowered)
        assert isinstance(other.rate, PredictionPowered)
        assert one.rate.estimate.value == pytest.approx(other.rate.estimate.value)


def test_abstentions_give_bounds_where_they_occur_unless_audited() -> None:
    prediction = [np.nan, 0.2, 0.7, 0.4, 0.6, 0.8, 0.3, 0.1]
    compared = predicted_comparisons(LEFT, RIGHT, prediction)
    bounded = {row.model: row.rate for row in model_win_rates(compared, HumanLabels(VALUE))}
    assert isinstance(bounded["x"], AbstentionBounds)
    assert isinstance(bounded["y"], AbstentionBounds)
    assert isinstance(bounded["z"], PredictionPowered)
    audited = model_win_rates(compared, HumanLabels(VALUE), are_abstentions_audited=True)
    assert all(isinstance(row.rate, PredictionPowered) for row in audited)


def test_unaudited_abstentions_may_not_pass_for_audited() -> None:
    arena = draw_arena("fair", 100, np.random.default_rng(0))
    score = np.where(np.arange(800) < 300, np.nan, arena.predicted.score)
    value = np.where(np.arange(800) < 500, np.nan, arena.outcome)
    with pytest.raises(InvalidArgument, match=r"^labels\.value: no abstained pair"):
        model_win_rates(
            replace(arena.predicted, score=score), HumanLabels(value), are_abstentions_audited=True
        )


def test_model_without_labels_has_no_rate() -> None:
    value = [1.0, 0.0, np.nan, np.nan, np.nan, 1.0, np.nan, np.nan]
    compared = predicted_comparisons(LEFT, RIGHT, PREDICTION)
    found = {row.model: row for row in model_win_rates(compared, HumanLabels(value))}
    assert found["z"].rate is None
    assert found["z"].n_labelled == 0
    compared = predicted_comparisons(["x", "x"], ["y", "z"], [0.5, np.nan])
    rates = model_win_rates(compared, HumanLabels([1.0, 1.0]))
    assert rates[2].rate is None
    assert rates[2].n_labelled == 1


def test_strata_become_probabilities() -> None:
    strata = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    value = np.array([1.0, 0.0, 0.5, np.nan, 1.0, np.nan, np.nan, np.nan])
    compared = predicted_comparisons(LEFT, RIGHT, PREDICTION)
    by_stratum = model_win_rates(compared, HumanLabels(value, strata=strata))
    chance = np.where(strata == 0, 0.75, 0.25)
    for one, other in zip(
        by_stratum, model_win_rates(compared, HumanLabels(value, probability=chance)), strict=True
    ):
        assert isinstance(one.rate, PredictionPowered)
        assert isinstance(other.rate, PredictionPowered)
        assert one.rate.estimate == other.rate.estimate


def test_weights_of_comparisons_count() -> None:
    compared = predicted_comparisons(["x"] * 4, ["y"] * 4, [0.9, 0.4, 0.6, 0.8])
    value = np.array([1.0, 0.0, np.nan, np.nan])
    twice = replace(compared, weight=np.array([2.0, 1, 1, 1]))
    rows = [0, 0, 1, 2, 3]
    repeated = model_win_rates(compared.take(rows), HumanLabels(value[rows], groups=rows))
    weighted = model_win_rates(twice, HumanLabels(value))
    for one, other in zip(weighted, repeated, strict=True):
        assert isinstance(one.rate, PredictionPowered)
        assert isinstance(other.rate, PredictionPowered)
        assert one.rate.estimate.value == pytest.approx(other.rate.estimate.value)


def test_comparisons_without_weight_do_not_count() -> None:
    compared = predicted_comparisons(LEFT, RIGHT, PREDICTION)
    weight = np.where(np.arange(8) == 2, 0.0, 1.0)
    kept = np.flatnonzero(weight)
    found = model_win_rates(replace(compared, weight=weight), HumanLabels(VALUE))
    fewer = model_win_rates(compared.take(kept), HumanLabels(np.array(VALUE)[kept]))
    assert found[0].n_labelled == fewer[0].n_labelled == 2
    for one, other in zip(found[:2], fewer[:2], strict=True):
        assert isinstance(one.rate, PredictionPowered)
        assert isinstance(other.rate, PredictionPowered)
        assert one.rate.estimate.value == pytest.approx(other.rate.estimate.value)


@pytest.mark.parametrize("prediction", [[1.5], [-0.1]])
def test_predictions_are_probabilities(prediction: list[float]) -> None:
    with pytest.raises(InvalidArgument, match=r"^prediction"):
        predicted_comparisons(["x"], ["y"], prediction)
