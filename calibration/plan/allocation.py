"""Shares labels out over strata.

With N_h pairs in stratum h and a standard deviation S_h of y - l f in it, the variance of a stratified
estimate is smallest with labels in proportion to N_h S_h (Neyman 1934).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument
from calibration.powered import checked_prediction

# A stratum with fewer labels could not tell its own spread.
FEWEST_IN_STRATUM = 15


def confidence_strata(prediction: ArrayLike, n_strata: int = 3) -> IntArray:
    """Return strata of about equal size by confidence |f - 1/2|, 0 the least sure; shape (pairs,).

    Equal confidences share a stratum, so there may be fewer strata. Swapping the two sides of a
    pair leaves it in its stratum.

    Raises:
        InvalidArgument: There is no stratum or no pair, or a prediction is missing or outside
            [0, 1].

    Example:
        >>> confidence_strata([0.5, 0.45, 0.7, 0.3, 0.95, 0.02])
        array([0, 0, 1, 1, 2, 2])
    """
    if n_strata < 1:
        raise InvalidArgument(f"n_strata must be positive, not {n_strata}")
    predicted = checked_prediction(prediction)
    if not predicted.size:
        raise InvalidArgument("prediction must have at least one pair")
    if np.isnan(predicted).any():
        raise InvalidArgument(
            "prediction must not be nan: put abstained pairs in a stratum yourself"
        )
    confidence = np.round(np.abs(predicted - 0.5), 12)
    cuts = np.quantile(confidence, np.arange(1, n_strata) / n_strata)
    codes = np.searchsorted(cuts, confidence, side="left")
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def foreseen_deviation(prediction: ArrayLike, strata: ArrayLike) -> FloatArray:
    """Return the deviation of y - f by stratum if f is calibrated: sqrt(mean f (1 - f)).

    That is what can be known before any label; with a pilot, take the standard deviation of its
    y - l f in each stratum instead. A pair without a prediction (nan) counts as 1/2. In the order
    of the strata's names.

    Raises:
        InvalidArgument: A prediction is outside [0, 1], or the lengths differ.

    Example:
        >>> foreseen_deviation([0.5, 0.5, 0.9, 0.9], ["unsure", "unsure", "sure", "sure"])
        array([0.3, 0.5])
    """
    predicted = checked_prediction(prediction)
    names, codes = np.unique(np.asarray(strata), return_inverse=True)
    if codes.shape != predicted.shape:
        raise InvalidArgument(f"strata must have shape {predicted.shape}, not {codes.shape}")
    filled = np.where(np.isnan(predicted), 0.5, predicted)
    total = np.bincount(codes, filled * (1 - filled), minlength=len(names))
    return np.sqrt(total / np.bincount(codes, minlength=len(names)))


def allocate_labels(
    n_labels: int,
    sizes: ArrayLike,
    deviation: ArrayLike,
    *,
    fewest: int = FEWEST_IN_STRATUM,
    labelled: ArrayLike | None = None,
) -> IntArray:
    """Share labels out over strata in proportion to size times deviation.

    Each stratum gets at least `fewest` labels, or all its pairs if it has no more, and never more
    labels than pairs. Within a stratum the pairs must then be drawn at random. With labels that are
    there already, the old and the new ones together come as near to that as the new ones can.

    Args:
        n_labels: Number of labels to share out.
        sizes: Number of pairs of each stratum, shape (strata,).
        deviation: Standard deviation of y - l f in each stratum.
        fewest: Smallest number of labels of a stratum.
        labelled: Pairs of each stratum that have a label by now, drawn at random too.

    Returns:
        Number of further labels of each stratum, shape (strata,); they sum to `n_labels`.

    Raises:
        InvalidArgument: Shapes differ, there is no stratum, a number is negative or a size not
            whole, or the labels are fewer than the smallest numbers, or more than the pairs.

    Example:
        >>> allocate_labels(100, sizes=[500, 500], deviation=[0.3, 0.5])
        array([38, 62])
        >>> allocate_labels(60, sizes=[500, 500], deviation=[0.3, 0.5], labelled=[40, 0])
        array([ 0, 60])
    """
    pairs = _whole_numbers("sizes", sizes)
    spread = np.asarray(deviation, dtype=np.float64)
    if pairs.ndim != 1 or not pairs.size or spread.shape != pairs.shape:
        raise InvalidArgument("sizes and deviation must have the same shape (strata,)")
    if fewest < 0 or not (np.isfinite(spread) & (spread >= 0)).all():
        raise InvalidArgument("deviation and fewest must be finite, and not negative")
    return _allocated(n_labels, pairs, pairs * spread, np.minimum(pairs, fewest), labelled)


def allocate_rank_labels(  # noqa: PLR0913 - the strata, and what is not settled between models
    n_labels: int,
    models: Sequence[tuple[str, str]],
    sizes: ArrayLike,
    deviation: ArrayLike,
    *,
    tied: Sequence[tuple[str, str]],
    gaps: ArrayLike | None = None,
    smallest_gap: float = 0.02,
    labelled: ArrayLike | None = None,
) -> IntArray:
    """Share labels out so that models whose order is open are told apart soonest.

    A model's win rate is its mean over all its pairs, so the difference of two models is a sum of
    stratum means with coefficients c_h: N_h over the pairs of the model, for the first side and
    against the second. Its variance is the sum of c_h^2 S_h^2 / n_h, and what decides is that over
    the squared gap. The sum of this over all open pairs of models is smallest with labels in
    proportion to S_h sqrt(sum of c_h^2 / gap^2) (Neyman 1934, for several contrasts). Strata that
    no open order depends on get none.

    Args:
        n_labels: Number of labels to share out.
        models: First and second model of each stratum. Several strata may hold the same two, such as
            one for each confidence (`confidence_strata`).
        sizes: Number of pairs of each stratum, shape (strata,).
        deviation: Standard deviation of y - l f in each (`foreseen_deviation`).
        tied: Pairs of models whose order is open (`tied_models`).
        gaps: Difference of their win rates as far as it is known, shape (tied,); equal by default.
        smallest_gap: Smaller gaps count as this: no number of labels tells equal models apart.
        labelled: As for `allocate_labels`.

    Returns:
        Number of further labels of each stratum, shape (strata,); they sum to `n_labels`, or to what
        is left to label in the strata that matter.

    Raises:
        InvalidArgument: Shapes differ, a number is out of its range, or a model has no stratum.

    Example:
        The order of "x" and "y" is open; both meet "z", and "z" meets "w".

        >>> models = [("x", "y"), ("x", "z"), ("y", "z"), ("z", "w")]
        >>> allocate_rank_labels(80, models, [100] * 4, [0.4] * 4, tied=[("x", "y")])
        array([40, 20, 20,  0])
    """
    pairs = _whole_numbers("sizes", sizes)
    spread = np.asarray(deviation, dtype=np.float64)
    apart = np.ones(len(tied)) if gaps is None else np.abs(np.asarray(gaps, dtype=np.float64))
    if pairs.shape != (len(models),) or spread.shape != pairs.shape:
        raise InvalidArgument(f"sizes and deviation must have shape ({len(models)},)")
    if not (np.isfinite(spread) & (spread >= 0)).all() or not smallest_gap > 0:
        raise InvalidArgument("deviation must not be negative, and smallest_gap be above 0")
    if apart.shape != (len(tied),) or not np.isfinite(apart).all():
        raise InvalidArgument(f"gaps must be {len(tied)} finite numbers, one for each tied pair")
    contrasts = np.array([_contrast(two, models, pairs) for two in tied])
    weights = 1.0 / np.maximum(apart, smallest_gap) ** 2
    claim = spread * np.sqrt(weights @ contrasts**2) if len(tied) else np.zeros(pairs.size)
    matters = claim > 0
    done = np.zeros_like(pairs) if labelled is None else _whole_numbers("labelled", labelled)
    if done.shape != pairs.shape:
        raise InvalidArgument(f"labelled must have shape {pairs.shape}, not {done.shape}")
    further = np.zeros_like(pairs)
    if matters.any():
        left = int((pairs - np.minimum(done, pairs))[matters].sum())
        further[matters] = _allocated(
            min(n_labels, left),
            pairs[matters],
            claim[matters],
            np.zeros(int(matters.sum()), np.int64),
            done[matters],
        )
    return further


def tied_models(
    names: Sequence[str], rank_low: ArrayLike, rank_high: ArrayLike
) -> tuple[tuple[str, str], ...]:
    """Return the pairs of models whose ranks the labels so far do not settle.

    Args:
        names: The models.
        rank_low: Best rank that each may have, shape (models,).
        rank_high: Worst rank that each may have, shape (models,).

    Raises:
        InvalidArgument: Shapes differ.

    Example:
        >>> tied_models(["x", "y", "z"], rank_low=[1, 1, 3], rank_high=[2, 2, 3])
        (('x', 'y'),)
    """
    best, worst = np.asarray(rank_low), np.asarray(rank_high)
    if best.shape != (len(names),) or worst.shape != best.shape:
        raise InvalidArgument(f"rank_low and rank_high must have shape ({len(names)},)")
    return tuple(
        (names[i], names[j])
        for i, j in combinations(range(len(names)), 2)
        if max(best[i], best[j]) <= min(worst[i], worst[j])
    )


def _contrast(
    two: tuple[str, str], models: Sequence[tuple[str, str]], pairs: IntArray
) -> FloatArray:
    """Return how much each stratum's mean counts in the difference of two models' win rates."""
    first, second = (_share_of(name, models, pairs) for name in two)
    return first - second


def _share_of(name: str, models: Sequence[tuple[str, str]], pairs: IntArray) -> FloatArray:
    """Return the share of each stratum in a model's pairs, below 0 where it is the second side."""
    side = np.array([(first == name) - float(second == name) for first, second in models])
    total = float(np.abs(side) @ pairs)
    if not total:
        raise InvalidArgument(f"tied: model {name!r} has no pair in any stratum")
    return np.asarray(side * pairs / total, dtype=np.float64)


def _allocated(
    n_labels: int, pairs: IntArray, claim: FloatArray, floor: IntArray, labelled: ArrayLike | None
) -> IntArray:
    """Return further labels by claim, so that with those there already each has its floor."""
    done = np.zeros_like(pairs) if labelled is None else _whole_numbers("labelled", labelled)
    if done.shape != pairs.shape or (done > pairs).any():
        raise InvalidArgument("labelled must be one number a stratum, at most its size")
    floor = np.maximum(floor, done)
    fewest, most, total = int((floor - done).sum()), int((pairs - done).sum()), int(done.sum())
    if not fewest <= n_labels <= most:
        raise InvalidArgument(
            f"n_labels must lie in {fewest} .. {most} for these strata, not {n_labels}"
        )
    shares = _shares(n_labels + total, pairs, floor, claim)
    return _whole(shares, n_labels + total, pairs) - done


def _whole_numbers(name: str, values: ArrayLike) -> IntArray:
    numbers = np.asarray(values, dtype=np.float64)
    if not (np.isfinite(numbers) & (numbers >= 0) & (numbers == np.floor(numbers))).all():
        raise InvalidArgument(f"{name} must be whole numbers, and not negative")
    return numbers.astype(np.int64)


def _shares(n_labels: int, pairs: IntArray, floor: IntArray, claim: FloatArray) -> FloatArray:
    """Return shares proportional to claims, cut to [floor, pairs], that sum to n_labels."""
    # A stratum without spread takes labels only when all others are full.
    positive = np.maximum(claim, 1e-9 * max(float(claim.max(initial=0.0)), 1.0))
    low, high = 0.0, float((pairs / positive).max()) + 1.0
    for _ in range(200):
        middle = (low + high) / 2
        is_short = np.clip(middle * positive, floor, pairs).sum() < n_labels
        low, high = (middle, high) if is_short else (low, middle)
    return np.asarray(np.clip(high * positive, floor, pairs), dtype=np.float64)


def _whole(shares: FloatArray, n_labels: int, pairs: IntArray) -> IntArray:
    """Round down, then give what is left to the largest remainders that have room."""
    counts = np.floor(shares + 1e-9).astype(np.int64)
    remainder = np.where(counts < pairs, shares - counts, -1.0)
    order = np.argsort(-remainder, kind="stable")
    counts[order[: n_labels - int(counts.sum())]] += 1
    return counts
