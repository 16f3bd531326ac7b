"""Comparisons of models: results, totals by pair of models, and records by model.

Everything a leaderboard needs but the order of play (only Elo looks at it) is in three sums for
each pair of models that met: what the first won, what the second won, and what was tied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.errors import InvalidArgument

_LENGTHS = "left, right, score and weight must have the same length"
# Beyond these, squares of sums of weights leave the range of numbers.
_WEIGHTS = (1e-100, 1e100)
# A table of all pairs of models is quicker than sorting where it is not much longer than the rows.
_TABLE_CELLS = 4_000_000
# A table of all groups and models is quicker than sorting, as long as it fits in memory.
_RECORD_CELLS = 100_000_000


class _Numbering(dict[str, int]):
    """Numbers names in the order of their first look-up."""

    def __missing__(self, name: str) -> int:
        self[name] = number = len(self)
        return number


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """Comparisons of two models each, with their results, in the order of play.

    Attributes:
        models: Names of the models.
        left: Index of the left model of each comparison, shape (n,).
        right: Index of the right model, never that of the left one.
        score: What the left model got: 1 a win, .5 a tie, 0 a loss, or any share between.
        weight: How much the comparison counts, not negative.
    """

    models: tuple[str, ...]
    left: IntArray
    right: IntArray
    score: FloatArray
    weight: FloatArray

    @classmethod
    def between(
        cls,
        left: Sequence[str],
        right: Sequence[str],
        score: ArrayLike,
        weight: ArrayLike | None = None,
    ) -> Comparisons:
        """Build comparisons from model names; models are numbered in alphabetical order.

        Raises:
            InvalidArgument: Lengths differ, a model meets itself, a score lies outside [0, 1], or a
                weight is neither 0 nor between 1e-100 and 1e100.
        """
        if len(left) != len(right):
            raise InvalidArgument(_LENGTHS)
        number = _Numbering()
        firsts, seconds = (
            np.fromiter(map(number.__getitem__, names), np.int64, len(names))
            for names in (left, right)
        )
        models = sorted(number)
        place = np.empty(len(models), dtype=np.int64)
        place[[number[model] for model in models]] = np.arange(len(models))
        scores = np.asarray(score, dtype=np.float64)
        weights = np.ones(len(left)) if weight is None else np.asarray(weight, dtype=np.float64)
        made = cls(tuple(models), place[firsts], place[seconds], scores, weights)
        made._check()
        return made

    def _check(self) -> None:
        if not self.left.shape == self.score.shape == self.weight.shape:
            raise InvalidArgument(_LENGTHS)
        if (self.left == self.right).any():
            row = int(np.nonzero(self.left == self.right)[0][0])
            raise InvalidArgument(f"comparison {row}: {self.models[self.left[row]]} meets itself")
        if not ((self.score >= 0) & (self.score <= 1)).all():
            raise InvalidArgument("scores must lie in [0, 1]")
        least, largest = _WEIGHTS
        is_usable = (self.weight >= least) & (self.weight <= largest)
        if not (is_usable | (self.weight == 0)).all():
            raise InvalidArgument(f"weights must be 0 or lie between {least} and {largest}")

    def __len__(self) -> int:
        """Return the number of comparisons."""
        return len(self.left)

    @property
    def is_tie(self) -> BoolArray:
        """True for comparisons that ended in a tie, shape (n,)."""
        return np.equal(self.score, 0.5)

    def take(self, rows: ArrayLike) -> Comparisons:
        """Return some of the comparisons (a mask or an index array), with the same models."""
        kept = np.asarray(rows)
        return replace(
            self,
            left=self.left[kept],
            right=self.right[kept],
            score=self.score[kept],
            weight=self.weight[kept],
        )


@dataclass(frozen=True, slots=True, eq=False)
class PairTotals:
    """Weighted results of every pair of models that met, in one or many resamples.

    Attributes:
        n_models: Number of models.
        first: Index of the first model of each pair, shape (pairs,).
        second: Index of the second model, larger than that of the first.
        first_wins: What the first model won, shape (resamples, pairs).
        second_wins: What the second model won.
        ties: Weight of the tied comparisons.
    """

    n_models: int
    first: IntArray
    second: IntArray
    first_wins: FloatArray
    second_wins: FloatArray
    ties: FloatArray

    @property
    def first_points(self) -> FloatArray:
        """Wins of the first model and half its ties."""
        return self.first_wins + self.ties / 2

    @property
    def second_points(self) -> FloatArray:
        """Wins of the second model and half its ties."""
        return self.second_wins + self.ties / 2

    @property
    def games(self) -> FloatArray:
        """Weight of all comparisons of the pair."""
        return self.first_wins + self.second_wins + self.ties

    def resamples(self, chosen: ArrayLike) -> PairTotals:
        """Return the totals of some of the resamples (a mask or an index array)."""
        kept = np.asarray(chosen)
        return replace(
            self,
            first_wins=self.first_wins[kept],
            second_wins=self.second_wins[kept],
            ties=self.ties[kept],
        )

    def by_model(self, of_first: FloatArray, of_second: FloatArray) -> FloatArray:
        """Sum amounts (resamples, pairs) of the first and second models: (resamples, models)."""
        pairs = len(self.first)
        starts, ones = np.arange(pairs + 1), np.ones(pairs)
        first, second = (
            scipy.sparse.csr_array((ones, model, starts), shape=(pairs, self.n_models))
            for model in (self.first, self.second)
        )
        return np.asarray((first.T @ of_first.T + second.T @ of_second.T).T)


@dataclass(frozen=True, slots=True, eq=False)
class PairLayout:
    """The sums that turn comparisons into pair totals.

    The sums of P pairs are 3 P columns: wins of the first models, of the second ones, and ties. A
    score strictly between 0 and 1, other than a tie, is split between the wins.

    Attributes:
        n_models: Number of models.
        first: Index of the first model of each pair, shape (P,).
        second: Index of the second model of each pair.
        pair: Which pair each comparison is of, shape (n,).
        amounts: What each comparison adds to the three sums of its pair, each of shape (n,).
    """

    n_models: int
    first: IntArray
    second: IntArray
    pair: IntArray
    amounts: tuple[FloatArray, FloatArray, FloatArray]

    @classmethod
    def of(cls, comparisons: Comparisons) -> PairLayout:
        """Lay out the pairs of models that met."""
        m = len(comparisons.models)
        low = np.minimum(comparisons.left, comparisons.right)
        high = np.maximum(comparisons.left, comparisons.right)
        met, pair = _numbered(low * m + high, m * m)
        of_first = np.where(comparisons.left == low, comparisons.score, 1 - comparisons.score)
        decided = comparisons.weight * ~comparisons.is_tie
        won = decided * of_first
        amounts = (won, decided - won, comparisons.weight * comparisons.is_tie)
        return cls(m, met // m, met % m, pair, amounts)

    @property
    def n_sums(self) -> int:
        """Number of sums, three for each pair."""
        return 3 * len(self.first)

    @property
    def parts(self) -> scipy.sparse.csr_array[Any]:
        """The contribution of each comparison to each sum, shape (n, sums)."""
        return self.by_group(np.arange(len(self.pair)), len(self.pair))

    def by_group(self, group: IntArray, n_groups: int) -> scipy.sparse.csr_array[Any]:
        """Return what each group of comparisons adds to each sum, shape (n_groups, sums)."""
        rows = [np.flatnonzero(amount) for amount in self.amounts]
        data = [amount[kept] for amount, kept in zip(self.amounts, rows, strict=True)]
        columns = [self.pair[kept] + k * len(self.first) for k, kept in enumerate(rows)]
        where = (group[np.concatenate(rows)], np.concatenate(columns))
        summed = scipy.sparse.coo_array(
            (np.concatenate(data), where), shape=(n_groups, self.n_sums)
        )
        return summed.tocsr()

    def totals(self, sums: FloatArray) -> PairTotals:
        """Name the columns of sums of shape (resamples, sums)."""
        wins, losses, ties = np.split(sums, 3, axis=1)
        return PairTotals(self.n_models, self.first, self.second, wins, losses, ties)

    def whole(self) -> PairTotals:
        """Return the totals of the sample itself, as one resample."""
        pairs = len(self.first)
        return self.totals(
            np.concatenate([np.bincount(self.pair, each, pairs) for each in self.amounts])[None]
        )


def _numbered(codes: IntArray, n_codes: int) -> tuple[IntArray, IntArray]:
    """Return the distinct codes in increasing order, and the place of each code among them."""
    if n_codes > _TABLE_CELLS + len(codes):
        distinct, place = np.unique(codes, return_inverse=True)
        return distinct, place
    seen = np.bincount(codes, minlength=n_codes) > 0
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[codes]


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Counts by model, each of shape (models,).

    Attributes:
        n: Number of comparisons of the model.
        wins: How many it won; a share above one half is a win.
        ties: How many were tied.
    """

    n: IntArray
    wins: IntArray
    ties: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Support:
    """The data behind the values of the models.

    Attributes:
        groups: Number of groups that the model has a comparison of weight in, shape (models,).
        is_unanimous: Whether the model got the same share in all of them: resamples of such groups
            say nothing about how else it might have fared. Shape (models,).
        confidence_level: Coverage of what is concluded from them.
    """

    groups: IntArray
    is_unanimous: BoolArray
    confidence_level: float


def with_baseline(comparisons: Comparisons, baseline: str | None) -> BoolArray:
    """Return a mask of the comparisons with the baseline, or of all without one."""
    if baseline is None:
        return np.ones(len(comparisons), dtype=np.bool_)
    number = comparisons.models.index(baseline)
    return np.asarray((comparisons.left == number) | (comparisons.right == number))


def count_records(comparisons: Comparisons) -> Records:
    """Count comparisons, wins and ties of every model; weights do not matter.

    >>> record = count_records(Comparisons.between(["x", "x"], ["y", "y"], [1, 0.5]))
    >>> record.n.tolist(), record.wins.tolist(), record.ties.tolist()
    ([2, 2], [1, 0], [1, 1])
    """
    n_models = len(comparisons.models)

    def count(left: BoolArray | slice, right: BoolArray | slice) -> IntArray:
        of_left = np.bincount(comparisons.left[left], minlength=n_models)
        return np.asarray(of_left + np.bincount(comparisons.right[right], minlength=n_models))

    return Records(
        n=count(slice(None), slice(None)),
        wins=count(comparisons.score > 0.5, comparisons.score < 0.5),
        ties=count(comparisons.is_tie, comparisons.is_tie),
    )


def count_groups(comparisons: Comparisons, group: IntArray, n_groups: int) -> IntArray:
    """Count the groups in which each model has a comparison of weight, shape (models,)."""
    n_models, kept = len(comparisons.models), comparisons.weight > 0
    if not kept.all():
        comparisons, group = comparisons.take(kept), group[kept]
    cells = np.concatenate(
        [group * n_models + comparisons.left, group * n_models + comparisons.right]
    )
    if n_groups * n_models > _RECORD_CELLS:
        return np.bincount(np.unique(cells) % n_models, minlength=n_models)
    seen = np.zeros(n_groups * n_models, dtype=np.bool_)
    seen[cells] = True
    return np.asarray(seen.reshape(n_groups, n_models).sum(axis=0))
