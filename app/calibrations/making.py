"""Asks what is owed, and certifies: from a prepared calibration to what was found."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.asking import ask_missing, missing_scores
from app.calibrations.evidence import Evidence, gather, opinions
from app.calibrations.preparation import Prepared
from app.calibrations.result import Found, advise_on
from app.calibrations.schemas import CalibrationIn, Ties
from app.runtime import Runtime
from app.score_store import is_recorded
from app.scoring import ScoreTable, load_table
from calibration import certify_cascade
from calibration.arrays import FloatArray

# a pool fixes one or two quantiles: more pairs than this sharpen nothing, fewer than this are noise
_POOL_AT_MOST, _POOL_AT_LEAST = 1_000, 30


@dataclass(frozen=True, slots=True)
class Made:
    """The evidence of a calibration and what was found on it."""

    evidence: Evidence
    found: Found


async def make(running: Runtime, request: CalibrationIn, prepared: Prepared) -> Made:
    """Ask the judges for what they owe, and certify.

    Raises:
        CalibrationError: the labels do not fit the request.
        Unprocessable: no pair is left to calibrate on, or a field does not fit the labels.
    """
    for judge in prepared.judges:
        await ask_missing(running, judge, prepared.dataset, prepared.sample.keys)
    evidence = gather(request, prepared.sample, await _sample_scores(running, prepared))
    pool = await pool_confidences(running, prepared, request.ties)
    return Made(evidence, await asyncio.to_thread(_certify, request, evidence, pool))


async def is_quick(running: Runtime, prepared: Prepared) -> bool:
    """Whether no judge must be asked that costs money or time."""
    owed = 0
    for judge in prepared.judges:
        missing = len(await missing_scores(running, judge, prepared.sample.keys))
        if missing and not judge.spec.is_local:
            return False
        owed += missing
    return owed <= running.settings.inline_scores


async def _sample_scores(running: Runtime, prepared: Prepared) -> ScoreTable:
    async with running.db.read() as session:
        return await load_table(session, prepared.dataset, prepared.sample.keys, prepared.judges)


async def pool_confidences(running: Runtime, prepared: Prepared, ties: Ties) -> FloatArray | None:
    """Return the pool's confidences, None where too few of its pairs have scores.

    Nobody is asked for the pool's sake but judges that cost neither money nor time.
    """
    local = [j for j in prepared.judges if j.spec.is_local and not is_recorded(j.spec)]
    others = [judge for judge in prepared.judges if judge not in local]
    async with running.db.read() as session:
        known = await load_table(session, prepared.pool_dataset, prepared.pool, others)
    ready = [key for key, row in zip(prepared.pool, known.is_known, strict=True) if row.all()]
    if len(ready) < _POOL_AT_LEAST:
        return None
    ready = ready[:_POOL_AT_MOST]
    for judge in local:
        await ask_missing(running, judge, prepared.pool_dataset, ready)
    async with running.db.read() as session:
        table = await load_table(session, prepared.pool_dataset, ready, prepared.judges)
    return opinions(table, ties)[1]


def certification(
    request: CalibrationIn, evidence: Evidence, pool: FloatArray | None
) -> dict[str, Any]:
    """Return what a certificate of any target is made with, for the library to take."""
    costs = [cost for cost in evidence.costs if cost is not None]
    return {
        "costs": costs if len(costs) == len(evidence.costs) else None,
        "failure_probability": request.failure_probability,
        "groups": evidence.groups,
        "max_group_size": request.max_group_size,
        "weights": evidence.weights,
        "min_label_probability": request.min_label_probability,
        "exposure": evidence.exposure,
        "pool": pool,
        "method": request.method,
        "rng": np.random.default_rng(request.seed),
    }


def _certify(request: CalibrationIn, evidence: Evidence, pool: FloatArray | None) -> Found:
    certificate = certify_cascade(
        evidence.confidence,
        evidence.correct,
        target_risk=round(1 - request.target_agreement, 12),
        slices=evidence.slices,
        slice_rule=request.slice_rule,
        menu=[round(1 - target, 12) for target in request.menu] if request.menu else None,
        **certification(request, evidence, pool),
    )
    advice = advise_on(request, evidence, has_pool=pool is not None)
    return Found(certificate, advice, 0 if pool is None else len(pool))
