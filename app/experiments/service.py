"""Compares rules for choosing thresholds on stored scores and labels; no judge is asked."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import numpy as np

from app.calibrations.evidence import Evidence
from app.errors import Unprocessable
from app.experiments.schemas import ExperimentIn
from app.plans.service import look_at, record
from app.runtime import Runtime
from calibration.errors import CalibrationError
from calibration.plan import Design, Experiment, RuleFigures, compare_rules

_CLAIM = (
    "A comparison, no promise: splits of one set of labels. The intervals are of the splitting; "
    "other pairs would move every number further. A held-out side misses a target now and then by "
    "its own noise; what a certificate bounds is how often all pairs miss it."
)


async def make(running: Runtime, request: ExperimentIn) -> dict[str, Any]:
    """Return what every rule did at every target. Pairs without a stored score are left out.

    Looking is using: the labels were looked at, and their ledger says so.

    Raises:
        NotFound: there is no such dataset.
        Unprocessable: nothing is left to split, or a rule or number does not fit.
    """
    wanted = request.as_calibration()
    look = await look_at(running, wanted)
    if request.costs is not None and len(request.costs) != len(look.judges):
        raise Unprocessable.field(
            ["costs"], f"there are {len(look.judges)} judges, and {len(request.costs)} costs"
        )
    try:
        found = await asyncio.to_thread(_compare, request, look.evidence)
    except CalibrationError as error:
        raise Unprocessable.whole(str(error)) from error
    seen = [
        wanted.model_copy(update={"target_agreement": target})
        for target in request.target_agreements
    ]
    await record(running, seen, look)
    return {
        "object": "experiment",
        "dataset": look.prepared.dataset.id,
        "judges": list(look.judges),
        "failure_probability": request.failure_probability,
        "pairs": len(look.evidence.keys),
        "groups": int(look.evidence.groups.max()) + 1,
        "not_scored": look.not_scored,
        "undecided": look.evidence.undecided,
        "ties_left_out": look.evidence.tied,
        "splits": found.n_splits,
        "calibration_pairs": found.calibration_pairs,
        "test_pairs": found.test_pairs,
        "rows": [_row(look.judges, figures) for figures in found.figures],
        "claim": _CLAIM,
    }


def _compare(request: ExperimentIn, evidence: Evidence) -> Experiment:
    known = [cost for cost in evidence.costs if cost is not None]
    costs = request.costs or (known if len(known) == len(evidence.costs) else None)
    return compare_rules(
        evidence.confidence,
        evidence.correct,
        target_risks=[round(1 - target, 12) for target in request.target_agreements],
        rng=np.random.default_rng(request.seed),
        design=Design(
            request.splits,
            request.calibration_share,
            request.calibration_pairs,
            request.confidence_level,
        ),
        rules=request.rules,
        costs=costs,
        failure_probability=request.failure_probability,
        groups=evidence.groups,
        max_group_size=request.max_group_size,
        weights=evidence.weights,
        min_label_probability=request.min_label_probability,
        exposure=evidence.exposure,
    )


def _row(judges: tuple[str, ...], figures: RuleFigures) -> dict[str, Any]:
    body = asdict(figures)
    risk = body.pop("target_risk")
    shares = zip(judges, body.pop("composition"), strict=True)
    return {"target_agreement": round(1 - risk, 12), **body, "composition": dict(shares)}
