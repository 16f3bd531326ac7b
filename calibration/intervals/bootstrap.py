"""Cluster bootstrap: resamples of whole groups, and the intervals that are made from them.

A resample is a vector of group multiplicities, and a statistic that depends on sums over rows
becomes a matrix product of multiplicities and group sums. Intervals are percentile intervals,
widened for few groups as in Hesterberg, "What Teachers Should Know About the Bootstrap" (2015),
section 3.3. Fewer than six groups have too few distinct resamples for that: they get Student's
interval, for a mean longer on the side of a longer tail.

Losses are skewed, and plain percentiles of their mean miss on the upper side too often. For a mean
(mean* - mean) / standard error* is resampled instead, which is second-order correct (Hall 1988).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from calibration.arrays import FloatArray, IntArray
from calibration.binomial import wilson_interval
from calibration.errors import InvalidArgument, Rng, as_generator
from calibration.estimate import Estimate
from calibration.intervals.groups import DEFAULT_CONFIDENCE_LEVEL, Groups

Statistic = Callable[[FloatArray], FloatArray]

DEFAULT_RESAMPLES = 1_000
# An interval that ignores more resamples than this would describe another population.
LARGEST_UNDEFINED_SHARE = 0.2
# Resamples of fewer groups take so few values that their percentiles say little.
FEWEST_GROUPS_FOR_PERCENTILES = 6
_KEPT_CELLS = 20_000_000
_BLOCK_CELLS = 4_000_000
_ROUNDING = 1e-12  # a smaller relative spread is that of rounding
# A resample that repeats the same few groups has no spread of its own to divide by.
_LEAST_RELATIVE_ERROR = 1e-6
# Fewer than six groups seldom show the long tail that they come from: Student's interval of their
# mean is longer by this much, times the skewness that they do show, on the side of that tail.
_LENGTHENING = 0.8


class Limits(NamedTuple):
    """The ends of an interval, both None where no interval can be given."""

    low: float | None
    high: float | None

    def within(self, lowest: float, highest: float) -> Limits:
        """Return the part of the interval inside a range."""
        if self.low is None or self.high is None:
            return self
        return Limits(max(self.low, lowest), min(self.high, highest))


NO_LIMITS = Limits(None, None)


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
        cls, groups: Groups | ArrayLike, rng: Rng = None, *, n_resamples: int = DEFAULT_RESAMPLES
    ) -> ClusterBootstrap:
        """Prepare resamples of the groups of some rows.

        Args:
            groups: `Groups`, which say the confidence level too, or the name or number of each
                row's group, shape (rows,), for a level of .95.
            rng: Source of chance, or a seed; one number is taken from it.
            n_resamples: Number of resamples.

        Raises:
            InvalidArgument: There are no resamples, `rng` is no source of chance, or as for
                `Groups.of`.

        >>> bootstrap = ClusterBootstrap.over(["q1", "q1", "q2", "q3"], rng=7, n_resamples=200)
        >>> estimate_mean([0.25, 0.25, 0.5, 1.0], bootstrap).value
        0.5
        """
        if n_resamples < 1:
            raise InvalidArgument(f"n_resamples must be positive, not {n_resamples}")
        drawn = groups if isinstance(groups, Groups) else Groups.of(groups)
        seed = int(as_generator(rng).integers(2**63))
        made = cls(drawn.codes, drawn.n_groups, seed, n_resamples, drawn.confidence_level)
        if n_resamples * drawn.n_groups > _KEPT_CELLS:
            return made
        blocks = list(made.multiplicities(drawn.n_groups))
        return replace(made, kept=np.concatenate(blocks) if blocks else None)

    @property
    def groups(self) -> Groups:
        """The groups that still have a row after `take`, for what draws nothing."""
        return Groups.numbered(self.group, self.n_groups, self.confidence_level)

    def take(self, rows: ArrayLike) -> ClusterBootstrap:
        """Return the same resamples for a subset of the rows (a mask or an index array)."""
        return replace(self, group=self.group[np.asarray(rows)])

    def check_rows(self, n_rows: int) -> None:
        """Refuse another number of rows than the groups are of.

        Raises:
            InvalidArgument: The number of rows differs from that of the groups.
        """
        if len(self.group) != n_rows:
            raise InvalidArgument(
                f"bootstrap must be over the {n_rows} rows, not over {len(self.group)}"
            )

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

    def totals(self, parts: FloatArray | scipy.sparse.csr_array[Any]) -> Iterator[FloatArray]:
        """Yield blocks (resamples, columns) of the column sums of `parts` in each resample.

        Args:
            parts: What each row adds to each sum, shape (rows, columns), dense or sparse.
        """
        member = scipy.sparse.csr_array(
            (np.ones(self.group.size), (self.group, np.arange(self.group.size))),
            shape=(self.n_groups, self.group.size),
        )
        by_group = member @ parts
        for drawn in self.multiplicities(by_group.shape[1]):
            yield np.asarray((by_group.T @ drawn.T.astype(np.float64)).T)

    def is_enough(self, n_defined: int) -> bool:
        """Tell whether this many resamples with a value, and the groups left, give an interval."""
        needed = max(1.0, (1 - LARGEST_UNDEFINED_SHARE) * self.n_resamples)
        return self.n_groups_present >= 2 and n_defined >= needed

    def interval(self, draws: FloatArray, value: float) -> Limits:
        """Return the interval of a statistic from its value in the sample and in each resample.

        It is that of `resampled_limits`. Resamples where the statistic is undefined (nan) are left
        out; with more than a fifth of them, or fewer than two groups, there is no interval.
        """
        defined = draws[np.isfinite(draws)]
        if not self.is_enough(defined.size):
            return NO_LIMITS
        return resampled_limits(value, defined, self.n_groups_present, self.confidence_level)


def resampled_limits(
    value: float, draws: FloatArray, n_groups: int, confidence_level: float
) -> Limits:
    """Return the interval of a statistic from its values in resamples of two groups or more.

    From six groups on: percentiles with the tail probability Phi(-sqrt(G / (G - 1)) t), where t is
    Student's quantile of G - 1 degrees of freedom and G the number of groups. Plain percentiles are
    too narrow by the factor sqrt((G - 1) / G) and ignore that the spread itself was estimated.
    Fewer groups: value +- t sqrt(G / (G - 1)) x the standard deviation of the draws.
    """
    error = 1 - confidence_level
    if n_groups < FEWEST_GROUPS_FOR_PERCENTILES:
        spread = float(np.std(draws)) * float(np.sqrt(n_groups / (n_groups - 1)))
        half = float(scipy.stats.t.isf(error / 2, n_groups - 1)) * spread
        return Limits(value - half, value + half)
    tail = expanded_tail(n_groups, error)
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Limits(float(low), float(high))


def expanded_tail(n_groups: int, error: float) -> float:
    """Return the tail probability that makes a percentile interval as wide as Student's."""
    quantile = float(scipy.stats.t.isf(error / 2, n_groups - 1))
    return float(scipy.special.ndtr(-np.sqrt(n_groups / (n_groups - 1)) * quantile))


def groups_of(bootstrap: ClusterBootstrap | None, n_rows: int) -> Groups:
    """Return the groups behind resamples of `n_rows` rows; None makes every row its own group.

    Raises:
        InvalidArgument: The bootstrap is over another number of rows.
    """
    if bootstrap is None:
        return Groups.single(n_rows)
    bootstrap.check_rows(n_rows)
    return bootstrap.groups


def bootstrap_statistic(
    parts: FloatArray,
    statistic: Statistic,
    n: int,
    bootstrap: ClusterBootstrap | None,
    *,
    is_share: bool = False,
) -> Estimate:
    """Estimate a statistic that is a function of sums over rows, with its percentile interval.

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
        low, high = wilson_interval(groups * value, groups, bootstrap.confidence_level)
        return Estimate(value, float(low), float(high), bootstrap.confidence_level, n)
    limits = bootstrap.interval(draws, value)
    if is_share:
        limits = limits.within(0.0, 1.0)
    return Estimate(value, limits.low, limits.high, bootstrap.confidence_level, n)


def _without_interval(value: float, n: int, bootstrap: ClusterBootstrap | None) -> Estimate:
    level = DEFAULT_CONFIDENCE_LEVEL if bootstrap is None else bootstrap.confidence_level
    return Estimate(value if np.isfinite(value) else None, None, None, level, n)


def estimate_mean(
    values: ArrayLike,
    bootstrap: ClusterBootstrap | None = None,
    *,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Estimate the mean of the rows, each weighing the same whatever the size of its group.

    With group sums S_g, sizes n_g and mean m: the standard error is
    sqrt(G / (G - 1) sum (S_g - m n_g)^2) / n, and the limits are m - q s with the quantiles q of
    (m* - m) / s* over the resamples.

    Args:
        values: Shape (rows,).
        bootstrap: Resamples of the same rows; None for a value without an interval.
        within: Where such a mean can lie; the interval is cut there.

    Returns:
        The mean; n is the number of rows. No interval without a spread between the groups. Fewer than
        six groups of very skewed values do not show their tail: the interval covers too little there.

    Raises:
        InvalidArgument: Values are not a vector of finite numbers, or the bootstrap is over
            another number of rows.

    >>> bootstrap = ClusterBootstrap.over(np.arange(40) // 2, rng=7, n_resamples=200)
    >>> found = estimate_mean(np.linspace(0.0, 1.0, 40), bootstrap, within=(0.0, 1.0))
    >>> found.n, found.low < 0.5 < found.high
    (40, True)
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise InvalidArgument("values must be a vector of finite numbers")
    groups = groups_of(bootstrap, array.size)
    if array.size == 0:
        return Estimate(None, None, None, groups.confidence_level, 0)
    mean = float(array.mean())
    limits = NO_LIMITS if bootstrap is None else _mean_limits(array, mean, groups, bootstrap)
    if limits.low is None or limits.high is None:
        return Estimate(mean, None, None, groups.confidence_level, array.size)
    low, high = (float(np.clip(end, *within)) for end in (limits.low, limits.high))
    return Estimate(mean, low, high, groups.confidence_level, array.size)


def _mean_limits(
    values: FloatArray, mean: float, groups: Groups, bootstrap: ClusterBootstrap
) -> Limits:
    if groups.n_groups < 2:
        return NO_LIMITS
    error = groups.standard_error((values - mean) / values.size)
    if error <= _LEAST_RELATIVE_ERROR * abs(mean):
        return NO_LIMITS
    if groups.n_groups < FEWEST_GROUPS_FOR_PERCENTILES:
        half = float(scipy.stats.t.isf(groups.tail, groups.n_groups - 1)) * error
        skewness = _skewness(groups.sums(values - mean))
        return Limits(
            mean - half * (1 + _LENGTHENING * max(-skewness, 0.0)),
            mean + half * (1 + _LENGTHENING * max(skewness, 0.0)),
        )
    ratios = _studentized(values, mean, error, bootstrap)
    defined = ratios[np.isfinite(ratios)]
    if not bootstrap.is_enough(defined.size):
        return NO_LIMITS
    low, high = np.quantile(defined, [groups.tail, 1 - groups.tail])
    return Limits(mean - float(high) * error, mean - float(low) * error)


def _skewness(of_groups: FloatArray) -> float:
    """Return the third moment of what groups add to a mean, over the cube of their spread."""
    spread = float(np.sqrt((of_groups**2).mean()))
    return float((of_groups**3).mean()) / spread**3


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
