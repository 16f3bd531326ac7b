"""Labels as numbers: the codes of a, b and tie, vote counts, and who won the vote."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.errors import InvalidArgument

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

A, B, TIE = 0, 1, 2
MISSING = -1
N_LABELS = 3

_SAMPLE = 4096
_FEW = 32  # comparing all ratings with so many values is quicker than sorting them


class RatingCounts(NamedTuple):
    """How often each unit got each category, and what the categories are worth."""

    counts: IntArray
    values: FloatArray


def vote_counts(
    unit: ArrayLike, category: ArrayLike, n_units: int, n_categories: int = N_LABELS
) -> IntArray:
    """Count votes in long form: shape (n_units, n_categories); missing votes are not counted.

    Args:
        unit: Index of the unit each vote is on.
        category: Code of each vote, `MISSING` or 0 .. n_categories - 1.
        n_units: Number of units, also those without a vote.
        n_categories: Number of categories, also those nobody chose.
    """
    units = np.asarray(unit, dtype=np.int64)
    categories = coded(category, n_categories)
    seen = categories != MISSING
    flat = units[seen] * n_categories + categories[seen]
    return np.bincount(flat, minlength=n_units * n_categories).reshape(n_units, n_categories)


def rating_counts(ratings: ArrayLike) -> RatingCounts:
    """Count a table of numeric ratings, shape (units, annotators), nan where one is missing.

    The categories are the distinct ratings in increasing order.
    """
    table = np.asarray(ratings, dtype=np.float64)
    few = _few_distinct(table.reshape(-1))
    if few is not None:
        return RatingCounts(np.stack([(table == value).sum(axis=1) for value in few], axis=1), few)
    seen = ~np.isnan(table)
    values, codes = np.unique(table[seen], return_inverse=True)
    unit = np.nonzero(seen)[0]
    return RatingCounts(vote_counts(unit, codes, len(table), max(len(values), 1)), values)


def rated_twice(counts: ArrayLike) -> FloatArray:
    """Vote counts with the units that have fewer than two votes emptied."""
    votes = np.array(counts, dtype=np.float64)
    votes[votes.sum(axis=1) < 2] = 0
    return votes


def _few_distinct(ratings: FloatArray) -> FloatArray | None:
    """The distinct ratings, found without sorting them all; None if there are none or many."""
    sample = ratings[:: max(1, ratings.size // _SAMPLE)]
    distinct = np.unique(sample[~np.isnan(sample)])
    if len(distinct) > _FEW:
        return None
    rest = ratings[~(np.isin(ratings, distinct) | np.isnan(ratings))]
    distinct = np.union1d(distinct, rest)
    return distinct if 0 < len(distinct) <= _FEW else None


def coded(codes: ArrayLike, n_categories: int) -> IntArray:
    """Return codes as integers.

    Raises:
        InvalidArgument: A code is neither `MISSING` nor in 0 .. n_categories - 1.
    """
    array = np.asarray(codes, dtype=np.int64)
    if array.size and (array.min() < MISSING or array.max() >= n_categories):
        raise InvalidArgument(f"codes must be {MISSING} (missing) or 0 .. {n_categories - 1}")
    return array


def plurality(counts: ArrayLike) -> IntArray:
    """The most frequent category of each unit; `MISSING` without votes or with equal top counts."""
    votes = np.asarray(counts)
    top = votes.max(axis=1, keepdims=True)
    is_decided = ((votes == top).sum(axis=1) == 1) & (top[:, 0] > 0)
    return np.where(is_decided, votes.argmax(axis=1), MISSING)


def mean_sign(counts: ArrayLike) -> IntArray:
    """The side of the mean vote with a = -1, b = +1, tie = 0; `MISSING` without votes.

    Args:
        counts: Votes for a, b and tie, shape (units, 3).
    """
    votes = np.asarray(counts)
    sign = np.sign(votes[:, B] - votes[:, A])
    side = np.where(sign < 0, A, np.where(sign > 0, B, TIE))
    return np.where(votes.sum(axis=1) > 0, side, MISSING)


def mirrored(labels: ArrayLike) -> IntArray:
    """The same labels after the two responses changed places: a and b exchanged."""
    array = np.asarray(labels, dtype=np.int64)
    return np.where(array == A, B, np.where(array == B, A, array))
