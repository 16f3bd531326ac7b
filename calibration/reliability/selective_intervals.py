"""Intervals of the areas under the risk-coverage curve, and bands around the curve.

The areas are bounded and skewed, and a few errors at high confidence decide them. The spread of
the resamples is therefore used on the logit scale, with as many degrees of freedom as groups hold
the rarer of right and wrong; plain percentiles cover too seldom.

Given its confidences, a judge's errors above a threshold are a binomial count where every pair is
its own group, so the band is exact, also where the thresholds are quantiles of the very same
confidences. Holding at all nodes at once costs each node its share of the error probability.

What is assumed: groups are independent draws from one population (without groups, rows are).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.binomial import two_sided_interval, upper_bound
from calibration.cascade import CONFIDENCE_DECIMALS, rounded
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals import (
    NO_LIMITS,
    ClusterBootstrap,
    Groups,
    GroupsLike,
    Limits,
    as_groups,
    effective_trials,
    groups_of,
    logit_limits,
    student_quantile,
)
from calibration.reliability.selective import (
    RankedLosses,
    area_under_risk_coverage,
    best_ranked_losses,
    checked_losses,
    excess_area_under_risk_coverage,
    generalised_area_under_risk_coverage,
    mean_joint_risk,
    mean_risk,
    ranked_losses,
)

# A smaller spread of resamples is that of rounding.
_NO_SPREAD = 1e-12
Area = Callable[[FloatArray, FloatArray], FloatArray]
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


class _Measured(NamedTuple):
    """An area, where it can lie, and what bounds it when no error was seen."""

    value: float | None
    largest: float
    worst: Callable[[float], float]


def estimate_area_under_risk_coverage(
    confidence: ArrayLike, correct: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """Estimate AURC, with a cluster-bootstrap interval; n is the number of scored pairs.

    logit(area) +- t s / (area (1 - area)), s the standard deviation of the area over resamples (by
    sqrt(G / (G - 1)) larger, for G groups), t Student's quantile with as many degrees of freedom
    as groups (beyond the first) hold the rarer of right and wrong. Without an error the upper
    limit is r (1 - ln r), the most that an exact upper bound r on the risk of all pairs leaves, one
    trial a group. No interval where every pair is wrong.

    Args:
        confidence: Shape (n,), nan where the judge failed.
        correct: Agreement with people in [0, 1], shape (n,).
        bootstrap: Resamples of the rows; None for a value without an interval.

    >>> bootstrap = ClusterBootstrap.over(np.arange(40), rng=0, n_resamples=200)
    >>> confidence, right = np.linspace(0.5, 1.0, 40), np.arange(40) % 5 > 0
    >>> found = estimate_area_under_risk_coverage(confidence, right, bootstrap)
    >>> found.n, found.low < found.value < found.high
    (40, True)
    """
    measured = _Measured(area_under_risk_coverage(confidence, correct), 1.0, _worst_area)
    ranked = ranked_losses(confidence, correct)
    scored = _scored(confidence, bootstrap)
    return _estimate(measured, ranked, scored, lambda drawn: _areas(ranked, mean_risk, drawn))


def estimate_excess_area(
    confidence: ArrayLike, correct: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """Estimate E-AURC, with a cluster-bootstrap interval made as that of AURC.

    Each resample is compared with the best ordering of its own losses. Without an error the upper
    limit is the entropy -r ln r - (1 - r) ln(1 - r), what lies between the worst ordering and the
    best. No interval where the ordering is perfect although there are errors.

    Args:
        confidence: Shape (n,), nan where the judge failed.
        correct: Agreement with people in [0, 1], shape (n,).
        bootstrap: Resamples of the rows; None for a value without an interval.
    """
    measured = _Measured(excess_area_under_risk_coverage(confidence, correct), 1.0, _worst_excess)
    ranked, best = ranked_losses(confidence, correct), best_ranked_losses(confidence, correct)

    def excesses(drawn: ClusterBootstrap) -> FloatArray:
        return _areas(ranked, mean_risk, drawn) - _areas(best, mean_risk, drawn)

    return _estimate(measured, ranked, _scored(confidence, bootstrap), excesses)


def estimate_generalised_area(
    confidence: ArrayLike, correct: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """Estimate AUGRC, with an interval made as that of AURC, on the logit of twice the area.

    Without an error the upper limit is r - r^2 / 2.

    Args:
        confidence: Shape (n,), nan where the judge failed.
        correct: Agreement with people in [0, 1], shape (n,).
        bootstrap: Resamples of the rows; None for a value without an interval.
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
    return float(scipy.special.entr(share) + scipy.special.entr(1 - share))


def _scored(confidence: ArrayLike, bootstrap: ClusterBootstrap | None) -> ClusterBootstrap | None:
    is_scored = ~np.isnan(rounded(confidence))
    if bootstrap is None:
        return None
    bootstrap.check_rows(is_scored.size)
    return bootstrap.take(is_scored)


def _estimate(
    measured: _Measured,
    ranked: RankedLosses,
    bootstrap: ClusterBootstrap | None,
    draw: Callable[[ClusterBootstrap], FloatArray],
) -> Estimate:
    n = ranked.loss.size
    groups = groups_of(bootstrap, n)
    limits = NO_LIMITS
    if measured.value is not None and bootstrap is not None and groups.n_groups >= 2:
        if ranked.loss.any():
            drawn = draw(bootstrap) / measured.largest
            limits = _limits(measured.value / measured.largest, drawn, ranked, bootstrap)
        else:
            most = upper_bound(0, groups.n_groups, groups.tail)
            limits = Limits(0.0, measured.worst(float(most)) / measured.largest)
    low, high = (None if end is None else end * measured.largest for end in limits)
    return Estimate(measured.value, low, high, groups.confidence_level, n)


def _limits(
    value: float, drawn: FloatArray, ranked: RankedLosses, bootstrap: ClusterBootstrap
) -> Limits:
    defined = drawn[np.isfinite(drawn)]
    if not bootstrap.is_enough(defined.size):
        return NO_LIMITS
    groups = bootstrap.groups
    degrees = groups.holding_rarer(ranked.loss) - 1
    # resamples of G groups vary by (G - 1) / G of the variance
    spread = float(defined.std() * np.sqrt(groups.n_groups / (groups.n_groups - 1)))
    if spread <= _NO_SPREAD:
        return NO_LIMITS
    return logit_limits(value, spread, student_quantile(degrees, groups.tail))


def _areas(ranked: RankedLosses, area: Area, bootstrap: ClusterBootstrap) -> FloatArray:
    """Return the area in each resample, nan where no pair was drawn."""
    rows, n_blocks = np.arange(ranked.block.size), ranked.masses.shape[1]
    columns = scipy.sparse.csr_array(
        (
            np.concatenate([np.ones(rows.size), ranked.loss]),
            (np.tile(rows, 2), np.concatenate([ranked.block, ranked.block + n_blocks])),
        ),
        shape=(rows.size, 2 * n_blocks),
    )
    return np.concatenate(
        [area(sums[:, :n_blocks], sums[:, n_blocks:]) for sums in bootstrap.totals(columns)]
    )


def risk_coverage_band(
    confidence: ArrayLike,
    correct: ArrayLike,
    groups: GroupsLike = None,
    *,
    kind: BandKind = "simultaneous",
    nodes: int | ArrayLike = DEFAULT_NODES,
) -> RiskCoverageBand:
    """Estimate the selective risk, with Clopper and Pearson limits at each node of the curve.

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
        groups: Groups of the rows; None takes rows as independent.
        kind: Whether the limits hold at each node or at all at once.
        nodes: A number of nodes, at equal steps of coverage up to every pair that was scored (fewer
            where confidences are tied); or thresholds that were fixed without looking at these
            pairs' labels and, for exactness, confidences.

    Raises:
        InvalidArgument: As for `selective_risk`; there are no nodes, or an unknown kind.

    >>> confidence, right = np.linspace(0.5, 1.0, 40), np.arange(40) % 5 > 0
    >>> band = risk_coverage_band(confidence, right, nodes=[0.9, 0.5])
    >>> band.answered.tolist(), band.risk.tolist()
    ([8, 40], [0.125, 0.2])
    """
    if kind not in ("pointwise", "simultaneous"):
        raise InvalidArgument(f"kind must be pointwise or simultaneous, not {kind!r}")
    scores, loss = checked_losses(confidence, correct)
    thresholds, planned = _nodes(scores, nodes)
    known = as_groups(groups, scores.size)
    tail = known.tail / (planned if kind == "simultaneous" else 1)
    figures = np.array([_at(scores >= t, loss, known, tail) for t in thresholds])
    answered, risk, low, high = figures.reshape(-1, 4).T
    counts = answered.astype(np.int64)
    coverage = counts / max(scores.size, 1)
    return RiskCoverageBand(
        thresholds, counts, coverage, risk, low, high, kind, known.confidence_level
    )


def _nodes(scores: FloatArray, nodes: int | ArrayLike) -> tuple[FloatArray, int]:
    """Return thresholds from the highest down, and how many were planned before looking."""
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
    groups: Groups,
    tail: float,
) -> tuple[float, float, float, float]:
    lost = loss[is_answered]
    if not lost.size:
        return 0.0, np.nan, 0.0, 1.0
    answered = groups.take(is_answered)
    risk = float(lost.mean())
    if answered.n_groups < 2 and not answered.is_independent:
        return float(lost.size), risk, 0.0, 1.0
    trials = effective_trials(lost, answered, tail)
    low, high = two_sided_interval(risk * trials, trials, 1 - 2 * tail)
    return float(lost.size), risk, float(low), float(high)
