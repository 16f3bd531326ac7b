"""Labels as numbers: one code for a, b and tie, counts of votes, and who won the vote.

Every array of labels in the library uses these codes: 0 for a, 1 for b, 2 for a tie, -1 for none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument

A, B, TIE = 0, 1, 2
MISSING = -1
N_LABELS = 3

_SAMPLE = 4096
_FEW = 32  # comparing all ratings with so many values is quicker than sorting them


class RatingCounts(NamedTuple):
    """Counts of each category for each unit, and the values of the categories."""

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
        n_categories: Number of categories, also those that no one chose.

    Raises:
        InvalidArgument: Lengths differ, or a unit or a category is out of its range.

    Example:
        >>> vote_counts(unit=[0, 0, 1], category=[A, B, TIE], n_units=2)
        array([[1, 1, 0],
               [0, 0, 1]])
    """
    units, categories = _whole("unit", unit), coded(category, n_categories, "category")
    check_lengths(unit=units, category=categories)
    if units.size and (units.min() < 0 or units.max() >= n_units):
        raise InvalidArgument(f"unit must lie in 0 .. {n_units - 1}")
    seen = categories != MISSING
    flat = units[seen] * n_categories + categories[seen]
    return np.bincount(flat, minlength=n_units * n_categories).reshape(n_units, n_categories)


def rating_counts(ratings: ArrayLike) -> RatingCounts:
    """Count a table of numeric ratings, shape (units, annotators), nan where one is missing.

    The categories are the distinct ratings in increasing order.

    Raises:
        InvalidArgument: It is no table, or a rating is infinite.

    Example:
        >>> found = rating_counts([[1, 5], [5, np.nan]])
        >>> found.values, found.counts
        (array([1., 5.]), array([[1, 1],
               [0, 1]]))
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or np.isinf(table).any():
        raise InvalidArgument("ratings must have the shape (units, annotators), none infinite")
    few = _few_distinct(table.reshape(-1))
    if few is not None:
        each = np.ones(table.shape[1], dtype=np.float32)  # five times as quick as a sum of booleans
        found = [np.equal(table, value).astype(np.float32) @ each for value in few]
        return RatingCounts(np.stack(found, axis=1).astype(np.int64), few)
    seen = ~np.isnan(table)
    values, codes = np.unique(table[seen], return_inverse=True)
    unit = np.nonzero(seen)[0]
    return RatingCounts(vote_counts(unit, codes, len(table), max(len(values), 1)), values)


def rated_twice(counts: ArrayLike) -> FloatArray:
    """Return vote counts with the units that have fewer than two votes emptied.

    Raises:
        InvalidArgument: As for `checked_counts`.
    """
    votes = checked_counts(counts).copy()
    votes[votes.sum(axis=1) < 2] = 0
    return votes


def checked_counts(counts: ArrayLike) -> FloatArray:
    """Return vote counts as numbers.

    Raises:
        InvalidArgument: They have another shape than (units, categories), or are not whole numbers
            from 0 on.
    """
    votes = np.asarray(counts, dtype=np.float64)
    if votes.ndim != 2:
        raise InvalidArgument(f"counts must have the shape (units, categories), not {votes.shape}")
    if not (np.isfinite(votes) & (votes >= 0)).all() or (votes != np.floor(votes)).any():
        raise InvalidArgument("counts must be whole numbers of votes, none negative or missing")
    return votes


def check_lengths(**columns: NDArray[Any] | None) -> None:
    """Refuse named columns that are not of the same rows; None is no column.

    Raises:
        InvalidArgument: One is not a vector, or lengths differ.
    """
    shapes = {name: column.shape for name, column in columns.items() if column is not None}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InvalidArgument(f"these must be vectors of one length: {listed}")


def _few_distinct(ratings: FloatArray) -> FloatArray | None:
    """Return the distinct ratings without sorting them all; None if there are many, or no rating."""
    sample = ratings[:: max(1, ratings.size // _SAMPLE)]
    distinct = np.unique(sample[~np.isnan(sample)])
    if len(distinct) > _FEW:
        return None
    rest = ratings[~(np.isin(ratings, distinct) | np.isnan(ratings))]
    distinct = np.union1d(distinct, rest)
    return distinct if 0 < len(distinct) <= _FEW else None


def coded(codes: ArrayLike, n_categories: int | None = None, name: str = "codes") -> IntArray:
    """Return codes as integers.

    Args:
        codes: Codes of categories, any shape.
        n_categories: Number of categories; None for any number.
        name: What an error calls them.

    Raises:
        InvalidArgument: A code is neither `MISSING` nor in 0 .. n_categories - 1.
    """
    array = _whole(name, codes)
    last = ".." if n_categories is None else f".. {n_categories - 1}"
    is_beyond = array.size and n_categories is not None and array.max() >= n_categories
    if is_beyond or (array.size and array.min() < MISSING):
        raise InvalidArgument(f"{name} must be codes: {MISSING} (missing) or 0 {last}")
    return array


def _whole(name: str, numbers: ArrayLike) -> IntArray:
    array = np.asarray(numbers)
    if array.size == 0:
        return np.zeros(array.shape, dtype=np.int64)
    is_whole = array.dtype.kind in "biu"
    if array.dtype.kind == "f":
        is_whole = bool((np.isfinite(array) & (array == np.floor(array))).all())
    if not is_whole:
        raise InvalidArgument(f"{name} must be whole numbers, none missing")
    return array.astype(np.int64)


def plurality(counts: ArrayLike) -> IntArray:
    """Return each unit's most frequent category; `MISSING` without votes or with equal top counts.

    Args:
        counts: Votes, shape (units, categories).

    Returns:
        Shape (units,).

    Raises:
        InvalidArgument: As for `checked_counts`, or there is no category.

    Example:
        >>> plurality([[2, 1, 0], [1, 1, 0], [0, 1, 3]])
        array([ 0, -1,  2])
    """
    votes = checked_counts(counts)
    if not votes.shape[1]:
        raise InvalidArgument("counts must have at least one category")
    top = votes.max(axis=1, keepdims=True)
    is_decided = ((votes == top).sum(axis=1) == 1) & (top[:, 0] > 0)
    return np.where(is_decided, votes.argmax(axis=1), MISSING)


def mean_sign(counts: ArrayLike) -> IntArray:
    """Return the side of the mean vote with a = -1, b = +1, tie = 0; `MISSING` without votes.

    Args:
        counts: Votes for a, b and tie, shape (units, 3).

    Raises:
        InvalidArgument: As for `checked_counts`, or there are not three categories.

    Example:
        >>> mean_sign([[2, 1, 0], [1, 1, 5], [0, 0, 0]])
        array([ 0,  2, -1])
    """
    votes = checked_counts(counts)
    if votes.shape[1] != N_LABELS:
        raise InvalidArgument(f"counts must be of a, b and tie, not of {votes.shape[1]} categories")
    sign = np.sign(votes[:, B] - votes[:, A])
    side = np.where(sign < 0, A, np.where(sign > 0, B, TIE))
    return np.where(votes.sum(axis=1) > 0, side, MISSING)


def mirrored(labels: ArrayLike) -> IntArray:
    """Return the same labels after the two responses changed places: a and b exchanged.

    Raises:
        InvalidArgument: A label is no code of a, b or tie, nor missing.

    Example:
        >>> mirrored([A, B, TIE, MISSING])
        array([ 1,  0,  2, -1])
    """
    array = coded(labels, N_LABELS, "labels")
    return np.where(array == A, B, np.where(array == B, A, array))
