"""Intervals for the areas under the risk-coverage curve, from resamples of whole groups.

The areas are bounded and skewed, and a few errors at high confidence decide them. The spread of
the resamples is therefore used on the logit scale, with as many degrees of freedom as groups hold
the rarer of right and wrong; plain percentiles cover too seldom.

What is assumed: groups are independent draws from one population (without groups, rows are).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse, special

from calibration.arrays import FloatArray
from calibration.binomial import upper_bound
from calibration.clusters import (
    NO_LIMITS,
    Clusters,
    check_rows,
    logit_limits,
    rarer_outcome,
    student_quantile,
)
from calibration.confidence import rounded
from calibration.estimate import Estimate
from calibration.resampling import ClusterBootstrap, Limits
from calibration.selective import (
    RankedLosses,
    area_under_risk_coverage,
    best_ranked_losses,
    excess_area_under_risk_coverage,
    generalised_area_under_risk_coverage,
    mean_joint_risk,
    mean_risk,
    ranked_losses,
)

# A smaller spread of resamples is that of rounding.
_NO_SPREAD = 1e-12

Area = Callable[[FloatArray, FloatArray], FloatArray]


class _Measured(NamedTuple):
    """An area, where it can lie, and what bounds it when no error was seen."""

    value: float | None
    largest: float
    worst: Callable[[float], float]


def estimate_area_under_risk_coverage(
    confidence: ArrayLike, correct: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """AURC with a cluster-bootstrap interval; n is the number of scored pairs.

    logit(area) +- t s / (area (1 - area)), s the standard deviation of the area over resamples (by
    sqrt(G / (G - 1)) larger, for G groups), t Student's quantile with as many degrees of freedom
    as groups (beyond the first) hold the rarer of right and wrong. Without an error the upper
    limit is r (1 - ln r), the most that an exact upper bound r on the risk of all pairs leaves, one
    trial a group. No interval where every pair is wrong.

    Args:
        confidence: Shape (n,), nan where the judge failed.
        correct: Agreement with people in [0, 1], shape (n,).
        bootstrap: Resamples of the rows; None for a value without an interval.

    Raises:
        InvalidArgument: As for `selective_risk`.
    """
    measured = _Measured(area_under_risk_coverage(confidence, correct), 1.0, _worst_area)
    ranked = ranked_losses(confidence, correct)
    scored = _scored(confidence, bootstrap)
    return _estimate(measured, ranked, scored, lambda drawn: _areas(ranked, mean_risk, drawn))


def estimate_excess_area(
    confidence: ArrayLike, correct: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """E-AURC with a cluster-bootstrap interval, made as that of AURC.

    Each resample is compared with the best ordering of its own losses. Without an error the upper
    limit is the entropy -r ln r - (1 - r) ln(1 - r), what lies between the worst ordering and the
    best. No interval where the ordering is perfect although there are errors.

    Args:
        confidence: Shape (n,), nan where the judge failed.
        correct: Agreement with people in [0, 1], shape (n,).
        bootstrap: Resamples of the rows; None for a value without an interval.

    Raises:
        InvalidArgument: As for `selective_risk`.
    """
    measured = _Measured(excess_area_under_risk_coverage(confidence, correct), 1.0, _worst_excess)
    ranked, best = ranked_losses(confidence, correct), best_ranked_losses(confidence, correct)

    def excesses(drawn: ClusterBootstrap) -> FloatArray:
        return _areas(ranked, mean_risk, drawn) - _areas(best, mean_risk, drawn)

    return _estimate(measured, ranked, _scored(confidence, bootstrap), excesses)


def estimate_generalised_area(
    confidence: ArrayLike, correct: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """AUGRC with a cluster-bootstrap interval, made as that of AURC, on the logit of twice the area.

    Without an error the upper limit is r - r^2 / 2.

    Args:
        confidence: Shape (n,), nan where the judge failed.
        correct: Agreement with people in [0, 1], shape (n,).
        bootstrap: Resamples of the rows; None for a value without an interval.

    Raises:
        InvalidArgument: As for `selective_risk`.
    """
    value = generalised_area_under_risk_coverage(confidence, correct)
    ranked = ranked_losses(confidence, correct)
    scored = _scored(confidence, bootstrap)
    return _estimate(
        _Measured(value, 0.5, lambda risk: risk - risk**2 / 2),
        ranked,
        scored,
        lambda drawn: _areas(ranked, mean_joint_risk, drawn),
    )


def _worst_area(risk: float) -> float:
    return risk * (1 - float(np.log(risk)))


def _worst_excess(risk: float) -> float:
    share = min(risk, 0.5)
    return float(special.entr(share) + special.entr(1 - share))


def _scored(confidence: ArrayLike, bootstrap: ClusterBootstrap | None) -> ClusterBootstrap | None:
    is_scored = ~np.isnan(rounded(confidence))
    check_rows(bootstrap, is_scored.size)
    return None if bootstrap is None else bootstrap.take(is_scored)


def _estimate(
    measured: _Measured,
    ranked: RankedLosses,
    bootstrap: ClusterBootstrap | None,
    draw: Callable[[ClusterBootstrap], FloatArray],
) -> Estimate:
    n = ranked.loss.size
    clusters = Clusters.of(bootstrap, np.ones(n))
    limits = NO_LIMITS
    if measured.value is not None and bootstrap is not None and clusters.n_groups >= 2:
        if ranked.loss.any():
            drawn = draw(bootstrap) / measured.largest
            limits = _limits(measured.value / measured.largest, drawn, ranked, bootstrap)
        else:
            most = upper_bound(0, clusters.n_groups, clusters.tail)
            limits = Limits(0.0, measured.worst(float(most)) / measured.largest)
    low, high = (None if end is None else end * measured.largest for end in limits)
    return Estimate(measured.value, low, high, clusters.level, n)


def _limits(
    value: float, drawn: FloatArray, ranked: RankedLosses, bootstrap: ClusterBootstrap
) -> Limits:
    defined = drawn[np.isfinite(drawn)]
    if not bootstrap.is_enough(defined.size):
        return NO_LIMITS
    clusters = Clusters.of(bootstrap, np.ones(ranked.loss.size))
    degrees = rarer_outcome(clusters, ranked.loss) - 1
    # resamples of G groups vary by (G - 1) / G of the variance
    spread = float(defined.std() * np.sqrt(clusters.n_groups / (clusters.n_groups - 1)))
    if spread <= _NO_SPREAD:
        return NO_LIMITS
    return logit_limits(value, spread, student_quantile(degrees, clusters.tail))


def _areas(ranked: RankedLosses, area: Area, bootstrap: ClusterBootstrap) -> FloatArray:
    """The area in each resample, nan where no pair was drawn."""
    rows, n_blocks = np.arange(ranked.block.size), ranked.masses.shape[1]
    columns = sparse.csr_array(
        (
            np.concatenate([np.ones(rows.size), ranked.loss]),
            (np.tile(rows, 2), np.concatenate([ranked.block, ranked.block + n_blocks])),
        ),
        shape=(rows.size, 2 * n_blocks),
    )
    return np.concatenate(
        [area(sums[:, :n_blocks], sums[:, n_blocks:]) for sums in bootstrap.totals(columns)]
    )
