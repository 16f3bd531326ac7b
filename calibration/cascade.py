"""The decision rule: the first judge whose confidence reaches its threshold answers.

Judges are ordered from cheap to strong. A judge with threshold +inf never answers and is therefore
never asked; a judge that failed on a pair (nan) passes it on; a pair nobody answers is abstained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument
from calibration.preference import rounded

ABSTAINED = -1


@dataclass(frozen=True, slots=True, eq=False)
class CascadeCost:
    """What a cascade costs and who answers.

    Attributes:
        composition: Share of all pairs that each judge answers, shape (k,); sums to the coverage.
        per_pair: Mean cost of a pair, abstained ones included.
        relative: Cost over that of asking the last judge on every pair; None where that is 0.
    """

    composition: FloatArray
    per_pair: float
    relative: float | None


def decide(confidence: ArrayLike, thresholds: ArrayLike) -> IntArray:
    """Index of the judge that answers each pair, -1 where the cascade abstains.

    Judge i answers where its confidence, rounded to 12 decimals, is at least its threshold and no
    judge before it answered. nan (failed, or no preference) and a threshold of +inf never answer.

    Args:
        confidence: Shape (n, k).
        thresholds: Shape (k,).

    Raises:
        InvalidArgument: The shapes do not match, or a threshold is nan.
    """
    scores = rounded(confidence)
    limits = checked_thresholds(thresholds)
    if scores.ndim != 2 or scores.shape[1] != limits.size:
        raise InvalidArgument(f"confidence must have shape (n, {limits.size}), not {scores.shape}")
    # The explicit test keeps a confidence of +inf from meeting a threshold of +inf.
    accepts = (scores >= limits) & np.isfinite(scores) & (limits < np.inf)
    first = accepts.argmax(axis=1)
    return np.where(accepts.any(axis=1), first, ABSTAINED).astype(np.int64)


def composition(
    answered_by: ArrayLike, n_judges: int, weights: ArrayLike | None = None
) -> FloatArray:
    """Share of all pairs that each judge answers, shape (k,), weighted where weights are given."""
    judges = np.asarray(answered_by, dtype=np.int64)
    worth = np.ones(judges.size) if weights is None else np.asarray(weights, dtype=np.float64)
    total = worth.sum()
    is_answered = judges != ABSTAINED
    counts = np.bincount(judges[is_answered], worth[is_answered], minlength=n_judges)
    return np.asarray(counts / total if total > 0 else counts * 0.0, dtype=np.float64)


def cascade_cost(
    answered_by: ArrayLike,
    thresholds: ArrayLike,
    costs: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> CascadeCost:
    """Cost of the pairs decided: a judge is paid on every pair on which it is asked.

    A pair asks its judges in order up to the one that answers, or all where nobody does. Judges
    with threshold +inf cannot answer, so they are not asked and cost nothing.

    Args:
        answered_by: Output of `decide`, shape (n,).
        thresholds: Shape (k,).
        costs: Cost of asking each judge once, shape (k,); equal costs of 1 by default.
        weights: Weight of each pair in the means, shape (n,); equal by default.

    Raises:
        InvalidArgument: The shapes do not match, or a cost is negative or not finite.
    """
    limits = checked_thresholds(thresholds)
    prices = checked_costs(costs, limits.size)
    judges = np.asarray(answered_by, dtype=np.int64)
    shares = composition(judges, limits.size, weights)
    asked_price = np.where(np.isfinite(limits), prices, 0.0)
    spent_up_to = np.cumsum(asked_price)
    unanswered = max(1.0 - float(shares.sum()), 0.0) if judges.size else 0.0
    per_pair = float(shares @ spent_up_to + unanswered * spent_up_to[-1])
    relative = per_pair / float(prices[-1]) if prices[-1] > 0 else None
    return CascadeCost(shares, per_pair, relative)


def checked_thresholds(thresholds: ArrayLike) -> FloatArray:
    """Return thresholds as a float array, rounded like the confidences they are compared with.

    Raises:
        InvalidArgument: Not one-dimensional, empty, or nan.
    """
    limits = rounded(thresholds)
    if limits.ndim != 1 or limits.size == 0 or np.isnan(limits).any():
        raise InvalidArgument("thresholds must be one number per judge, +inf for never")
    return limits


def checked_costs(costs: ArrayLike | None, n_judges: int) -> FloatArray:
    """Return one cost a judge, 1 each where none are given.

    Raises:
        InvalidArgument: Another shape, or a cost that is negative or not finite.
    """
    prices = np.ones(n_judges) if costs is None else np.asarray(costs, dtype=np.float64)
    if prices.shape != (n_judges,) or not np.all(np.isfinite(prices) & (prices >= 0)):
        raise InvalidArgument(f"costs must be {n_judges} finite numbers, none negative")
    return prices
