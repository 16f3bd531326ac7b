"""Pearson, Spearman and Kendall between what judges and what people give, with intervals.

Rows of one group, such as the responses to one prompt, are not independent. So intervals come from a
jackknife that leaves out whole groups (Efron and Stein 1981), on the scale of Fisher's z = atanh r
with Student's quantiles. On that scale the spread hardly depends on r, and the ends stay within -1
and 1. Of very many groups, several together are left out at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals import DEFAULT_CONFIDENCE_LEVEL, GroupsLike, as_groups

_MOST_BLOCKS = 200
_FEWEST_ROWS = 3  # two rows always lie on a line
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Correlations:
    """How two lists of numbers go together; n is the number of rows with both.

    Attributes:
        pearson: Of the numbers: how near they lie to a line.
        spearman: Of their ranks, ties at their mean rank.
        kendall: Tau-b: the share of couples of rows in the same order minus that in the other one,
            corrected for ties (Kendall 1945).
    """

    pearson: Estimate
    spearman: Estimate
    kendall: Estimate


def correlations(x: ArrayLike, y: ArrayLike, groups: GroupsLike = None) -> Correlations:
    """Correlate two lists of numbers.

    Args:
        x: Numbers, NaN where there is none, shape (n,).
        y: The same, shape (n,).
        groups: The group of each row; None for values without intervals.

    Returns:
        The values equal those of `scipy.stats`. A value is None where one list is constant or there
        are fewer than three rows. There is no interval where only one group is left, or where
        leaving out one leaves nothing to compute.

    Raises:
        InvalidArgument: The shapes differ, or a number is infinite.

    Example:
        >>> found = correlations([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0])
        >>> round(found.spearman.value, 3), round(found.kendall.value, 3), found.pearson.n
        (0.8, 0.667, 4)
    """
    first, second = (np.asarray(one, dtype=np.float64) for one in (x, y))
    if first.ndim != 1 or first.shape != second.shape:
        raise InvalidArgument("x and y must be vectors of one length")
    if np.isinf(first).any() or np.isinf(second).any():
        raise InvalidArgument("x and y must be finite, or NaN where there is no number")
    both = np.flatnonzero(~np.isnan(first) & ~np.isnan(second))
    level = DEFAULT_CONFIDENCE_LEVEL
    blocks = None
    if groups is not None:
        known = as_groups(groups, len(first)).take(both)
        level, blocks = known.confidence_level, known.codes % _MOST_BLOCKS
    first, second = first[both], second[both]
    found = []
    for statistic in (_pearson, _spearman, _kendall):
        value, others = statistic(first, second, blocks)
        found.append(_estimate(value, others, len(both), level))
    return Correlations(*found)


def weighted_mean(columns: Mapping[str, ArrayLike], weights: Mapping[str, float]) -> FloatArray:
    """Return the weighted mean over criteria; NaN where one that weighs has no number.

    Args:
        columns: The numbers of each criterion, shape (n,) each.
        weights: Weights, 0 or more; only their ratios matter.

    Raises:
        InvalidArgument: A weight is negative or infinite, all are 0, or a criterion is unknown.

    Example:
        >>> weighted_mean({"wit": [1.0, 2.0], "style": [3.0, float("nan")]}, {"wit": 1, "style": 3})
        array([2.5, nan])
    """
    if any(not 0 <= weight < np.inf for weight in weights.values()) or not any(weights.values()):
        raise InvalidArgument("weights must be finite, not negative, and not all 0")
    unknown = [name for name in weights if name not in columns]
    if unknown:
        raise InvalidArgument(f"there is no criterion {unknown[0]!r}")
    parts = [np.asarray(columns[name], float) * w for name, w in weights.items() if w]
    mean: FloatArray = np.sum(parts, axis=0) / sum(weights.values())
    return mean


def _estimate(value: float, others: FloatArray, n: int, level: float) -> Estimate:
    if not np.isfinite(value):
        return Estimate(None, None, None, level, n)
    value = float(np.clip(value, -1.0, 1.0))
    count = len(others)
    if count < 2 or not np.isfinite(others).all() or abs(value) >= 1 - _ROUNDING:
        return Estimate(value, None, None, level, n)
    limit = 1 - _ROUNDING
    z = np.arctanh(np.clip(others, -limit, limit))
    spread = float(np.sqrt((count - 1) / count * np.sum((z - z.mean()) ** 2)))
    if spread <= _ROUNDING:  # the blocks are alike, and an interval of no width would be false
        return Estimate(value, None, None, level, n)
    half = float(scipy.stats.t.isf((1 - level) / 2, count - 1)) * spread
    middle = float(np.arctanh(value))
    return Estimate(value, float(np.tanh(middle - half)), float(np.tanh(middle + half)), level, n)


def _without_each(parts: FloatArray, blocks: IntArray | None) -> FloatArray:
    """Return the column sums without each block, shape (blocks, columns)."""
    if blocks is None or not len(blocks):
        return np.empty((0, parts.shape[1]))
    _, codes = np.unique(blocks, return_inverse=True)
    member = scipy.sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))))
    return np.asarray(parts.sum(axis=0) - member @ parts)


def _pearson(x: FloatArray, y: FloatArray, blocks: IntArray | None) -> tuple[float, FloatArray]:
    if len(x) < _FEWEST_ROWS or _is_constant(x) or _is_constant(y):
        return np.nan, np.empty(0)
    value = float(scipy.stats.pearsonr(x, y).statistic)
    # about their means and in units of their spread, so that sums of squares lose no digits
    x, y = ((one - one.mean()) / one.std() for one in (x, y))
    parts = np.column_stack([np.ones(len(x)), x, y, x * x, y * y, x * y])
    n, sx, sy, sxx, syy, sxy = _without_each(parts, blocks).T
    with np.errstate(divide="ignore", invalid="ignore"):
        spreads = (n * sxx - sx**2) * (n * syy - sy**2)
        return value, (n * sxy - sx * sy) / np.sqrt(np.where(spreads > _ROUNDING, spreads, np.nan))


def _spearman(x: FloatArray, y: FloatArray, blocks: IntArray | None) -> tuple[float, FloatArray]:
    if len(x) < _FEWEST_ROWS or _is_constant(x) or _is_constant(y):
        return np.nan, np.empty(0)
    value = float(scipy.stats.spearmanr(x, y).statistic)
    if blocks is None:
        return value, np.empty(0)
    kept = (blocks != block for block in np.unique(blocks))
    return value, np.array([_of_ranks(x[rows], y[rows]) for rows in kept])


def _of_ranks(x: FloatArray, y: FloatArray) -> float:
    if len(x) < _FEWEST_ROWS:
        return np.nan
    one, other = (scipy.stats.rankdata(values) - (len(values) + 1) / 2 for values in (x, y))
    spreads = float(one @ one) * float(other @ other)
    return float(one @ other) / np.sqrt(spreads) if spreads > 0 else np.nan


def _kendall(x: FloatArray, y: FloatArray, blocks: IntArray | None) -> tuple[float, FloatArray]:
    """Tau-b is a function of sums over couples of rows: what a block adds to them is taken off."""
    if len(x) < _FEWEST_ROWS or _is_constant(x) or _is_constant(y):
        return np.nan, np.empty(0)
    value = float(scipy.stats.kendalltau(x, y).statistic)
    if blocks is None:
        return value, np.empty(0)
    parts = _couples(x, y)
    within = np.zeros((np.unique(blocks).size, parts.shape[1]))
    order = np.argsort(blocks, kind="stable")
    ends = np.flatnonzero(np.diff(blocks[order])) + 1
    for number, rows in enumerate(np.split(order, ends)):
        within[number] = _couples(x[rows], y[rows]).sum(axis=0)
    # couples are counted from both of their rows, so those within a block were taken off twice
    whole = parts.sum(axis=0)
    rest = 2 * _without_each(parts, blocks) - whole + within
    with np.errstate(divide="ignore", invalid="ignore"):
        return value, rest[:, 0] / np.sqrt(rest[:, 1] * rest[:, 2])


def _couples(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return of each row, over its couples: sign of the order, and whether x and y differ."""
    same = _below(x, y) + _below(-x, -y)
    other = _below(x, -y) + _below(-x, y)
    untied = [len(values) - _counts(values) for values in (x, y)]
    return np.column_stack([same - other, *untied]).astype(np.float64)


def _counts(values: FloatArray) -> IntArray:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(count[place], dtype=np.int64)


def _below(x: FloatArray, y: FloatArray) -> IntArray:
    """Return how many rows are less than each row in both x and y.

    Rows in the order of x are merged in blocks of twice the size again and again; those of a right
    half count the smaller y in its left half.
    """
    n = len(x)
    rank = np.unique(y, return_inverse=True)[1].astype(np.int64)
    # of equal x the larger y comes first, so that none of them counts
    order = np.lexsort((-rank, x))
    values, count = rank[order], np.zeros(n, dtype=np.int64)
    place, span, width = np.arange(n), int(rank.max(initial=0)) + 1, 1
    while width < n:
        block = place // (2 * width)
        is_left = place // width % 2 == 0
        key = block * span + values
        left = np.sort(key[is_left])
        right = ~is_left
        before = np.searchsorted(left, block[right] * span)
        count[right] += np.searchsorted(left, key[right]) - before
        width *= 2
    found = np.empty(n, dtype=np.int64)
    found[order] = count
    return found


def _is_constant(values: FloatArray) -> bool:
    return bool(np.ptp(values) == 0)


def mean_of(columns: Sequence[FloatArray]) -> FloatArray:
    """Return the mean of several judges' numbers, NaN where one of them has none, shape (n,)."""
    mean: FloatArray = np.mean(columns, axis=0)
    return mean
