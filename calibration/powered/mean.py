"""Prediction-powered means, and bounds where a cascade abstains.

    theta = l mean_N f + mean_n (y - l f)

The predictions f of all N pairs say what people would say, the n labels y say how wrong that is
(prediction-powered inference: Angelopoulos, Bates, Fannjiang, Jordan, Zrnic 2023). The weight l
that makes the variance smallest is read off the labels (PPI++: Angelopoulos, Duchi, Zrnic 2023),
stratum by stratum (Fisch, Maynez, Hofer, Dhingra, Globerson, Cohen 2024). However bad the judge,
the estimate stays right: only its interval grows, to that of people alone.

What is assumed: groups of pairs are independent and of one distribution; which pairs were labelled
was decided by chance, with equal probabilities (within a stratum) or known ones, among the same
pairs that have predictions; whether a label came back does not depend on what it says.

Here the N pairs include the n labelled ones. Then the best l is the slope of y on f, cov(y, f) /
var f, and l / (1 + n / (N - n)) would be the weight if mean_N left out the labelled pairs.

Abstentions are not missing at random: a cascade abstains where people differ, or where one side is
hard to judge. Dropping those pairs answers another question. Either abstained pairs are labelled by
the same chances as the others (audited), and the estimate is unbiased; or nothing is known of
them, and the win rate is only bounded (Manski 1990).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray
from calibration.binomial import wilson_interval
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals import DEFAULT_CONFIDENCE_LEVEL
from calibration.powered.difference import FittedMean, fit_mean
from calibration.powered.labels import HumanLabels, LabelledSample, labelled_sample

# From this many labels on the normal interval of people alone is as good as Wilson's.
ENOUGH_LABELS = 100
NO_PREFERENCE = 0.5
# An event of this probability is taken for proof that labels were chosen otherwise than declared.
_LOG_IMPLAUSIBLE = float(np.log(1e-6))


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
        """Return options in their ranges.

        Raises:
            InvalidArgument: One is out of its range.
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
    with labelled and unlabelled pairs; the quantile is Student's.

    Args:
        prediction: Probability that the first side wins, or a verdict as 1 or 0, shape (pairs,),
            for labelled pairs too.
        labels: Labels of the same pairs.
        prediction_weight: l in [0, 1], fixed before the labels were seen; None tunes it.
        confidence_level: Coverage of the intervals.

    Raises:
        InvalidArgument: A prediction is missing or outside [0, 1], the labels do not fit, or a
            number lies outside its range.

    >>> said, asked = np.arange(200) % 3 > 0, np.arange(200) % 10 == 0
    >>> labels = HumanLabels(np.where(asked, said, np.nan))
    >>> found = prediction_powered_mean(said * 0.8 + 0.1, labels)
    >>> found.n_labelled, round(found.estimate.value, 2), round(found.human_only.value, 2)
    (20, 0.66, 0.65)
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
    """Return predictions as an array, nan where a pair has none.

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
    """Estimate the mean from checked arguments; a prediction that is nan counts as 1/2."""
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


class Ends(NamedTuple):
    """A mean where people prefer the second side, or the first, on all pairs not known."""

    lowest: Estimate
    highest: Estimate


@dataclass(frozen=True, slots=True)
class AbstentionBounds:
    """Bounds of a win rate without any assumption on the pairs where the cascade abstained.

    Attributes:
        low: Lower end of the interval of `ends.lowest`.
        high: Upper end of the interval of `ends.highest`. Everything that the win rate can be lies
            between both with the confidence level, whatever people think of the abstained pairs.
        confidence_level: Nominal coverage.
        ends: The smallest and the largest win rate, each with its own interval.
        human_only: The same ends from labels alone.
        prediction_weight: l of each stratum of the answered pairs.
        n_labelled: Number of labelled pairs, answered or not.
        n_predicted: Number of all pairs.
        n_abstained: Number of pairs without a verdict.
        n_unknown: How many of these have no label either: they make the distance of the ends.
    """

    low: float | None
    high: float | None
    confidence_level: float
    ends: Ends
    human_only: Ends
    prediction_weight: tuple[float, ...]
    n_labelled: int
    n_predicted: int
    n_abstained: int
    n_unknown: int


def audited_win_rate(
    prediction: ArrayLike,
    labels: HumanLabels,
    *,
    prediction_weight: float | None = None,
    confidence_level: float = DEFAULT_CONFIDENCE_LEVEL,
) -> PredictionPowered:
    """Estimate a win rate from cascade verdicts, abstained pairs being labelled like any other.

    An abstention is the prediction 1/2. That is no assumption about people: any number would do,
    since labels correct it, abstained pairs having theirs.

    Args:
        prediction: As for `prediction_powered_mean`, nan where the cascade abstained.
        labels: Labels of the same pairs; abstained pairs were chosen for labelling by the same
            declared chances.
        prediction_weight: As for `prediction_powered_mean`.
        confidence_level: Coverage of the intervals.

    Raises:
        InvalidArgument: As for `prediction_powered_mean`; or abstained pairs are labelled so much
            less, or more, often than others that chance is ruled out, and no probabilities are
            declared.

    >>> labels = HumanLabels([1.0, 0.0, 1.0, 0.5, np.nan, np.nan])
    >>> audited_win_rate([0.9, 0.2, 0.8, np.nan, np.nan, 0.7], labels).n_abstained
    2
    """
    predicted = checked_prediction(prediction)
    sample = labelled_sample(labels, len(predicted))
    check_audits(sample, np.isnan(predicted))
    return powered_mean(predicted, sample, MeanOptions.checked(prediction_weight, confidence_level))


def win_rate_bounds(
    prediction: ArrayLike,
    labels: HumanLabels,
    *,
    prediction_weight: float | None = None,
    confidence_level: float = DEFAULT_CONFIDENCE_LEVEL,
) -> AbstentionBounds:
    """Bound a win rate where abstained pairs are not labelled by chance (Manski 1990).

    Abstentions are not missing at random: they are the pairs on which people differ, or on which
    one side is weak. Each abstained pair without a label is taken as lost, then as won; one with a
    label, however it came to be labelled, counts as its label.

    Args:
        prediction: As for `prediction_powered_mean`, nan where the cascade abstained.
        labels: Labels of the same pairs, chosen by the declared chances among the answered pairs.
        prediction_weight: As for `prediction_powered_mean`.
        confidence_level: Coverage of the interval of each end, and of the whole that both span.

    Raises:
        InvalidArgument: As for `prediction_powered_mean`; or no answered pair is labelled.

    >>> labels = HumanLabels([1.0, 0.0, 1.0, np.nan])
    >>> found = win_rate_bounds([0.9, 0.2, 0.8, np.nan], labels)
    >>> round(found.ends.lowest.value, 2), round(found.ends.highest.value, 2)
    (0.5, 0.75)
    """
    predicted = checked_prediction(prediction)
    sample = labelled_sample(labels, len(predicted))
    return bounded_mean(predicted, sample, MeanOptions.checked(prediction_weight, confidence_level))


def check_audits(sample: LabelledSample, is_abstained: BoolArray) -> None:
    """Refuse abstained pairs that were clearly not labelled by the same chances as the others.

    One pair a group is looked at. If labels were drawn with equal probabilities within strata, the
    number X of labelled abstained ones is a sum of hypergeometric numbers with mean m, and a number
    x on its side of m is met or passed with probability at most exp(x - m) (m / x)^x (Chernoff).

    Raises:
        InvalidArgument: That is less than one in a million.
    """
    weights = sample.inverse[sample.is_labelled] / sample.weight[sample.is_labelled]
    if np.ptp(weights) != 0:
        return
    counted = np.flatnonzero(sample.weight > 0)
    first = counted[np.unique(sample.group[counted], return_index=True)[1]]
    stratum, is_labelled, is_silent = (
        column[first] for column in (sample.stratum, sample.is_labelled, is_abstained)
    )
    share = np.bincount(stratum, is_labelled) / np.maximum(np.bincount(stratum), 1)
    expected, seen = float(share[stratum[is_silent]].sum()), int(is_labelled[is_silent].sum())
    if (
        expected == 0
        or seen - expected - scipy.special.xlogy(seen, seen / expected) > _LOG_IMPLAUSIBLE
    ):
        return
    found = f"only {seen} abstained pairs are" if seen else "no abstained pair is"
    if seen > expected:
        found = f"{seen} abstained pairs are"
    raise InvalidArgument(
        f"labels.value: {found} labelled where the same chances as for others make {expected:.0f} "
        "(one pair a group), so abstained pairs were not audited as declared; declare strata or "
        "probabilities, or use bounds"
    )


def bounded_mean(
    prediction: FloatArray, sample: LabelledSample, options: MeanOptions
) -> AbstentionBounds:
    """Bound the mean from checked arguments.

    Raises:
        InvalidArgument: No answered pair is labelled in some stratum.
    """
    is_abstained = np.isnan(prediction)
    answered = np.bincount(sample.stratum, sample.is_labelled & ~is_abstained)
    if not answered.all():
        raise InvalidArgument("labels.value: a stratum has no labelled pair with a verdict")
    is_unknown = is_abstained & ~sample.is_labelled
    known = np.where(is_abstained, sample.label, np.nan)
    lost, won = known, np.where(is_unknown, 1.0, known)
    fits = [
        [fit_mean(prediction, sample, weight, settled) for settled in (lost, won)]
        for weight in (options.prediction_weight, 0.0)
    ]
    n, level = sample.n_labelled, options.confidence_level
    ends, human_only = (Ends(*(fit.estimate(n, level) for fit in pair)) for pair in fits)
    return AbstentionBounds(
        ends.lowest.low,
        ends.highest.high,
        level,
        ends,
        human_only,
        tuple(fits[0][0].prediction_weight.tolist()),
        n,
        len(prediction),
        int(is_abstained.sum()),
        int(is_unknown.sum()),
    )
