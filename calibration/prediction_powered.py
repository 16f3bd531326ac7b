"""Win rates from few human labels and many predictions of judges.

    theta = l mean_N f + mean_n (y - l f)

The predictions f of all N pairs say what people would say, the n labels y say how wrong that is
(prediction-powered inference: Angelopoulos, Bates, Fannjiang, Jordan, Zrnic 2023). The weight l
that makes the variance smallest is read off the labels (PPI++: Angelopoulos, Duchi, Zrnic 2023),
stratum by stratum (Fisch, Maynez, Hofer, Dhingra, Globerson, Cohen 2024). However bad the judge,
the estimate stays right: only its interval grows, to that of people alone.

What is assumed: groups of pairs are independent and alike in distribution; which pairs were labelled
was decided by chance, with equal probabilities (within a stratum) or known ones, among the same
pairs that have predictions; whether a label came back does not depend on what it says.

Here the N pairs include the n labelled ones. Then the best l is the slope of y on f,
cov(y, f) / var f, and l / (1 + n / (N - n)) would be the weight if mean_N left out the labelled pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray
from calibration.binomial import wilson_interval
from calibration.difference_estimator import FittedMean, fit_mean
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.human_labels import HumanLabels, LabelledSample, labelled_sample
from calibration.resampling import DEFAULT_CONFIDENCE_LEVEL

# From this many labels on the normal interval of people alone is as good as Wilson's.
ENOUGH_LABELS = 100
NO_PREFERENCE = 0.5


@dataclass(frozen=True, slots=True)
class PredictionPowered:
    """A mean outcome from labels and predictions.

    Attributes:
        estimate: The mean with its interval; n is the number of labelled pairs.
        standard_error: Of the estimate, clustered by group; None with one labelled group.
        human_only: The same mean from labels alone. Below 100 labels, each of another group and
            all equally likely, its interval is Wilson's.
        effective_labels: How many labels alone would give the same variance (the variance of rare
            disagreements that were not seen being allowed for); None where it is unknown.
        prediction_weight: l of each stratum, in the order of the strata's names.
        n_labelled: Number of labelled pairs.
        n_predicted: Number of all pairs, labelled or not.
        n_abstained: How many of them have no prediction and count as 1/2.
        n_groups: Number of groups.
    """

    estimate: Estimate
    standard_error: float | None
    human_only: Estimate
    effective_labels: float | None
    prediction_weight: tuple[float, ...]
    n_labelled: int
    n_predicted: int
    n_abstained: int
    n_groups: int


class MeanOptions(NamedTuple):
    """The weight of the predictions, None to tune it, and the coverage of intervals."""

    prediction_weight: float | None
    confidence_level: float

    @classmethod
    def checked(cls, prediction_weight: float | None, confidence_level: float) -> MeanOptions:
        """Options in their ranges.

        Raises:
            InvalidArgument: One is not.
        """
        if prediction_weight is not None and not 0 <= prediction_weight <= 1:
            raise InvalidArgument(f"prediction_weight must lie in [0, 1], not {prediction_weight}")
        if not 0 < confidence_level < 1:
            raise InvalidArgument(
                f"confidence_level must lie inside (0, 1), not {confidence_level}"
            )
        return cls(prediction_weight, confidence_level)


def prediction_powered_mean(
    prediction: ArrayLike,
    labels: HumanLabels,
    *,
    prediction_weight: float | None = None,
    confidence_level: float = DEFAULT_CONFIDENCE_LEVEL,
) -> PredictionPowered:
    """Estimate the mean outcome over pairs of which few are labelled and all are predicted.

    With weights w = 1 / probability of labelling (the means over labels being weighted ones) and
    strata h of shares W_h, theta = sum_h W_h (l_h mean_h f + mean_h,labelled (y - l_h f)). Its
    variance is the sum over groups of the squared influence of the group, which is right for groups
    with labelled and unlabelled pairs alike; the quantile is Student's.

    Args:
        prediction: Probability that the first side wins, or a verdict as 1 or 0, shape (pairs,),
            for labelled pairs too.
        labels: Labels of the same pairs.
        prediction_weight: l in [0, 1], fixed before the labels were seen; None tunes it.
        confidence_level: Coverage of the intervals.

    Raises:
        InvalidArgument: A prediction is missing or outside [0, 1], the labels do not fit, or a
            number lies outside its range.
    """
    predicted = checked_prediction(prediction)
    if np.isnan(predicted).any():
        raise InvalidArgument(
            "prediction is nan for some pairs: use audited_win_rate where these were as likely to "
            "be labelled as others, else win_rate_bounds"
        )
    sample = labelled_sample(labels, len(predicted))
    return powered_mean(predicted, sample, MeanOptions.checked(prediction_weight, confidence_level))


def checked_prediction(prediction: ArrayLike) -> FloatArray:
    """Predictions as an array, nan where there is none.

    Raises:
        InvalidArgument: Not one-dimensional, or outside [0, 1].
    """
    predicted = np.asarray(prediction, dtype=np.float64)
    if predicted.ndim != 1:
        raise InvalidArgument(f"prediction must have shape (pairs,), not {predicted.shape}")
    if ((predicted < 0) | (predicted > 1)).any():
        raise InvalidArgument("prediction must lie in [0, 1] (nan where the cascade abstained)")
    return predicted


def powered_mean(
    prediction: FloatArray, sample: LabelledSample, options: MeanOptions
) -> PredictionPowered:
    """The estimate from checked arguments; a prediction that is nan counts as 1/2."""
    is_abstained = np.isnan(prediction)
    filled = np.where(is_abstained, NO_PREFERENCE, prediction)
    powered = fit_mean(filled, sample, options.prediction_weight)
    alone = fit_mean(filled, sample, 0.0)
    n = sample.n_labelled
    return PredictionPowered(
        powered.estimate(n, options.confidence_level),
        None if np.isnan(powered.variance) else float(np.sqrt(powered.variance)),
        _human_only(alone, sample, options.confidence_level),
        n * alone.spread / powered.spread if min(powered.spread, alone.spread) > 0 else None,
        tuple(powered.prediction_weight.tolist()),
        n,
        len(prediction),
        int(is_abstained.sum()),
        sample.n_groups,
    )


def _human_only(alone: FittedMean, sample: LabelledSample, confidence_level: float) -> Estimate:
    n = sample.n_labelled
    weights = sample.inverse[sample.is_labelled]
    is_simple = sample.n_labelled_groups == n and np.ptp(weights) == 0 and not sample.stratum.any()
    if n >= ENOUGH_LABELS or not is_simple:
        return alone.estimate(n, confidence_level)
    # A share of annotators varies less than a single vote: for it the interval is wide enough.
    low, high = wilson_interval(min(n * alone.value, n), n, confidence_level)
    return Estimate(alone.value, float(low), float(high), confidence_level, n)
