"""Intervals of binned calibration errors, and the errors without the part due to chance.

The absolute gaps of the bins are folded by chance: their sum is too large, percentiles of its
resamples are larger still and almost never cover. The limits below come from the directional
derivative of the sum instead (Fang and Santos 2019), on the side that cannot be too short.

What is assumed: groups are independent draws from one population (without groups, rows are).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.binomial import two_sided_interval
from calibration.cascade import rounded
from calibration.estimate import Estimate
from calibration.intervals import (
    ClusterBootstrap,
    Groups,
    GroupsLike,
    as_groups,
    effective_trials,
    groups_of,
    student_over_normal,
    student_quantile,
)
from calibration.reliability.measures import (
    Verdicts,
    bin_of,
    calibration_error,
    checked_verdicts,
    maximum_calibration_error,
)

# A smaller spread of resamples is that of rounding.
_NO_SPREAD = 1e-12


class _Gaps(NamedTuple):
    """Each bin's part of the calibration error: sum of (agreement - confidence) / n.

    Attributes:
        value: Shape (bins,).
        error: Standard error, in unclear bins at least that of a calibrated judge, and in bins of
            right (or of wrong) verdicts alone the one behind Wilson's interval.
        is_clear: Whether the sign is beyond doubt: the gap exceeds sqrt(ln G) standard errors.
    """

    value: FloatArray
    error: FloatArray
    is_clear: BoolArray


def estimate_calibration_error(
    confidence: ArrayLike,
    correct: ArrayLike,
    edges: ArrayLike,
    bootstrap: ClusterBootstrap | None = None,
) -> Estimate:
    """Estimate the expected calibration error; its interval covers for calibrated judges too.

    With gaps g_b (bin b's sum of agreement - confidence, over n) the error is sum |g_b|. Let Z_b be
    a resample's g_b minus the sample's, stretched to the standard error by groups times the ratio
    of Student's to the normal quantile. Down: the upper quantile of sum(sign(g_b) Z_b) over clear
    bins plus sum |Z_b| over the others, as if their true gaps were 0. Up: the lower quantile of
    sum(sign(g_b) Z_b) over all bins, by convexity never too short. Both reach further by Wilson's
    interval of a bin whose gap is the same in all resamples, as of right verdicts alone. It covers
    the error of the *binned* confidences, with the edges taken as given, and more often than its
    level where gaps are about as large as their errors. The value keeps the upward bias of the
    plug-in (`debiased_calibration_error` has less).

    Args:
        confidence: Shape (n,).
        correct: Whether each verdict agrees with people, shape (n,).
        edges: As for `reliability_bins`.
        bootstrap: Resamples of the rows; None for a value without an interval.

    >>> bootstrap = ClusterBootstrap.over(np.arange(40) // 2, rng=0, n_resamples=200)
    >>> right = np.arange(40) % 4 > 0
    >>> found = estimate_calibration_error(np.full(40, 0.85), right, [0.5, 1.0], bootstrap)
    >>> round(found.value, 2), found.low < found.value < found.high
    (0.1, True)
    """
    value = calibration_error(confidence, correct, edges)
    data = checked_verdicts(confidence, correct)
    n = len(data.correct)
    groups = groups_of(bootstrap, n)
    if value is None or bootstrap is None or groups.n_groups < 2:
        return Estimate(value, None, None, groups.confidence_level, n)
    place = bin_of(data.confidence, rounded(edges))
    n_bins = len(rounded(edges)) - 1
    drawn = _resampled_gaps(data, place, n_bins, bootstrap)
    if not bootstrap.is_enough(len(drawn)):
        return Estimate(value, None, None, groups.confidence_level, n)
    gaps = _gaps(data, place, n_bins, groups)
    noise, unseen = _noise(drawn, gaps, groups)
    # rounded, so that a gap of nothing has one sign in whatever order the rows were added up
    signed = np.where(rounded(gaps.value) < 0, -noise, noise)
    folded = np.where(gaps.is_clear, signed, np.abs(noise)).sum(axis=1)
    low = max(value - float(np.quantile(folded, 1 - groups.tail)) - unseen, 0.0)
    high = min(value - float(np.quantile(signed.sum(axis=1), groups.tail)) + unseen, 1.0)
    return Estimate(value, low, high, groups.confidence_level, n)


def debiased_calibration_error(
    confidence: ArrayLike,
    correct: ArrayLike,
    edges: ArrayLike,
    groups: GroupsLike = None,
) -> float | None:
    """Return the expected calibration error less what chance adds to it, at least 0.

    sum of |g_b| - (E|N(g_b, s_b^2)| - |g_b|) with standard errors s_b by group (Kumar, Liang, Ma
    2019, in closed form). About half of the bias stays where the judge is calibrated: no unbiased
    estimate exists, since |g| has no derivative at 0.

    Args:
        confidence: Shape (n,).
        correct: Whether each verdict agrees with people, shape (n,).
        edges: As for `reliability_bins`.
        groups: Groups of the rows; None takes rows as independent.

    Returns:
        None without verdicts, and for verdicts of a single group.

    >>> debiased_calibration_error(np.full(40, 0.75), np.arange(40) % 4 > 0, [0.5, 1.0])
    0.0
    """
    data, limits = checked_verdicts(confidence, correct), rounded(edges)
    place = bin_of(data.confidence, limits)
    known = as_groups(groups, len(data.correct))
    if known.n_groups < 2:
        return None
    gaps = _gaps(data, place, len(limits) - 1, known)
    size, error = np.abs(gaps.value), np.maximum(gaps.error, np.finfo(np.float64).tiny)
    ratio = size / error
    folded = error * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + size * scipy.special.erf(
        ratio / np.sqrt(2)
    )
    return max(float((2 * size - folded).sum()), 0.0)


def estimate_maximum_calibration_error(
    confidence: ArrayLike,
    correct: ArrayLike,
    edges: ArrayLike,
    groups: GroupsLike = None,
) -> Estimate:
    """Estimate the largest gap of a bin, between limits that hold for all bins at once.

    Each bin's accuracy gets an exact interval (Clopper and Pearson 1934; by effective trials where
    rows come in groups) at 1 - (1 - level) / bins; the limits are the largest of the bins' smallest
    and of their largest possible gaps. Given the confidences, it covers at least at its level.

    Args:
        confidence: Shape (n,).
        correct: Whether each verdict agrees with people, shape (n,).
        edges: As for `reliability_bins`.
        groups: Groups of the rows; None takes rows as independent.

    >>> right = np.arange(40) % 4 > 0
    >>> found = estimate_maximum_calibration_error(np.full(40, 0.85), right, [0.5, 1.0])
    >>> round(found.value, 2), found.low
    (0.1, 0.0)
    """
    value = maximum_calibration_error(confidence, correct, edges)
    data = checked_verdicts(confidence, correct)
    known = as_groups(groups, len(data.correct))
    if value is None or (known.n_groups < 2 and not known.is_independent):
        return Estimate(value, None, None, known.confidence_level, len(data.correct))
    place = bin_of(data.confidence, rounded(edges))
    occupied = np.unique(place)
    tail = known.tail / occupied.size
    ends = np.array([_gap_limits(data, place == k, known.take(place == k), tail) for k in occupied])
    low, high = ends.max(axis=0)
    return Estimate(value, float(low), float(high), known.confidence_level, len(data.correct))


def _gap_limits(
    data: Verdicts, inside: BoolArray, groups: Groups, tail: float
) -> tuple[float, float]:
    right = data.correct[inside].astype(np.float64)
    trials = effective_trials(right, groups, tail)
    low, high = (
        float(end) for end in two_sided_interval(float(right.mean()) * trials, trials, 1 - 2 * tail)
    )
    centre = float(data.confidence[inside].mean())
    return max(low - centre, centre - high, 0.0), max(high - centre, centre - low)


def _gaps(data: Verdicts, place: IntArray, n_bins: int, groups: Groups) -> _Gaps:
    n = len(data.correct)
    difference = data.correct - data.confidence
    value = np.bincount(place, weights=difference, minlength=n_bins) / n
    cell = groups.codes * n_bins + place
    sums = np.bincount(cell, weights=difference, minlength=groups.n_groups * n_bins)
    sizes = np.bincount(groups.codes, minlength=groups.n_groups)
    influence = sums.reshape(-1, n_bins) / n - np.outer(sizes / n, value)
    shrink = groups.n_groups / (groups.n_groups - 1)
    observed = np.sqrt(shrink * (influence**2).sum(axis=0))
    calibrated = data.confidence * (1 - data.confidence)
    least = np.sqrt(np.bincount(place, weights=calibrated, minlength=n_bins)) / n
    alike, mixed = _errors_unseen(data, place, n_bins, groups)
    observed = np.maximum(
        observed, np.where(observed > _NO_SPREAD, alike, np.maximum(alike, mixed))
    )
    error = np.maximum(observed, least)
    is_clear = np.abs(value) > np.sqrt(np.log(groups.n_groups)) * error
    return _Gaps(value, np.where(is_clear, observed, error), is_clear)


def _errors_unseen(
    data: Verdicts, place: IntArray, n_bins: int, groups: Groups
) -> tuple[FloatArray, FloatArray]:
    """Standard errors of bins whose groups do not differ, where groups show none.

    Of a bin of one kind it is z / (trials + z^2) x (share of the verdicts): z of it is how far
    Wilson's interval reaches from a share of 0 or 1. Of a bin of both kinds it is that of a share.
    Trials count verdicts of a group as if they were all the same.
    """
    size = np.bincount(place, minlength=n_bins)
    right = np.bincount(place, weights=data.correct, minlength=n_bins)
    cell = np.bincount(groups.codes * n_bins + place, minlength=groups.n_groups * n_bins)
    squares = (cell.reshape(-1, n_bins).astype(np.float64) ** 2).sum(axis=0)
    trials = size**2 / np.maximum(squares, 1)
    z = -float(scipy.special.ndtri(groups.tail))
    share = size / size.sum()
    accuracy = right / np.maximum(size, 1)
    is_alike = (right == 0) | (right == size)
    mixed = share * np.sqrt(accuracy * (1 - accuracy) / np.maximum(trials, 1))
    return np.where(is_alike, share * z / (trials + z**2), 0.0), np.where(is_alike, 0.0, mixed)


class _Noise(NamedTuple):
    """Errors of the gaps in each resample, (resamples, bins), and how far all others reach."""

    drawn: FloatArray
    unseen: float


def _noise(drawn: FloatArray, gaps: _Gaps, groups: Groups) -> _Noise:
    spread = drawn.std(axis=0)
    is_spread = spread > _NO_SPREAD
    # Few groups have few different resamples: their quantiles alone cannot be Student's.
    wanted = gaps.error * student_over_normal(groups.n_groups - 1, groups.tail)
    scale = np.divide(wanted, spread, out=np.zeros_like(spread), where=is_spread)
    quantile = student_quantile(groups.n_groups - 1, groups.tail)
    return _Noise((drawn - gaps.value) * scale, quantile * float(gaps.error[~is_spread].sum()))


def _resampled_gaps(
    data: Verdicts, place: IntArray, n_bins: int, bootstrap: ClusterBootstrap
) -> FloatArray:
    rows = np.arange(len(place))
    columns: scipy.sparse.csr_array[Any] = scipy.sparse.csr_array(
        (
            np.concatenate([data.correct - data.confidence, np.ones(len(place))]),
            (np.tile(rows, 2), np.concatenate([place, np.full(len(place), n_bins)])),
        ),
        shape=(len(place), n_bins + 1),
    )
    sums = np.concatenate(list(bootstrap.totals(columns)))
    held = sums[sums[:, n_bins] > 0]
    drawn: FloatArray = held[:, :n_bins] / held[:, n_bins:]
    return drawn
