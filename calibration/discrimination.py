"""Intervals for the areas that say how well confidence tells right verdicts from wrong ones.

Both areas are smooth in the weights of the verdicts, so their influences give a standard error by
group without resampling: the placements of DeLong, DeLong and Clarke-Pearson (1988), summed within
groups by Obuchowski (1997), and the infinitesimal jackknife of average precision.

What is assumed: groups are independent draws from one population (without groups, rows are).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from calibration.arrays import FloatArray
from calibration.binomial import upper_bound
from calibration.clusters import (
    Clusters,
    logit_limits,
    rarer_outcome,
    student_quantile,
)
from calibration.estimate import Estimate
from calibration.reliability import Verdicts, auprc, checked_verdicts
from calibration.resampling import ClusterBootstrap, Limits

_BISECTIONS = 60


class _Influence(NamedTuple):
    """A statistic and how far each row moves it; shape (n,)."""

    value: float
    of_row: FloatArray


def estimate_auroc(
    confidence: ArrayLike, correct: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """Area under the ROC curve with a clustered DeLong interval on the logit scale.

    A verdict's influence is (placement - area) / (verdicts of its kind), its placement being the
    share of the other kind that it is on the right side of, ties one half. Student's quantile has
    G - 1 degrees of freedom, but at most twice the groups (beyond the first) that hold the rarer
    kind. An area of 0 or 1 has no spread; it gets the score interval of Newcombe (2006), every
    group that holds a kind counting as one verdict of that kind.

    Args:
        confidence: Shape (n,).
        correct: Whether each verdict agrees with people, shape (n,).
        bootstrap: Gives the groups and the level, nothing is drawn; None takes rows as
            independent.

    Returns:
        The area; n is the number of verdicts. None unless there are right and wrong verdicts.
    """
    data = checked_verdicts(confidence, correct)
    n = len(data.correct)
    clusters = Clusters.of(bootstrap, np.ones(n))
    if data.correct.all() or not data.correct.any():
        return Estimate(None, None, None, clusters.level, n)
    value, influence = _placements(data)
    if clusters.n_groups < 2:
        return Estimate(value, None, None, clusters.level, n)
    right, wrong = clusters.holding(data.correct), clusters.holding(~data.correct)
    if value in (0.0, 1.0):
        limits = _score_limits(value, right, wrong, student_quantile(10**9, clusters.tail))
        return Estimate(value, limits.low, limits.high, clusters.level, n)
    degrees = min(clusters.n_groups - 1, 2 * (min(right, wrong) - 1))
    quantile = student_quantile(degrees, clusters.tail)
    limits = logit_limits(value, _delong_error(influence, data, clusters), quantile)
    return Estimate(value, limits.low, limits.high, clusters.level, n)


def estimate_auprc(
    confidence: ArrayLike, correct: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """Average precision with an interval on the logit scale, by its influences summed in groups.

    With precision p at a threshold, N verdicts and R right ones in all, a verdict j adds
    [y_j (p_j - AP) + sum over right i with c_i <= c_j of (y_j - p_i) / N_i] / R. Student's quantile
    has as many degrees of freedom as groups (beyond the first) hold the rarer kind. Without a
    wrong verdict the lower limit is 1 + r ln(r) / (1 - r), the least that an exact upper bound r
    on the share of wrong ones leaves (all of them ranked first), one trial a group.

    Args:
        confidence: Shape (n,).
        correct: Whether each verdict agrees with people, shape (n,).
        bootstrap: As for `estimate_auroc`.

    Returns:
        The area; None without a right verdict. No limits where right and wrong verdicts are
        perfectly separated.
    """
    data = checked_verdicts(confidence, correct)
    n = len(data.correct)
    clusters = Clusters.of(bootstrap, np.ones(n))
    value = auprc(confidence, correct)
    if value is None or clusters.n_groups < 2:
        return Estimate(value, None, None, clusters.level, n)
    if data.correct.all():
        worst = float(upper_bound(0, clusters.n_groups, clusters.tail))
        low = 1 + worst * np.log(worst) / (1 - worst)
        return Estimate(value, float(low), 1.0, clusters.level, n)
    error = clusters.standard_error(_precision_influence(data, value))
    degrees = rarer_outcome(clusters, data.correct) - 1
    limits = logit_limits(value, error, student_quantile(degrees, clusters.tail))
    return Estimate(value, limits.low, limits.high, clusters.level, n)


def _placements(data: Verdicts) -> _Influence:
    right, wrong = data.correct, ~data.correct
    ranks = stats.rankdata(data.confidence)
    place = np.empty(len(right))
    place[right] = (ranks[right] - stats.rankdata(data.confidence[right])) / wrong.sum()
    place[wrong] = 1 - (ranks[wrong] - stats.rankdata(data.confidence[wrong])) / right.sum()
    area = float(place[right].mean())
    return _Influence(area, (place - area) / np.where(right, right.sum(), wrong.sum()))


def _delong_error(influence: FloatArray, data: Verdicts, clusters: Clusters) -> float:
    if not clusters.is_independent:
        return clusters.standard_error(influence)
    variance = 0.0
    for kind in (data.correct, ~data.correct):
        size = int(kind.sum())
        variance += float((influence[kind] ** 2).sum()) * size / max(size - 1, 1)
    return float(np.sqrt(variance))


def _score_limits(area: float, right: int, wrong: int, quantile: float) -> Limits:
    """Newcombe's limits for an area of 0 or 1: |area - t| = q sqrt(V(t)), by bisection."""
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
