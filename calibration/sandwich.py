"""Sandwich covariance of estimates from score equations, with groups as the unit of chance.

With U_g the sum of the score contributions of group g and H the information, the covariance is
H^-1 (sum U_g U_g') H^-1, which holds whether or not the model is right and however alike the rows
of one group are (Huber 1967; Liang and Zeger 1986). What is assumed: groups are independent draws
from one population, many of them, and none dominates. For few groups the covariance is multiplied
by G / (G - 1) x (n - 1) / (n - p), and quantiles are Student's with G - 1 degrees of freedom. A
parameter that only some of the groups tell about has as many degrees as those (`resting_on`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse, stats

from calibration.arrays import FloatArray
from calibration.estimate import Estimate

_BLOCK_CELLS = 4_000_000
_ROUNDING = 1e-24  # a smaller variance is that of rounding


@dataclass(frozen=True, slots=True, eq=False)
class Sandwich:
    """How well parameters are known.

    Attributes:
        covariance: Shape (parameters, parameters).
        n_groups: Number of groups that the parameters rest on.
        largest_share: The largest part that a single group has in the variance of each parameter,
            shape (parameters,). Near 1 the parameter rests on one group, and no formula can say
            how well it is known.
    """

    covariance: FloatArray
    n_groups: int
    largest_share: FloatArray

    def resting_on(self, n_groups: int) -> Sandwich:
        """The same covariance, known only as well as from so many of the groups."""
        return replace(self, n_groups=min(n_groups, self.n_groups))

    def estimate(self, parameter: int, value: float, confidence_level: float, n: int) -> Estimate:
        """Give one parameter its interval.

        There is none from fewer than two groups, and none where each group by itself gives the same
        value: such groups show no spread to measure by.
        """
        variance = float(self.covariance[parameter, parameter])
        if self.n_groups < 2 or not variance > _ROUNDING:
            return Estimate(value, None, None, confidence_level, n)
        quantile = float(stats.t.isf((1 - confidence_level) / 2, self.n_groups - 1))
        reach = quantile * float(np.sqrt(variance))
        return Estimate(value, value - reach, value + reach, confidence_level, n)


def sandwich(
    scores: sparse.csr_array[Any], information: FloatArray, n_rows: int, n_free: int
) -> Sandwich:
    """Covariance of the solution of score equations.

    Args:
        scores: Score contributions summed by group, shape (groups, parameters); only groups that
            have a row.
        information: Minus the derivative of the sum of the scores, symmetric and regular, shape
            (parameters, parameters).
        n_rows: Number of rows that were summed.
        n_free: Number of parameters, without those that the rows do not determine.
    """
    n_groups = scores.shape[0]
    bread = np.asarray(np.linalg.inv(information), dtype=np.float64)
    plain = bread @ (scores.T @ scores).toarray() @ bread
    variance = np.diag(plain)
    largest = _largest_squares(scores, bread)
    share = np.divide(largest, variance, out=np.zeros_like(largest), where=variance > 0)
    factor = n_groups / max(n_groups - 1, 1) * (n_rows - 1) / max(n_rows - n_free, 1)
    return Sandwich(plain * factor, n_groups, share)


def _largest_squares(scores: sparse.csr_array[Any], bread: FloatArray) -> FloatArray:
    """Largest squared influence of any group on each parameter."""
    largest = np.zeros(len(bread))
    step = max(1, _BLOCK_CELLS // len(bread))
    for start in range(0, scores.shape[0], step):
        influence = np.asarray(scores[start : start + step] @ bread)
        largest = np.maximum(largest, (influence**2).max(axis=0))
    return largest
