"""Win rates from cascades that abstain.

Abstentions are not missing at random: a cascade abstains where people differ, or where one side is
hard to judge. Dropping those pairs answers another question. Either abstained pairs are labelled by
the same chances as the others (audited), and the estimate is unbiased; or nothing is known of
them, and the win rate is only bounded (Manski 1990).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from calibration.arrays import BoolArray, FloatArray
from calibration.difference_estimator import fit_mean
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.human_labels import HumanLabels, LabelledSample, labelled_sample
from calibration.prediction_powered import (
    MeanOptions,
    PredictionPowered,
    checked_prediction,
    powered_mean,
)
from calibration.resampling import DEFAULT_CONFIDENCE_LEVEL

# An event of this probability is taken for proof that labels were chosen otherwise than declared.
_LOG_IMPLAUSIBLE = float(np.log(1e-6))


class Ends(NamedTuple):
    """A mean where people prefer the second side, or the first, on all pairs not known."""

    lowest: Estimate
    highest: Estimate


@dataclass(frozen=True, slots=True)
class AbstentionBounds:
    """What a win rate can be when nothing is known of the pairs on which the cascade abstained.

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
    """
    predicted = checked_prediction(prediction)
    sample = labelled_sample(labels, len(predicted))
    return bounded_mean(predicted, sample, MeanOptions.checked(prediction_weight, confidence_level))


def check_audits(sample: LabelledSample, is_abstained: BoolArray) -> None:
    """Refuse abstained pairs that were plainly not labelled by the same chances as the others.

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
    if expected == 0 or seen - expected - special.xlogy(seen, seen / expected) > _LOG_IMPLAUSIBLE:
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
    """The bounds from checked arguments.

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
