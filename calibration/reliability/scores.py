"""Parts of the Brier score with intervals, and intervals of AUROC and AUPRC.

Murphy (1973) splits the Brier score of forecasts that take few values; for binned confidences two
terms within the bins complete the sum (Stephenson, Coelho, Jolliffe 2008).

Both areas are smooth in the weights of the verdicts, so their influences give a standard error by
group without resampling: the placements of DeLong, DeLong and Clarke-Pearson (1988), summed within
groups by Obuchowski (1997), and the infinitesimal jackknife of average precision.

What is assumed: groups are independent draws from one population (without groups, rows are).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.binomial import upper_bound
from calibration.cascade import rounded
from calibration.estimate import Estimate
from calibration.intervals import (
    NO_LIMITS,
    ClusterBootstrap,
    Groups,
    GroupsLike,
    Limits,
    as_groups,
    estimate_share,
    groups_of,
    logit_limits,
    student_quantile,
)
from calibration.reliability.measures import Verdicts, auprc, bin_of, checked_verdicts

# With fewer verdicts to an occupied bin the squares are mostly chance and no interval holds.
LEAST_VERDICTS_PER_BIN = 5
_BISECTIONS = 60
# A smaller spread of resamples is that of rounding.
_NO_SPREAD = 1e-12


@dataclass(frozen=True, slots=True)
class BrierParts:
    """Terms of score = reliability - resolution + uncertainty + within_variance - within_covariance.

    With bin shares w, mean confidences c, accuracies a and overall accuracy o:

    Attributes:
        reliability: sum w (c - a)^2, the miscalibration; 0 is best.
        resolution: sum w (a - o)^2, how far the bins tell verdicts apart; high is good.
        uncertainty: o (1 - o), which no judge's confidence can change.
        within_variance: Mean squared distance of the confidences from their bin's mean.
        within_covariance: Twice the mean product of that distance with agreement.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_variance: float
    within_covariance: float

    @property
    def score(self) -> float:
        """The Brier score, the sum of the parts."""
        between = self.reliability - self.resolution + self.uncertainty
        return between + self.within_variance - self.within_covariance


@dataclass(frozen=True, slots=True)
class BrierPartEstimates:
    """Murphy's three parts with their intervals; n is the number of verdicts in each."""

    reliability: Estimate
    resolution: Estimate
    uncertainty: Estimate


def brier_parts(
    confidence: ArrayLike, correct: ArrayLike, edges: ArrayLike | None = None
) -> BrierParts | None:
    """Split the Brier score by bins of confidence; None without verdicts.

    Args:
        confidence: Shape (n,).
        correct: Whether each verdict agrees with people, shape (n,).
        edges: As for `reliability_bins`; None makes every distinct confidence a bin of its own,
            and then the two terms within bins are 0.

    >>> parts = brier_parts([0.6, 0.6, 0.9, 0.9], [0, 1, 1, 1])
    >>> round(parts.reliability, 4), round(parts.resolution, 4), round(parts.score, 4)
    (0.01, 0.0625, 0.135)
    """
    data = checked_verdicts(confidence, correct)
    n = len(data.correct)
    if n == 0:
        return None
    if edges is None:
        place = np.unique(data.confidence, return_inverse=True)[1].reshape(-1)
    else:
        place = bin_of(data.confidence, rounded(edges))
    columns = (np.ones(n), data.confidence, data.correct)
    sums = np.stack([np.bincount(place, weights=column) for column in columns]).astype(np.float64)
    parts = sums[:, None]
    overall = float(data.correct.mean())
    distance = data.confidence - (sums[1] / np.maximum(sums[0], 1))[place]
    return BrierParts(
        reliability=float(_reliability_of(parts)[0]),
        resolution=float(_resolution_of(parts)[0]),
        uncertainty=overall * (1 - overall),
        within_variance=float((distance**2).mean()),
        within_covariance=2 * float((distance * data.correct).mean()),
    )


def estimate_brier_parts(
    confidence: ArrayLike,
    correct: ArrayLike,
    edges: ArrayLike,
    bootstrap: ClusterBootstrap | None = None,
) -> BrierPartEstimates | None:
    """Estimate Murphy's parts, with intervals that allow for their bias; None without verdicts.

    Chance adds to both sums of squares, and in a resample it adds once more, so percentiles lie
    too high. The limits are the wider of two corrected ones on either side: the reversed
    percentiles, and the solution in t of |R - B - t| = q sqrt(V0 + (V - V0) t / R) with the bias B
    and the variance V seen in the resamples (times G / (G - 1), for G groups), its part at t = 0
    being V0 = 2 B^2 / (free bins). Rare errors are seldom in the resamples: the limits of
    reliability also hold what it is when the accuracy of all bins moves by as much as Wilson's
    interval of the overall accuracy allows; and where verdicts are all right, or all wrong,
    resolution can be anything up to the limit of uncertainty. The edges are taken as given. Below
    five verdicts to an occupied bin there are no limits, and none for the resolution of one bin.

    Args:
        confidence: Shape (n,).
        correct: Whether each verdict agrees with people, shape (n,).
        edges: As for `reliability_bins`.
        bootstrap: Resamples of the rows; None for reliability and resolution without intervals,
            and uncertainty as if rows were independent.
    """
    parts = brier_parts(confidence, correct, edges)
    if parts is None:
        return None
    data, limits = checked_verdicts(confidence, correct), rounded(edges)
    place = bin_of(data.confidence, limits)
    occupied, column = np.unique(place, return_inverse=True)
    groups = groups_of(bootstrap, len(place))
    known = partial(_known, level=groups.confidence_level, n=len(place))
    accuracy = estimate_share(data.correct, groups=groups)
    uncertainty = _uncertainty(parts.uncertainty, accuracy)
    is_sparse = len(place) < LEAST_VERDICTS_PER_BIN * occupied.size
    if bootstrap is None or accuracy.low is None or accuracy.high is None or is_sparse:
        return BrierPartEstimates(known(parts.reliability), known(parts.resolution), uncertainty)
    sums = _resampled_sums(data, column.reshape(-1), occupied.size, bootstrap)
    drawn = _reliability_of(sums)
    reliability = _limits(parts.reliability, drawn, occupied.size, bootstrap)
    bias = max(float(drawn.mean()) - parts.reliability, 0.0)
    between = (accuracy.low, accuracy.high)
    shifted = _shifted(max(parts.reliability - bias, 0.0), data, between)
    drawn = _resolution_of(sums)
    resolution = _limits(parts.resolution, drawn, occupied.size - 1, bootstrap)
    if np.ptp(drawn) <= _NO_SPREAD:  # the groups are alike
        resolution = NO_LIMITS
    if parts.uncertainty == 0:
        resolution = Limits(0.0, uncertainty.high)
    return BrierPartEstimates(
        known(parts.reliability, _wider(reliability, shifted)),
        known(parts.resolution, resolution if occupied.size > 1 else NO_LIMITS),
        uncertainty,
    )


def _resampled_sums(
    data: Verdicts, column: IntArray, n_bins: int, bootstrap: ClusterBootstrap
) -> FloatArray:
    """Sum 1, confidence and agreement in resamples with a verdict: (3, resamples, bins)."""
    indicator = np.eye(n_bins)[column]
    weighted = [indicator * values[:, None] for values in (data.confidence, data.correct)]
    drawn = np.concatenate(list(bootstrap.totals(np.hstack([indicator, *weighted]))))
    held = drawn[drawn[:, :n_bins].any(axis=1)]
    return np.moveaxis(held.reshape(len(held), 3, -1), 1, 0)


def _reliability_of(sums: FloatArray) -> FloatArray:
    """Compute reliability from sums of 1, confidence and agreement: (3, resamples, bins)."""
    count, said, right = sums
    squares = np.divide((said - right) ** 2, count, out=np.zeros_like(count), where=count > 0)
    return np.asarray(squares.sum(axis=1) / count.sum(axis=1))


def _resolution_of(sums: FloatArray) -> FloatArray:
    count, _, right = sums
    n = count.sum(axis=1)
    squares = np.divide(right**2, count, out=np.zeros_like(count), where=count > 0)
    return np.asarray(np.maximum(squares.sum(axis=1) / n - (right.sum(axis=1) / n) ** 2, 0.0))


def _limits(value: float, drawn: FloatArray, free: int, bootstrap: ClusterBootstrap) -> Limits:
    low, high = bootstrap.interval(drawn, value)
    if low is None or high is None:
        return NO_LIMITS
    groups = bootstrap.n_groups_present
    quantile = student_quantile(groups - 1, (1 - bootstrap.confidence_level) / 2)
    bias = max(float(drawn.mean()) - value, 0.0)
    variance = float(drawn.var()) * groups / (groups - 1)
    at_zero = min(2 * bias**2 / max(free, 1), variance)
    slope = (variance - at_zero) / value if value > 0 else 0.0
    centre = value - bias
    middle = centre + quantile**2 * slope / 2
    half = float(np.sqrt(max(middle**2 - centre**2 + quantile**2 * at_zero, 0.0)))
    lowest, highest = min(2 * value - high, middle - half), max(2 * value - low, middle + half)
    return Limits(max(lowest, 0.0), min(max(highest, 0.0), 1.0))


def _shifted(value: float, data: Verdicts, accuracy: tuple[float, float]) -> tuple[float, float]:
    """Bound R + 2 d g + d^2 over moves d of the accuracy; g is accuracy - confidence."""
    right, said = float(data.correct.mean()), float(data.confidence.mean())
    moves = [end - right for end in accuracy]
    moves.append(min(max(said - right, moves[0]), moves[1]))
    ends = [value + 2 * move * (right - said) + move**2 for move in moves]
    return min(ends), max(ends)


def _wider(limits: Limits, ends: tuple[float, float]) -> Limits:
    if limits.low is None or limits.high is None:
        return NO_LIMITS
    return Limits(max(min(limits.low, ends[0]), 0.0), min(max(limits.high, ends[1]), 1.0))


def _known(value: float, limits: Limits = NO_LIMITS, *, level: float, n: int) -> Estimate:
    return Estimate(value, limits.low, limits.high, level, n)


def _uncertainty(value: float, accuracy: Estimate) -> Estimate:
    """Carry the interval of the accuracy o over to o (1 - o)."""
    if accuracy.low is None or accuracy.high is None:
        return Estimate(value, None, None, accuracy.confidence_level, accuracy.n)
    ends = [end * (1 - end) for end in (accuracy.low, accuracy.high)]
    high = 0.25 if accuracy.low <= 0.5 <= accuracy.high else max(ends)
    return Estimate(value, min(ends), high, accuracy.confidence_level, accuracy.n)


class _Influence(NamedTuple):
    """A statistic and how far each row moves it; shape (n,)."""

    value: float
    of_row: FloatArray


def estimate_auroc(
    confidence: ArrayLike, correct: ArrayLike, groups: GroupsLike = None
) -> Estimate:
    """Estimate the area under the ROC curve, with a clustered DeLong interval.

    The interval is made on the logit scale. A verdict's influence is (placement - area) / (verdicts
    of its kind), its placement being the share of the other kind that it is on the right side of,
    ties one half. Student's quantile has G - 1 degrees of freedom, but at most twice the groups
    (beyond the first) that hold the rarer kind. An area of 0 or 1 has no spread; it gets the score
    interval of Newcombe (2006), every group that holds a kind counting as one verdict of that kind.

    Args:
        confidence: Shape (n,).
        correct: Whether each verdict agrees with people, shape (n,).
        groups: Groups of the rows; None takes rows as independent.

    Returns:
        The area; n is the number of verdicts. None unless there are right and wrong verdicts.

    >>> found = estimate_auroc([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0], groups=["q1", "q2", "q3", "q4"])
    >>> found.value, found.low < 0.5 < found.high
    (0.75, True)
    """
    data = checked_verdicts(confidence, correct)
    n = len(data.correct)
    known = as_groups(groups, n)
    if data.correct.all() or not data.correct.any():
        return Estimate(None, None, None, known.confidence_level, n)
    value, influence = _placements(data)
    if known.n_groups < 2:
        return Estimate(value, None, None, known.confidence_level, n)
    right, wrong = known.holding(data.correct), known.holding(~data.correct)
    if value in (0.0, 1.0):
        limits = _score_limits(value, right, wrong, student_quantile(10**9, known.tail))
        return Estimate(value, limits.low, limits.high, known.confidence_level, n)
    degrees = min(known.n_groups - 1, 2 * (min(right, wrong) - 1))
    quantile = student_quantile(degrees, known.tail)
    limits = logit_limits(value, _delong_error(influence, data, known), quantile)
    return Estimate(value, limits.low, limits.high, known.confidence_level, n)


def estimate_auprc(
    confidence: ArrayLike, correct: ArrayLike, groups: GroupsLike = None
) -> Estimate:
    """Estimate the average precision, with an interval by its influences summed in groups.

    With precision p at a threshold, N verdicts and R right ones in all, a verdict j adds
    [y_j (p_j - AP) + sum over right i with c_i <= c_j of (y_j - p_i) / N_i] / R. Student's quantile
    has as many degrees of freedom as groups (beyond the first) hold the rarer kind. Without a
    wrong verdict the lower limit is 1 + r ln(r) / (1 - r), the least that an exact upper bound r
    on the share of wrong ones leaves (all of them ranked first), one trial a group.

    Args:
        confidence: Shape (n,).
        correct: Whether each verdict agrees with people, shape (n,).
        groups: Groups of the rows; None takes rows as independent.

    Returns:
        The area; None without a right verdict. No limits where right and wrong verdicts are
        perfectly separated.

    >>> round(estimate_auprc([0.9, 0.8, 0.7], [1, 0, 1]).value, 4)
    0.8333
    """
    data = checked_verdicts(confidence, correct)
    n = len(data.correct)
    known = as_groups(groups, n)
    value = auprc(confidence, correct)
    if value is None or known.n_groups < 2:
        return Estimate(value, None, None, known.confidence_level, n)
    if data.correct.all():
        worst = float(upper_bound(0, known.n_groups, known.tail))
        low = 1 + worst * np.log(worst) / (1 - worst)
        return Estimate(value, float(low), 1.0, known.confidence_level, n)
    error = known.standard_error(_precision_influence(data, value))
    degrees = known.holding_rarer(data.correct) - 1
    limits = logit_limits(value, error, student_quantile(degrees, known.tail))
    return Estimate(value, limits.low, limits.high, known.confidence_level, n)


def _placements(data: Verdicts) -> _Influence:
    right, wrong = data.correct, ~data.correct
    ranks = scipy.stats.rankdata(data.confidence)
    place = np.empty(len(right))
    place[right] = (ranks[right] - scipy.stats.rankdata(data.confidence[right])) / wrong.sum()
    place[wrong] = 1 - (ranks[wrong] - scipy.stats.rankdata(data.confidence[wrong])) / right.sum()
    area = float(place[right].mean())
    return _Influence(area, (place - area) / np.where(right, right.sum(), wrong.sum()))


def _delong_error(influence: FloatArray, data: Verdicts, groups: Groups) -> float:
    if not groups.is_independent:
        return groups.standard_error(influence)
    variance = 0.0
    for kind in (data.correct, ~data.correct):
        size = int(kind.sum())
        variance += float((influence[kind] ** 2).sum()) * size / max(size - 1, 1)
    return float(np.sqrt(variance))


def _score_limits(area: float, right: int, wrong: int, quantile: float) -> Limits:
    """Find Newcombe's limits for an area of 0 or 1: |area - t| = q sqrt(V(t)), by bisection."""
    balance = (right + wrong) / 2 - 1
    low, high = (0.5, 1.0) if area == 1 else (0.0, 0.5)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        shape = (1 - middle) / (2 - middle) + middle / (1 + middle)
        variance = middle * (1 - middle) * (1 + balance * shape) / (right * wrong)
        is_inside = (area - middle) ** 2 <= quantile**2 * variance
        if is_inside == (area == 1):
            high = middle
        else:
            low = middle
    return Limits(low, 1.0) if area == 1 else Limits(0.0, high)


def _precision_influence(data: Verdicts, value: float) -> FloatArray:
    _, level = np.unique(-data.confidence, return_inverse=True)
    level = level.reshape(-1)
    right = np.bincount(level, weights=data.correct)
    answered = np.cumsum(np.bincount(level))
    precision = np.cumsum(right) / answered
    # sums over the right verdicts at or below each confidence
    below = np.cumsum((right / answered)[::-1])[::-1]
    weighted = np.cumsum((right * precision / answered)[::-1])[::-1]
    own = data.correct * (precision[level] - value)
    moved = data.correct * below[level] - weighted[level]
    return np.asarray((own + moved) / right.sum(), dtype=np.float64)
