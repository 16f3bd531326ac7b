"""Bands around the risk-coverage curve: for one threshold, or for all of its nodes at once.

Given its confidences, a judge's errors above a threshold are a binomial count where every pair is
its own group, so the band is exact, also where the thresholds are quantiles of the very same
confidences. Holding at all nodes at once costs each node its share of the error probability.

What is assumed: groups are independent draws from one population (without groups, rows are).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.binomial import two_sided_interval
from calibration.clustered_shares import effective_trials
from calibration.clusters import Clusters, level_of
from calibration.confidence import CONFIDENCE_DECIMALS, rounded
from calibration.errors import InvalidArgument
from calibration.resampling import ClusterBootstrap
from calibration.selective import checked_losses

BandKind = Literal["pointwise", "simultaneous"]

DEFAULT_NODES = 20
_JUST_ABOVE = 10.0**-CONFIDENCE_DECIMALS


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverageBand:
    """Selective risk at some thresholds, between limits; arrays have the shape (nodes,).

    Attributes:
        thresholds: From the highest down; a pair is answered where confidence >= threshold.
        answered: Number of pairs answered.
        coverage: Their share of all pairs, failures being unanswered.
        risk: Their mean loss, nan where none is answered.
        low: Lower limit of the risk.
        high: Upper limit.
        kind: Whether the limits hold with `confidence_level` at each node or at all nodes at once.
        confidence_level: Coverage of the limits.
    """

    thresholds: FloatArray
    answered: IntArray
    coverage: FloatArray
    risk: FloatArray
    low: FloatArray
    high: FloatArray
    kind: BandKind
    confidence_level: float


def risk_coverage_band(
    confidence: ArrayLike,
    correct: ArrayLike,
    bootstrap: ClusterBootstrap | None = None,
    *,
    kind: BandKind = "simultaneous",
    nodes: int | ArrayLike = DEFAULT_NODES,
) -> RiskCoverageBand:
    """Selective risk with limits (Clopper and Pearson 1934) at each node of the curve.

    `pointwise` limits hold at one node that was chosen without looking at the labels.
    `simultaneous` ones hold at all nodes at once, also at the one that looks best: each tail gets
    (1 - level) / 2 / nodes. The limits are for the risk of all future pairs at that threshold, not
    at that coverage, and for agreement of 0 or 1 they are exact where rows are independent:
    quantile nodes answer what lies strictly above an order statistic, and given this, the pairs
    above it are an independent sample of such pairs. With groups of several rows, or graded
    agreement, they rest on the effective number of trials and are approximate.

    Args:
        confidence: Shape (n,), nan where the judge failed.
        correct: Agreement with people in [0, 1], shape (n,).
        bootstrap: Gives the groups and the level, nothing is drawn; None takes rows as independent
            at level .95.
        kind: Whether the limits hold at each node or at all at once.
        nodes: A number of nodes, at equal steps of coverage up to every pair that was scored (fewer
            where confidences are tied); or thresholds that were fixed without looking at these
            pairs' labels and, for exactness, confidences.

    Raises:
        InvalidArgument: As for `selective_risk`; there are no nodes, or an unknown kind.
    """
    if kind not in ("pointwise", "simultaneous"):
        raise InvalidArgument(f"kind must be pointwise or simultaneous, not {kind!r}")
    scores, loss = checked_losses(confidence, correct)
    thresholds, planned = _nodes(scores, nodes)
    level = level_of(bootstrap)
    tail = (1 - level) / 2 / (planned if kind == "simultaneous" else 1)
    figures = np.array([_at(scores >= t, loss, bootstrap, tail) for t in thresholds])
    answered, risk, low, high = figures.reshape(-1, 4).T
    counts = answered.astype(np.int64)
    coverage = counts / max(scores.size, 1)
    return RiskCoverageBand(thresholds, counts, coverage, risk, low, high, kind, level)


def _nodes(scores: FloatArray, nodes: int | ArrayLike) -> tuple[FloatArray, int]:
    """Thresholds from the highest down, and how many were planned before looking."""
    if not isinstance(nodes, int | np.integer):
        given = np.unique(rounded(nodes).reshape(-1))[::-1]
        if not given.size or np.isnan(given).any():
            raise InvalidArgument("thresholds must be given, and be numbers")
        return given, given.size
    if nodes < 1:
        raise InvalidArgument(f"nodes must be positive, not {nodes}")
    count = int(nodes)
    ranked = np.sort(np.where(np.isnan(scores), -np.inf, scores))[::-1]
    place = np.arange(1, count) * scores.size // count
    above = rounded(ranked[place] + _JUST_ABOVE) if scores.size else ranked
    is_between = np.isfinite(above) & (above <= ranked[:1])
    everything = min([0.0, *ranked[np.isfinite(ranked)][-1:]])
    return np.append(np.unique(above[is_between])[::-1], everything), count


def _at(
    is_answered: BoolArray,
    loss: FloatArray,
    bootstrap: ClusterBootstrap | None,
    tail: float,
) -> tuple[float, float, float, float]:
    lost = loss[is_answered]
    if not lost.size:
        return 0.0, np.nan, 0.0, 1.0
    clusters = Clusters.of(bootstrap, is_answered)
    risk = float(lost.mean())
    if clusters.n_groups < 2 and not clusters.is_independent:
        return float(lost.size), risk, 0.0, 1.0
    trials = effective_trials(lost, clusters, tail)
    low, high = two_sided_interval(risk * trials, trials, 1 - 2 * tail)
    return float(lost.size), risk, float(low), float(high)
