"""Intervals of coefficients and means over groups.

A statistic that is a function of sums over rows is computed again without each group; the spread of
these values gives its variance (the delete-one jackknife over G groups; Efron and Stein 1981). The
variance then says how many independent trials the sample is worth, v (1 - v) / variance for a
share v, and Wilson's interval for so many trials (fewer by the squared ratio of the normal to
Student's quantile of G - 1 degrees of freedom) stays inside its scale and keeps its coverage near
the ends, after Korn and Graubard (1998). A coefficient between -1 and 1 is put on that scale as
(1 + v) / 2. What is assumed: groups are independent draws from one population.

Losses are skewed: plain percentiles of their mean miss on the upper side too often. Resampling
(mean* - mean) / standard error* instead is second-order correct (Hall 1988), and both are ratios
of sums over groups, so that a thousand resamples are one matrix product.

What is assumed: groups are independent draws from one population (without groups, rows are).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse, special, stats

from calibration.arrays import FloatArray
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals.bootstrap import (
    DEFAULT_CONFIDENCE_LEVEL,
    ClusterBootstrap,
    Limits,
    estimate_share,
)
from calibration.intervals.clustered import NO_LIMITS, Clusters, level_of

Statistic = Callable[[FloatArray], FloatArray]

_BLOCK_CELLS = 4_000_000
_ROUNDING = 1e-24  # a smaller variance is that of rounding


def group_statistic(
    parts: FloatArray,
    statistic: Statistic,
    n: int,
    bootstrap: ClusterBootstrap | None,
    *,
    is_share: bool = False,
) -> Estimate:
    """Estimate a share or a coefficient that is a function of sums over rows.

    Where leaving out some group leaves nothing to compute, the value rests on that group alone and
    has no interval. Where no group changes the value, the groups are unanimous and count as one
    trial each.

    Args:
        parts: What each row adds to each sum, shape (rows, sums).
        statistic: Maps sums of shape (samples, sums) to values of shape (samples,); nan where it
            is not defined.
        n: The number of observations to report.
        bootstrap: The groups of the same rows and the confidence level; no resample is drawn. None
            for a value without an interval.
        is_share: The value lies in [0, 1]; else in [-1, 1].

    Raises:
        InvalidArgument: The bootstrap is over another number of rows.
    """
    if bootstrap is not None:
        bootstrap.check_rows(len(parts))
    level = DEFAULT_CONFIDENCE_LEVEL if bootstrap is None else bootstrap.confidence_level
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(parts.sum(axis=0, keepdims=True))[0])
        if not np.isfinite(value):
            return Estimate(None, None, None, level, n)
        if bootstrap is None:
            return Estimate(value, None, None, level, n)
        others = _without_each_group(parts, statistic, bootstrap)
    if len(others) < 2 or not np.isfinite(others).all():
        return Estimate(value, None, None, level, n)
    scale, shift = (1.0, 0.0) if is_share else (2.0, 1.0)
    low, high = _ends((value + shift) / scale, (others + shift) / scale, level)
    return Estimate(value, low * scale - shift, high * scale - shift, level, n)


def group_ratio(
    numerator: ArrayLike, denominator: ArrayLike, bootstrap: ClusterBootstrap | None
) -> Estimate:
    """Estimate the share sum(numerator) / sum(denominator); n is the sum of the denominator."""
    parts = np.column_stack(
        [np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)]
    )
    n = round(float(parts[:, 1].sum()))
    return group_statistic(parts, lambda sums: sums[:, 0] / sums[:, 1], n, bootstrap, is_share=True)


def group_share(
    hits: ArrayLike, counted: ArrayLike, bootstrap: ClusterBootstrap | None
) -> Estimate:
    """Estimate the share of counted rows that are hits; n is the number of counted rows.

    Where no group has two counted rows they are independent trials: Wilson's interval as it is.
    """
    counts = np.asarray(counted, dtype=np.bool_)
    hit = np.asarray(hits, dtype=np.bool_) & counts
    if bootstrap is not None:
        bootstrap.check_rows(len(counts))
    if bootstrap is None or bootstrap.take(counts).n_groups_present == counts.sum():
        return estimate_share(hit, counts, bootstrap)
    return group_ratio(hit, counts, bootstrap)


def _without_each_group(
    parts: FloatArray, statistic: Statistic, bootstrap: ClusterBootstrap
) -> FloatArray:
    """The statistic without each group that adds anything, shape (groups,)."""
    used = np.flatnonzero(parts.any(axis=1))
    present, group = np.unique(bootstrap.group[used], return_inverse=True)
    member = sparse.csr_array(
        (np.ones(len(used)), (group, np.arange(len(used)))), shape=(len(present), len(used))
    )
    by_group = np.asarray(member @ parts[used])
    whole = by_group.sum(axis=0)
    step = max(1, _BLOCK_CELLS // parts.shape[1])
    blocks = (by_group[start : start + step] for start in range(0, len(by_group), step))
    return np.concatenate([np.empty(0), *(statistic(whole - block) for block in blocks)])


def _ends(value: float, others: FloatArray, level: float) -> tuple[float, float]:
    """The interval of a share, from its values without each group."""
    n_groups = len(others)
    normal = -float(special.ndtri((1 - level) / 2))
    student = float(stats.t.isf((1 - level) / 2, n_groups - 1))
    deviation = others - others.mean()
    variance = (n_groups - 1) / n_groups * float(deviation @ deviation)
    if variance <= _ROUNDING:
        return _wilson(value, n_groups, normal)
    if not 0 < value < 1:  # a coefficient of less than -1: chance would do better
        return value - student * np.sqrt(variance), value + student * np.sqrt(variance)
    # both quantiles vanish together at a level of nearly nothing
    narrower = normal / student if student > 0 else 1.0
    return _wilson(value, value * (1 - value) / variance * narrower**2, normal)


def _wilson(value: float, trials: float, normal: float) -> tuple[float, float]:
    """Score interval of a share in a number of trials that need not be whole."""
    extra = normal**2 / trials
    centre = (value + extra / 2) / (1 + extra)
    half = float(np.sqrt(extra * (value * (1 - value) + extra / 4))) / (1 + extra)
    return max(centre - half, 0.0), min(centre + half, 1.0)


# A resample that repeats the same few groups has no spread of its own to divide by.
_LEAST_RELATIVE_ERROR = 1e-6


def estimate_mean(
    values: ArrayLike,
    bootstrap: ClusterBootstrap | None = None,
    *,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Mean of the rows, every row weighing the same, whatever the size of its group.

    With group sums S_g, sizes n_g and mean m: the standard error is
    sqrt(G / (G - 1) sum (S_g - m n_g)^2) / n, and the limits are m - q s with the quantiles q of
    (m* - m) / s* over the resamples.

    Args:
        values: Shape (rows,).
        bootstrap: Resamples of the same rows; None for a value without an interval.
        within: Where such a mean can lie; the interval is cut there.

    Returns:
        The mean; n is the number of rows. No interval without a spread between the groups.

    Raises:
        InvalidArgument: Values are not a vector of finite numbers, or the bootstrap is over
            another number of rows.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise InvalidArgument("values must be a vector of finite numbers")
    level = level_of(bootstrap)
    if array.size == 0:
        return Estimate(None, None, None, level, 0)
    mean = float(array.mean())
    limits = NO_LIMITS if bootstrap is None else _limits(array, mean, bootstrap)
    if limits.low is None or limits.high is None:
        return Estimate(mean, None, None, level, array.size)
    low, high = (float(np.clip(end, *within)) for end in (limits.low, limits.high))
    return Estimate(mean, low, high, level, array.size)


def _limits(values: FloatArray, mean: float, bootstrap: ClusterBootstrap) -> Limits:
    clusters = Clusters.of(bootstrap, np.ones(values.size, dtype=np.bool_))
    if clusters.n_groups < 2:
        return NO_LIMITS
    error = clusters.standard_error((values - mean) / values.size)
    if error <= _LEAST_RELATIVE_ERROR * abs(mean):
        return NO_LIMITS
    ratios = _studentized(values, mean, error, bootstrap)
    defined = ratios[np.isfinite(ratios)]
    if not bootstrap.is_enough(defined.size):
        return NO_LIMITS
    low, high = np.quantile(defined, [clusters.tail, 1 - clusters.tail])
    return Limits(mean - float(high) * error, mean - float(low) * error)


def _studentized(
    values: FloatArray, mean: float, error: float, bootstrap: ClusterBootstrap
) -> FloatArray:
    """(mean* - mean) / standard error* in each resample, nan where there is no spread."""
    total = np.bincount(bootstrap.group, weights=values, minlength=bootstrap.n_groups)
    size = np.bincount(bootstrap.group, minlength=bootstrap.n_groups).astype(np.float64)
    parts = np.column_stack([total, size, total**2, total * size, size**2])
    sums = np.concatenate(
        [drawn.astype(np.float64) @ parts for drawn in bootstrap.multiplicities(parts.shape[1])]
    )
    groups = bootstrap.n_groups_present
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums[:, 0] / sums[:, 1]
        squares = sums[:, 2] - 2 * means * sums[:, 3] + means**2 * sums[:, 4]
        errors = np.sqrt(np.maximum(squares, 0) * groups / (groups - 1)) / sums[:, 1]
        ratios = np.where(errors > _LEAST_RELATIVE_ERROR * error, (means - mean) / errors, np.nan)
    return ratios
