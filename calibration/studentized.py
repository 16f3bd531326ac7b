"""Means of skewed values over rows that come in groups, with the studentised cluster bootstrap.

Losses are skewed: plain percentiles of their mean miss on the upper side too often. Resampling
(mean* - mean) / standard error* instead is second-order correct (Hall 1988), and both are ratios
of sums over groups, so that a thousand resamples are one matrix product.

What is assumed: groups are independent draws from one population (without groups, rows are).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray
from calibration.clusters import NO_LIMITS, Clusters, level_of
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.resampling import ClusterBootstrap, Limits

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
