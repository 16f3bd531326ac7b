"""How well every two judges agree with each other, over the pairs on which both said a or b.

Dozens of judges make thousands of couples. Agreement and kappa of a couple both follow from four
counts, so the resamples of many couples are one matrix product.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import combinations, islice
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.reports.panel import Judged
from calibration.labels import A, B
from calibration.resampling import ClusterBootstrap, estimate_from_draws

FloatArray = npt.NDArray[np.float64]
Couple = tuple[int, int]

_CELLS: Final = ((A, A), (A, B), (B, A), (B, B))
_AT_ONCE: Final = 64


def judge_pairs(judged: Judged, bootstrap: ClusterBootstrap) -> list[dict[str, Any]]:
    """Return agreement and Cohen's kappa of every two judges."""
    couples = combinations(range(len(judged.names)), 2)
    found: list[dict[str, Any]] = []
    while some := list(islice(couples, _AT_ONCE)):
        found += _agreements(judged, some, bootstrap)
    return found


def _agreements(
    judged: Judged, couples: list[Couple], bootstrap: ClusterBootstrap
) -> list[dict[str, Any]]:
    label = judged.label
    parts = np.column_stack(
        [
            (label[:, one] == first) & (label[:, other] == second)
            for one, other in couples
            for first, second in _CELLS
        ]
    ).astype(np.float64)
    drawn = list(bootstrap.totals(parts)) if len(parts) else []
    draws = np.concatenate(drawn) if drawn else np.zeros((0, parts.shape[1]))
    return [
        {
            "judges": [judged.names[one], judged.names[other]],
            **_estimates(parts[:, at : at + 4], draws[:, at : at + 4], bootstrap),
        }
        for at, (one, other) in zip(range(0, parts.shape[1], 4), couples, strict=True)
    ]


def _estimates(
    parts: FloatArray, draws: FloatArray, bootstrap: ClusterBootstrap
) -> dict[str, dict[str, Any]]:
    present = bootstrap.take(parts.any(axis=1))
    sums, n = parts.sum(axis=0, keepdims=True), int(parts.sum())
    agreement = estimate_from_draws(
        float(_agreement(sums)[0]), _agreement(draws), n, present, is_share=True
    )
    kappa = estimate_from_draws(float(_kappa(sums)[0]), _kappa(draws), n, present)
    return {"agreement": asdict(agreement), "cohens_kappa": asdict(kappa)}


def _agreement(cells: FloatArray) -> FloatArray:
    total = cells.sum(axis=1)
    same = cells[:, 0] + cells[:, 3]
    share: FloatArray = np.divide(same, total, out=np.full_like(total, np.nan), where=total > 0)
    return share


def _kappa(cells: FloatArray) -> FloatArray:
    """1 - observed over expected disagreement (Cohen 1960), with the margins of two classes."""
    total = cells.sum(axis=1)
    first, second = cells[:, 0] + cells[:, 1], cells[:, 0] + cells[:, 2]
    expected = first * (total - second) + (total - first) * second
    observed = (cells[:, 1] + cells[:, 2]) * total
    ratio = np.divide(observed, expected, out=np.full_like(total, np.nan), where=expected > 0)
    kappa: FloatArray = 1 - ratio
    return kappa
