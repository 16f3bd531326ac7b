"""The frontier of agreement, coverage and cost, from stored scores alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np

from app.calibrations.evidence import Evidence, gather
from app.calibrations.preparation import prepare
from app.errors import Unprocessable
from app.plans.schemas import PlanIn
from app.runtime import Runtime
from app.scoring import is_recorded, load_table
from calibration.errors import CalibrationError
from calibration.planning import FrontierPoint, frontier


async def make(running: Runtime, request: PlanIn) -> dict[str, Any]:
    """Return what each target would get. Pairs that lack a stored score are left out and counted.

    Raises:
        NotFound: there is no such dataset.
        Unprocessable: nothing is left to plan on.
    """
    wanted = request.as_calibration()
    prepared = await prepare(running, wanted)
    judges = prepared.judges
    live = [not is_recorded(judge.spec) for judge in judges]
    async with running.db.read() as session:
        table = await load_table(session, prepared.dataset, prepared.sample.keys, judges)
    scored = np.flatnonzero((table.is_known | ~np.array(live)).all(axis=1))
    if not scored.size:
        raise Unprocessable.field(
            ["dataset"], "no labelled pair has stored scores of all judges: certify or batch first"
        )
    sample = replace(
        prepared.sample,
        keys=tuple(prepared.sample.keys[i] for i in scored),
        counts=prepared.sample.counts[scored],
    )
    evidence = gather(wanted, sample, table.rows(scored))
    try:
        points = await asyncio.to_thread(_frontier, request, evidence)
    except CalibrationError as error:
        raise Unprocessable.whole(str(error)) from error
    return {
        "object": "plan",
        "dataset": prepared.dataset.id,
        "failure_probability": request.failure_probability,
        "pairs": len(evidence.keys),
        "groups": int(evidence.groups.max()) + 1,
        "not_scored": len(prepared.sample.keys) - len(scored),
        "frontier": [_show(table.judges, evidence, point) for point in points],
        "claim": (
            "A plan, no promise: each row says what a certificate for that target alone would say."
        ),
    }


def _frontier(request: PlanIn, evidence: Evidence) -> tuple[FrontierPoint, ...]:
    costs = [cost for cost in evidence.costs if cost is not None]
    return frontier(
        evidence.confidence,
        evidence.correct,
        [round(1 - target, 12) for target in request.target_agreements],
        rng=np.random.default_rng(request.seed),
        failure_probability=request.failure_probability,
        costs=costs if len(costs) == len(evidence.costs) else None,
        groups=evidence.groups,
    )


def _show(judges: tuple[str, ...], evidence: Evidence, point: FrontierPoint) -> dict[str, Any]:
    is_priced = None not in evidence.costs
    return {
        "target_agreement": round(1 - point.target_risk, 12),
        "status": "certified" if point.is_certified else "not_certifiable",
        "coverage": point.coverage,
        "agreement": point.agreement,
        "agreement_lower_bound": 1 - point.risk_upper_bound if point.is_certified else None,
        "composition": dict(zip(judges, map(float, point.composition), strict=True)),
        "cost_per_pair": point.cost_per_pair if is_priced else None,
        "relative_cost": point.relative_cost if is_priced else None,
        "labels_needed": point.labels_needed,
    }
