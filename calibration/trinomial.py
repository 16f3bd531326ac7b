"""Exact test of the mean of independent differences that can only be -1, 0 and 1."""

from __future__ import annotations

import numpy as np
from scipy import special, stats

from calibration.arrays import FloatArray

_NUISANCE_LEVEL = 1e-4
_GRID = 100
_ROUNDING = 1e-9


def mean_p_value(n_below: int, n_zero: int, n_above: int, mean: float) -> float:
    """Largest probability, if the true mean is at least `mean`, of so small a result or a smaller.

    Results are ordered by how many standard errors their mean lies below `mean`, made monotone: a
    result is no larger than another with more values of 1 and fewer of -1. Therefore a mean of just
    `mean` is the least favourable one for each probability p0 of a 0. The largest probability over
    an exact interval of p0 is taken, and the probability that the interval is wrong is added
    (Berger and Boos 1994), so that the p-value is valid whatever p0 is.

    Time and memory grow with the square of the number of differences.

    Args:
        n_below: Number of differences of -1.
        n_zero: Number of differences of 0.
        n_above: Number of differences of 1.
        mean: Mean under the hypothesis, in [0, 1).
    """
    n = n_below + n_zero + n_above
    half = _NUISANCE_LEVEL / 2
    low = float(stats.beta.ppf(half, n_zero, n - n_zero + 1)) if n_zero else 0.0
    high = float(stats.beta.isf(half, n_zero + 1, n - n_zero)) if n_zero < n else 1.0
    if low > 1 - mean:
        return _NUISANCE_LEVEL
    order = _order(n, mean)
    above, below = np.nonzero(order <= order[n_above, n_below] + _ROUNDING)
    zero = np.linspace(low, min(high, 1 - mean), _GRID)[:, None]
    logs = special.xlogy(above, (1 - zero + mean) / 2) + special.xlogy(n - above - below, zero)
    logs += special.xlogy(below, np.maximum(1 - zero - mean, 0) / 2)
    ways = special.gammaln(n + 1) - special.gammaln([above + 1, below + 1]).sum(axis=0)
    ways -= special.gammaln(n - above - below + 1)
    return min(1.0, float(np.exp(logs + ways).sum(axis=1).max()) + _NUISANCE_LEVEL)


def _order(n: int, mean: float) -> FloatArray:
    """Place in the order of every result, by numbers of 1 and of -1; infinite if they exceed n."""
    above, below = np.mgrid[: n + 1, : n + 1]
    found = (above - below) / n
    spread = (above + below + 1) / (n + 1) - found**2 + 1 / n
    place = np.where(above + below <= n, (found - mean) / np.sqrt(spread), np.inf)
    fewer_above = np.minimum.accumulate(place[::-1], axis=0)[::-1]
    monotone = np.minimum.accumulate(fewer_above, axis=1)
    return np.where(above + below <= n, monotone, np.inf)
