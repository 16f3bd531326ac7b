"""Agreement by difficulty: by the margin or entropy of people's votes, or by any score.

Where the difficulty is read off the same votes that the judge is compared with, two things change
from bin to bin: how hard the units are, and how noisy the label is. The ceiling of the same bin
(`compare_with_ceiling`) says which part of a fall is due to people.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals import GroupsLike, estimate_share, jackknife_statistic
from calibration.labels import MISSING, check_lengths, checked_counts, coded

Measure = Callable[[BoolArray], Estimate]


def vote_margin(counts: ArrayLike) -> FloatArray:
    """Return the lead of the most frequent category over the second, as a share of all votes.

    1 is unanimous and 0 undecided, so `1 - vote_margin` grows with difficulty. nan without votes.

    >>> vote_margin([[3, 0], [2, 1], [1, 1]]).round(3).tolist()
    [1.0, 0.333, 0.0]
    """
    votes = np.sort(checked_counts(counts), axis=1)
    total = votes.sum(axis=1)
    return _per_vote(votes[:, -1:].sum(axis=1) - votes[:, -2:-1].sum(axis=1), total)


def vote_entropy(counts: ArrayLike) -> FloatArray:
    """Return the entropy of the shares of votes over its largest value, log K.

    0 is unanimous. With few votes the entropy of the shares is less than that of the people behind
    them: compare only units with the same number of votes. nan without votes.

    Raises:
        InvalidArgument: There are fewer than two categories, or the counts are not whole numbers of
            shape (units, categories).

    >>> vote_entropy([[3, 0], [2, 2]]).tolist()
    [0.0, 1.0]
    """
    votes = checked_counts(counts)
    if votes.shape[1] < 2:
        raise InvalidArgument("the entropy of votes needs at least two categories")
    total = votes.sum(axis=1)
    shares = _per_vote(votes, total[:, None])
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(axis=1) / np.log(votes.shape[1]) + 0.0)


def _per_vote(amount: FloatArray, total: FloatArray) -> FloatArray:
    return np.divide(amount, total, out=np.full_like(amount, np.nan), where=total > 0)


@dataclass(frozen=True, slots=True, eq=False)
class DifficultyBins:
    """Units by difficulty.

    Attributes:
        number: Each unit's bin from 0, the easiest, on; `MISSING` without a difficulty.
        edges: Where one bin ends and the next begins, increasing; a unit on an edge is in the
            lower bin.
    """

    number: IntArray
    edges: FloatArray

    @property
    def n_bins(self) -> int:
        """Number of bins, also of those without a unit."""
        return len(self.edges) + 1


def bins_by_quantile(difficulty: ArrayLike, n_bins: int = 3) -> DifficultyBins:
    """Cut units into bins of about equal size; equal difficulties stay together.

    Args:
        difficulty: Larger is harder, shape (units,); nan for unknown.
        n_bins: 3 makes terciles. With many equal difficulties there are fewer bins.

    Raises:
        InvalidArgument: n_bins is not positive.

    >>> bins_by_quantile([0.1, 0.2, 0.3, 0.9], n_bins=2).number.tolist()
    [0, 0, 1, 1]
    """
    if n_bins < 1:
        raise InvalidArgument(f"n_bins must be positive, not {n_bins}")
    scores = np.asarray(difficulty, dtype=np.float64)
    known = scores[~np.isnan(scores)]
    if not known.size:
        return bins_by_edges(scores, [])
    shares = np.arange(1, n_bins) / n_bins
    edges = np.unique(np.quantile(known, shares, method="inverted_cdf"))
    return bins_by_edges(scores, edges[edges < known.max()])


def bins_by_edges(difficulty: ArrayLike, edges: ArrayLike) -> DifficultyBins:
    """Cut units at given difficulties, which should not depend on the agreement in question.

    Raises:
        InvalidArgument: The edges do not increase, or are no numbers.

    >>> bins_by_edges([0.1, 0.5, 0.9], edges=[0.5]).number.tolist()
    [0, 0, 1]
    """
    cuts = np.asarray(edges, dtype=np.float64)
    if cuts.ndim != 1 or np.isnan(cuts).any() or not (np.diff(cuts) > 0).all():
        raise InvalidArgument("the edges of bins must increase")
    scores = np.asarray(difficulty, dtype=np.float64)
    place = np.searchsorted(cuts, scores)
    return DifficultyBins(np.where(np.isnan(scores), MISSING, place), cuts)


def measure_by_bin(bins: DifficultyBins, measure: Measure) -> tuple[Estimate, ...]:
    """Measure each bin by itself.

    Args:
        bins: The units by difficulty.
        measure: Maps a mask of units to an estimate, such as
            `lambda rows: cohens_kappa(people[rows], judge[rows], groups.take(rows))`.
    """
    return tuple(measure(bins.number == k) for k in range(bins.n_bins))


@dataclass(frozen=True, slots=True)
class AgreementByDifficulty:
    """Agreement in each bin, and how much it falls.

    Attributes:
        edges: Where one bin ends and the next begins.
        agreement: Share of units that agree, one for each bin from easy to hard.
        fall: Agreement in the easiest bin minus that in the hardest; no value with a single bin.
    """

    edges: tuple[float, ...]
    agreement: tuple[Estimate, ...]
    fall: Estimate


def agreement_by_difficulty(
    first: ArrayLike,
    second: ArrayLike,
    bins: DifficultyBins,
    groups: GroupsLike = None,
    *,
    among: tuple[int, ...] | None = None,
) -> AgreementByDifficulty:
    """Estimate the share of units on which two raters chose the same category, by difficulty.

    Args:
        first: Codes of one rater, shape (units,).
        second: Codes of the other.
        bins: The units by difficulty.
        groups: Groups of the units; None takes units as independent, without an interval of the fall.
        among: Count only units where both chose one of these categories.

    >>> bins = bins_by_edges([0.0, 0.1, 0.8, 0.9], edges=[0.5])
    >>> found = agreement_by_difficulty([0, 1, 0, 1], [0, 1, 1, 1], bins)
    >>> [one.value for one in found.agreement], found.fall.value
    ([1.0, 0.5], 0.5)
    """
    one, other = coded(first, name="first"), coded(second, name="second")
    check_lengths(first=one, second=other, bins=bins.number)
    counted = (one != MISSING) & (other != MISSING)
    if among is not None:
        counted &= np.isin(one, among) & np.isin(other, among)
    hits = counted & (one == other)

    def share(rows: BoolArray) -> Estimate:
        return estimate_share(hits, counted & rows, groups)

    easy, hard = (counted & (bins.number == k) for k in (0, bins.n_bins - 1))
    if bins.n_bins == 1:
        hard = np.zeros_like(counted)
    fall = jackknife_statistic(
        np.column_stack([hits & easy, easy, hits & hard, hard]).astype(np.float64),
        lambda sums: sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3],
        int((easy | hard).sum()),
        groups,
    )
    return AgreementByDifficulty(tuple(bins.edges.tolist()), measure_by_bin(bins, share), fall)
