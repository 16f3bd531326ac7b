"""Comparisons of models as arrays, and their totals by pair of models.

Everything a leaderboard needs but the order of play (only Elo looks at it) is in three sums for
each pair of models that met: what the first won, what the second won, and what was tied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from calibration.errors import InvalidArgument

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """Who met whom, and with what result, in the order of play.

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
            InvalidArgument: Lengths differ, a model meets itself, a score lies outside [0, 1] or a
                weight is negative or not finite.
        """
        names = sorted(set(left) | set(right))
        number = {name: i for i, name in enumerate(names)}
        scores = np.asarray(score, dtype=np.float64)
        weights = np.ones(len(left)) if weight is None else np.asarray(weight, dtype=np.float64)
        if not len(left) == len(right) == len(scores) == len(weights):
            raise InvalidArgument("left, right, score and weight must have the same length")
        made = cls(
            tuple(names),
            np.array([number[name] for name in left], dtype=np.int64),
            np.array([number[name] for name in right], dtype=np.int64),
            scores,
            weights,
        )
        made._check()
        return made

    def _check(self) -> None:
        if (self.left == self.right).any():
            row = int(np.nonzero(self.left == self.right)[0][0])
            raise InvalidArgument(f"comparison {row}: {self.models[self.left[row]]} meets itself")
        if not ((self.score >= 0) & (self.score <= 1)).all():
            raise InvalidArgument("scores must lie in [0, 1]")
        if not (np.isfinite(self.weight) & (self.weight >= 0)).all():
            raise InvalidArgument("weights must be finite and not negative")

    def __len__(self) -> int:
        """Number of comparisons."""
        return len(self.left)

    @property
    def is_tie(self) -> BoolArray:
        """Which comparisons ended in a tie, shape (n,)."""
        return np.equal(self.score, 0.5)

    def take(self, rows: ArrayLike) -> Comparisons:
        """Some of the comparisons (a mask or an index array), with the same models."""
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
        """The totals of some of the resamples (a mask or an index array)."""
        kept = np.asarray(chosen)
        return replace(
            self,
            first_wins=self.first_wins[kept],
            second_wins=self.second_wins[kept],
            ties=self.ties[kept],
        )

    def by_model(self, of_first: FloatArray, of_second: FloatArray) -> FloatArray:
        """Sum amounts (resamples, pairs) of the first and second models: (resamples, models)."""
        pairs = np.arange(len(self.first))
        shape = (len(pairs), self.n_models)
        ones = np.ones(len(pairs))
        first = sparse.csr_array((ones, (pairs, self.first)), shape=shape)
        second = sparse.csr_array((ones, (pairs, self.second)), shape=shape)
        return np.asarray((first.T @ of_first.T + second.T @ of_second.T).T)


@dataclass(frozen=True, slots=True, eq=False)
class PairLayout:
    """How comparisons add up to pair totals: a sparse map from rows to (pair, result) columns.

    Attributes:
        n_models: Number of models.
        first: Index of the first model of each pair.
        second: Index of the second model of each pair.
        parts: What each comparison adds, shape (n, 3 x pairs): wins of the first, of the second,
            ties. A score strictly between 0 and 1, other than a tie, is split between the wins.
    """

    n_models: int
    first: IntArray
    second: IntArray
    parts: sparse.csr_array[Any]

    @classmethod
    def of(cls, comparisons: Comparisons) -> PairLayout:
        """Lay out the pairs of models that met."""
        n, m = len(comparisons), len(comparisons.models)
        low = np.minimum(comparisons.left, comparisons.right)
        high = np.maximum(comparisons.left, comparisons.right)
        met, pair = np.unique(low * m + high, return_inverse=True)
        of_first = np.where(comparisons.left == low, comparisons.score, 1 - comparisons.score)
        decided = comparisons.weight * ~comparisons.is_tie
        amounts = [decided * of_first, decided * (1 - of_first)]
        amounts.append(comparisons.weight * comparisons.is_tie)
        columns = np.concatenate([pair + k * len(met) for k in range(3)])
        rows = np.tile(np.arange(n), 3)
        parts = sparse.csr_array(
            (np.concatenate(amounts), (rows, columns)), shape=(n, 3 * len(met))
        )
        parts.eliminate_zeros()
        return cls(m, met // m, met % m, parts)

    def totals(self, sums: FloatArray) -> PairTotals:
        """Name the columns of sums of shape (resamples, 3 x pairs)."""
        wins, losses, ties = np.split(sums, 3, axis=1)
        return PairTotals(self.n_models, self.first, self.second, wins, losses, ties)

    def whole(self) -> PairTotals:
        """The totals of the sample itself, as one resample."""
        return self.totals(np.asarray(self.parts.sum(axis=0), dtype=np.float64).reshape(1, -1))
