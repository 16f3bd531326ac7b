"""Analytic intervals of shares and differences over groups.

A statistic that is smooth in the weights of the rows has an influence for each row; summed within
groups, these give its standard error whatever the dependence inside a group. Rare outcomes leave
that standard error itself uncertain, so the degrees of freedom follow the groups that hold one.

What is assumed: groups are independent draws from one population, the one that figures are to hold
for; rows of one group may depend on each other in any way.

Score intervals do not collapse at 0 and 1 and cover with few errors; dependent rows enter them as
the smaller number of independent rows that would leave the same standard error (Korn and Graubard
1998). The paired difference is Tango's (1998), that of two shares Newcombe's (1998).

What is assumed: groups are independent draws from one population (without groups, rows are).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.binomial import wilson_interval
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals.bootstrap import DEFAULT_CONFIDENCE_LEVEL, ClusterBootstrap, Limits

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


_BISECTIONS = 60


def estimate_clustered_share(
    hits: ArrayLike, counted: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """Share of the counted rows that are hits, with Wilson's interval for the effective trials.

    Args:
        hits: Whether a row is a hit, shape (rows,); looked at only where counted.
        counted: Whether a row counts, shape (rows,).
        bootstrap: Gives the groups and the level, nothing is drawn; None takes rows as
            independent.

    Returns:
        The share; n is the number of counted rows. No interval for rows of a single group.

    Raises:
        InvalidArgument: Lengths differ, or a hit that counts is outside [0, 1].
    """
    mask = np.asarray(counted, dtype=np.bool_)
    hit = _counted_values("hits", hits, mask, 0.0)
    clusters = Clusters.of(bootstrap, mask)
    if hit.size == 0:
        return Estimate(None, None, None, clusters.level, 0)
    limits = share_limits(hit, clusters)
    return Estimate(float(hit.mean()), limits.low, limits.high, clusters.level, hit.size)


def share_limits(hit: FloatArray, clusters: Clusters) -> Limits:
    """Wilson limits of the mean of `hit` for the effective number of trials, at least one row."""
    if clusters.n_groups < 2 and not clusters.is_independent:
        return Limits(None, None)
    trials = effective_trials(hit, clusters, clusters.tail)
    low, high = wilson_interval(float(hit.mean()) * trials, trials, clusters.level)
    return Limits(float(low), float(high))


def effective_trials(hit: FloatArray, clusters: Clusters, tail: float) -> float:
    """How many independent trials would leave as large an error in a share of clustered rows.

    n / d x (z / t)^2 with the design effect d = (clustered variance) / (p (1 - p) / (n - 1)), at
    least 1; z and t are the normal and Student quantiles at `tail`. Student's degrees of freedom
    are G - 1, but at most twice the groups (beyond the first) that hold the rarer outcome: only
    these tell how alike the rows of a group are. Never fewer than n^2 / sum(rows of a group)^2,
    the number if all rows of a group were the same (Kish 1965), which is also taken for a share
    of 0 or 1 and for a single group, where no design effect shows. Independent rows stay as many
    as they are.

    Args:
        hit: Outcomes in [0, 1], shape (rows,).
        clusters: Groups of the same rows.
        tail: Probability on either side of the interval that is to be made.
    """
    n, share = hit.size, float(hit.mean())
    if clusters.is_independent:
        return float(n)
    if share in (0.0, 1.0) or clusters.n_groups < 2:
        return _fewest_trials(clusters)
    variance = clusters.standard_error((hit - share) / n) ** 2
    degrees = min(clusters.n_groups - 1, 2 * (rarer_outcome(clusters, hit) - 1))
    return _shrunk(clusters, variance * (n - 1) / (share * (1 - share)), degrees, tail)


def estimate_paired_difference(
    difference: ArrayLike,
    counted: ArrayLike,
    bootstrap: ClusterBootstrap | None = None,
) -> Estimate:
    """Mean of differences in [-1, 1] between two verdicts on the same row.

    Tango's score interval (1998) for p12 - p21, with the moments of the differences in the place
    of the two discordant counts and with the effective number of trials; it keeps a width where
    no difference was seen at all.

    Args:
        difference: Shape (rows,), looked at only where counted.
        counted: Whether a row counts, shape (rows,).
        bootstrap: As for `estimate_clustered_share`.

    Returns:
        The mean; n is the number of counted rows.

    Raises:
        InvalidArgument: Lengths differ, or a difference that counts is outside [-1, 1].
    """
    mask = np.asarray(counted, dtype=np.bool_)
    values = _counted_values("difference", difference, mask, -1.0)
    clusters = Clusters.of(bootstrap, mask)
    if values.size == 0:
        return Estimate(None, None, None, clusters.level, 0)
    mean = float(values.mean())
    if clusters.n_groups < 2 and not clusters.is_independent:
        return Estimate(mean, None, None, clusters.level, values.size)
    trials = _paired_trials(values, clusters)
    square = max(float((values**2).mean()), abs(mean))
    quantile = student_quantile(10**9, clusters.tail)
    ends = [
        _score_end(trials * (square + mean) / 2, trials * (square - mean) / 2, trials, quantile, to)
        for to in (-1.0, 1.0)
    ]
    return Estimate(mean, ends[0], ends[1], clusters.level, values.size)


def estimate_share_difference(
    hits: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    bootstrap: ClusterBootstrap | None = None,
) -> Estimate:
    """Share of hits among the rows of `first` minus that among the rows of `second`.

    Newcombe's interval (1998) from the two score intervals, with the correlation of the two shares
    that groups holding rows of both bring about.

    Args:
        hits: Whether a row is a hit, shape (rows,).
        first: Mask of the one part, shape (rows,).
        second: Mask of the other; no row is in both.
        bootstrap: As for `estimate_clustered_share`.

    Returns:
        The difference; n is the number of rows in either part. None where a part is empty.

    Raises:
        InvalidArgument: Lengths differ, a row is in both parts, or a hit is outside [0, 1].
    """
    hit = np.asarray(hits, dtype=np.float64)
    one, other = np.asarray(first, dtype=np.bool_), np.asarray(second, dtype=np.bool_)
    if one.shape != other.shape or (one & other).any():
        raise InvalidArgument("first and second must be masks of the same rows, none in both")
    parts = [estimate_clustered_share(hit, part, bootstrap) for part in (one, other)]
    level, n = parts[0].confidence_level, parts[0].n + parts[1].n
    (p, low, high), (q, lower, higher) = ((part.value, part.low, part.high) for part in parts)
    if p is None or q is None:
        return Estimate(None, None, None, level, n)
    if low is None or high is None or lower is None or higher is None:
        return Estimate(p - q, None, None, level, n)
    alike = _correlation(hit, one, other, Clusters.of(bootstrap, one | other))
    down = _length(p - low, higher - q, alike)
    return Estimate(p - q, p - q - down, p - q + _length(high - p, q - lower, alike), level, n)


def _counted_values(name: str, values: ArrayLike, mask: BoolArray, lowest: float) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.shape != mask.shape:
        raise InvalidArgument(f"{name} and the mask of its rows must be vectors of one length")
    counted = array[mask]
    if not ((counted >= lowest) & (counted <= 1)).all():
        raise InvalidArgument(f"{name} must lie in [{lowest:g}, 1] where it counts")
    return counted


def _paired_trials(values: FloatArray, clusters: Clusters) -> float:
    n, mean = values.size, float(values.mean())
    spread = float(((values - mean) ** 2).sum())
    if clusters.is_independent:
        return float(n)
    if spread == 0:
        return _fewest_trials(clusters)
    variance = clusters.standard_error((values - mean) / n) ** 2
    degrees = min(clusters.n_groups - 1, 2 * (clusters.holding(values != 0) - 1))
    return _shrunk(clusters, variance * n * (n - 1) / spread, degrees, clusters.tail)


def _shrunk(clusters: Clusters, design_effect: float, degrees: int, tail: float) -> float:
    ratio = student_over_normal(degrees, tail)
    trials = clusters.group.size / max(design_effect, 1.0) / ratio**2
    return max(trials, _fewest_trials(clusters))


def _fewest_trials(clusters: Clusters) -> float:
    sizes = np.bincount(clusters.group, minlength=clusters.n_groups)
    return float(clusters.group.size**2 / (sizes**2).sum())


def _score_end(more: float, less: float, n: float, quantile: float, to: float) -> float:
    """Where Tango's score statistic leaves +-quantile between (more - less) / n and `to`."""
    inside, outside = (more - less) / n, to
    for _ in range(_BISECTIONS):
        middle = (inside + outside) / 2
        if _is_plausible(middle, more, less, n, quantile):
            inside = middle
        else:
            outside = middle
    return inside


def _is_plausible(delta: float, more: float, less: float, n: float, quantile: float) -> bool:
    """Whether the difference `delta` is within the score interval; p21 is its restricted estimate."""
    linear = -more - less + (2 * n - more + less) * delta
    constant = -less * delta * (1 - delta)
    p21 = (np.sqrt(max(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)
    variance = n * (2 * p21 + delta * (1 - delta))
    return bool((more - less - n * delta) ** 2 <= quantile**2 * max(variance, 0.0))


def _correlation(hit: FloatArray, one: BoolArray, other: BoolArray, clusters: Clusters) -> float:
    used = one | other
    sums = [
        clusters.sums(np.where(part, hit - hit[part].mean(), 0.0)[used]) for part in (one, other)
    ]
    size = np.sqrt((sums[0] ** 2).sum() * (sums[1] ** 2).sum())
    return float((sums[0] * sums[1]).sum() / size) if size > 0 else 0.0


def _length(side: float, opposite: float, correlation: float) -> float:
    squared = side**2 + opposite**2 - 2 * correlation * side * opposite
    return float(np.sqrt(max(squared, 0.0)))
