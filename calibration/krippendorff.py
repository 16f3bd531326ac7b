"""Krippendorff's alpha: agreement above chance, for any number of annotators and missing ratings."""

from __future__ import annotations

from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.group_jackknife import group_statistic
from calibration.labels import rated_twice
from calibration.resampling import ClusterBootstrap

Metric = Literal["nominal", "ordinal", "interval", "ratio"]


def krippendorffs_alpha(
    counts: ArrayLike,
    bootstrap: ClusterBootstrap | None = None,
    *,
    metric: Metric = "nominal",
    values: ArrayLike | None = None,
) -> Estimate:
    """Krippendorff's alpha, 1 - Do / De, from the coincidences within units.

    A unit with m >= 2 votes adds n_c n_k / (m - 1) (n_c (n_c - 1) / (m - 1) on the diagonal) to
    the coincidences of c and k; missing ratings are simply absent. Krippendorff, "Content
    Analysis" (2004), chapter 11. n is the number of units with at least two votes. The ordinal
    distances depend on the margins and are computed anew without each group.

    Args:
        counts: Votes by category, shape (units, categories), columns in order for "ordinal".
        bootstrap: The groups of the units.
        metric: How far apart two categories are.
        values: What each category is worth, for "interval" and "ratio"; default 0, 1, 2, ...

    Raises:
        InvalidArgument: The counts are not whole numbers of shape (units, categories), the metric
            has no such name, or the values are not one finite number for each category (for
            "ratio": none negative).
    """
    votes = rated_twice(counts)
    n = int((votes.sum(axis=1) >= 2).sum())
    worth = np.arange(votes.shape[1]) if values is None else np.asarray(values)
    worth = _checked_values(worth.astype(np.float64), votes.shape[1], metric)
    statistic = partial(_alpha_of_sums, metric=metric, values=worth)
    parts = _summed_coincidences(votes) if bootstrap is None else _coincidences(votes)
    return group_statistic(parts, statistic, n, bootstrap)


def _checked_values(values: FloatArray, n_categories: int, metric: Metric) -> FloatArray:
    if metric not in get_args(Metric):
        raise InvalidArgument(f"metric must be one of {', '.join(get_args(Metric))}, not {metric}")
    if values.shape != (n_categories,) or not np.isfinite(values).all():
        raise InvalidArgument(f"values must be {n_categories} finite numbers, one a category")
    if metric == "ratio" and (values < 0).any():
        raise InvalidArgument("values must not be negative for the metric ratio")
    return values


def _coincidences(votes: FloatArray) -> FloatArray:
    """What each unit adds to every cell of the coincidences, shape (units, categories squared)."""
    cells = votes[:, :, None] * votes[:, None, :]
    diagonal = np.arange(votes.shape[1])
    cells[:, diagonal, diagonal] -= votes
    cells /= np.maximum(votes.sum(axis=1) - 1, 1)[:, None, None]
    return cells.reshape(len(votes), votes.shape[1] ** 2)


def _summed_coincidences(votes: FloatArray) -> FloatArray:
    """The sum of the coincidences of all units, shape (1, categories squared)."""
    scaled = votes / np.maximum(votes.sum(axis=1) - 1, 1)[:, None]
    return np.asarray((votes.T @ scaled - np.diag(scaled.sum(axis=0))).reshape(1, -1))


def _alpha_of_sums(sums: FloatArray, metric: Metric, values: FloatArray) -> FloatArray:
    table = sums.reshape(-1, len(values), len(values))
    margins = table.sum(axis=2)
    n = margins.sum(axis=1)
    distance = _squared_distances(margins, metric, values)
    observed = (table * distance).sum(axis=(1, 2)) / n
    expected = np.einsum("ri,rij,rj->r", margins, distance, margins) / (n * (n - 1))
    return np.where(expected > 0, 1 - observed / expected, np.nan)


def _squared_distances(margins: FloatArray, metric: Metric, values: FloatArray) -> FloatArray:
    """Squared distances between categories, shape (1 or samples, categories, categories)."""
    if metric == "nominal":
        return (1 - np.eye(len(values)))[None]
    if metric == "ordinal":
        midranks = margins.cumsum(axis=1) - margins / 2
        return (midranks[:, :, None] - midranks[:, None, :]) ** 2
    difference = np.subtract.outer(values, values)
    if metric == "interval":
        return (difference**2)[None]
    total = np.add.outer(values, values)
    relative = np.divide(difference, total, out=np.zeros_like(difference), where=total != 0)
    return (relative**2)[None]
