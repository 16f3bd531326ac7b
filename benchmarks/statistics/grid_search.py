"""Thresholds as one would first compute them: a grid, and for each point a bound by root finding.

Judge by judge, on the pairs that the judges before it left: the Clopper-Pearson bound is the risk r
at which binom.cdf(errors, n, r) equals the failure probability, sought by Brent's method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from calibration.arrays import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class GridSearch:
    """What was found.

    Attributes:
        thresholds: Shape (k,); inf where no point of the grid passed.
        answered: Pairs answered at each point, shape (k, points), highest threshold first.
        errors: Disagreements among them.
        bounds: Upper bound of the risk there.
    """

    thresholds: FloatArray
    answered: IntArray
    errors: IntArray
    bounds: FloatArray


def grid_search(
    confidence: FloatArray,
    correct: FloatArray,
    *,
    target_risk: float,
    failure_probability: float,
    n_points: int,
) -> GridSearch:
    """Take for each judge the lowest threshold above which every bound meets the target."""
    k = confidence.shape[1]
    grid = np.linspace(1.0, 0.5, n_points)
    thresholds = np.full(k, np.inf)
    answered, errors = np.zeros((2, k, n_points), dtype=np.int64)
    bounds = np.ones((k, n_points))
    remains = np.ones(len(confidence), dtype=np.bool_)
    for judge in range(k):
        for point, threshold in enumerate(grid):
            accepted = remains & (confidence[:, judge] >= threshold)
            answered[judge, point] = accepted.sum()
            errors[judge, point] = (accepted & (correct[:, judge] == 0)).sum()
            bounds[judge, point] = upper_bound(
                int(errors[judge, point]), int(answered[judge, point]), failure_probability
            )
        thresholds[judge] = _lowest_passing(grid, bounds[judge], target_risk)
        remains &= confidence[:, judge] < thresholds[judge]
    return GridSearch(thresholds, answered, errors, bounds)


def upper_bound(errors: int, n: int, level: float) -> float:
    """Find the risk at which so few errors would have the probability `level`."""
    if errors == n:
        return 1.0
    return float(optimize.brentq(lambda risk: stats.binom.cdf(errors, n, risk) - level, 0.0, 1.0))


def _lowest_passing(grid: FloatArray, bounds: FloatArray, target_risk: float) -> float:
    """Walk down from the first point that passes until one fails."""
    passes = bounds <= target_risk
    if not passes.any():
        return np.inf
    first = int(passes.argmax())
    fails = np.flatnonzero(~passes[first:])
    last = first + int(fails[0]) - 1 if fails.size else len(grid) - 1
    return float(grid[last])
