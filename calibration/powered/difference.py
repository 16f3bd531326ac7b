"""The mean of an outcome that is known for a random few and predicted for all.

The difference estimator of survey sampling (Cassel, Särndal, Wretman 1976): within a stratum the
mean of l f over all pairs plus the weighted mean of y - l f over the labelled ones. Influences of
pairs are summed by group before they are squared, so that dependence within a group, between
labelled and unlabelled pairs as well, is part of the variance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray
from calibration.estimate import Estimate
from calibration.intervals import logit_limits
from calibration.powered.labels import LabelledSample

# The slope of fewer groups is noise: their labels stand alone.
_FEWEST_GROUPS_TO_TUNE = 5
# Spread below this, relative to that of predictions over all of [0, 1], is a trace of rounding.
NO_SPREAD = 1e-12
# Fewer labels than this against their predictions do not tell how often that happens.
_ENOUGH_ERRORS = 5.0
# From this many labelled groups on the spread is known well enough, whichever groups make it.
_FEW_GROUPS = 30


@dataclass(frozen=True, slots=True, eq=False)
class FittedMean:
    """A mean with its precision.

    Attributes:
        value: The mean; chance and bad predictions may put it outside [0, 1].
        variance: Of the value; nan where too few groups are labelled to tell.
        degrees_of_freedom: Of Student's distribution.
        unseen: Change of the value by one labelled group that contradicts its predictions, if
            none did; falling to 0 where enough did for their spread to tell how often they do.
        prediction_weight: l by stratum.
    """

    value: float
    variance: float
    degrees_of_freedom: float
    unseen: float
    prediction_weight: FloatArray

    @property
    def spread(self) -> float:
        """Variance, with that of one unseen disagreement where there were too few; may be nan."""
        return self.variance + self.unseen**2

    def estimate(self, n: int, confidence_level: float) -> Estimate:
        """Return Student's interval on the logit scale; a value beyond [0, 1] is cut first.

        On the plain scale it would cover too little where few groups are labelled and most agree.
        Where all of n labels agree with the predictions, a rate of errors of -ln(1 - level) / n may
        have been missed (the rule of three): that much is added, and less where a few disagree.
        """
        value = float(np.clip(self.value, 0, 1))
        if np.isnan(self.variance):
            return Estimate(value, None, None, confidence_level, n)
        error = 1 - confidence_level
        quantile = float(scipy.stats.t.isf(error / 2, self.degrees_of_freedom))
        low, high = _logit_ends(value, float(quantile * np.sqrt(self.variance)))
        missed = np.log(error) * self.unseen
        low = max(value - float(np.hypot(value - low, missed)), 0.0)
        high = min(value + float(np.hypot(high - value, missed)), 1.0)
        return Estimate(value, low, high, confidence_level, n)


def _logit_ends(value: float, half: float) -> tuple[float, float]:
    """Return the ends of an interval in [0, 1] that is `half` to each side near its value.

    Logits are steep near 0 and 1 and would stretch the interval over everything: closer to an end
    of [0, 1] than `half`, the far end is that of a value `half` away from it, if it is nearer.
    """
    if half <= 0:
        return value, value
    low, high = _on_logits(value, half)
    centre = float(np.clip(value, min(half, 0.5), max(1 - half, 0.5)))
    if centre == value:
        return low, high
    nearer_low, nearer_high = _on_logits(centre, half)
    return max(low, min(nearer_low, value)), min(high, max(nearer_high, value))


def _on_logits(value: float, half: float) -> tuple[float, float]:
    limits = logit_limits(value, half, 1.0)
    return (0.0, 1.0) if limits.low is None or limits.high is None else (limits.low, limits.high)


def fit_mean(
    prediction: FloatArray,
    sample: LabelledSample,
    prediction_weight: float | None = None,
    settled: FloatArray | None = None,
) -> FittedMean:
    """Estimate the mean outcome of all pairs.

    Args:
        prediction: f, shape (pairs,).
        sample: Labels, weights, groups and strata of the pairs; each stratum has a label on a pair
            that is not settled.
        prediction_weight: l; None chooses the l of least variance in each stratum.
        settled: Outcome of pairs for which it is given rather than estimated, nan for the others;
            the predictions and labels of settled pairs are not used.
    """
    given = np.full(len(prediction), np.nan) if settled is None else settled
    is_open = np.isnan(given)
    strata = _Strata(prediction[is_open], sample.take(is_open))
    slope = np.full(strata.n, prediction_weight, dtype=np.float64)
    n_fitted = np.ones(strata.n)
    if prediction_weight is None:
        slope = strata.least_variance_weight()
        n_fitted += slope > 0
    outcome = given.copy()
    outcome[is_open] = strata.calibrated(slope)
    mean = float(np.average(outcome, weights=sample.weight))
    of_predictions = _of_groups(sample, outcome - mean)
    error = strata.rectifier_error(slope)
    of_labels = strata.by_group(error, n_fitted, len(of_predictions))
    total = float(sample.weight.sum())
    is_told = bool((strata.n_labelled_groups > n_fitted).all())
    variance = float(((of_predictions + of_labels) ** 2).sum()) / total**2
    parts = [_Part(of_predictions, sample.n_groups - 1.0)]
    known = strata.degrees_of_freedom(n_fitted)
    if int(strata.n_labelled_groups.sum()) < _FEW_GROUPS:
        known = min(known, _degrees_shown(of_labels))
    parts.append(_Part(of_labels, known))
    return FittedMean(
        mean,
        variance if is_told else np.nan,
        _degrees_of_freedom(parts),
        strata.unseen(error) / total,
        slope,
    )


class _Part(NamedTuple):
    """Influences by group, and how well their spread is known."""

    influence: FloatArray
    degrees_of_freedom: float


def _degrees_shown(of_labels: FloatArray) -> float:
    """Return half as many degrees of freedom again as groups of equal errors would show the spread.

    sum(e^2)^2 / sum(e^4) of them: where two groups make most of the spread, it is known as badly as
    from two. Near 0 and 1 that is so, and Student's interval of all groups covers too little.
    """
    squares = of_labels**2
    fourth = float((squares**2).sum())
    return max(1.5 * float(squares.sum()) ** 2 / fourth, 1.0) if fourth > 0 else np.inf


def _degrees_of_freedom(parts: Iterable[_Part]) -> float:
    """Return those of a variance that is a sum of estimated ones (Satterthwaite 1946)."""
    squares = [(float((part.influence**2).sum()), part.degrees_of_freedom) for part in parts]
    total = sum(square for square, _ in squares)
    doubt = sum(square**2 / max(freedom, 1.0) for square, freedom in squares)
    return total**2 / doubt if doubt > 0 else max(freedom for _, freedom in squares)


def _of_groups(sample: LabelledSample, deviation: FloatArray) -> FloatArray:
    """Sums by group, times sqrt(G / (G - 1)) since a mean was subtracted from the deviations."""
    total = np.bincount(sample.group, sample.weight * deviation)
    n = np.unique(sample.group).size
    return np.asarray(total * np.sqrt(n / max(n - 1, 1)), dtype=np.float64)


def unseen_variance(
    square: FloatArray, fourth: FloatArray, one: FloatArray, n_groups: ArrayLike
) -> FloatArray:
    """Return the variance that unseen disagreements with predictions would bring.

    sum(e^2)^2 / sum(e^4) groups with equal errors e would give the same two sums; of groups with
    normal errors it is a third, so that a sixth is few.

    Args:
        square: Sum over labelled groups of e^2, for each of the figures that are estimated.
        fourth: Sum of e^4.
        one: Mean square of e of a group whose labels all contradict their predictions.
        n_groups: Number of labelled groups.
    """
    is_seen = square > NO_SPREAD * one
    equal = np.divide(square**2, fourth, out=np.zeros_like(one), where=is_seen)
    enough = np.minimum(_ENOUGH_ERRORS, np.asarray(n_groups) / 6)
    return np.asarray(one * np.maximum(1 - equal / enough, 0), dtype=np.float64)


class _Strata:
    """Sums over the cells (group, stratum) of pairs whose outcome is to be estimated."""

    def __init__(self, prediction: FloatArray, sample: LabelledSample) -> None:
        self.prediction = prediction
        self.sample = sample
        self.n = int(sample.stratum.max()) + 1
        cells, cell = np.unique(sample.group * self.n + sample.stratum, return_inverse=True)
        self._cell = cell
        self._group, self._stratum = np.divmod(cells, self.n)
        self._size = self._by_stratum(sample.weight)
        self._labelled_size = self._by_stratum(sample.inverse)
        # The part of the stratum's labels that a group holds.
        self._share = self._by_cell(sample.inverse / self._labelled_size[sample.stratum])
        self.n_labelled_groups = np.bincount(self._stratum, self._share > 0)

    def _by_stratum(self, of_pair: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(self.sample.stratum, of_pair), dtype=np.float64)

    def _by_cell(self, of_pair: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(self._cell, of_pair), dtype=np.float64)

    def _of_cells(self, of_cell: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(self._stratum, of_cell), dtype=np.float64)

    def _labelled_mean(self, values: FloatArray) -> FloatArray:
        return self._by_stratum(self.sample.inverse * values) / self._labelled_size

    def _labelled_error(self, values: FloatArray) -> FloatArray:
        """Return each cell's part of the error of its stratum's mean over labels."""
        stratum = self.sample.stratum
        part = self.sample.inverse / self._labelled_size[stratum]
        return self._by_cell(part * (values - self._labelled_mean(values)[stratum]))

    def least_variance_weight(self) -> FloatArray:
        """Return the l in [0, 1] that makes the variance of each stratum's mean smallest.

        With Y, X and A what a group adds to the errors of mean_n y, mean_n f and mean_N f, the
        variance of Y + l (A - X) is smallest at sum Y (X - A) / sum (X - A)^2. Labels chosen at
        random make E[A (X - A)] = 0, so X (X - A) may stand below: then independent pairs of equal
        weight give just the slope of y on f, and a perfect judge just 1.
        """
        stratum, weight = self.sample.stratum, self.sample.weight
        mean = self._by_stratum(weight * self.prediction) / self._size
        over_all = weight * (self.prediction - mean[stratum]) / self._size[stratum]
        predicted = self._labelled_error(self.prediction)
        excess = predicted - self._by_cell(over_all)
        covariance = self._of_cells(self._labelled_error(self.sample.label) * excess)
        variance = self._of_cells(predicted * excess)
        trace = NO_SPREAD * self._of_cells(self._share**2)
        # a covariance of 0 comes out a trace above or below it, by the order of summing alone
        is_told = (variance > trace) & (np.abs(covariance) > trace)
        is_tunable = is_told & (self.n_labelled_groups >= _FEWEST_GROUPS_TO_TUNE)
        slope = np.divide(covariance, variance, out=np.zeros(self.n), where=is_tunable)
        return np.asarray(np.clip(slope, 0, 1), dtype=np.float64)

    def calibrated(self, slope: FloatArray) -> FloatArray:
        """Return predictions l f of the pairs, shifted to the level of their stratum's labels."""
        scaled = slope[self.sample.stratum] * self.prediction
        level = self._labelled_mean(self.sample.label - scaled)
        return scaled + level[self.sample.stratum]

    def rectifier_error(self, slope: FloatArray) -> FloatArray:
        """Return what each cell adds to the error of the sum of outcomes by its y - l f."""
        residual = self.sample.label - slope[self.sample.stratum] * self.prediction
        return self._labelled_error(residual) * self._size[self._stratum]

    def by_group(self, error: FloatArray, n_fitted: FloatArray, n_groups: int) -> FloatArray:
        """Sum the errors of the cells by group.

        Leaving out a group with the share h of the labels moves a mean over labels by 1 / (1 - h)
        times its influence: the jackknife, which keeps unequal weights from seeming too sure.
        """
        n = self.n_labelled_groups
        widening = (n - 1) / np.sqrt(n * np.maximum(n - n_fitted, 1))
        left = np.where(self._share < 1, 1 - self._share, 1)
        of_cell = error / left * widening[self._stratum]
        return np.asarray(np.bincount(self._group, of_cell, n_groups), dtype=np.float64)

    def degrees_of_freedom(self, n_fitted: FloatArray) -> float:
        """Return how many groups of equal weight would tell the variance as well, less those fitted.

        The variance that a group brings is taken to be as the square of its weight.
        """
        brought = np.bincount(self._group, (self._share * self._size[self._stratum]) ** 2)
        equal = float(brought.sum() ** 2 / (brought**2).sum())
        left = 1 - float(n_fitted.sum() / self.n_labelled_groups.sum())
        return max(equal * left, 1.0)

    def unseen(self, error: FloatArray) -> float:
        """Return the change of the sum of outcomes by one group, if few make a stratum's spread."""
        square, fourth = self._of_cells(error**2), self._of_cells(error**4)
        one = self._size**2 * self._of_cells(self._share**2) / self.n_labelled_groups
        return float(np.sqrt(unseen_variance(square, fourth, one, self.n_labelled_groups).sum()))
