"""Experiments: threshold rules compared on many random splits of the labels."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.calibrations.inputs import CalibrationInputs
from app.calibrations.plans import look_at, record
from app.calibrations.schemas import CalibrationIn, JudgeOrder, Name, Queues, Share, Ties
from app.calibrations.service import pool_scores
from app.core.errors import Unprocessable
from app.core.runtime import Runtime
from app.datasets.splits import Part
from calibration.errors import CalibrationError
from calibration.plan import (
    BASELINES,
    DEFAULT_RULES,
    Design,
    Experiment,
    RuleFigures,
    compare_rules,
)

# this many take some minutes of one core
MOST_CELLS = 100_000
_NOT_ASKED = {"target_agreements", "rules", "splits", "calibration_share", "calibration_pairs",
              "costs", "confidence_level"}  # fmt: skip


class ExperimentIn(BaseModel):
    """Which rules to compare, at which targets, on how many splits of which labels."""

    model_config = ConfigDict(extra="forbid")
    dataset: Name = Field(description="id or name")
    cascade: Name | JudgeOrder = "default"
    target_agreements: list[Share] = Field([0.8, 0.85, 0.9], min_length=1, max_length=16)
    rules: list[Name] = Field(
        list(DEFAULT_RULES), min_length=1, max_length=16,
        description=f"{', '.join(BASELINES)}, or any method of a calibration",
    )  # fmt: skip
    splits: int = Field(1_000, ge=1, le=10_000, description="number of random splits, by group")
    calibration_share: Share = Field(0.5, description="share of the groups that calibrates")
    calibration_pairs: int | None = Field(
        None, ge=1, description="instead: whole groups until this many pairs would be exceeded"
    )
    costs: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = Field(
        None, max_length=16, description="cost of asking each judge; default: what was recorded"
    )
    failure_probability: Share = 0.1
    label_rule: Literal["majority", "random_annotator"] = "majority"
    ties: Ties = "exclude"
    part: Part | None = None
    queues: Queues | None = None
    max_group_size: int | None = Field(None, ge=1, le=10_000)
    min_label_probability: float | None = Field(None, gt=0, le=1)
    confidence_level: Share = Field(0.95, description="of the Monte-Carlo intervals")
    seed: int = Field(0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _is_bearable(self) -> Self:
        cells = self.splits * len(self.target_agreements) * len(self.rules)
        if cells > MOST_CELLS:
            raise ValueError(
                f"splits x target_agreements x rules are {cells}, more than {MOST_CELLS}"
            )
        return self

    def as_calibration(self) -> CalibrationIn:
        """Return the calibration whose labels and judges are looked at."""
        given: dict[str, Any] = self.model_dump(exclude=_NOT_ASKED)
        return CalibrationIn.model_validate(
            {**given, "target_agreement": self.target_agreements[0]}
        )


_CLAIM = (
    "A comparison, no promise: splits of one set of labels. The intervals are of the splitting; "
    "other pairs would move every number further. A held-out side misses a target now and then by "
    "its own noise; what a certificate bounds is how often all pairs miss it."
)


async def make(running: Runtime, request: ExperimentIn) -> dict[str, Any]:
    """Return the results of every rule at every target, on pairs with stored scores.

    It counts as a use of the labels and is recorded in their ledger.

    Raises:
        Unprocessable: nothing is left to split, or a rule or number does not fit.
    """
    with running.pools.experiments.admitted():
        return await _made(running, request)


async def _made(running: Runtime, request: ExperimentIn) -> dict[str, Any]:
    wanted = request.as_calibration()
    look = await look_at(running, wanted)
    if request.costs is not None and len(request.costs) != len(look.judges):
        raise Unprocessable.field(
            ["costs"], f"there are {len(look.judges)} judges, and {len(request.costs)} costs"
        )
    try:
        found = await running.pools.experiments.run_for_client(_compare, request, look.evidence)
    except CalibrationError as error:
        raise Unprocessable.whole(str(error)) from error
    seen = [
        wanted.model_copy(update={"target_agreement": target})
        for target in request.target_agreements
    ]
    # no split reads the pool, but certificates of these targets would
    await record(running, seen, look, await pool_scores(running, look.prepared))
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


def _compare(request: ExperimentIn, evidence: CalibrationInputs) -> Experiment:
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
