"""All reliability figures of one judge with intervals that respect the groups of its verdicts.

What is assumed: groups are independent draws from one population (without groups, rows are).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray
from calibration.estimate import Estimate
from calibration.intervals import ClusterBootstrap, estimate_mean, estimate_share
from calibration.reliability.calibration_errors import (
    estimate_calibration_error,
    estimate_maximum_calibration_error,
)
from calibration.reliability.measures import (
    DEFAULT_BINS,
    Verdicts,
    checked_verdicts,
    equal_mass_edges,
    fitting_width_edges,
    log_losses,
)
from calibration.reliability.scores import estimate_auprc, estimate_auroc, estimate_brier_parts

_NEARLY_CERTAIN = 0.999


@dataclass(frozen=True, slots=True)
class ReliabilityEstimates:
    """Figures of one judge, named as in `Reliability` and `BrierParts`; n counts verdicts."""

    expected_calibration_error: Estimate
    adaptive_calibration_error: Estimate
    maximum_calibration_error: Estimate
    brier_score: Estimate
    brier_reliability: Estimate
    brier_resolution: Estimate
    brier_uncertainty: Estimate
    log_loss: Estimate
    auroc: Estimate
    auprc: Estimate


def estimate_reliability(
    confidence: ArrayLike,
    correct: ArrayLike,
    bootstrap: ClusterBootstrap,
    n_bins: int = DEFAULT_BINS,
) -> ReliabilityEstimates:
    """Estimate all reliability figures of one judge's verdicts.

    Args:
        confidence: Shape (n,).
        correct: Whether each verdict agrees with people, shape (n,).
        bootstrap: Resamples of the same rows.
        n_bins: Number of bins, as for `measure_reliability`.

    >>> bootstrap = ClusterBootstrap.over(np.arange(60) // 2, rng=0, n_resamples=200)
    >>> confidence, right = np.linspace(0.5, 1.0, 60), np.arange(60) % 5 > 0
    >>> found = estimate_reliability(confidence, right, bootstrap)
    >>> found.auroc.n, found.brier_score.low < found.brier_score.value
    (60, True)
    """
    widths = fitting_width_edges(confidence, n_bins)
    masses = equal_mass_edges(confidence, n_bins)
    parts = estimate_brier_parts(confidence, correct, widths, bootstrap)
    nothing = Estimate(None, None, None, bootstrap.confidence_level, 0)
    return ReliabilityEstimates(
        estimate_calibration_error(confidence, correct, widths, bootstrap),
        estimate_calibration_error(confidence, correct, masses, bootstrap),
        estimate_maximum_calibration_error(confidence, correct, widths, bootstrap.groups),
        estimate_brier_score(confidence, correct, bootstrap),
        parts.reliability if parts else nothing,
        parts.resolution if parts else nothing,
        parts.uncertainty if parts else nothing,
        estimate_log_loss(confidence, correct, bootstrap),
        estimate_auroc(confidence, correct, bootstrap.groups),
        estimate_auprc(confidence, correct, bootstrap.groups),
    )


def estimate_brier_score(
    confidence: ArrayLike, correct: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """Estimate the Brier score by the studentised cluster bootstrap; n counts verdicts.

    Where all verdicts are right, or all wrong, resamples cannot show what the others would have
    cost. The interval then also reaches as far as Wilson's interval of the accuracy allows, the
    unseen verdicts being of any confidence.
    """
    data = checked_verdicts(confidence, correct)
    losses = _Losses((data.confidence - 1) ** 2, data.confidence**2)
    return _mean_loss(losses, data.correct, bootstrap, 1.0)


def estimate_log_loss(
    confidence: ArrayLike, correct: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """Estimate the log loss in nats, with an interval made as that of the Brier score.

    n counts verdicts. A wrong verdict of more than .999 costs 7 to 35 nats, and is too rare for
    resamples to show how often it comes. What such verdicts add is taken as the mean of that cost
    times their wrong share, with its Wilson interval; its distances and those of the rest make the
    square root of the sum of their squares (Zou and Donner 2008).
    """
    data = checked_verdicts(confidence, correct)
    right, wrong = (
        log_losses(data.confidence, np.full(data.correct.shape, outcome))
        for outcome in (True, False)
    )
    losses = _Losses(right, wrong)
    found = _mean_loss(losses, data.correct, bootstrap, np.inf)
    return found if bootstrap is None else _with_surprises(found, losses, data, bootstrap)


class _Losses(NamedTuple):
    """The loss of each verdict if it is right, and if it is wrong; shape (n,) each."""

    if_right: FloatArray
    if_wrong: FloatArray


def _mean_loss(
    losses: _Losses, correct: BoolArray, bootstrap: ClusterBootstrap | None, largest: float
) -> Estimate:
    values = np.where(correct, losses.if_right, losses.if_wrong)
    found = estimate_mean(values, bootstrap, within=(0.0, largest))
    if bootstrap is None or _is_mixed(correct) or not correct.size:
        return found
    accuracy = estimate_share(correct, groups=bootstrap.groups)
    if accuracy.low is None or accuracy.high is None:
        return found
    right, wrong = float(losses.if_right.mean()), float(losses.if_wrong.mean())
    ends = [share * right + (1 - share) * wrong for share in (accuracy.low, accuracy.high)]
    ends += [end for end in (found.low, found.high) if end is not None]
    return replace(found, low=min(ends), high=max(ends))


def _with_surprises(
    found: Estimate, losses: _Losses, data: Verdicts, bootstrap: ClusterBootstrap
) -> Estimate:
    is_sure = np.maximum(data.confidence, 1 - data.confidence) > _NEARLY_CERTAIN
    if found.low is None or found.high is None or not is_sure.any():
        return found
    is_wrong = is_sure & (np.round(data.confidence) != data.correct)
    values = np.where(data.correct, losses.if_right, losses.if_wrong)
    cost = float(np.abs(losses.if_wrong - losses.if_right)[is_sure].mean())
    rest = estimate_mean(values - cost * is_wrong, bootstrap)
    share = estimate_share(is_wrong, is_sure, bootstrap.groups)
    weight, mean = cost * float(is_sure.mean()), float(values.mean())
    low, high = (
        float(np.hypot(one, weight * other))
        for one, other in zip(_reach(rest, 0.0), _reach(share, 1.0), strict=True)
    )
    if not _is_mixed(data.correct):
        low, high = max(low, mean - found.low), max(high, found.high - mean)
    return replace(found, low=max(mean - low, 0.0), high=mean + high)


def _reach(found: Estimate, otherwise: float) -> tuple[float, float]:
    """Return the ends' distances from the value, which is known where there is an interval."""
    if found.value is None or found.low is None or found.high is None:
        return otherwise, otherwise
    return found.value - found.low, found.high - found.value


def _is_mixed(correct: BoolArray) -> bool:
    return bool(correct.any() and not correct.all())
