"""A judge compared with the agreement of people with one another.

Each vote is held out in turn. Where the other votes on its unit have a strict majority, the person
who cast it agrees with that majority or not, and so does the judge: both are measured on the same
units, against the same majorities of the same number of people. A judge may exceed this ceiling,
because one person's vote is noisier than what a judge can learn of the majority.

Cohen's kappa of a judge with the majority of several people cannot be compared with the kappa of
two single people: a majority is less noisy than each of its members. Here both are taken with
single votes on the same units, those with at least two votes and a label of the judge, each unit
weighing the same whatever its number of votes:

    people: P = mean of sum c (c - 1) / (m (m - 1)),  Pe = sum q^2
    judge:  P = mean of c[label] / m,                 Pe = sum q p

with c the votes of a unit by category, m their number, q the mean over units of c / m and p the
judge's own shares of the categories. For people this is Fleiss' kappa (1971) with units of equal
weight; for a judge that is one more person of the same kind both have the same expectation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals import GroupsLike, jackknife_ratio, jackknife_statistic
from calibration.labels import MISSING, TIE, checked_counts, coded


@dataclass(frozen=True, slots=True)
class CeilingComparison:
    """Agreement with the strict majority of all votes but one.

    Attributes:
        people: Of the person whose vote was held out; n counts held-out votes.
        judge: Of the judge, on the same held-out votes.
        difference: Judge minus people.
    """

    people: Estimate
    judge: Estimate
    difference: Estimate


def leave_one_out_agreement(
    counts: ArrayLike, groups: GroupsLike = None, *, tie: int | None = TIE
) -> Estimate:
    """Estimate how often one vote agrees with the strict majority of the others on its unit.

    A majority is strict when more than half of the other votes are for it. Votes for `tie`, and
    votes against a majority for `tie`, are left out; None leaves out nothing. n counts votes.

    >>> found = leave_one_out_agreement([[3, 0, 0], [2, 1, 0]])
    >>> found.value, found.n
    (0.75, 4)
    """
    votes = checked_counts(counts)
    hits, counted = np.zeros(len(votes)), np.zeros(len(votes))
    for category, held_out, majority in _held_out(votes, tie):
        counted += held_out * (majority != MISSING)
        hits += held_out * (majority == category)
    return jackknife_ratio(hits, counted, groups)


def compare_with_ceiling(
    judge: ArrayLike,
    counts: ArrayLike,
    groups: GroupsLike = None,
    *,
    tie: int | None = TIE,
) -> CeilingComparison:
    """Measure a judge and the people by the same held-out votes.

    Args:
        judge: Code of the judge's label, shape (units,); units where it is missing are left out
            for people as well. A tie of the judge is a disagreement with every other majority.
        counts: Votes of people by category, shape (units, categories).
        groups: Groups of the units; None for values without intervals.
        tie: The category that is no side: held-out votes for it, and majorities for it, are left
            out; None leaves out nothing.

    Raises:
        InvalidArgument: Numbers of units differ, the judge's labels are no codes of the categories,
            or the counts are not whole numbers of shape (units, categories).

    >>> found = compare_with_ceiling([0, 0], [[3, 0, 0], [3, 1, 0]])
    >>> round(found.people.value, 3), found.judge.value
    (0.857, 1.0)
    """
    votes = checked_counts(counts)
    label = coded(judge, votes.shape[1], "judge")
    if label.shape != votes.shape[:1]:
        raise InvalidArgument("judge and counts must have the same number of units")
    people, judged, counted = np.zeros((3, len(votes)))
    for category, held_out, majority in _held_out(votes, tie):
        seen = held_out * ((majority != MISSING) & (label != MISSING))
        counted += seen
        people += seen * (majority == category)
        judged += seen * (majority == label)
    return CeilingComparison(
        people=jackknife_ratio(people, counted, groups),
        judge=jackknife_ratio(judged, counted, groups),
        difference=jackknife_statistic(
            np.column_stack([judged - people, counted]),
            lambda sums: sums[:, 0] / sums[:, 1],
            round(float(counted.sum())),
            groups,
        ),
    )


class _HeldOut(NamedTuple):
    """One category: how many votes for it each unit has, and the majority without one of them."""

    category: int
    votes: FloatArray
    majority: IntArray


def _held_out(votes: FloatArray, tie: int | None) -> Iterator[_HeldOut]:
    decided = np.array([k for k in range(votes.shape[1]) if k != tie], dtype=np.int64)
    for k in decided.tolist():
        others = votes.copy()
        others[:, k] -= 1
        is_majority = others[:, decided] * 2 > others.sum(axis=1, keepdims=True)
        majority = np.where(is_majority.any(axis=1), decided[is_majority.argmax(axis=1)], MISSING)
        yield _HeldOut(k, votes[:, k], majority)


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
    judge: ArrayLike, counts: ArrayLike, groups: GroupsLike = None
) -> KappaComparison:
    """Measure a judge and the people by the kappa with single votes on the same units.

    Args:
        judge: Code of the judge's label, shape (units,), `MISSING` where it said nothing. Map a
            tie to `MISSING` and pass two columns of counts to leave ties out.
        counts: Votes of people by category, shape (units, categories).
        groups: Groups of the units; None for values without intervals.

    Raises:
        InvalidArgument: Numbers of units differ, the judge's labels are no codes of the categories,
            or the counts are not whole numbers of shape (units, categories).

    >>> found = compare_kappa_with_ceiling([0, 1, 0], [[2, 0], [0, 2], [1, 1]])
    >>> round(found.people.value, 3), round(found.judge.value, 3)
    (0.333, 0.667)
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
        people=jackknife_statistic(parts, lambda sums: _kappas(sums)[0], n, groups),
        judge=jackknife_statistic(parts, lambda sums: _kappas(sums)[1], n, groups),
        difference=jackknife_statistic(parts, _difference, n, groups),
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
