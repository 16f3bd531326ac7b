"""Standard errors, degrees of freedom and intervals of rows that come in groups.

A statistic that is smooth in the weights of the rows has an influence for each row; summed within
groups, these give its standard error whatever the dependence inside a group. Rare outcomes leave
that standard error itself uncertain, so the degrees of freedom follow the groups that hold one.

What is assumed: groups are independent draws from one population, the one that figures are to hold
for; rows of one group may depend on each other in any way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument
from calibration.resampling import DEFAULT_CONFIDENCE_LEVEL, ClusterBootstrap, Limits

NO_LIMITS = Limits(None, None)


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Which of some rows stand together.

    Attributes:
        group: Group of each row, coded 0 .. n_groups - 1 with none absent; shape (rows,).
        n_groups: Number of groups.
        level: Nominal coverage of the intervals to be made.
    """

    group: IntArray
    n_groups: int
    level: float

    @classmethod
    def of(cls, bootstrap: ClusterBootstrap | None, counted: ArrayLike) -> Clusters:
        """Take the groups and the level of a bootstrap for the rows that count (a mask).

        Without a bootstrap every row is its own group.

        Raises:
            InvalidArgument: The bootstrap is over another number of rows than the mask.
        """
        mask = np.asarray(counted)
        check_rows(bootstrap, mask.size)
        rows = np.flatnonzero(mask)
        if bootstrap is None:
            return cls(np.arange(rows.size), int(rows.size), DEFAULT_CONFIDENCE_LEVEL)
        names, codes = np.unique(bootstrap.group[rows], return_inverse=True)
        return cls(codes.reshape(-1), int(names.size), bootstrap.confidence_level)

    @property
    def is_independent(self) -> bool:
        """Whether no two rows share a group."""
        return self.n_groups == self.group.size

    @property
    def tail(self) -> float:
        """Probability left on either side of an interval."""
        return (1.0 - self.level) / 2.0

    def sums(self, values: ArrayLike) -> FloatArray:
        """Sum of the rows' values in each group, shape (n_groups,)."""
        weights = np.asarray(values, dtype=np.float64)
        summed = np.bincount(self.group, weights=weights, minlength=self.n_groups)
        return np.asarray(summed, dtype=np.float64)

    def standard_error(self, influence: ArrayLike) -> float:
        """Root of G / (G - 1) times the sum over groups of squared influences; needs two groups."""
        squared = float((self.sums(influence) ** 2).sum())
        return float(np.sqrt(squared * self.n_groups / (self.n_groups - 1)))

    def holding(self, rows: ArrayLike) -> int:
        """Number of groups that hold at least one of the marked rows."""
        return int(np.unique(self.group[np.asarray(rows, dtype=np.bool_)]).size)


def check_rows(bootstrap: ClusterBootstrap | None, n_rows: int) -> None:
    """Refuse a bootstrap of other rows, as far as their number shows it.

    Raises:
        InvalidArgument: The bootstrap has another number of rows.
    """
    if bootstrap is not None and bootstrap.group.size != n_rows:
        raise InvalidArgument(
            f"bootstrap must be over the same rows: it has {bootstrap.group.size}, not {n_rows}"
        )


def level_of(bootstrap: ClusterBootstrap | None) -> float:
    """Nominal coverage of the intervals made with a bootstrap, or without one."""
    return DEFAULT_CONFIDENCE_LEVEL if bootstrap is None else bootstrap.confidence_level


def rarer_outcome(clusters: Clusters, values: ArrayLike) -> int:
    """Number of groups that hold the rarer outcome, of values in [0, 1] with the outcomes 0 and 1."""
    share = np.asarray(values, dtype=np.float64)
    return min(clusters.holding(share > 0), clusters.holding(share < 1))


def student_quantile(degrees: int, tail: float) -> float:
    """Upper quantile of Student's distribution, with one degree of freedom at the least."""
    return float(stats.t.isf(tail, max(degrees, 1)))


def student_over_normal(degrees: int, tail: float) -> float:
    """Ratio of Student's to the normal quantile; 1 at a level of nearly 0, where both vanish."""
    normal = -float(special.ndtri(tail))
    return student_quantile(degrees, tail) / normal if normal > 0 else 1.0


def logit_limits(value: float, standard_error: float, quantile: float) -> Limits:
    """Interval of a statistic in (0, 1), symmetric on the logit scale by the delta method.

    logit(value) +- quantile x standard_error / (value (1 - value)); it never leaves [0, 1] and is
    longer towards the middle. None at 0 and 1 or without spread, where it would have no width.
    """
    if not 0 < value < 1 or standard_error <= 0:
        return NO_LIMITS
    centre = special.logit(value)
    half = quantile * standard_error / (value * (1 - value))
    return Limits(float(special.expit(centre - half)), float(special.expit(centre + half)))
