"""The Brier score taken apart: miscalibration, resolution, uncertainty, and what bins hide.

Murphy (1973) splits the score of forecasts that take few values; for binned confidences two terms
within the bins complete the sum (Stephenson, Coelho, Jolliffe 2008).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.clustered_shares import estimate_clustered_share
from calibration.clusters import NO_LIMITS, Clusters, student_quantile
from calibration.confidence import rounded
from calibration.estimate import Estimate
from calibration.reliability import bin_of, checked_verdicts
from calibration.resampling import ClusterBootstrap, Limits

FloatArray = NDArray[np.float64]

# With fewer verdicts to an occupied bin the squares are mostly chance and no interval holds.
LEAST_VERDICTS_PER_BIN = 5


@dataclass(frozen=True, slots=True)
class BrierParts:
    """Terms of score = reliability - resolution + uncertainty + within_variance - within_covariance.

    With bin shares w, mean confidences c, accuracies a and overall accuracy o:

    Attributes:
        reliability: sum w (c - a)^2, the miscalibration; 0 is best.
        resolution: sum w (a - o)^2, how far the bins tell verdicts apart; high is good.
        uncertainty: o (1 - o), which no judge's confidence can change.
        within_variance: Mean squared distance of the confidences from their bin's mean.
        within_covariance: Twice the mean product of that distance with agreement.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_variance: float
    within_covariance: float

    @property
    def score(self) -> float:
        """The Brier score, the sum of the parts."""
        between = self.reliability - self.resolution + self.uncertainty
        return between + self.within_variance - self.within_covariance


@dataclass(frozen=True, slots=True)
class BrierPartEstimates:
    """Murphy's three parts with their intervals; n is the number of verdicts in each."""

    reliability: Estimate
    resolution: Estimate
    uncertainty: Estimate


def brier_parts(
    confidence: ArrayLike, correct: ArrayLike, edges: ArrayLike | None = None
) -> BrierParts | None:
    """Split the Brier score by bins of confidence; None without verdicts.

    Args:
        confidence: Shape (n,).
        correct: Whether each verdict agrees with people, shape (n,).
        edges: As for `reliability_bins`; None makes every distinct confidence a bin of its own,
            and then the two terms within bins are 0.

    Raises:
        InvalidArgument: As for `calibration_error`.
    """
    data = checked_verdicts(confidence, correct)
    n = len(data.correct)
    if n == 0:
        return None
    if edges is None:
        place = np.unique(data.confidence, return_inverse=True)[1].reshape(-1)
    else:
        place = bin_of(data.confidence, rounded(edges))
    columns = (np.ones(n), data.confidence, data.correct)
    sums = np.stack([np.bincount(place, weights=column) for column in columns]).astype(np.float64)
    parts = sums[:, None]
    overall = float(data.correct.mean())
    distance = data.confidence - (sums[1] / np.maximum(sums[0], 1))[place]
    return BrierParts(
        reliability=float(_reliability_of(parts)[0]),
        resolution=float(_resolution_of(parts)[0]),
        uncertainty=overall * (1 - overall),
        within_variance=float((distance**2).mean()),
        within_covariance=2 * float((distance * data.correct).mean()),
    )


def estimate_brier_parts(
    confidence: ArrayLike,
    correct: ArrayLike,
    edges: ArrayLike,
    bootstrap: ClusterBootstrap | None = None,
) -> BrierPartEstimates | None:
    """Murphy's parts with intervals that reckon with their bias; None without verdicts.

    Chance adds to both sums of squares, and in a resample it adds once more, so percentiles lie
    too high. The limits are the wider of two corrected ones on either side: the reversed
    percentiles, and the solution in t of |R - B - t| = q sqrt(V0 + (V - V0) t / R) with the bias B
    and the variance V seen in the resamples, V0 = 2 B^2 / (free bins) being its part at t = 0. The
    edges are taken as given. Below five verdicts to an occupied bin there are no limits.

    Args:
        confidence: Shape (n,).
        correct: Whether each verdict agrees with people, shape (n,).
        edges: As for `reliability_bins`.
        bootstrap: Resamples of the rows; None for reliability and resolution without intervals,
            and uncertainty as if rows were independent.
    """
    parts = brier_parts(confidence, correct, edges)
    if parts is None:
        return None
    data, limits = checked_verdicts(confidence, correct), rounded(edges)
    place = bin_of(data.confidence, limits)
    occupied, column = np.unique(place, return_inverse=True)
    known = partial(_known, level=Clusters.of(bootstrap, np.zeros(0)).level, n=len(place))
    accuracy = estimate_clustered_share(data.correct, np.ones(len(place)), bootstrap)
    uncertainty = _uncertainty(parts.uncertainty, accuracy)
    is_sparse = len(place) < LEAST_VERDICTS_PER_BIN * occupied.size
    if bootstrap is None or accuracy.low is None or is_sparse:
        return BrierPartEstimates(known(parts.reliability), known(parts.resolution), uncertainty)
    indicator = np.eye(occupied.size)[column.reshape(-1)]
    weighted = [indicator * values[:, None] for values in (data.confidence, data.correct)]
    drawn = np.concatenate(list(bootstrap.totals(np.hstack([indicator, *weighted]))))
    held = drawn[drawn[:, : occupied.size].any(axis=1)]  # resamples with a verdict
    sums = np.moveaxis(held.reshape(len(held), 3, -1), 1, 0)
    reliability = _limits(parts.reliability, _reliability_of(sums), occupied.size, bootstrap)
    resolution = _limits(parts.resolution, _resolution_of(sums), occupied.size - 1, bootstrap)
    return BrierPartEstimates(
        known(parts.reliability, reliability), known(parts.resolution, resolution), uncertainty
    )


def _reliability_of(sums: FloatArray) -> FloatArray:
    """From sums of 1, confidence and agreement, shape (3, resamples, bins)."""
    count, said, right = sums
    squares = np.divide((said - right) ** 2, count, out=np.zeros_like(count), where=count > 0)
    return np.asarray(squares.sum(axis=1) / count.sum(axis=1))


def _resolution_of(sums: FloatArray) -> FloatArray:
    count, _, right = sums
    n = count.sum(axis=1)
    squares = np.divide(right**2, count, out=np.zeros_like(count), where=count > 0)
    return np.asarray(np.maximum(squares.sum(axis=1) / n - (right.sum(axis=1) / n) ** 2, 0.0))


def _limits(value: float, drawn: FloatArray, free: int, bootstrap: ClusterBootstrap) -> Limits:
    low, high = bootstrap.interval(drawn)
    if low is None or high is None:
        return NO_LIMITS
    quantile = student_quantile(
        bootstrap.n_groups_present - 1, (1 - bootstrap.confidence_level) / 2
    )
    bias, variance = max(float(drawn.mean()) - value, 0.0), float(drawn.var())
    at_zero = min(2 * bias**2 / max(free, 1), variance)
    slope = (variance - at_zero) / value if value > 0 else 0.0
    centre = value - bias
    middle = centre + quantile**2 * slope / 2
    half = float(np.sqrt(max(middle**2 - centre**2 + quantile**2 * at_zero, 0.0)))
    lowest, highest = min(2 * value - high, middle - half), max(2 * value - low, middle + half)
    return Limits(max(lowest, 0.0), min(max(highest, 0.0), 1.0))


def _known(value: float, limits: Limits = NO_LIMITS, *, level: float, n: int) -> Estimate:
    return Estimate(value, limits.low, limits.high, level, n)


def _uncertainty(value: float, accuracy: Estimate) -> Estimate:
    """Carry the interval of the accuracy o over to o (1 - o)."""
    if accuracy.low is None or accuracy.high is None:
        return Estimate(value, None, None, accuracy.confidence_level, accuracy.n)
    ends = [end * (1 - end) for end in (accuracy.low, accuracy.high)]
    high = 0.25 if accuracy.low <= 0.5 <= accuracy.high else max(ends)
    return Estimate(value, min(ends), high, accuracy.confidence_level, accuracy.n)
