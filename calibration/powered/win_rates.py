"""Win rates of models from predictions of all comparisons and labels of a few.

The assumptions are those of `calibration.powered.mean`, for the comparisons of each model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from calibration.intervals import DEFAULT_CONFIDENCE_LEVEL
from calibration.powered.labels import HumanLabels, LabelledSample, labelled_sample
from calibration.powered.mean import (
    AbstentionBounds,
    MeanOptions,
    PredictionPowered,
    bounded_mean,
    check_audits,
    checked_prediction,
    powered_mean,
)
from calibration.ranking import Comparisons


@dataclass(frozen=True, slots=True)
class ModelWinRate:
    """The win rate of one model.

    Attributes:
        model: Name of the model.
        rate: Its win rate, or bounds where abstained comparisons were not audited; None where none
            of its comparisons that could be used has a label.
        n_labelled: Number of its labelled comparisons.
        n_predicted: Number of all its comparisons.
    """

    model: str
    rate: PredictionPowered | AbstentionBounds | None
    n_labelled: int
    n_predicted: int


def predicted_comparisons(
    left: Sequence[str], right: Sequence[str], prediction: ArrayLike
) -> Comparisons:
    """Make comparisons whose scores are predictions: probabilities that the left model wins.

    The score is nan where the cascade abstained.

    >>> predicted_comparisons(["x", "y"], ["y", "x"], [0.8, np.nan]).score.tolist()
    [0.8, nan]
    """
    predicted = checked_prediction(prediction)
    filled = np.where(np.isnan(predicted), 0.5, predicted)
    return replace(Comparisons.between(left, right, filled), score=predicted)


def model_win_rates(
    predicted: Comparisons,
    labels: HumanLabels,
    *,
    are_abstentions_audited: bool = False,
    confidence_level: float = DEFAULT_CONFIDENCE_LEVEL,
) -> tuple[ModelWinRate, ...]:
    """Estimate each model's win rate over its own comparisons, a tie being half a win.

    Strata become label probabilities (labelled over all pairs of a stratum), since a single model
    may have no label in some stratum. Each interval holds for its model alone.

    Args:
        predicted: Comparisons with predictions for scores, nan where the cascade abstained, as
            from `predicted_comparisons`.
        labels: What the left model got, for the same comparisons.
        are_abstentions_audited: Abstained comparisons were chosen for labelling by the declared
            chances, like others. If not, models that have any get bounds.
        confidence_level: Coverage of the intervals.

    Returns:
        One entry a model, in the order of `predicted.models`.
    """
    options = MeanOptions.checked(None, confidence_level)
    declared = labelled_sample(labels, len(predicted), predicted.weight)
    if are_abstentions_audited:
        check_audits(declared, np.isnan(predicted.score))
    sample = declared.without_strata()
    return tuple(
        _of_model(predicted, sample, model, options, is_audited=are_abstentions_audited)
        for model in range(len(predicted.models))
    )


def _of_model(
    predicted: Comparisons,
    sample: LabelledSample,
    model: int,
    options: MeanOptions,
    *,
    is_audited: bool,
) -> ModelWinRate:
    own = (predicted.left == model) | (predicted.right == model)
    is_right = predicted.right[own] == model
    prediction = np.where(is_right, 1 - predicted.score[own], predicted.score[own])
    of_own = sample.take(own)
    label = np.where(is_right & of_own.is_labelled, 1 - of_own.label, of_own.label)
    seen = replace(of_own, label=label)
    rate: PredictionPowered | AbstentionBounds | None = None
    if is_audited or not np.isnan(prediction).any():
        if seen.is_labelled.any():
            rate = powered_mean(prediction, seen, options)
    elif (seen.is_labelled & ~np.isnan(prediction)).any():
        rate = bounded_mean(prediction, seen, options)
    return ModelWinRate(predicted.models[model], rate, seen.n_labelled, len(prediction))
