"""The decision rule: the first judge whose confidence reaches its threshold answers.

Judges are ordered from cheap to strong. A judge with threshold +inf never answers and is therefore
never asked; a judge that failed on a pair (nan) passes it on; where no judge answers, the cascade
abstains.

A cascade that asks live judges decides pair by pair, with `accepts`; recorded pairs are decided as
arrays, with `decide` and `asked`. Both give the same answer to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.errors import InvalidArgument

ABSTAINED = -1
# at which confidences are compared, so that the mirror image of a pair gets the mirrored verdict
CONFIDENCE_DECIMALS = 12
_SCALE: Final = 10.0**CONFIDENCE_DECIMALS


@dataclass(frozen=True, slots=True, eq=False)
class CascadeCost:
    """The cost of a cascade, and how many pairs each judge answers.

    Attributes:
        composition: Share of all pairs that each judge answers, shape (k,); sums to the coverage.
        per_pair: Mean cost of a pair, abstained ones included.
        relative: Cost over that of asking the last judge on every pair; None where that is 0.
    """

    composition: FloatArray
    per_pair: float
    relative: float | None


def rounded(confidence: ArrayLike) -> FloatArray:
    """Round to the 12 decimals at which confidences are compared.

    Example:
        >>> float(rounded(0.1 + 0.2))
        0.3
    """
    values: FloatArray = np.asarray(confidence, dtype=np.float64)
    return np.asarray(np.round(values, CONFIDENCE_DECIMALS), dtype=np.float64)


def rounded_number(value: float) -> float:
    """Round one finite number as `rounded` rounds arrays, bit for bit."""
    # scaled, to even, scaled back
    return round(value * _SCALE) / _SCALE


def accepts(confidence: float, threshold: float) -> bool:
    """Return whether a judge this sure answers; nan and a threshold of +inf never do.

    Args:
        confidence: The judge's confidence; nan where it failed or has no preference.
        threshold: Its threshold, not nan.

    Example:
        >>> accepts(0.83, 0.8), accepts(0.8 - 1e-13, 0.8), accepts(math.nan, 0.8)
        (True, True, False)
    """
    if not math.isfinite(confidence) or threshold == math.inf:
        return False
    return rounded_number(confidence) >= rounded_number(threshold)


def decide(confidence: ArrayLike, thresholds: ArrayLike) -> IntArray:
    """Return the index of the judge that answers each pair, -1 where the cascade abstains.

    Judge i answers where its confidence, rounded to 12 decimals, is at least its threshold and no
    judge before it answered. nan (failed, or no preference) and a threshold of +inf never answer.

    Args:
        confidence: Shape (n, k).
        thresholds: Shape (k,).

    Returns:
        Shape (n,), 0 .. k - 1 or `ABSTAINED`.

    Raises:
        InvalidArgument: The shapes do not match, or a threshold is nan.

    Example:
        >>> decide([[0.9, 0.6], [0.7, 0.8], [math.nan, 0.6]], thresholds=[0.85, 0.75])
        array([ 0,  1, -1])
    """
    scores = rounded(confidence)
    limits = checked_thresholds(thresholds)
    if scores.ndim != 2 or scores.shape[1] != limits.size:
        raise InvalidArgument(f"confidence must have shape (n, {limits.size}), not {scores.shape}")
    # The explicit test keeps a confidence of +inf from meeting a threshold of +inf.
    accepted = (scores >= limits) & np.isfinite(scores) & (limits < np.inf)
    first = accepted.argmax(axis=1)
    return np.where(accepted.any(axis=1), first, ABSTAINED)


def asked(answered_by: ArrayLike, thresholds: ArrayLike) -> BoolArray:
    """Mark the judges that have to be asked: up to the one that answers, or all that may answer.

    Args:
        answered_by: Output of `decide`, shape (n,).
        thresholds: Shape (k,); a judge with +inf is never asked.

    Returns:
        Shape (n, k).

    Raises:
        InvalidArgument: A threshold is nan, or none is given.

    Example:
        >>> asked([0, ABSTAINED], thresholds=[0.85, math.inf, 0.75])
        array([[ True, False, False],
               [ True, False,  True]])
    """
    limits = checked_thresholds(thresholds)
    judge = np.asarray(answered_by, dtype=np.int64)[:, None]
    is_reached = (judge == ABSTAINED) | (np.arange(limits.size) <= judge)
    return np.asarray(is_reached & (limits < np.inf))


def answered_loss(answered_by: IntArray, loss: FloatArray) -> tuple[BoolArray, FloatArray]:
    """Return which pairs are answered, and each pair's loss, 0 where the cascade abstains; (n,).

    Args:
        answered_by: Output of `decide`, shape (n,).
        loss: Loss of each pair under each judge, shape (n, k).

    Example:
        >>> answered_loss(np.array([1, ABSTAINED]), np.array([[1.0, 0.5], [1.0, 1.0]]))
        (array([ True, False]), array([0.5, 0. ]))
    """
    is_answered = answered_by != ABSTAINED
    own = np.take_along_axis(loss, np.maximum(answered_by, 0)[:, None], axis=1)[:, 0]
    return is_answered, np.where(is_answered, own, 0.0)


def composition(
    answered_by: ArrayLike, n_judges: int, weights: ArrayLike | None = None
) -> FloatArray:
    """Return the share of all pairs that each judge answers, shape (k,).

    Args:
        answered_by: Output of `decide`, shape (n,).
        n_judges: Number of judges, k.
        weights: Weight of each pair, shape (n,); equal by default.

    Example:
        >>> composition([0, 1, 0, ABSTAINED], n_judges=2)
        array([0.5 , 0.25])
    """
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
    """Return what decided pairs cost: a judge is paid on every pair on which it is asked.

    A pair asks its judges in order up to the one that answers, or all where none does. Judges
    with threshold +inf cannot answer, so they are not asked and cost nothing.

    Args:
        answered_by: Output of `decide`, shape (n,).
        thresholds: Shape (k,).
        costs: Cost of asking each judge once, shape (k,); equal costs of 1 by default.
        weights: Weight of each pair in the means, shape (n,); equal by default.

    Raises:
        InvalidArgument: The shapes do not match, or a cost is negative or not finite.

    Example:
        Three pairs of four stop at the cheap judge, one goes on to the dear one.

        >>> cascade_cost([0, 0, 0, 1], thresholds=[0.8, 0.6], costs=[1, 10]).per_pair
        3.5
    """
    limits = checked_thresholds(thresholds)
    prices = checked_costs(costs, limits.size)
    judges = np.asarray(answered_by, dtype=np.int64)
    shares = composition(judges, limits.size, weights)
    spent_up_to = np.cumsum(np.where(limits < np.inf, prices, 0.0))
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
