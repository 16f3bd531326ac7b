"""Delete-one-group jackknife: intervals of coefficients and of ratios of sums.

A statistic that is a function of sums over rows is computed again without each group; the spread of
these values gives its variance (the delete-one jackknife over G groups; Efron and Stein 1981). The
variance then says how many independent trials the sample is worth, v (1 - v) / variance for a
share v, and Wilson's interval for this many trials (fewer by the squared ratio of the normal to
Student's quantile of G - 1 degrees of freedom) stays inside its scale and keeps its coverage near
the ends, after Korn and Graubard (1998). A coefficient between -1 and 1 is put on that scale as
(1 + v) / 2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray
from calibration.estimate import Estimate
from calibration.intervals.groups import DEFAULT_CONFIDENCE_LEVEL, Groups, GroupsLike, as_groups

Statistic = Callable[[FloatArray], FloatArray]

_BLOCK_CELLS = 4_000_000
_ROUNDING = 1e-24  # a smaller variance is that of rounding


def jackknife_statistic(
    parts: FloatArray,
    statistic: Statistic,
    n: int,
    groups: GroupsLike,
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
        groups: Groups of the same rows; None for a value without an interval.
        is_share: The value lies in [0, 1]; else in [-1, 1].
    """
    known = None if groups is None else as_groups(groups, len(parts))
    level = DEFAULT_CONFIDENCE_LEVEL if known is None else known.confidence_level
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(parts.sum(axis=0, keepdims=True))[0])
        if not np.isfinite(value):
            return Estimate(None, None, None, level, n)
        if known is None:
            return Estimate(value, None, None, level, n)
        others = _without_each_group(parts, statistic, known)
    if len(others) < 2 or not np.isfinite(others).all():
        return Estimate(value, None, None, level, n)
    scale, shift = (1.0, 0.0) if is_share else (2.0, 1.0)
    low, high = _ends((value + shift) / scale, (others + shift) / scale, level)
    return Estimate(value, low * scale - shift, high * scale - shift, level, n)


def jackknife_ratio(numerator: ArrayLike, denominator: ArrayLike, groups: GroupsLike) -> Estimate:
    """Estimate the share sum(numerator) / sum(denominator); n is the sum of the denominator."""
    parts = np.column_stack(
        [np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)]
    )
    n = round(float(parts[:, 1].sum()))
    return jackknife_statistic(
        parts, lambda sums: sums[:, 0] / sums[:, 1], n, groups, is_share=True
    )


def _without_each_group(parts: FloatArray, statistic: Statistic, groups: Groups) -> FloatArray:
    """Return the statistic without each group that adds anything, shape (groups,)."""
    used = np.flatnonzero(parts.any(axis=1))
    present = groups.take(used)
    member = scipy.sparse.csr_array(
        (np.ones(len(used)), (present.codes, np.arange(len(used)))),
        shape=(present.n_groups, len(used)),
    )
    by_group = np.asarray(member @ parts[used])
    whole = by_group.sum(axis=0)
    step = max(1, _BLOCK_CELLS // parts.shape[1])
    blocks = (by_group[start : start + step] for start in range(0, len(by_group), step))
    return np.concatenate([np.empty(0), *(statistic(whole - block) for block in blocks)])


def _ends(value: float, others: FloatArray, level: float) -> tuple[float, float]:
    """Return the interval of a share, from its values without each group."""
    n_groups = len(others)
    normal = -float(scipy.special.ndtri((1 - level) / 2))
    student = float(scipy.stats.t.isf((1 - level) / 2, n_groups - 1))
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
    """Return the score interval of a share in a number of trials that need not be whole."""
    extra = normal**2 / trials
    centre = (value + extra / 2) / (1 + extra)
    half = float(np.sqrt(extra * (value * (1 - value) + extra / 4))) / (1 + extra)
    return max(centre - half, 0.0), min(centre + half, 1.0)
