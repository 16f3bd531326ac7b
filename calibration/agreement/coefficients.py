"""Coefficients of agreement: percent, Cohen, Fleiss, Gwet, Krippendorff.

Two-rater statistics take two arrays of category codes (`MISSING` where a rater said nothing),
statistics of many raters take vote counts of shape (units, categories). Each is a function of sums
over units, and its interval comes from leaving out one group of units at a time. `groups` names the
group of each unit, such as its prompt; `Groups.of(names, level)` sets another confidence level.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals import GroupsLike, estimate_share, jackknife_ratio, jackknife_statistic
from calibration.labels import MISSING, N_LABELS, check_lengths, checked_counts, coded, rated_twice

Metric = Literal["nominal", "ordinal", "interval", "ratio"]


def krippendorffs_alpha(
    counts: ArrayLike,
    groups: GroupsLike = None,
    *,
    metric: Metric = "nominal",
    values: ArrayLike | None = None,
) -> Estimate:
    """Estimate Krippendorff's alpha, 1 - Do / De, from the coincidences within units.

    A unit with m >= 2 votes adds n_c n_k / (m - 1) (n_c (n_c - 1) / (m - 1) on the diagonal) to
    the coincidences of c and k; missing ratings are simply absent. Krippendorff, "Content
    Analysis" (2004), chapter 11. n is the number of units with at least two votes. The ordinal
    distances depend on the margins and are computed again without each group.

    Args:
        counts: Votes by category, shape (units, categories), columns in order for "ordinal".
        groups: Groups of the units; None for a value without an interval.
        metric: How far apart two categories are.
        values: What each category is worth, for "interval" and "ratio"; default 0, 1, 2, ...

    Raises:
        InvalidArgument: The counts are not whole numbers of shape (units, categories), the metric
            has no such name, or the values are not one finite number for each category (for
            "ratio": none negative).

    >>> votes = [[3, 0], [2, 1], [0, 3], [1, 2]]
    >>> round(krippendorffs_alpha(votes, groups=["q1", "q1", "q2", "q3"]).value, 3)
    0.389
    """
    votes = rated_twice(counts)
    n = int((votes.sum(axis=1) >= 2).sum())
    # without any rating there is no category that could have a value
    is_default = values is None or (np.size(values) == 0 and not np.any(counts))
    worth = np.arange(votes.shape[1]) if is_default else np.asarray(values)
    worth = _checked_values(worth.astype(np.float64), votes.shape[1], metric)
    statistic = partial(_alpha_of_sums, metric=metric, values=worth)
    parts = _summed_coincidences(votes) if groups is None else _coincidences(votes)
    return jackknife_statistic(parts, statistic, n, groups)


def _checked_values(values: FloatArray, n_categories: int, metric: Metric) -> FloatArray:
    if metric not in get_args(Metric):
        raise InvalidArgument(f"metric must be one of {', '.join(get_args(Metric))}, not {metric}")
    if values.shape != (n_categories,) or not np.isfinite(values).all():
        raise InvalidArgument(f"values must be {n_categories} finite numbers, one a category")
    if metric == "ratio" and (values < 0).any():
        raise InvalidArgument("values must not be negative for the metric ratio")
    return values


def _coincidences(votes: FloatArray) -> FloatArray:
    """Return each unit's part of the coincidence table, shape (units, categories squared)."""
    cells = votes[:, :, None] * votes[:, None, :]
    diagonal = np.arange(votes.shape[1])
    cells[:, diagonal, diagonal] -= votes
    cells /= np.maximum(votes.sum(axis=1) - 1, 1)[:, None, None]
    return cells.reshape(len(votes), votes.shape[1] ** 2)


def _summed_coincidences(votes: FloatArray) -> FloatArray:
    """Sum the coincidences of all units, shape (1, categories squared)."""
    scaled = votes / np.maximum(votes.sum(axis=1) - 1, 1)[:, None]
    return np.asarray((votes.T @ scaled - np.diag(scaled.sum(axis=0))).reshape(1, -1))


def _alpha_of_sums(sums: FloatArray, metric: Metric, values: FloatArray) -> FloatArray:
    table = sums.reshape(-1, len(values), len(values))
    margins = table.sum(axis=2)
    n = margins.sum(axis=1)
    distance = _squared_distances(margins, metric, values)
    observed = (table * distance).sum(axis=(1, 2)) / n
    expected = np.einsum("ri,rij,rj->r", margins, distance, margins) / (n * (n - 1))
    return np.where(expected > 0, 1 - observed / expected, np.nan)


def _squared_distances(margins: FloatArray, metric: Metric, values: FloatArray) -> FloatArray:
    """Return squared distances of categories, shape (1 or samples, categories, categories)."""
    if metric == "nominal":
        return (1 - np.eye(len(values)))[None]
    if metric == "ordinal":
        midranks = margins.cumsum(axis=1) - margins / 2
        return (midranks[:, :, None] - midranks[:, None, :]) ** 2
    difference = np.subtract.outer(values, values)
    if metric == "interval":
        return (difference**2)[None]
    total = np.add.outer(values, values)
    relative = np.divide(difference, total, out=np.zeros_like(difference), where=total != 0)
    return (relative**2)[None]


KappaWeights = Literal["linear", "quadratic"]


def agreement_rate(
    first: ArrayLike,
    second: ArrayLike,
    groups: GroupsLike = None,
    *,
    among: tuple[int, ...] | None = None,
) -> Estimate:
    """Estimate the share of units on which two raters chose the same category.

    Args:
        first: Codes of one rater, shape (units,).
        second: Codes of the other.
        groups: Groups of the units; None takes units as independent.
        among: Count only units where both chose one of these categories; `(A, B)` gives the
            accuracy of a judge on decided pairs.

    Returns:
        The share; n is the number of units counted.

    >>> found = agreement_rate([0, 1, 1, 2], [0, 1, 0, 2], groups=["q1", "q1", "q2", "q3"])
    >>> found.value, found.n
    (0.75, 4)
    """
    one, other = _two_raters(first, second, None)
    counted = (one != MISSING) & (other != MISSING)
    if among is not None:
        counted &= np.isin(one, among) & np.isin(other, among)
    return estimate_share(one == other, counted, groups, method="jackknife")


def accuracy_over_orders(
    human: ArrayLike,
    original: ArrayLike,
    swapped: ArrayLike,
    groups: GroupsLike = None,
) -> Estimate:
    """Estimate the share of right verdicts over both orders; an unparsed verdict is wrong.

    Args:
        human: Label of people, shape (units,); units where it is missing do not count.
        original: Label of the judge with response a shown first.
        swapped: The same with response b shown first, mapped back to the unit as posted.
        groups: Groups of the units; None for a value without an interval.

    Returns:
        The share; n is the number of verdicts, two a unit.

    >>> accuracy_over_orders([0, 1], original=[0, 1], swapped=[0, 0]).value
    0.75
    """
    people, one = _two_raters(human, original, None)
    _, other = _two_raters(human, swapped, None)
    counted = people != MISSING
    right = (one == people).astype(np.float64) + (other == people)
    return jackknife_ratio(right * counted, 2.0 * counted, groups)


def percent_agreement(counts: ArrayLike, groups: GroupsLike = None) -> Estimate:
    """Estimate the share of pairs of votes on one unit that agree, each weighing the same.

    The sum of c (c - 1) / 2 over the sum of m (m - 1) / 2, with c the votes of a unit for one
    category and m all its votes. Pass only the columns of a and b to leave out pairs of votes with
    a tie. n is the number of pairs of votes.

    >>> round(percent_agreement([[3, 0], [2, 1]]).value, 3)
    0.667
    """
    votes = checked_counts(counts)
    total = votes.sum(axis=1)
    agreeing = (votes * (votes - 1)).sum(axis=1) / 2
    return jackknife_ratio(agreeing, total * (total - 1) / 2, groups)


def confusion(first: ArrayLike, second: ArrayLike, n_categories: int = N_LABELS) -> IntArray:
    """Count units by category: row = `first` (people), column = `second` (the judge).

    >>> confusion([0, 0, 1], [0, 1, 1], n_categories=2).tolist()
    [[1, 1], [0, 1]]
    """
    one, other = _two_raters(first, second, n_categories)
    seen = (one != MISSING) & (other != MISSING)
    flat = np.bincount(one[seen] * n_categories + other[seen], minlength=n_categories**2)
    return flat.reshape(n_categories, n_categories)


class MacroScores(NamedTuple):
    """Unweighted means over the categories of precision, recall and their harmonic mean."""

    precision: float
    recall: float
    f1: float


def macro_scores(table: ArrayLike) -> MacroScores:
    """Score a judge (columns of a `confusion` table) as a classifier of people's labels (rows).

    A ratio whose denominator is 0 is 0; categories that neither ever used are left out.

    Raises:
        InvalidArgument: The table is not square, or has other entries than counts.

    >>> macro_scores([[2, 0], [0, 1]])
    MacroScores(precision=1.0, recall=1.0, f1=1.0)
    """
    counts = checked_counts(table)
    if counts.shape[0] != counts.shape[1]:
        raise InvalidArgument(f"table must be square, not {counts.shape}")
    right, said, meant = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
    used = said + meant > 0
    if not used.any():
        return MacroScores(0.0, 0.0, 0.0)
    ratios = (
        np.divide(top, below, out=np.zeros_like(right), where=below > 0)[used].mean()
        for top, below in ((right, said), (right, meant), (2 * right, said + meant))
    )
    return MacroScores(*(float(ratio) for ratio in ratios))


def cohens_kappa(
    first: ArrayLike,
    second: ArrayLike,
    groups: GroupsLike = None,
    *,
    n_categories: int = N_LABELS,
    weights: KappaWeights | None = None,
) -> Estimate:
    """Estimate Cohen's kappa, 1 - sum(w o) / sum(w e), from observed shares o and margins e.

    Cohen (1960). e is the product of row and column margins; the disagreement weights w are 1 off
    the diagonal, |i - j| (linear) or (i - j)^2 (quadratic), Cohen (1968). n is the number of units
    both raters judged. No value where both chose one and the same category throughout.

    Raises:
        InvalidArgument: Lengths differ, something is no code of that many categories, or the weights
            have no such name.

    >>> round(cohens_kappa([0, 0, 1, 1], [0, 0, 1, 0]).value, 3)
    0.5
    """
    one, other = _two_raters(first, second, n_categories)
    seen = (one != MISSING) & (other != MISSING)
    cells = np.zeros((len(one), n_categories**2))
    cells[np.nonzero(seen)[0], one[seen] * n_categories + other[seen]] = 1
    statistic = partial(_kappa_of_cells, weights=_kappa_weights(n_categories, weights))
    return jackknife_statistic(cells, statistic, int(seen.sum()), groups)


def _two_raters(
    first: ArrayLike, second: ArrayLike, n_categories: int | None
) -> tuple[IntArray, IntArray]:
    one, other = coded(first, n_categories, "first"), coded(second, n_categories, "second")
    check_lengths(first=one, second=other)
    return one, other


def _kappa_weights(n_categories: int, weights: KappaWeights | None) -> FloatArray:
    steps = np.abs(np.subtract.outer(np.arange(n_categories), np.arange(n_categories)))
    if weights is None:
        return (steps > 0).astype(np.float64)
    if weights not in ("linear", "quadratic"):
        raise InvalidArgument(f"weights must be None, linear or quadratic, not {weights}")
    return steps.astype(np.float64) ** (1 if weights == "linear" else 2)


def _kappa_of_cells(cells: FloatArray, weights: FloatArray) -> FloatArray:
    table = cells.reshape(-1, *weights.shape)
    rows, columns = table.sum(axis=2), table.sum(axis=1)
    observed = (table * weights).sum(axis=(1, 2))
    chance = np.einsum("ri,ij,rj->r", rows, weights, columns) / table.sum(axis=(1, 2))
    return np.where(chance > 0, 1 - observed / chance, np.nan)


def fleiss_kappa(counts: ArrayLike, groups: GroupsLike = None) -> Estimate:
    """Estimate Fleiss' kappa, (P - Pe) / (1 - Pe), for units with two or more votes.

    P is the mean over units of sum c (c - 1) / (m (m - 1)), Pe the sum of squared shares of the
    categories in the pooled votes of those units; Fleiss (1971). n is the number of units. No value
    where all votes are for one category.

    >>> round(fleiss_kappa([[3, 0], [2, 1], [0, 3]]).value, 3)
    0.55
    """
    votes = rated_twice(counts)
    total = votes.sum(axis=1)
    own = _share_of_agreeing_pairs(votes)
    parts = np.column_stack([own, total >= 2, votes])
    return jackknife_statistic(parts, _fleiss_of_sums, int((total >= 2).sum()), groups)


def _fleiss_of_sums(sums: FloatArray) -> FloatArray:
    observed = sums[:, 0] / sums[:, 1]
    shares = sums[:, 2:] / sums[:, 2:].sum(axis=1, keepdims=True)
    return _above_chance(observed, (shares**2).sum(axis=1))


def gwets_ac1(counts: ArrayLike, groups: GroupsLike = None) -> Estimate:
    """Estimate Gwet's AC1, (P - Pe) / (1 - Pe) with Pe = sum q (1 - q) / (K - 1).

    P is the mean share of agreeing pairs of votes over units with at least two votes, q the mean
    over all units with a vote of each category's share, K the number of columns; Gwet (2008),
    with missing ratings as in Gwet (2014). n is the number of units with at least two votes.

    Raises:
        InvalidArgument: There are fewer than two categories, or the counts are not whole numbers of
            shape (units, categories).

    >>> round(gwets_ac1([[3, 0], [2, 1], [0, 3]]).value, 3)
    0.561
    """
    votes = checked_counts(counts)
    if votes.shape[1] < 2:
        if votes.any():
            raise InvalidArgument("Gwet's AC1 needs at least two categories")
        votes = np.zeros((len(votes), 2))
    total = votes.sum(axis=1)
    own = _share_of_agreeing_pairs(rated_twice(votes))
    shares = votes / np.maximum(total, 1)[:, None]
    parts = np.column_stack([own, total >= 2, total >= 1, shares])
    return jackknife_statistic(parts, _ac1_of_sums, int((total >= 2).sum()), groups)


def _ac1_of_sums(sums: FloatArray) -> FloatArray:
    shares = sums[:, 3:] / sums[:, 2:3]
    chance = (shares * (1 - shares)).sum(axis=1) / (shares.shape[1] - 1)
    return _above_chance(sums[:, 0] / sums[:, 1], chance)


def _share_of_agreeing_pairs(votes: FloatArray) -> FloatArray:
    total = votes.sum(axis=1)
    share: FloatArray = (votes * (votes - 1)).sum(axis=1) / np.maximum(total * (total - 1), 1)
    return share


def _above_chance(observed: FloatArray, chance: FloatArray) -> FloatArray:
    return np.where(chance < 1, (observed - chance) / (1 - chance), np.nan)
