"""One function a method: from prepared pairs to thresholds and what they rest on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from calibration.average import average_threshold
from calibration.binomial import p_value
from calibration.errors import UnavailableMethod
from calibration.evidence import ExactCounts
from calibration.portfolio import Found, Outcome, walk_paths
from calibration.preparation import Prepared, Request
from calibration.simultaneous import risk_bounds
from calibration.stagewise import published_thresholds, stagewise_thresholds


def find_thresholds(prepared: Prepared, request: Request, rng: np.random.Generator) -> Outcome:
    """Apply the method of a request.

    Raises:
        UnavailableMethod: The method needs agreement of 0 or 1 and equal label probabilities.
    """
    if request.method in _BY_COUNTS:
        _require_counts(prepared, request)
        return _BY_COUNTS[request.method](prepared, request)
    return walk_paths(prepared, request, request.method, rng)  # type: ignore[arg-type]


def _stagewise(prepared: Prepared, request: Request) -> Outcome:
    stages = stagewise_thresholds(
        prepared.sample, prepared.pool, request.target_risk, request.failure_probability
    )
    if not np.isfinite(stages.thresholds).any():
        return Outcome(None, stages.nodes_tested)
    found = Found(
        stages.thresholds,
        prepared.sample,
        "stagewise",
        stages.p_value,
        stages.level,
        stages.risk_upper_bound,
    )
    return Outcome(found, stages.nodes_tested)


def _simultaneous(prepared: Prepared, request: Request) -> Outcome:
    bounds = risk_bounds(prepared.sample, prepared.pool, request.failure_probability)
    within = [bound for bound in bounds if bound.upper_bound <= request.target_risk]
    if not within:
        return Outcome(None, len(bounds), bounds=bounds)
    best = max(within, key=lambda bound: bound.coverage)
    level = request.failure_probability / len(bounds)
    p = float(p_value(best.disagreements, best.answered, request.target_risk))
    found = Found(best.thresholds, prepared.sample, "simultaneous", p, level, best.upper_bound)
    return Outcome(found, len(bounds), bounds=bounds)


def _average(prepared: Prepared, request: Request) -> Outcome:
    threshold = average_threshold(prepared.sample, prepared.pool, request.target_risk)
    if threshold is None:
        return Outcome(None, 1)
    shared = np.full(prepared.sample.n_judges, threshold)
    return Outcome(Found(shared, prepared.sample, "average", 1.0, 0.0, 1.0), 1)


def _published(prepared: Prepared, request: Request) -> Outcome:
    thresholds = published_thresholds(
        prepared.sample, request.target_risk, request.failure_probability
    )
    return Outcome(Found(thresholds, prepared.sample, "published_code", 1.0, 0.0, 1.0), 0)


_BY_COUNTS: Mapping[str, Callable[[Prepared, Request], Outcome]] = {
    "stagewise": _stagewise,
    "simultaneous": _simultaneous,
    "average": _average,
    "published_code": _published,
}


def _require_counts(prepared: Prepared, request: Request) -> None:
    if not isinstance(prepared.evidence, ExactCounts):
        raise UnavailableMethod(
            f"method {request.method!r} needs agreement of 0 or 1, equal label probabilities and no "
            "threshold common to slices"
        )
