"""Measures of a judge's confidences: calibration, and how well they rank its errors.

A row is one verdict: its confidence (in [.5, 1], below only where a tie is a third class) and
whether it agrees with people. Calibration is measured by binned error (Guo et al. 2017), Brier
score and log loss; discrimination by the areas under the ROC and precision-recall curves, with
agreement as the positive class. `estimate_reliability` has the same figures with intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.cascade import rounded
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals import GroupsLike, estimate_share

DEFAULT_BINS = 10
_LEAST_OF_TWO = 0.5
_SMALLEST_PROBABILITY = 1e-15


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Verdicts of similar confidence.

    Attributes:
        low: Smallest confidence of the bin, included.
        high: Largest confidence, included in the last bin alone.
        n: Number of verdicts.
        mean_confidence: None in an empty bin.
        accuracy: Share of the verdicts that agree with people, with its Wilson interval (for the
            effective number of trials, where rows come in groups).
    """

    low: float
    high: float
    n: int
    mean_confidence: float | None
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Reliability:
    """Figures of one judge; None where one is not defined (no verdicts, or all right or all wrong).

    `expected_calibration_error` and `maximum_calibration_error` have bins of equal width,
    `adaptive_calibration_error` of equal mass; `n` is the number of verdicts.
    """

    n: int
    expected_calibration_error: float | None
    adaptive_calibration_error: float | None
    brier_score: float | None
    log_loss: float | None
    auroc: float | None
    auprc: float | None
    maximum_calibration_error: float | None


class Verdicts(NamedTuple):
    """Checked columns of one judge: confidences rounded to 12 decimals, agreement with people."""

    confidence: FloatArray
    correct: BoolArray


def measure_reliability(
    confidence: ArrayLike, correct: ArrayLike, n_bins: int = DEFAULT_BINS
) -> Reliability:
    """Return all reliability figures of one judge's verdicts; equal widths divide [.5, 1].

    Where a confidence is below .5 they divide [0, 1].

    >>> found = measure_reliability([0.9, 0.8, 0.6, 0.7], [1, 1, 0, 1])
    >>> found.n, round(found.brier_score, 4), found.auroc
    (4, 0.125, 1.0)
    """
    widths = fitting_width_edges(confidence, n_bins)
    return Reliability(
        n=len(checked_verdicts(confidence, correct).correct),
        expected_calibration_error=calibration_error(confidence, correct, widths),
        adaptive_calibration_error=calibration_error(
            confidence, correct, equal_mass_edges(confidence, n_bins)
        ),
        brier_score=brier_score(confidence, correct),
        log_loss=log_loss(confidence, correct),
        auroc=auroc(confidence, correct),
        auprc=auprc(confidence, correct),
        maximum_calibration_error=maximum_calibration_error(confidence, correct, widths),
    )


def equal_width_edges(n_bins: int = DEFAULT_BINS, low: float = _LEAST_OF_TWO) -> FloatArray:
    """Return the edges of bins of equal width over [low, 1], shape (n_bins + 1,).

    Raises:
        InvalidArgument: There is no bin.

    >>> equal_width_edges(2).tolist()
    [0.5, 0.75, 1.0]
    """
    _check_bins(n_bins)
    return np.linspace(low, 1.0, n_bins + 1)


def fitting_width_edges(confidence: ArrayLike, n_bins: int = DEFAULT_BINS) -> FloatArray:
    """Return edges of equal width over [.5, 1], or over [0, 1] if a confidence is below .5."""
    is_below = (rounded(confidence) < _LEAST_OF_TWO).any()
    return equal_width_edges(n_bins, 0.0 if is_below else _LEAST_OF_TWO)


def equal_mass_edges(confidence: ArrayLike, n_bins: int = DEFAULT_BINS) -> FloatArray:
    """Return edges at quantiles of the confidences: bins hold about equally many verdicts.

    Equal confidences stay together, so there may be fewer bins than asked for.

    Raises:
        InvalidArgument: There is no bin.

    >>> equal_mass_edges([0.6, 0.7, 0.8, 0.9], n_bins=2).tolist()
    [0.5, 0.8, 1.0]
    """
    _check_bins(n_bins)
    scores = rounded(confidence)
    if scores.size == 0:
        return equal_width_edges(1)
    inner = np.quantile(scores, np.arange(1, n_bins) / n_bins, method="higher")
    first = min(_LEAST_OF_TWO, float(scores.min()))
    return np.unique(np.concatenate([[first], inner, [1.0]]))


def reliability_bins(
    confidence: ArrayLike,
    correct: ArrayLike,
    edges: ArrayLike,
    groups: GroupsLike = None,
) -> tuple[ReliabilityBin, ...]:
    """Estimate the accuracy by confidence, for a reliability diagram.

    Args:
        confidence: Shape (n,).
        correct: Whether each verdict agrees with people, shape (n,).
        edges: Increasing; bins are [low, high), the last one [low, high]. The last edge twice
            makes a bin of its own for the verdicts that are exactly certain.
        groups: Groups of the rows; None takes rows as independent.

    >>> low, high = reliability_bins([0.6, 0.7, 0.9], [0, 1, 1], edges=[0.5, 0.75, 1.0])
    >>> low.n, low.accuracy.value, high.mean_confidence
    (2, 0.5, 0.9)
    """
    data, limits = checked_verdicts(confidence, correct), rounded(edges)
    place = bin_of(data.confidence, limits)
    made = []
    for k in range(len(limits) - 1):
        inside = place == k
        n = int(inside.sum())
        mean = float(data.confidence[inside].mean()) if n else None
        accuracy = estimate_share(data.correct, inside, groups)
        made.append(ReliabilityBin(float(limits[k]), float(limits[k + 1]), n, mean, accuracy))
    return tuple(made)


def calibration_error(confidence: ArrayLike, correct: ArrayLike, edges: ArrayLike) -> float | None:
    """Return the expected calibration error: the mean of |accuracy - confidence| of the bins.

    Each bin counts by its number of verdicts. Chance alone makes the error positive: a calibrated
    judge with n verdicts in B bins shows about .8 sqrt(B c (1 - c) / n).
    `estimate_calibration_error` has an interval, and `debiased_calibration_error` leaves that part
    out. Edges are as for `reliability_bins`.

    >>> round(calibration_error([0.6, 0.7, 0.9], [0, 1, 1], edges=[0.5, 0.75, 1.0]), 4)
    0.1333
    """
    data, limits = checked_verdicts(confidence, correct), rounded(edges)
    if len(data.correct) == 0:
        return None
    place = bin_of(data.confidence, limits)
    gaps = np.bincount(place, weights=data.correct - data.confidence, minlength=len(limits) - 1)
    return float(np.abs(gaps).sum() / len(data.correct))


def maximum_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, edges: ArrayLike
) -> float | None:
    """Return the largest |accuracy - mean confidence| of a bin (Naeini et al. 2015).

    The bin with the fewest verdicts usually decides it, so read it with its interval
    (`estimate_maximum_calibration_error`). Bins without a verdict do not count. Edges are as for
    `reliability_bins`.

    >>> round(maximum_calibration_error([0.6, 0.7, 0.9], [0, 1, 1], edges=[0.5, 0.75, 1.0]), 4)
    0.15
    """
    data, limits = checked_verdicts(confidence, correct), rounded(edges)
    if len(data.correct) == 0:
        return None
    place = bin_of(data.confidence, limits)
    gaps = np.bincount(place, weights=data.correct - data.confidence)
    return float((np.abs(gaps) / np.maximum(np.bincount(place), 1)).max())


def brier_score(confidence: ArrayLike, correct: ArrayLike) -> float | None:
    """Return the mean squared difference of confidence and agreement (Brier 1950).

    >>> round(brier_score([0.9, 0.6], [1, 0]), 4)
    0.185
    """
    data = checked_verdicts(confidence, correct)
    return _mean((data.confidence - data.correct) ** 2)


def log_loss(confidence: ArrayLike, correct: ArrayLike) -> float | None:
    """Return the mean negative log probability of what happened, in nats.

    >>> round(log_loss([0.9, 0.6], [1, 0]), 4)
    0.5108
    """
    return _mean(row_log_losses(confidence, correct))


def row_log_losses(confidence: ArrayLike, correct: ArrayLike) -> FloatArray:
    """Return the negative log probability of what happened to each verdict, shape (n,)."""
    data = checked_verdicts(confidence, correct)
    return log_losses(data.confidence, data.correct)


def log_losses(confidence: FloatArray, correct: BoolArray) -> FloatArray:
    """Return `row_log_losses` of checked columns; one outcome may serve all rows."""
    happened = np.where(correct, confidence, 1 - confidence)
    return np.asarray(-np.log(np.clip(happened, _SMALLEST_PROBABILITY, 1)), dtype=np.float64)


def auroc(confidence: ArrayLike, correct: ArrayLike) -> float | None:
    """Return the probability that a right verdict has more confidence than a wrong one.

    Ties count one half. The Mann-Whitney statistic by midranks; None unless there are right and
    wrong verdicts.

    >>> auroc([0.9, 0.8, 0.7], [1, 0, 1])
    0.5
    """
    data = checked_verdicts(confidence, correct)
    right = int(data.correct.sum())
    wrong = len(data.correct) - right
    if right == 0 or wrong == 0:
        return None
    rank_sum = float(scipy.stats.rankdata(data.confidence)[data.correct].sum())
    return (rank_sum - right * (right + 1) / 2) / (right * wrong)


def auprc(confidence: ArrayLike, correct: ArrayLike) -> float | None:
    """Return the average precision: sum over thresholds of (recall step) x (precision).

    There is no interpolation, and equal confidences enter together; None without a right verdict.

    >>> round(auprc([0.9, 0.8, 0.7], [1, 0, 1]), 4)
    0.8333
    """
    data = checked_verdicts(confidence, correct)
    if not data.correct.any():
        return None
    order = np.argsort(-data.confidence, kind="stable")
    scores, hits = data.confidence[order], np.cumsum(data.correct[order])
    is_last = np.append(np.diff(scores) != 0, True)
    answered = np.arange(1, len(scores) + 1)[is_last]
    found = hits[is_last]
    return float((np.diff(found, prepend=0) / hits[-1] * found / answered).sum())


def checked_verdicts(confidence: ArrayLike, correct: ArrayLike) -> Verdicts:
    """Return one judge's verdicts as arrays.

    Raises:
        InvalidArgument: Shapes differ, a confidence is nan or outside [0, 1], or agreement is
            anything but 0 and 1.
    """
    scores, right = rounded(confidence), np.asarray(correct)
    if scores.ndim != 1 or scores.shape != right.shape:
        raise InvalidArgument("confidence and correct must be one-dimensional, of equal length")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise InvalidArgument("confidences must lie in [0, 1]; leave failed judgements out")
    if not np.isin(right, (0, 1)).all():
        raise InvalidArgument("correct must be 0 or 1: a verdict agrees with people or does not")
    return Verdicts(scores, right.astype(np.bool_))


def bin_of(confidence: FloatArray, edges: FloatArray) -> IntArray:
    """Return the number of the bin of each confidence; bins are as for `reliability_bins`.

    Raises:
        InvalidArgument: Edges decrease, are fewer than two, or leave a confidence out.
    """
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) >= 0).all():
        raise InvalidArgument("edges must be at least two numbers that do not decrease")
    if confidence.size and (confidence.min() < edges[0] or confidence.max() > edges[-1]):
        raise InvalidArgument("the edges must cover all confidences")
    return np.asarray(np.searchsorted(edges[:-1], confidence, side="right") - 1, dtype=np.int64)


def _check_bins(n_bins: int) -> None:
    if n_bins < 1:
        raise InvalidArgument(f"n_bins must be positive, not {n_bins}")


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if len(values) else None
