"""What other targets would get on the present labels (POST /plans), and the curve of a certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.calibrations.evidence import certify, hash_of_others
from app.calibrations.inputs import (
    CalibrationInputs,
    Prepared,
    gather,
    hash_of_scores,
    hash_of_test,
    prepare,
)
from app.calibrations.result import advise_on, saved_labels, status
from app.calibrations.schemas import (
    CalibrationIn,
    ErrorShare,
    JudgeOrder,
    LabelRule,
    Methods,
    Name,
    Queues,
    Scope,
    Share,
    Ties,
    as_asked,
    shown_target,
)
from app.calibrations.service import pool_scores
from app.calibrations.stored import find
from app.core.errors import Conflict, TribunalError, Unprocessable
from app.core.runtime import Runtime
from app.datasets.splits import Part
from app.labels import sets
from app.scores.store import is_recorded
from app.scores.table import ScoreTable, load_table
from calibration import Certificate
from calibration.arrays import BoolArray, FloatArray
from calibration.certify import Heard, Rule
from calibration.errors import CalibrationError
from calibration.labels import MISSING, A
from calibration.plan import Advice
from calibration.reliability import risk_coverage_band

_MAX_ERRORS = (0.02, 0.05, 0.1)


class PlanIn(BaseModel):
    """Which targets to look at, for which cascade, on which labels."""

    model_config = ConfigDict(extra="forbid")
    dataset: Name = Field(description="id or name")
    cascade: Name | JudgeOrder = "default"
    target_agreements: list[Share] = Field([0.8, 0.85, 0.9], min_length=1, max_length=50)
    scope: Scope = Field("answered", description="as for a certificate")
    max_errors: list[ErrorShare] | None = Field(
        None,
        min_length=1,
        max_length=50,
        description="for scope dataset, in place of target_agreements; default: 0.02, 0.05, 0.1",
    )
    failure_probability: Share = 0.1
    label_rule: LabelRule = "majority"
    ties: Ties = "exclude"
    part: Part | None = None
    method: Methods = "auto"
    pool: Name | None = Field(None, description="a dataset of unlabelled pairs for the start")
    queues: Queues | None = None
    max_group_size: int | None = Field(None, ge=1, le=10_000)
    min_label_probability: float | None = Field(None, gt=0, le=1)
    seed: int = Field(0, ge=0, lt=2**63)

    def as_calibrations(self) -> list[CalibrationIn]:
        """Return the calibrations that a plan looks ahead to, one for each target.

        Raises:
            Unprocessable: the method has no plan.
        """
        if self.method == "weighted":
            raise Unprocessable.field(["method"], "weighted certificates have no plan: ask for one")
        given = self.model_dump(exclude={"target_agreements", "max_errors"})
        name, targets = "target_agreement", self.target_agreements
        if self.scope == "dataset":
            name, targets = "max_error", self.max_errors or list(_MAX_ERRORS)
        return [CalibrationIn.model_validate({**given, name: target}) for target in targets]

    @model_validator(mode="after")
    def _looks_at_one_thing(self) -> Self:
        """Refuse targets that the scope does not have.

        Raises:
            Unprocessable: names the field.
        """
        if self.scope == "answered" and self.max_errors is not None:
            raise Unprocessable.field(["max_errors"], 'goes with "scope": "dataset"')
        if self.scope == "dataset" and "target_agreements" in self.model_fields_set:
            raise Unprocessable.field(
                ["target_agreements"],
                "does not go with scope dataset, whose promise is on all pairs: give max_errors",
            )
        return self


@dataclass(frozen=True, slots=True)
class Look:
    """The evidence of a plan: labelled pairs whose scores are stored, and how many lack them."""

    prepared: Prepared
    evidence: CalibrationInputs
    judges: tuple[str, ...]
    not_scored: int


async def make(running: Runtime, request: PlanIn) -> dict[str, Any]:
    """Return the outlook for each target; pairs that lack a stored score are counted, not used.

    No judge is asked but those in this process that cost nothing, for the pool. Looking counts as
    using: the ledger of the labels' uses records what was looked at.

    Raises:
        Unprocessable: nothing is left to plan on.
    """
    with running.pools.experiments.admitted():
        return await _made(running, request)


async def _made(running: Runtime, request: PlanIn) -> dict[str, Any]:
    wanted = request.as_calibrations()
    look = await look_at(running, wanted[0])
    evidence = look.evidence
    pool = await pool_scores(running, look.prepared)
    try:
        points = await running.pools.experiments.run_for_client(_frontier, request, evidence, pool)
    except CalibrationError as error:
        raise Unprocessable.whole(str(error)) from error
    await record(running, wanted, look, pool)
    return {
        "object": "plan",
        "dataset": look.prepared.dataset.id,
        "failure_probability": request.failure_probability,
        "pairs": len(evidence.keys),
        "groups": int(evidence.groups.max()) + 1,
        "labelled_groups": evidence.every.groups,
        "not_scored": look.not_scored,
        "frontier": [_show(look.judges, evidence, *point) for point in points],
        "claim": (
            "This is a plan and promises nothing: each row says what a certificate for that target "
            "would say. A promise does not hold for a certificate that you choose because its row "
            "looks best here; for several targets declare a menu, whose certificates hold together."
        ),
    }


async def look_at(running: Runtime, wanted: CalibrationIn) -> Look:
    """Collect the labelled pairs of a calibration whose scores are stored; ask no judge.

    Raises:
        Unprocessable: no labelled pair has scores of all judges.
    """
    prepared = await prepare(running, wanted)
    judges = prepared.judges
    live = [not is_recorded(judge.spec) for judge in judges]
    async with running.db.read() as session:
        table = await load_table(session, prepared.dataset, prepared.sample.keys, judges)
    scored = np.flatnonzero((table.is_known | ~np.array(live)).all(axis=1))
    if not scored.size and prepared.sample.keys:
        raise Unprocessable.field(["dataset"], _not_scored(prepared, table, live))
    evidence = gather(wanted, prepared.sample.rows(scored), table.rows(scored))
    return Look(prepared, evidence, table.judges, len(prepared.sample.keys) - len(scored))


def _not_scored(prepared: Prepared, table: ScoreTable, live: list[bool]) -> str:
    """Name the judges that were never asked, and how to ask them; recorded ones cannot be."""
    unasked = [
        name
        for name, is_live, known in zip(table.judges, live, table.is_known.T, strict=True)
        if is_live and not known.any()
    ]
    name = prepared.dataset.name
    if not unasked:
        return "no labelled pair has stored scores of all judges: certify or batch first"
    batches = ", ".join(f"tribunal batch {name} --judges {judge}" for judge in unasked)
    return (
        f"no labelled pair has stored scores of {', '.join(unasked)}: no judge is asked here; a batch "
        f"of each judge alone asks it about every pair ({batches})"
    )


async def record(
    running: Runtime, wanted: list[CalibrationIn], look: Look, pool: ScoreTable | None
) -> None:
    """Record a plan or an experiment in the ledger of the labels' uses.

    Args:
        running: The service.
        wanted: The certificates that were looked ahead to.
        look: The labels.
        pool: What those certificates would read beside them.
    """
    evidence = look.evidence
    label_set = sets.label_set_hash(evidence.keys, look.prepared.votes)
    fingerprints, scores = look.prepared.fingerprints, hash_of_scores(evidence)
    others = hash_of_others(evidence, pool)
    tests = {
        hash_of_test(one, fingerprints, label_set, scores, others): one.failure_probability
        for one in wanted
    }
    async with running.db.write() as session:
        await sets.record(session, sets.marks(evidence.keys), tests, is_plan=True)


def _frontier(
    request: PlanIn, evidence: CalibrationInputs, pool: ScoreTable | None
) -> list[tuple[Certificate, Advice, Certificate | None]]:
    points = []
    for wanted in request.as_calibrations():
        # every point is the certificate that this request would get
        certificate = certify(wanted, evidence, pool, np.random.default_rng(wanted.seed))
        advice = advise_on(wanted, evidence, has_pool=pool is not None)
        points.append((certificate, advice, _cheapest(wanted, certificate, evidence, pool)))
    return points


# coverages this near to each other count as the same
_SAME_COVERAGE = 0.01


def _cheapest(
    wanted: CalibrationIn, found: Certificate, evidence: CalibrationInputs, pool: ScoreTable | None
) -> Certificate | None:
    """Return what judges heard one at a time would get, where it is cheaper and answers as much."""
    if found.columns == "raw" or not found.is_certified or None in evidence.costs:
        return None
    raw = wanted.model_copy(update={"method": "auto_raw"})
    other = certify(raw, evidence, pool, np.random.default_rng(wanted.seed))
    is_near = other.is_certified and other.coverage >= found.coverage - _SAME_COVERAGE
    return other if is_near and other.cost_per_pair < found.cost_per_pair else None


def _show(
    judges: tuple[str, ...],
    evidence: CalibrationInputs,
    point: Certificate,
    advice: Advice,
    cheapest: Certificate | None,
) -> dict[str, Any]:
    is_priced, is_whole = None not in evidence.costs, point.scope == "dataset"
    bound = point.risk_upper_bound if point.is_certified else None
    whole = {
        "saved_labels": saved_labels(point),
        "error_upper_bound": bound,
        "saving": advice.saving,
    }
    return {
        **shown_target(point.target_risk, point.scope),
        "status": status(point),
        "method": point.method,
        "cheapest": None
        if cheapest is None
        else {
            "method": cheapest.method,
            "coverage": cheapest.coverage,
            "cost_per_pair": cheapest.cost_per_pair,
            "relative_cost": cheapest.relative_cost,
        },
        "pairs": point.n,
        "answered": point.answered,
        "coverage": point.coverage,
        "agreement": point.agreement,
        "agreement_lower_bound": None if bound is None or is_whole else 1 - bound,
        **(whole if is_whole else {}),
        "composition": dict(zip(judges, map(float, point.composition), strict=True)),
        "cost_per_pair": point.cost_per_pair if is_priced else None,
        "relative_cost": point.relative_cost if is_priced else None,
        "labels_needed": advice.labels_needed,
    }


async def curve(running: Runtime, certificate_id: str) -> dict[str, Any]:
    """Return how often a certificate's cascade is wrong as it answers more; asks no judge.

    The labelled pairs are ranked: first those that it answers, the surest first, then those on which
    it abstains, by the confidence of the judge that was asked last. The curve passes through what
    the certificate answers, and says what answering more, or less, would be like. It promises nothing.

    Raises:
        NotFound: no certificate has this id.
        Conflict: it has no single curve, or what it was made from is gone.
    """
    certificate = await find(running, certificate_id)
    if certificate.status not in ("certified", "not_certifiable"):
        raise Conflict(f"calibration {certificate_id} is {certificate.status}: it has no curve")
    wanted = as_asked(certificate.request)
    if wanted.slices is not None or wanted.method == "weighted":
        raise Conflict(
            "every slice has thresholds of its own, or pairs count differently: no curve"
        )
    with running.pools.experiments.admitted():
        try:
            look = await look_at(running, wanted)
        except TribunalError as error:
            raise Conflict(
                f"the labels or scores that it was made from are gone: {error}"
            ) from error
        if look.prepared.fingerprints != [*certificate.body["fingerprints"].values()]:
            raise Conflict("its judges are configured otherwise now, or are gone")
        if look.evidence.weights is not None or (look.evidence.exposure != 1).any():
            raise Conflict("its pairs count differently: no curve")
        points = await running.pools.experiments.run_for_client(
            _curve, wanted, look.evidence, certificate.body
        )
    figures = certificate.body["calibration"]
    agreement, bound = figures["agreement"], figures["agreement_lower_bound"]
    is_certified = certificate.status == "certified" and agreement is not None
    return {
        "object": "curve",
        "calibration": certificate_id,
        "pairs": len(look.evidence.keys),
        "limits": "simultaneous",
        "points": points,
        "certified": {
            "coverage": figures["coverage"],
            "risk": 1 - agreement,
            "upper_bound": None if bound is None else 1 - bound,
        }
        if is_certified
        else None,
    }


def _curve(
    wanted: CalibrationIn, evidence: CalibrationInputs, certificate: Mapping[str, Any]
) -> list[dict[str, Any]]:
    sure, right = _ranked(wanted, evidence, certificate)
    band = risk_coverage_band(sure, right, evidence.groups)
    return [
        {
            "coverage": float(band.coverage[k]),
            "risk": {
                "value": float(band.risk[k]) if band.answered[k] else None,
                "low": float(band.low[k]),
                "high": float(band.high[k]),
                "confidence_level": band.confidence_level,
                "n": int(band.answered[k]),
            },
        }
        for k in range(len(band.thresholds))
    ]


def _ranked(
    wanted: CalibrationIn, evidence: CalibrationInputs, certificate: Mapping[str, Any]
) -> tuple[FloatArray, FloatArray]:
    """Return how early each pair is answered, nan for never, and how far people agree; shape (n,)."""
    n_judges = evidence.p_a.shape[1]
    weights = certificate.get("weights")
    heard = Heard(
        certificate.get("columns", "raw"),
        n_judges,
        None if weights is None else np.array([[w["log_odds"], w["sign"]] for w in weights]),
    )
    confidence, correct = evidence.confidence, evidence.correct
    if wanted.ties != "class":
        label, said = heard.said(evidence.p_a, evidence.p_tie)
        confidence = np.where(label == MISSING, np.nan, said)
        correct = np.where(label == A, evidence.agreement[:, :1], evidence.agreement[:, 1:])
    own = [one["threshold"] for one in certificate["thresholds"]]
    thresholds = np.array([np.inf if one is None else one for one in own])
    surest, right, is_answered = _decided(heard, confidence, correct, thresholds)
    last = np.append(np.full(n_judges - 1, np.inf), 0.0)
    others, other_right, is_known = _decided(heard, confidence, correct, last)
    rank = np.where(is_answered, 0.5 + surest / 2, np.where(is_known, others / 2, np.nan))
    return rank, np.where(is_answered, right, np.where(is_known, other_right, 0.0))


def _decided(
    heard: Heard, confidence: FloatArray, correct: FloatArray, thresholds: FloatArray
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return confidence and agreement of what these thresholds answer, and where they answer."""
    _, column = heard.layout.decided(confidence, Rule(heard.columns, thresholds))
    at = np.arange(len(column)), np.maximum(column, 0)
    return confidence[at], correct[at], column >= 0
