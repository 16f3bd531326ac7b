"""A judge's kappa with one person beside the kappa of one person with another.

Cohen's kappa of a judge with the majority of several people is no match for the kappa of two
single people: a majority is less noisy than each of its members. Here both are taken with single
votes on the same units, those with at least two votes and a label of the judge, each unit weighing
the same whatever its number of votes:

    people: P = mean of sum c (c - 1) / (m (m - 1)),  Pe = sum q^2
    judge:  P = mean of c[label] / m,                 Pe = sum q p

with c the votes of a unit by category, m their number, q the mean over units of c / m and p the
judge's own shares of the categories. For people this is Fleiss' kappa (1971) with units of equal
weight; for a judge that is one more person of the same kind both have the same expectation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.group_jackknife import group_statistic
from calibration.labels import MISSING, checked_counts, coded
from calibration.resampling import ClusterBootstrap


@dataclass(frozen=True, slots=True)
class KappaComparison:
    """Chance-corrected agreement with single votes; n counts units.

    Attributes:
        people: Kappa of one person with another.
        judge: Kappa of the judge with one person.
        difference: Judge minus people.
    """

    people: Estimate
    judge: Estimate
    difference: Estimate


def compare_kappa_with_ceiling(
    judge: ArrayLike, counts: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> KappaComparison:
    """Measure a judge and the people by the kappa with single votes on the same units.

    Args:
        judge: Code of the judge's label, shape (units,), `MISSING` where it said nothing. Map a
            tie to `MISSING` and pass two columns of counts to leave ties out.
        counts: Votes of people by category, shape (units, categories).
        bootstrap: The groups of the units.

    Raises:
        InvalidArgument: Numbers of units differ, the judge's labels are no codes of the categories,
            or the counts are not whole numbers of shape (units, categories).
    """
    votes = checked_counts(counts)
    n_categories = votes.shape[1]
    label = coded(judge, n_categories, "judge")
    if label.shape != votes.shape[:1]:
        raise InvalidArgument("judge and counts must have the same number of units")
    total = votes.sum(axis=1)
    used = (total >= 2) & (label != MISSING)
    parts = np.zeros((len(votes), 3 + 2 * n_categories))
    own, size = votes[used], total[used][:, None]
    said = np.eye(n_categories)[label[used]]
    parts[used, 0] = 1
    parts[used, 1] = (own * (own - 1) / (size * (size - 1))).sum(axis=1)
    parts[used, 2] = (own * said / size).sum(axis=1)
    parts[used, 3 : 3 + n_categories] = own / size
    parts[used, 3 + n_categories :] = said
    n = int(used.sum())
    return KappaComparison(
        people=group_statistic(parts, lambda sums: _kappas(sums)[0], n, bootstrap),
        judge=group_statistic(parts, lambda sums: _kappas(sums)[1], n, bootstrap),
        difference=group_statistic(parts, _difference, n, bootstrap),
    )


def _kappas(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    n_categories = (sums.shape[1] - 3) // 2
    means = sums[:, 1:] / sums[:, :1]
    people, judge = np.split(means[:, 2:], [n_categories], axis=1)
    return (
        _above_chance(means[:, 0], (people**2).sum(axis=1)),
        _above_chance(means[:, 1], (people * judge).sum(axis=1)),
    )


def _difference(sums: FloatArray) -> FloatArray:
    people, judge = _kappas(sums)
    return judge - people


def _above_chance(observed: FloatArray, chance: FloatArray) -> FloatArray:
    return np.where(chance < 1, (observed - chance) / (1 - chance), np.nan)
