"""How well a certificate's cascade agrees with people, and whether it abstains where they differ.

Pairs that the certificate was made from would flatter it: they, and pairs of their groups and
prompts, are left out and counted.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from app.reports.panel import Cascade, Panel
from calibration.agreement import percent_agreement
from calibration.cascade import composition
from calibration.labels import MISSING
from calibration.resampling import ClusterBootstrap, estimate_share

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def cascade_agreement(panel: Panel, bootstrap: ClusterBootstrap) -> dict[str, Any] | None:
    """Return coverage, agreement and cost of the cascade on pairs that are new to it.

    A pair whose verdict is not known, because a judge's score of it is not stored, is counted as
    `missing` and never as answered.
    """
    if panel.cascade is None:
        return None
    rest = panel.take(~panel.cascade.is_excluded)
    resamples = bootstrap.take(~panel.cascade.is_excluded)
    cascade, people = rest.cascade, rest.people
    assert cascade is not None
    answered = _answered(cascade)
    decided = people.decided
    everything = np.ones(len(rest), dtype=np.bool_)
    hits = cascade.label == decided
    by = np.where(answered, cascade.answered_by, MISSING)
    return {
        "pairs": len(rest),
        "coverage": asdict(estimate_share(answered, everything, resamples)),
        "agreement": asdict(estimate_share(hits, answered & (decided != MISSING), resamples)),
        "composition": _composition(cascade, by),
        "answered": int(answered.sum()),
        "abstained": int((~answered & ~cascade.is_missing).sum()),
        "missing": int(cascade.is_missing.sum()),
        **_cost(cascade),
        "excluded_calibration_pairs": int(panel.cascade.is_excluded.sum()),
    }


def abstention(panel: Panel, bootstrap: ClusterBootstrap) -> dict[str, Any] | None:
    """Return how well people agree where the cascade answers and where it abstains.

    The p-value is two-sided, for equal agreement, from the cluster bootstrap of the difference
    shifted to 0; None where a side has no pair with two votes.
    """
    if panel.cascade is None:
        return None
    rest = panel.take(~panel.cascade.is_excluded)
    resamples = bootstrap.take(~panel.cascade.is_excluded)
    assert rest.cascade is not None
    answered = _answered(rest.cascade)
    abstained = ~answered & ~rest.cascade.is_missing
    counts = rest.people.counts
    return {
        "human_agreement_answered": asdict(
            percent_agreement(counts[answered], resamples.take(answered))
        ),
        "human_agreement_abstained": asdict(
            percent_agreement(counts[abstained], resamples.take(abstained))
        ),
        "p_value": _p_value(counts.astype(np.float64), answered, abstained, resamples),
    }


def _answered(cascade: Cascade) -> BoolArray:
    # a tier that was passed over because its score is not stored may still change the verdict
    answered: BoolArray = (cascade.answered_by >= 0) & ~cascade.is_missing
    return answered


def _composition(cascade: Cascade, answered_by: npt.NDArray[np.int64]) -> dict[str, float]:
    """Share of all pairs that each judge answered."""
    shares = composition(answered_by, len(cascade.names))
    return dict(zip(cascade.names, map(float, shares), strict=True))


def _cost(cascade: Cascade) -> dict[str, float | None]:
    """Mean cost of a pair, also over that of asking the last judge; None where a price is unknown.

    The last judge's price is its mean over the pairs that it was asked about.
    """
    unknown = cascade.is_missing.any() or np.isnan(cascade.cost).any() or len(cascade.cost) == 0
    per_pair = None if unknown else float(cascade.cost.mean())
    priced = cascade.last_cost[~np.isnan(cascade.last_cost)]
    last = float(priced.mean()) if priced.size else 0.0
    relative = per_pair / last if per_pair is not None and last > 0 else None
    return {"cost_per_pair": per_pair if last > 0 else None, "relative_cost": relative}


def _p_value(
    counts: FloatArray, answered: BoolArray, abstained: BoolArray, resamples: ClusterBootstrap
) -> float | None:
    total = counts.sum(axis=1)
    agreeing, possible = (counts * (counts - 1)).sum(axis=1), total * (total - 1)
    parts = np.column_stack(
        [column * side for side in (answered, abstained) for column in (agreeing, possible)]
    )
    used = parts.any(axis=1)
    present = resamples.take(used)
    value = float(_difference(parts.sum(axis=0, keepdims=True))[0])
    if not np.isfinite(value) or not used.any():
        return None
    draws = np.concatenate([_difference(sums) for sums in present.totals(parts[used])])
    draws = draws[np.isfinite(draws)]
    if not present.is_enough(draws.size):
        return None
    as_far = int((np.abs(draws - value) >= abs(value)).sum())
    return float((1 + as_far) / (1 + draws.size))


def _difference(sums: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        difference: FloatArray = sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3]
    return difference
