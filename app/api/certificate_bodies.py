"""Bodies of certificates, plans and experiments."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

from app.api.bodies import Estimate


class Threshold(TypedDict):
    """A judge answers where its confidence is at least `threshold`; None: never."""

    judge: str
    threshold: float | None


class _Attendance(TypedDict):
    asked: int
    failed: int


class JudgeFailures(_Attendance, total=False):
    """How often a judge was asked, how often it gave no score, and perhaps why the first time."""

    first_reason: str | None


class CalibrationFigures(TypedDict):
    """What a certificate was tested on, and what came out."""

    pairs: int
    groups: int
    answered: float
    disagreements: float
    coverage: float
    agreement: float | None
    agreement_lower_bound: float | None
    composition: dict[str, float]
    cost_per_pair: float | None
    relative_cost: float | None
    pool: int
    set_aside: int
    held_for_examples: int
    seen_in_training: int
    failures: dict[str, JudgeFailures]


class Advice(TypedDict):
    """What the labels could certify, and how many the target needs."""

    certifiable_agreement: float | None
    certifiable_coverage: float | None
    labels_needed: int | None
    text: str


class _Calibration(TypedDict):
    id: str
    status: Literal["pending", "running", "certified", "not_certifiable", "failed"]
    target_agreement: float
    failure_probability: float
    error: str | None
    request: dict[str, Any]
    created_at: str
    revoked_at: str | None


class CertificateBody(_Calibration, total=False):
    """A certificate; what it rests on is there when it is made."""

    method: str
    claim: str
    thresholds: list[Threshold]
    calibration: CalibrationFigures
    fingerprints: dict[str, str]
    label_set_hash: str
    label_set_uses: int
    label_set_plans: int
    labels_changed: int
    advice: Advice
    certificates: list[dict[str, Any]]


class FrontierRow(TypedDict):
    """What one target would get."""

    target_agreement: float
    status: Literal["certified", "not_certifiable"]
    coverage: float | None
    agreement: float | None
    agreement_lower_bound: float | None
    composition: dict[str, float]
    cost_per_pair: float | None
    relative_cost: float | None
    labels_needed: int | None


class PlanBody(TypedDict):
    """The frontier of agreement, coverage and cost."""

    frontier: list[FrontierRow]
    claim: str


class KnownPromptsBody(TypedDict):
    """Which prompts a certificate knows, in the order in which they were asked about."""

    calibration: str
    known: list[bool]


class ExperimentRow(TypedDict):
    """What one rule for choosing thresholds did over the splits, at one target."""

    target_agreement: float
    rule: str
    composition: dict[str, Estimate]
    coverage: Estimate
    agreement: Estimate
    success_rate: Estimate
    population_success_rate: Estimate
    silent_rate: Estimate
    relative_cost: Estimate | None
    unavailable: str | None


class ExperimentBody(TypedDict):
    """Rules for choosing thresholds, compared over random splits of the labels."""

    dataset: str
    judges: list[str]
    pairs: int
    groups: int
    splits: int
    calibration_pairs: float
    test_pairs: float
    rows: list[ExperimentRow]
    claim: str
