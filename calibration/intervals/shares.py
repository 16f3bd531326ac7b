"""Intervals of shares, and of differences between shares, over groups.

Score intervals do not collapse at 0 and 1 and cover with few errors; dependent rows enter them as
the smaller number of independent rows that would leave the same standard error (Korn and Graubard
1998). Rare outcomes leave that standard error itself uncertain, so its degrees of freedom follow
the groups that hold one. The paired difference is Tango's (1998), that of two shares Newcombe's
(1998).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray
from calibration.binomial import wilson_interval
from calibration.errors import InvalidArgument, UnavailableMethod
from calibration.estimate import Estimate
from calibration.intervals.bootstrap import (
    NO_LIMITS,
    ClusterBootstrap,
    Limits,
    bootstrap_statistic,
)
from calibration.intervals.groups import Groups, GroupsLike, as_groups
from calibration.intervals.jackknife import jackknife_ratio

ShareMethod = Literal["effective_trials", "jackknife", "percentile"]
_BISECTIONS = 60
# a smaller error is that of rounding
_NO_SPREAD = 1e-12


def estimate_share(
    hits: ArrayLike,
    counted: ArrayLike | None = None,
    groups: GroupsLike | ClusterBootstrap = None,
    *,
    method: ShareMethod = "effective_trials",
) -> Estimate:
    """Estimate the share of the counted rows that are hits.

    Args:
        hits: Whether a row is a hit (or by how much, in [0, 1]), shape (rows,); looked at only
            where it counts.
        counted: Whether a row counts, shape (rows,); None counts all.
        groups: Groups of the rows; None takes rows as independent.
        method: Where the interval comes from. "effective_trials": Wilson's interval for the number
            of independent rows that the counted ones are worth. "jackknife": the same with the
            variance seen when each group is left out in turn, as in the coefficients of agreement.
            "percentile": the percentiles of resamples, for which `groups` must be a
            `ClusterBootstrap`. The last two are Wilson's interval where no two counted rows share
            a group, and for shares of 0 and 1 with one trial a group.

    Returns:
        The share; n is the number of counted rows. No interval for rows of a single group.

    Raises:
        InvalidArgument: Lengths differ, a hit that counts is outside [0, 1], or "percentile" is
            asked for without resamples.
        UnavailableMethod: The method has no such name.

    >>> found = estimate_share([1, 1, 0, 1], groups=["q1", "q1", "q2", "q3"])
    >>> found.value, found.n, found.low < 0.5 < found.high
    (0.75, 4, True)
    """
    if method not in get_args(ShareMethod):
        listed = ", ".join(get_args(ShareMethod))
        raise UnavailableMethod(f"method must be one of {listed}, not {method}")
    values = np.asarray(hits, dtype=np.float64)
    mask = np.ones(values.shape, np.bool_) if counted is None else np.asarray(counted, np.bool_)
    hit = _counted_values("hits", values, mask, 0.0)
    known, drawn = _of_counted(groups, mask)
    if method == "percentile" and drawn is None:
        raise InvalidArgument("groups must be a ClusterBootstrap for the method percentile")
    if not hit.size:
        return Estimate(None, None, None, known.confidence_level, 0)
    if known.is_independent or method == "effective_trials":
        limits = _limits_by_trials(hit, known)
        level = known.confidence_level
        return Estimate(float(hit.mean()), limits.low, limits.high, level, hit.size)
    if method == "percentile" and drawn is not None:
        return _from_resamples(hit, drawn)
    return jackknife_ratio(hit, np.ones(hit.size), known)


def _of_counted(
    groups: GroupsLike | ClusterBootstrap, mask: BoolArray
) -> tuple[Groups, ClusterBootstrap | None]:
    if not isinstance(groups, ClusterBootstrap):
        return as_groups(groups, mask.size).take(mask), None
    groups.check_rows(mask.size)
    drawn = groups.take(mask)
    return drawn.groups, drawn


def _from_resamples(hit: FloatArray, drawn: ClusterBootstrap) -> Estimate:
    """Return the percentile interval; a share of 0 or 1 counts one trial a group instead."""
    share, level, trials = float(hit.mean()), drawn.confidence_level, drawn.n_groups_present
    if share in (0.0, 1.0):
        low, high = wilson_interval(trials * share, trials, level)
        return Estimate(share, float(low), float(high), level, hit.size)
    parts = np.column_stack([hit, np.ones(hit.size)])
    return bootstrap_statistic(
        parts, lambda sums: sums[:, 0] / sums[:, 1], hit.size, drawn, is_share=True
    )


def _limits_by_trials(hit: FloatArray, groups: Groups) -> Limits:
    if groups.n_groups < 2 and not groups.is_independent:
        return NO_LIMITS
    trials = effective_trials(hit, groups, groups.tail)
    low, high = wilson_interval(float(hit.mean()) * trials, trials, groups.confidence_level)
    return Limits(float(low), float(high))


def effective_trials(hit: FloatArray, groups: Groups, tail: float) -> float:
    """Return how many independent trials would leave as large an error in a share of grouped rows.

    n / d x (z / t)^2 with the design effect d = (grouped variance) / (p (1 - p) / (n - 1)), at
    least 1; z and t are the normal and Student quantiles at `tail`. Student's degrees of freedom
    are G - 1, but at most twice the groups (beyond the first) that hold the rarer outcome: only
    these tell how alike the rows of a group are. Where few do, that says next to nothing, and what
    the rarer rows themselves show is taken if it leaves more trials: the design effect
    1 + (m - 1) r of groups of m rows, with G - 1 degrees of freedom, r being the share of the
    rows in the groups of k rarer ones that are of their kind, as if one row and k / 5 more had
    been found with all rows of their group alike. Never fewer than n^2 / sum(rows of a group)^2,
    the number if all rows of a group were the same (Kish 1965), which is also taken for a share
    of 0 or 1 and for a single group, where no design effect shows. Independent rows stay as many
    as they are.

    Args:
        hit: Outcomes in [0, 1], shape (rows,).
        groups: Groups of the same rows.
        tail: Probability on either side of the interval that is to be made.
    """
    n, share = hit.size, float(hit.mean())
    if groups.is_independent:
        return float(n)
    if share in (0.0, 1.0) or groups.n_groups < 2:
        return _fewest_trials(groups)
    variance = groups.standard_error((hit - share) / n) ** 2
    seen = variance * (n - 1) / (share * (1 - share))
    most = groups.n_groups - 1
    trials = _shrunk(groups, seen, min(most, 2 * (groups.holding_rarer(hit) - 1)), tail)
    if not np.isin(hit, (0.0, 1.0)).all():
        return trials
    # of two outcomes that are equally rare neither is taken first
    rarer = [one for one, is_rare in ((hit, share <= 0.5), (1.0 - hit, share >= 0.5)) if is_rare]
    alike = max(_design_effect_of_rarer(one, groups) for one in rarer)
    return max(trials, _shrunk(groups, max(seen, alike), most, tail))


def _design_effect_of_rarer(is_rare: FloatArray, groups: Groups) -> float:
    """Return 1 + (m - 1) r, with r as `effective_trials` says; sizes of groups may differ."""
    sizes, rare = groups.sums(np.ones(is_rare.size)), groups.sums(is_rare)
    has_mates = sizes > 1
    k = float(rare[has_mates].sum())
    alike = float((rare * (rare - 1) / np.maximum(sizes - 1, 1))[has_mates].sum())
    added = 1.0 + k / 5
    return 1.0 + (float((sizes**2).sum() / sizes.sum()) - 1.0) * (alike + added) / (k + added)


def estimate_paired_difference(
    difference: ArrayLike,
    counted: ArrayLike,
    groups: GroupsLike = None,
) -> Estimate:
    """Estimate the mean of differences in [-1, 1] between two verdicts on the same row.

    Tango's score interval (1998) for p12 - p21, with the moments of the differences in the place
    of the two discordant counts and with the effective number of trials; it keeps a width where
    no difference was seen at all.

    Args:
        difference: Shape (rows,), looked at only where counted.
        counted: Whether a row counts, shape (rows,).
        groups: Groups of the rows; None takes rows as independent.

    Returns:
        The mean; n is the number of counted rows.

    Raises:
        InvalidArgument: Lengths differ, or a difference that counts is outside [-1, 1].

    >>> estimate_paired_difference([1, 0, -1, 1], np.ones(4)).value
    0.25
    """
    mask = np.asarray(counted, dtype=np.bool_)
    values = _counted_values("difference", difference, mask, -1.0)
    known = as_groups(groups, mask.size).take(mask)
    if values.size == 0:
        return Estimate(None, None, None, known.confidence_level, 0)
    mean = float(values.mean())
    if known.n_groups < 2 and not known.is_independent:
        return Estimate(mean, None, None, known.confidence_level, values.size)
    trials = _paired_trials(values, known)
    square = max(float((values**2).mean()), abs(mean))
    quantile = student_quantile(10**9, known.tail)
    ends = [
        _score_end(trials * (square + mean) / 2, trials * (square - mean) / 2, trials, quantile, to)
        for to in (-1.0, 1.0)
    ]
    return Estimate(mean, ends[0], ends[1], known.confidence_level, values.size)


def estimate_share_difference(
    hits: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: GroupsLike = None,
) -> Estimate:
    """Estimate the share of hits among the rows of `first` minus that among those of `second`.

    Newcombe's interval (1998) from the two score intervals, with the correlation of the two shares
    that groups holding rows of both bring about.

    Args:
        hits: Whether a row is a hit, shape (rows,).
        first: Mask of the one part, shape (rows,).
        second: Mask of the other; no row is in both.
        groups: Groups of the rows; None takes rows as independent.

    Returns:
        The difference; n is the number of rows in either part. None where a part is empty.

    Raises:
        InvalidArgument: Lengths differ, a row is in both parts, or a hit is outside [0, 1].

    >>> estimate_share_difference([1, 1, 0, 1], [1, 1, 0, 0], [0, 0, 1, 1]).value
    0.5
    """
    hit = np.asarray(hits, dtype=np.float64)
    one, other = np.asarray(first, dtype=np.bool_), np.asarray(second, dtype=np.bool_)
    if one.shape != other.shape or (one & other).any():
        raise InvalidArgument("first and second must be masks of the same rows, none in both")
    parts = [estimate_share(hit, part, groups) for part in (one, other)]
    level, n = parts[0].confidence_level, parts[0].n + parts[1].n
    (p, low, high), (q, lower, higher) = ((part.value, part.low, part.high) for part in parts)
    if p is None or q is None:
        return Estimate(None, None, None, level, n)
    if low is None or high is None or lower is None or higher is None:
        return Estimate(p - q, None, None, level, n)
    alike = _correlation(hit, one, other, as_groups(groups, one.size).take(one | other))
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


def _paired_trials(values: FloatArray, groups: Groups) -> float:
    n, mean = values.size, float(values.mean())
    spread = float(((values - mean) ** 2).sum())
    if groups.is_independent:
        return float(n)
    if spread == 0:
        return _fewest_trials(groups)
    variance = groups.standard_error((values - mean) / n) ** 2
    degrees = min(groups.n_groups - 1, 2 * (groups.holding(values != 0) - 1))
    return _shrunk(groups, variance * n * (n - 1) / spread, degrees, groups.tail)


def _shrunk(groups: Groups, design_effect: float, degrees: int, tail: float) -> float:
    ratio = student_over_normal(degrees, tail)
    trials = len(groups) / max(design_effect, 1.0) / ratio**2
    return max(trials, _fewest_trials(groups))


def _fewest_trials(groups: Groups) -> float:
    sizes = np.bincount(groups.codes, minlength=groups.n_groups)
    return float(len(groups) ** 2 / (sizes**2).sum())


def _score_end(more: float, less: float, n: float, quantile: float, to: float) -> float:
    """Return where Tango's score statistic leaves +-quantile between (more - less) / n and `to`."""
    inside, outside = (more - less) / n, to
    for _ in range(_BISECTIONS):
        middle = (inside + outside) / 2
        if _is_plausible(middle, more, less, n, quantile):
            inside = middle
        else:
            outside = middle
    return inside


def _is_plausible(delta: float, more: float, less: float, n: float, quantile: float) -> bool:
    """Tell whether `delta` is within the score interval; p21 is its restricted estimate."""
    linear = -more - less + (2 * n - more + less) * delta
    constant = -less * delta * (1 - delta)
    p21 = (np.sqrt(max(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)
    variance = n * (2 * p21 + delta * (1 - delta))
    return bool((more - less - n * delta) ** 2 <= quantile**2 * max(variance, 0.0))


def _correlation(hit: FloatArray, one: BoolArray, other: BoolArray, groups: Groups) -> float:
    used = one | other
    sums = [groups.sums(np.where(part, hit - hit[part].mean(), 0.0)[used]) for part in (one, other)]
    size = np.sqrt((sums[0] ** 2).sum() * (sums[1] ** 2).sum())
    return float((sums[0] * sums[1]).sum() / size) if size > 0 else 0.0


def _length(side: float, opposite: float, correlation: float) -> float:
    squared = side**2 + opposite**2 - 2 * correlation * side * opposite
    return float(np.sqrt(max(squared, 0.0)))


def student_quantile(degrees: int, tail: float) -> float:
    """Return the upper quantile of Student's distribution, with one degree of freedom at least."""
    return float(scipy.stats.t.isf(tail, max(degrees, 1)))


def student_over_normal(degrees: int, tail: float) -> float:
    """Return Student's over the normal quantile; 1 at a level of nearly 0, where both vanish."""
    normal = -float(scipy.special.ndtri(tail))
    return student_quantile(degrees, tail) / normal if normal > 0 else 1.0


def logit_limits(value: float, standard_error: float, quantile: float) -> Limits:
    """Return the interval of a statistic in (0, 1), symmetric on the logit scale (delta method).

    logit(value) +- quantile x standard_error / (value (1 - value)); it never leaves [0, 1] and is
    longer towards the middle. None at 0 and 1 or without spread, where it would have no width.
    """
    if not 0 < value < 1 or standard_error <= _NO_SPREAD:
        return NO_LIMITS
    centre = scipy.special.logit(value)
    half = quantile * standard_error / (value * (1 - value))
    return Limits(
        float(scipy.special.expit(centre - half)), float(scipy.special.expit(centre + half))
    )
