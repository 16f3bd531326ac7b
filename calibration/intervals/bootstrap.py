"""Groups of rows; cluster bootstrap.

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

from calibration.arrays import FloatArray, IntArray
from calibration.binomial import wilson_interval
from calibration.errors import InvalidArgument, checked_rng
from calibration.estimate import Estimate


class NumberedGroups(NamedTuple):
    """The distinct names in order, and the number of each row's group among them."""

    names: NDArray[Any]
    number: IntArray


def numbered_groups(groups: ArrayLike) -> NumberedGroups:
    """Number the groups of some rows.

    Raises:
        InvalidArgument: They are no vector, are of kinds that cannot be compared, or one is nan.
    """
    named = np.asarray(groups)
    if named.ndim != 1:
        raise InvalidArgument(f"groups must have the shape (rows,), not {named.shape}")
    if named.dtype.kind == "f" and np.isnan(named).any():
        raise InvalidArgument("groups must not be nan: rows of unknown groups are not one group")
    try:
        names, codes = np.unique(named, return_inverse=True)
    except TypeError as mixed:
        raise InvalidArgument("groups must be all names or all numbers, none missing") from mixed
    return NumberedGroups(names, codes.reshape(-1))


Statistic = Callable[[FloatArray], FloatArray]

DEFAULT_RESAMPLES = 1_000
DEFAULT_CONFIDENCE_LEVEL = 0.95
# An interval that ignores more resamples than this would describe another population.
LARGEST_UNDEFINED_SHARE = 0.2
_KEPT_CELLS = 20_000_000
_BLOCK_CELLS = 4_000_000
_ROUNDING = 1e-12  # a smaller relative spread is that of rounding


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
            InvalidArgument: The groups are no vector of comparable names, one is not a number, the
                confidence level is not inside (0, 1) or there are no resamples.
        """
        if not 0 < confidence_level < 1:
            raise InvalidArgument(
                f"confidence_level must lie inside (0, 1), not {confidence_level}"
            )
        if n_resamples < 1:
            raise InvalidArgument(f"n_resamples must be positive, not {n_resamples}")
        names, codes = numbered_groups(groups)
        seed = int(checked_rng(rng).integers(2**63))
        made = cls(codes, len(names), seed, n_resamples, confidence_level)
        if n_resamples * len(names) > _KEPT_CELLS:
            return made
        blocks = list(made.multiplicities(len(names)))
        return replace(made, kept=np.concatenate(blocks) if blocks else None)

    def take(self, rows: ArrayLike) -> ClusterBootstrap:
        """Return the same resamples for a subset of the rows (a mask or an index array)."""
        return replace(self, group=self.group[np.asarray(rows)])

    def check_rows(self, n_rows: int) -> None:
        """Refuse to serve rows whose groups these are not.

        Raises:
            InvalidArgument: The number of rows is another one than that of the groups.
        """
        if len(self.group) != n_rows:
            raise InvalidArgument(f"bootstrap is over {len(self.group)} rows, not over {n_rows}")

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
    parts: FloatArray,
    statistic: Statistic,
    n: int,
    bootstrap: ClusterBootstrap | None,
    *,
    is_share: bool = False,
) -> Estimate:
    """Estimate a statistic that is a function of sums over rows.

    Args:
        parts: What each row adds to each sum, shape (rows, sums).
        statistic: Maps sums of shape (resamples, sums) to values of shape (resamples,); nan where
            it is not defined.
        n: The number of observations to report.
        bootstrap: Resamples of the same rows; None for a value without an interval.
        is_share: The value is a share of independent outcomes, in [0, 1].

    Raises:
        InvalidArgument: The bootstrap is over another number of rows.
    """
    if bootstrap is not None:
        bootstrap.check_rows(len(parts))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(parts.sum(axis=0, keepdims=True))[0])
        if bootstrap is None or not np.isfinite(value):
            return _without_interval(value, n, bootstrap)
        used = parts.any(axis=1)  # rows that add nothing must not make their group count
        present = bootstrap.take(used)
        draws = np.concatenate([statistic(totals) for totals in present.totals(parts[used])])
    return estimate_from_draws(value, draws, n, present, is_share=is_share)


def estimate_from_draws(
    value: float,
    draws: FloatArray,
    n: int,
    bootstrap: ClusterBootstrap,
    *,
    is_share: bool = False,
) -> Estimate:
    """Estimate a statistic from its value in the sample and in each resample.

    Where all resamples have the value of the sample, the groups are unanimous and an interval of no
    width would be false: a share then gets the Wilson interval with one trial a group, any other
    statistic has no interval.
    """
    if not np.isfinite(value):
        return _without_interval(value, n, bootstrap)
    defined = draws[np.isfinite(draws)]
    if defined.size and np.ptp(np.append(defined, value)) <= _ROUNDING * max(1.0, abs(value)):
        groups = bootstrap.n_groups_present
        if not is_share or (groups < 2 and 0 < value < 1):
            return _without_interval(value, n, bootstrap)
        return _wilson(value, groups * value, groups, bootstrap.confidence_level, n=n)
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
    return estimate_statistic(parts, _quotient, count, bootstrap)


def estimate_share(
    hits: ArrayLike, counted: ArrayLike, bootstrap: ClusterBootstrap | None
) -> Estimate:
    """Estimate the share of counted rows that are hits; n is the number of counted rows.

    The Wilson interval is used where it is the better one: without a bootstrap, where no group has
    two counted rows, and, with one trial a group, where all groups have the same share.

    Args:
        hits: Whether a row is a hit, shape (rows,); looked at only where counted.
        counted: Whether a row counts, shape (rows,).
        bootstrap: Resamples of the same rows; None takes every row as its own group.

    Raises:
        InvalidArgument: The bootstrap is over another number of rows.
    """
    counts = np.asarray(counted, dtype=np.bool_)
    hit = np.asarray(hits, dtype=np.bool_) & counts
    if bootstrap is not None:
        bootstrap.check_rows(counts.size)
    n, k = int(counts.sum()), int(hit.sum())
    if n == 0:
        return _without_interval(np.nan, 0, bootstrap)
    if bootstrap is None:
        return _wilson(k / n, k, n, DEFAULT_CONFIDENCE_LEVEL, n=n)
    groups = bootstrap.take(counts).n_groups_present
    if groups == n or k in (0, n):
        successes = k if groups == n else groups * (k // n)
        return _wilson(k / n, successes, groups, bootstrap.confidence_level, n=n)
    parts = np.column_stack([hit, counts]).astype(np.float64)
    return estimate_statistic(parts, _quotient, n, bootstrap, is_share=True)


def _quotient(sums: FloatArray) -> FloatArray:
    return np.asarray(sums[:, 0] / sums[:, 1])


def _wilson(value: float, successes: float, trials: int, level: float, *, n: int) -> Estimate:
    low, high = wilson_interval(successes, trials, level)
    return Estimate(value, float(low), float(high), level, n)


def _without_interval(value: float, n: int, bootstrap: ClusterBootstrap | None) -> Estimate:
    level = DEFAULT_CONFIDENCE_LEVEL if bootstrap is None else bootstrap.confidence_level
    return Estimate(value if np.isfinite(value) else None, None, None, level, n)
