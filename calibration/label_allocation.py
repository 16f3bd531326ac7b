"""Which pairs to label: more of those whose labels the predictions cannot foresee.

With N_h pairs in stratum h and a standard deviation S_h of y - l f in it, the variance of a stratified
estimate is smallest with labels in proportion to N_h S_h (Neyman 1934).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument
from calibration.prediction_powered import checked_prediction

# A stratum with fewer labels could not tell its own spread.
FEWEST_IN_STRATUM = 15


def confidence_strata(prediction: ArrayLike, n_strata: int = 3) -> IntArray:
    """Strata of about equal size by confidence |f - 1/2|, 0 the least sure; shape (pairs,).

    Equal confidences share a stratum, so there may be fewer strata. Swapping the two sides of a
    pair leaves it in its stratum.

    Raises:
        InvalidArgument: There is no stratum or no pair, or a prediction is missing or outside
            [0, 1].
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
    """Standard deviation of y - f by stratum if predictions are calibrated: sqrt(mean f (1 - f)).

    That is what can be known before any label; with a pilot, take the standard deviation of its
    y - l f in each stratum instead. A pair without a prediction (nan) counts as 1/2. In the order
    of the strata's names.

    Raises:
        InvalidArgument: A prediction is outside [0, 1], or the lengths differ.
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
) -> IntArray:
    """Share labels out over strata in proportion to size times deviation.

    Each stratum gets at least `fewest` labels, or all its pairs if it has no more, and never more
    labels than pairs. Within a stratum the pairs must then be drawn at random.

    Args:
        n_labels: Number of labels to share out.
        sizes: Number of pairs of each stratum, shape (strata,).
        deviation: Standard deviation of y - l f in each stratum.
        fewest: Smallest number of labels of a stratum.

    Returns:
        Number of labels of each stratum; they sum to `n_labels`.

    Raises:
        InvalidArgument: Shapes differ, there is no stratum, a number is negative or a size not
            whole, or the labels are fewer than the smallest numbers, or more than the pairs.
    """
    pairs = _whole_numbers("sizes", sizes)
    spread = np.asarray(deviation, dtype=np.float64)
    if pairs.ndim != 1 or not pairs.size or spread.shape != pairs.shape:
        raise InvalidArgument("sizes and deviation must have the same shape (strata,)")
    if fewest < 0 or not (np.isfinite(spread) & (spread >= 0)).all():
        raise InvalidArgument("deviation and fewest must be finite, and not negative")
    floor = np.minimum(pairs, fewest)
    if not floor.sum() <= n_labels <= pairs.sum():
        raise InvalidArgument(
            f"n_labels must lie in {floor.sum()} .. {pairs.sum()} for these strata, not {n_labels}"
        )
    return _whole(_shares(n_labels, pairs, floor, pairs * spread), n_labels, pairs)


def _whole_numbers(name: str, values: ArrayLike) -> IntArray:
    numbers = np.asarray(values, dtype=np.float64)
    if not (np.isfinite(numbers) & (numbers >= 0) & (numbers == np.floor(numbers))).all():
        raise InvalidArgument(f"{name} must be whole numbers, and not negative")
    return numbers.astype(np.int64)


def _shares(n_labels: int, pairs: IntArray, floor: IntArray, claim: FloatArray) -> FloatArray:
    """Labels proportional to claims, cut to [floor, pairs], as real numbers that sum to n_labels."""
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
