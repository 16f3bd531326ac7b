"""What a cascade costs beside asking the dearest judge on everything."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from app.reports.panel import Cascade
from calibration.arrays import BoolArray, FloatArray
from calibration.intervals import ClusterBootstrap, estimate_mean, estimate_statistic


def contract_costs(cascade: Cascade) -> dict[str, float | None]:
    """Mean cost of a pair, also over that of asking the last judge; None where a price is unknown.

    The last judge's price is its mean over the pairs that it was asked about.
    """
    unknown = cascade.is_missing.any() or np.isnan(cascade.cost).any() or len(cascade.cost) == 0
    per_pair = None if unknown else float(cascade.cost.mean())
    priced = cascade.last_cost[~np.isnan(cascade.last_cost)]
    last = float(priced.mean()) if priced.size else 0.0
    relative = per_pair / last if per_pair is not None and last > 0 else None
    return {"cost_per_pair": per_pair if last > 0 else None, "relative_cost": relative}


def cost_estimates(cascade: Cascade, resamples: ClusterBootstrap) -> dict[str, Any]:
    """The cascade's cost of a pair and the last judge's, their ratio and difference.

    Each mean is over the pairs where that cost is known: a live judge's only where it was asked.
    `n` of the ratio and the difference counts the pairs whose cost in the cascade is known.
    """
    known = ~np.isnan(cascade.cost) & ~cascade.is_missing
    priced = ~np.isnan(cascade.last_cost)
    parts = np.column_stack(
        [
            np.where(known, cascade.cost, 0.0), known,
            np.where(priced, cascade.last_cost, 0.0), priced,
        ]
    ).astype(np.float64)  # fmt: skip
    n = int(known.sum())
    return {
        "per_pair": _mean_cost(cascade.cost, known, resamples),
        "dearest_per_pair": _mean_cost(cascade.last_cost, priced, resamples),
        "relative": asdict(estimate_statistic(parts, _ratio, n, resamples)),
        "saved_per_pair": asdict(estimate_statistic(parts, _saved, n, resamples)),
    }


def _mean_cost(cost: FloatArray, rows: BoolArray, resamples: ClusterBootstrap) -> dict[str, Any]:
    return asdict(estimate_mean(cost[rows], resamples.take(rows), within=(0.0, np.inf)))


def _ratio(sums: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: FloatArray = (sums[:, 0] / sums[:, 1]) / (sums[:, 2] / sums[:, 3])
    return ratio


def _saved(sums: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        saved: FloatArray = sums[:, 2] / sums[:, 3] - sums[:, 0] / sums[:, 1]
    return saved
