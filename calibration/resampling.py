"""Cluster bootstrap: whole groups are drawn with replacement, never single rows.

Pairs of one prompt are not independent, so the group is the unit of chance. A resample is a vector
of group multiplicities, and a statistic that depends on sums over rows becomes a matrix product of
multiplicities and group sums. Intervals are percentile intervals, widened for few groups as in
Hesterberg, "What Teachers Should Know About the Bootstrap" (2015), section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, special, stats

from calibration.binomial import wilson_interval
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Statistic = Callable[[FloatArray], FloatArray]

DEFAULT_RESAMPLES = 1_000
DEFAULT_CONFIDENCE_LEVEL = 0.95
# An interval that ignores more resamples than this would describe another population.
LARGEST_UNDEFINED_SHARE = 0.2
_KEPT_CELLS = 20_000_000
_BLOCK_CELLS = 4_000_000


class Limits(NamedTuple):
    """The ends of an interval, both None where there is none."""

    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, eq=False)
class ClusterBootstrap:
    """One set of resamples of the groups, shared by every statistic of a report.

    Sharing the draws makes statistics comparable resample by resample, also those of subsets
    (`take`). Permuting the rows changes nothing: groups are drawn in the order of their names.

    Attributes:
        group: Group of each row, coded 0 .. n_groups - 1; shape (rows,).
        n_groups: Number of groups that are drawn from.
        seed: Where the stream of draws starts.
        n_resamples: Number of resamples.
        confidence_level: Coverage of the intervals made from them.
        kept: All multiplicities, shape (n_resamples, n_groups), or None where they would not fit
            in memory and are drawn again from `seed` for each statistic.
    """

    group: IntArray
    n_groups: int
    seed: int
    n_resamples: int = DEFAULT_RESAMPLES
    confidence_level: float = DEFAULT_CONFIDENCE_LEVEL
    kept: NDArray[np.uint8] | None = None

    @classmethod
    def over(
        cls,
        groups: ArrayLike,
        rng: np.random.Generator,
        *,
        n_resamples: int = DEFAULT_RESAMPLES,
        confidence_level: float = DEFAULT_CONFIDENCE_LEVEL,
    ) -> ClusterBootstrap:
        """Prepare resamples of the groups of some rows.

        Args:
            groups: Name or number of each row's group, shape (rows,).
            rng: Source of chance; one number is taken from it.
            n_resamples: Number of resamples.
            confidence_level: Coverage of the intervals.

        Raises:
            InvalidArgument: The confidence level is not inside (0, 1) or there are no resamples.
        """
        if not 0 < confidence_level < 1:
            raise InvalidArgument(
                f"confidence_level must lie inside (0, 1), not {confidence_level}"
            )
        if n_resamples < 1:
            raise InvalidArgument(f"n_resamples must be positive, not {n_resamples}")
        names, codes = np.unique(np.asarray(groups), return_inverse=True)
        seed = int(rng.integers(2**63))
        made = cls(codes.reshape(-1), len(names), seed, n_resamples, confidence_level)
        if n_resamples * len(names) > _KEPT_CELLS:
            return made
        blocks = list(made.multiplicities(len(names)))
        return replace(made, kept=np.concatenate(blocks) if blocks else None)

    def take(self, rows: ArrayLike) -> ClusterBootstrap:
        """Return the same resamples for a subset of the rows (a mask or an index array)."""
        return replace(self, group=self.group[np.asarray(rows)])

    @property
    def n_groups_present(self) -> int:
        """Number of groups that still have a row after `take`."""
        return int(np.unique(self.group).size)

    def multiplicities(self, width: int) -> Iterator[NDArray[np.uint8]]:
        """Yield blocks of resamples, each (resamples, n_groups): how often a group was drawn.

        `width` is the number of columns of the caller's own arrays per resample; blocks are sized
        so that these stay small.
        """
        if self.n_groups == 0:
            return
        rng = np.random.default_rng(self.seed)
        per_block = max(1, _BLOCK_CELLS // self.n_groups)
        for start in range(0, self.n_resamples, per_block):
            size = min(per_block, self.n_resamples - start)
            drawn = self._draw(rng, start, size)
            step = max(1, _BLOCK_CELLS // max(width, 1))
            yield from (drawn[i : i + step] for i in range(0, size, step))

    def _draw(self, rng: np.random.Generator, start: int, size: int) -> NDArray[np.uint8]:
        if self.kept is not None:
            return self.kept[start : start + size]
        drawn = rng.integers(self.n_groups, size=(size, self.n_groups))
        drawn += np.arange(size)[:, None] * self.n_groups
        counts = np.bincount(drawn.reshape(-1), minlength=size * self.n_groups)
        # Beyond 255 groups a multiplicity above 255 has a probability below 1e-500.
        return np.minimum(counts, 255).astype(np.uint8).reshape(size, self.n_groups)

    def totals(self, parts: FloatArray | sparse.csr_array[Any]) -> Iterator[FloatArray]:
        """Yield blocks (resamples, columns) of the column sums of `parts` in each resample.

        Args:
            parts: What each row adds to each sum, shape (rows, columns), dense or sparse.
        """
        member = sparse.csr_array(
            (np.ones(self.group.size), (self.group, np.arange(self.group.size))),
            shape=(self.n_groups, self.group.size),
        )
        by_group = member @ parts
        for drawn in self.multiplicities(by_group.shape[1]):
            yield np.asarray((by_group.T @ drawn.T.astype(np.float64)).T)

    def is_enough(self, n_defined: int) -> bool:
        """Whether so many resamples with a value, and the groups present, give an interval."""
        needed = max(1.0, (1 - LARGEST_UNDEFINED_SHARE) * self.n_resamples)
        return self.n_groups_present >= 2 and n_defined >= needed

    def interval(self, draws: FloatArray) -> Limits:
        """Percentile interval of a statistic from its value in each resample.

        The tail probability is Phi(-sqrt(G / (G - 1)) t), with t the Student quantile of G - 1
        degrees of freedom and G the number of groups: plain percentiles are too narrow by the
        factor sqrt((G - 1) / G) and ignore that the spread itself was estimated. Resamples where
        the statistic is undefined (nan) are left out; with more than a fifth of them, or fewer
        than two groups, there is no interval.
        """
        defined = draws[np.isfinite(draws)]
        if not self.is_enough(defined.size):
            return Limits(None, None)
        tail = expanded_tail(self.n_groups_present, 1 - self.confidence_level)
        low, high = np.quantile(defined, [tail, 1 - tail])
        return Limits(float(low), float(high))


def expanded_tail(n_groups: int, error: float) -> float:
    """One-sided tail probability that makes a percentile interval as wide as Student's."""
    quantile = float(stats.t.isf(error / 2, n_groups - 1))
    return float(special.ndtr(-np.sqrt(n_groups / (n_groups - 1)) * quantile))


def estimate_statistic(
    parts: FloatArray, statistic: Statistic, n: int, bootstrap: ClusterBootstrap | None
) -> Estimate:
    """Estimate a statistic that is a function of sums over rows.

    Args:
        parts: What each row adds to each sum, shape (rows, sums).
        statistic: Maps sums of shape (resamples, sums) to values of shape (resamples,); nan where
            it is not defined.
        n: The number of observations to report.
        bootstrap: Resamples of the same rows; None for a value without an interval.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(parts.sum(axis=0, keepdims=True))[0])
        if bootstrap is None or not np.isfinite(value):
            return _without_interval(value, n, bootstrap)
        used = parts.any(axis=1)  # rows that add nothing must not make their group count
        present = bootstrap.take(used)
        draws = np.concatenate([statistic(totals) for totals in present.totals(parts[used])])
    return estimate_from_draws(value, draws, n, present)


def estimate_from_draws(
    value: float,
    draws: FloatArray,
    n: int,
    bootstrap: ClusterBootstrap,
    *,
    is_share: bool = False,
) -> Estimate:
    """Estimate a statistic from its value in the sample and in each resample.

    A share of exactly 0 or 1 is the same in all resamples, which would give an interval of no
    width; it gets the Wilson interval with one trial a group.
    """
    if not np.isfinite(value):
        return _without_interval(value, n, bootstrap)
    if is_share and value in (0.0, 1.0):
        groups = bootstrap.n_groups_present
        return _wilson(value, groups * int(value), groups, bootstrap.confidence_level, n=n)
    low, high = bootstrap.interval(draws)
    return Estimate(value, low, high, bootstrap.confidence_level, n)


def estimate_ratio(
    numerator: ArrayLike,
    denominator: ArrayLike,
    bootstrap: ClusterBootstrap | None,
    *,
    n: int | None = None,
) -> Estimate:
    """Estimate sum(numerator) / sum(denominator); n defaults to the sum of the denominator."""
    parts = np.column_stack(
        [np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)]
    )
    count = round(float(parts[:, 1].sum())) if n is None else n
    return estimate_statistic(parts, lambda sums: sums[:, 0] / sums[:, 1], count, bootstrap)


def estimate_share(
    hits: ArrayLike, counted: ArrayLike, bootstrap: ClusterBootstrap | None
) -> Estimate:
    """Estimate the share of counted rows that are hits; n is the number of counted rows.

    The Wilson interval is used where it is the better one: without a bootstrap, where no group has
    two counted rows (independent trials), and, with one trial a group, where the share is 0 or 1
    (all resamples are then equal and would give an interval of no width).

    Args:
        hits: Whether a row is a hit, shape (rows,); looked at only where counted.
        counted: Whether a row counts, shape (rows,).
        bootstrap: Resamples of the same rows; None takes every row as its own group.
    """
    counts = np.asarray(counted, dtype=np.bool_)
    hit = np.asarray(hits, dtype=np.bool_) & counts
    n, k = int(counts.sum()), int(hit.sum())
    if n == 0:
        return _without_interval(np.nan, 0, bootstrap)
    if bootstrap is None:
        return _wilson(k / n, k, n, DEFAULT_CONFIDENCE_LEVEL, n=n)
    groups = bootstrap.take(counts).n_groups_present
    if groups == n or k in (0, n):
        successes = k if groups == n else groups * (k // n)
        return _wilson(k / n, successes, groups, bootstrap.confidence_level, n=n)
    return estimate_ratio(hit, counts, bootstrap)


def _wilson(value: float, successes: int, trials: int, level: float, *, n: int) -> Estimate:
    low, high = wilson_interval(successes, trials, level)
    return Estimate(value, float(low), float(high), level, n)


def _without_interval(value: float, n: int, bootstrap: ClusterBootstrap | None) -> Estimate:
    level = DEFAULT_CONFIDENCE_LEVEL if bootstrap is None else bootstrap.confidence_level
    return Estimate(value if np.isfinite(value) else None, None, None, level, n)
