"""Rank sets: the ranks each model may have, at one confidence level for all together.

Models are compared pair by pair with the bootstrap maximum of studentised differences, stepping
down as pairs are told apart (Mogstad, Romano, Shaikh, Wilhelm 2024): with the stated confidence no
pair is put in the wrong order, so all rank sets hold at once. What is assumed: groups are
independent draws from one population. A pair is judged with Student's quantile for the fewer groups
of its two models, so that a model met in few groups is not placed as surely as the others.

Resamples of unanimous groups are all alike and would place a model that won its only two
comparisons above all others. Half of the error is kept for such models where there are both kinds,
and they are told from others by the number of groups alone, in exact tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.ranking.comparisons import Support

_EQUAL = 1e-9
_SIMULATED = 4_000
_LARGEST_STEPS_DOWN = 10  # stopping early is valid, only less sharp


class RankSets(NamedTuple):
    """Best and worst rank each model may have, shape (models,); 1 is the best."""

    low: IntArray
    high: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """The variation of values about their truth.

    Attributes:
        deviations: Draws of the values less their mean, shape (draws, models).
        covariance: Their covariance, shape (models, models).
        is_inflated: Whether the covariance is to be taken times G / (G - 1), as that of resamples.
    """

    deviations: FloatArray
    covariance: FloatArray
    is_inflated: bool

    @classmethod
    def of_draws(cls, draws: FloatArray) -> Spread:
        """Take values in every resample, (resamples, models); rows with nan are left out."""
        kept = draws[np.isfinite(draws).all(axis=1)]
        if len(kept) < 2:
            return cls(np.zeros((0, draws.shape[1])), np.zeros((draws.shape[1],) * 2), True)
        return cls(kept - kept.mean(axis=0), np.atleast_2d(np.cov(kept, rowvar=False)), True)

    @classmethod
    def of_covariance(cls, covariance: FloatArray, rng: np.random.Generator) -> Spread:
        """Simulate values of this covariance whose joint distribution is about normal."""
        spread, directions = np.linalg.eigh(covariance)
        root = directions * np.sqrt(np.maximum(spread, 0))
        deviations = rng.normal(size=(_SIMULATED, len(covariance))) @ root.T
        return cls(deviations, covariance, False)


def ranks(values: FloatArray) -> IntArray:
    """Rank values, 1 for the largest; those that differ only by rounding share a rank.

    >>> ranks(np.array([0.2, 0.9, 0.9])).tolist()
    [3, 1, 1]
    """
    margin = _EQUAL * np.maximum(1.0, np.abs(values))
    known = np.where(np.isnan(values), -np.inf, values)
    above = known[None, :] > (known + np.nan_to_num(margin))[:, None]
    return np.asarray(1 + above.sum(axis=1), dtype=np.int64)


def trivial_rank_sets(n_models: int) -> RankSets:
    """Return sets that allow every model every rank, as is known without an interval."""
    return RankSets(np.ones(n_models, dtype=np.int64), np.full(n_models, n_models))


def rank_sets(
    values: FloatArray,
    spread: Spread,
    support: Support,
    *,
    is_share: bool = False,
) -> RankSets:
    """Return simultaneous rank sets of models.

    Args:
        values: Values of the models in the sample, shape (models,).
        spread: How they vary.
        support: The groups behind each model, and the probability that all statements hold.
        is_share: The values are mean shares of points, in [0, 1].

    Returns:
        The sets; 1 to the number of models where nothing can be told.
    """
    if len(spread.deviations) < 2 or not np.isfinite(values).all():
        return trivial_rank_sets(len(values))
    pairs = _Pairs.of(values, spread, support)
    rests_on_unanimity = pairs.is_unanimous | ~pairs.varies & (np.abs(pairs.difference) > _EQUAL)
    alone = np.logical_and.outer(support.is_unanimous, support.is_unanimous)
    is_split = bool(rests_on_unanimity.any() and (pairs.varies & ~alone).any())
    error = (1 - support.confidence_level) / (2 if is_split else 1)
    margin = pairs.sign_margin(rests_on_unanimity, error)
    if is_share:
        margin = np.where(pairs.is_unanimous, _unseen_margin(values, support, error), margin)
    is_above = _surely_above(pairs, spread, margin, error)
    return RankSets(1 + is_above.sum(axis=0), len(is_above) - is_above.sum(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Comparisons of model i (row) with model j (column), each of shape (models, models)."""

    difference: FloatArray
    error: FloatArray
    varies: BoolArray
    is_unanimous: BoolArray
    groups: IntArray

    @classmethod
    def of(cls, values: FloatArray, spread: Spread, support: Support) -> _Pairs:
        difference = np.subtract.outer(values, values)
        error = _difference_errors(spread.covariance)
        varies = error > _EQUAL * np.maximum(1.0, np.abs(difference))
        is_unanimous = np.logical_or.outer(support.is_unanimous, support.is_unanimous)
        groups = np.minimum.outer(support.groups, support.groups)
        return cls(difference, error, varies, is_unanimous, groups)

    def sign_margin(self, is_tested: BoolArray, error: float) -> FloatArray:
        """0 where the number of groups is evidence enough, infinite elsewhere.

        Of the pairs that are tested the groups are unanimous; by the sign test, at the level of one
        pair out of all, only their number is evidence. The others need two groups for a spread.
        """
        n_pairs = len(self.groups) * (len(self.groups) - 1) / 2
        by_sign = n_pairs * 2.0 ** (1.0 - self.groups) <= error
        return np.where(np.where(is_tested, by_sign, self.groups > 1), 0.0, np.inf)


def _unseen_margin(values: FloatArray, support: Support, error: float) -> FloatArray:
    """Bound the error of shares of models with unanimous groups: below (row), above (column).

    A share other than that of all G groups has at most the probability 1 - tail^(1 / G), and may
    be 0 or 1; the tail is the level of one model out of all.
    """
    tail = error / len(values)
    unseen = 1 - tail ** (1 / np.maximum(support.groups, 1))
    unseen = np.where(support.is_unanimous, unseen, 0.0)
    return np.add.outer(values * unseen, (1 - values) * unseen)


def _surely_above(pairs: _Pairs, spread: Spread, margin: FloatArray, error: float) -> BoolArray:
    """Find the pairs where the row's model is surely above the column's, by stepping down."""
    is_above = np.zeros_like(pairs.varies)
    for _ in range(_LARGEST_STEPS_DOWN):  # pragma: no branch
        largest = _largest_deviations(spread.deviations, pairs.error, pairs.varies & ~is_above)
        critical = _student_critical(float(np.quantile(largest, 1 - error)), pairs.groups)
        if spread.is_inflated:
            critical = critical * np.sqrt(pairs.groups / np.maximum(pairs.groups - 1, 1))
        reach = np.where(pairs.varies, critical * pairs.error, _EQUAL)
        found = pairs.difference - margin > reach
        if not (found & ~is_above).any():
            break
        is_above |= found
    return is_above


def _student_critical(normal: float, n_groups: IntArray) -> FloatArray:
    return np.asarray(scipy.stats.t.isf(scipy.special.ndtr(-normal), np.maximum(n_groups - 1, 1)))


def _difference_errors(covariance: FloatArray) -> FloatArray:
    own = np.diag(covariance)
    return np.sqrt(np.maximum(own[:, None] + own[None, :] - 2 * covariance, 0))


def _largest_deviations(
    deviations: FloatArray, error: FloatArray, is_asked: BoolArray
) -> FloatArray:
    """Return the largest studentised deviation of the wanted pairs, or 0, shape (resamples,).

    Of at least one pair a deviation is as often above 0 as below: the 0 changes no upper quantile.
    """
    per_error = np.divide(1.0, error, out=np.zeros_like(error), where=is_asked)
    largest = np.zeros(len(deviations))
    for model in np.flatnonzero(is_asked.any(axis=1)):
        studentised = (deviations[:, model, None] - deviations) * per_error[model]
        largest = np.maximum(largest, studentised.max(axis=1))
    return largest
