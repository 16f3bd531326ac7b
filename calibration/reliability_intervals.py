"""All reliability figures of one judge with intervals that respect the groups of its verdicts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calibration.brier import estimate_brier_parts
from calibration.calibration_errors import (
    estimate_calibration_error,
    estimate_maximum_calibration_error,
)
from calibration.discrimination import estimate_auprc, estimate_auroc
from calibration.estimate import Estimate
from calibration.reliability import (
    DEFAULT_BINS,
    checked_verdicts,
    equal_mass_edges,
    fitting_width_edges,
    row_log_losses,
)
from calibration.resampling import ClusterBootstrap
from calibration.studentized import estimate_mean


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
    """All reliability figures of one judge's verdicts with their intervals.

    Args:
        confidence: Shape (n,).
        correct: Whether each verdict agrees with people, shape (n,).
        bootstrap: Resamples of the same rows.
        n_bins: Number of bins, as for `measure_reliability`.

    Raises:
        InvalidArgument: As for `checked_verdicts`.
    """
    widths = fitting_width_edges(confidence, n_bins)
    masses = equal_mass_edges(confidence, n_bins)
    parts = estimate_brier_parts(confidence, correct, widths, bootstrap)
    nothing = Estimate(None, None, None, bootstrap.confidence_level, 0)
    return ReliabilityEstimates(
        estimate_calibration_error(confidence, correct, widths, bootstrap),
        estimate_calibration_error(confidence, correct, masses, bootstrap),
        estimate_maximum_calibration_error(confidence, correct, widths, bootstrap),
        estimate_brier_score(confidence, correct, bootstrap),
        parts.reliability if parts else nothing,
        parts.resolution if parts else nothing,
        parts.uncertainty if parts else nothing,
        estimate_log_loss(confidence, correct, bootstrap),
        estimate_auroc(confidence, correct, bootstrap),
        estimate_auprc(confidence, correct, bootstrap),
    )


def estimate_brier_score(
    confidence: ArrayLike, correct: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """Brier score with the studentised cluster bootstrap; n is the number of verdicts."""
    data = checked_verdicts(confidence, correct)
    return estimate_mean((data.confidence - data.correct) ** 2, bootstrap, within=(0.0, 1.0))


def estimate_log_loss(
    confidence: ArrayLike, correct: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """Log loss in nats with the studentised cluster bootstrap; n is the number of verdicts."""
    return estimate_mean(row_log_losses(confidence, correct), bootstrap, within=(0.0, np.inf))
