"""What the methods of the client take, as typed dictionaries; the service checks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

LabelRule = Literal["majority", "random_annotator", "panel"]
Scope = Literal["answered", "dataset"]
Ties = Literal["exclude", "error", "half", "class"]


class Part(TypedDict):
    """One side of a split by group."""

    fraction: float
    seed: int
    side: Literal["calibration", "test"]


class JudgeOrder(TypedDict):
    """A cascade made for one request: judges from cheap to strong."""

    judges: Sequence[str]


class ImportOptions(TypedDict, total=False):
    """How a file is read."""

    dialect: str
    strict: bool
    map: Mapping[str, str] | str
    coding: Mapping[str | int, str | None] | str
    delimiter: str
    people: Sequence[str] | str
    judges: Sequence[str] | str


class CertifyRequest(TypedDict, total=False):
    """What a calibration is asked with; `dataset` is needed."""

    dataset: str
    cascade: str | JudgeOrder
    target_agreement: float
    scope: Scope
    max_error: float
    failure_probability: float
    method: str | Sequence[str]
    label_rule: LabelRule
    ties: Ties
    part: Part
    slices: str
    slice_rule: Literal["joint", "each", "common"]
    menu: Sequence[float]
    pool: str
    queues: Sequence[str]
    max_group_size: int
    min_label_probability: float
    max_shift: float
    traffic: str
    traffic_features: Sequence[str]
    max_ratio: float
    expires_in: str | int
    supersedes: str
    seed: int


class PlanRequest(TypedDict, total=False):
    """What a plan is asked with; `dataset` is needed."""

    dataset: str
    cascade: str | JudgeOrder
    target_agreements: Sequence[float]
    scope: Scope
    max_errors: Sequence[float]
    failure_probability: float
    label_rule: LabelRule
    ties: Ties
    part: Part
    method: str | Sequence[str]
    pool: str
    queues: Sequence[str]
    max_group_size: int
    min_label_probability: float
    seed: int


class ExperimentRequest(TypedDict, total=False):
    """What an experiment is asked with; `dataset` is needed."""

    dataset: str
    cascade: str | JudgeOrder
    target_agreements: Sequence[float]
    rules: Sequence[str]
    splits: int
    calibration_share: float
    calibration_pairs: int
    costs: Sequence[float]
    failure_probability: float
    label_rule: LabelRule
    ties: Ties
    part: Part
    queues: Sequence[str]
    max_group_size: int
    min_label_probability: float
    confidence_level: float
    seed: int


class JudgeRequest(TypedDict, total=False):
    """How posted pairs are judged."""

    calibration: str
    cascade: str | JudgeOrder
    deadline_s: float
    include: Literal["reasons"]


class CanariesRequest(TypedDict, total=False):
    """What canaries are asked with; `dataset` and `judges` are needed."""

    dataset: str
    judges: Sequence[str]
    pairs: int
    part: Part
    seed: int


class BatchRequest(TypedDict, total=False):
    """What a batch is asked with; `dataset` is needed, or `input` and `output` for files."""

    dataset: str
    input: str
    output: str
    dialect: str
    rows_per_part: int
    calibration: str
    cascade: str | JudgeOrder
    part: Part
    budget_usd: float
    budget: Literal["hard", "soft"]
    seed: int


class LeaderboardRequest(TypedDict, total=False):
    """What a leaderboard is asked with; `dataset` is needed."""

    dataset: str
    source: str
    calibration: str
    judge: str
    certified_only: bool
    method: str | Sequence[str]
    options: Mapping[str, float]
    ties: Literal["half", "exclude", "davidson"]
    votes: Literal["each", "majority", "mean_sign"]
    baseline: str
    soft: bool
    control: Sequence[Literal["length", "style"]]
    criteria: Mapping[str, float]
    confidence_level: float
    group_by: str
    slice_weights: Mapping[str, float]
    part: Part
    seed: int


class WhatIf(TypedDict, total=False):
    """What else to rank the verdicts of a stored leaderboard by."""

    criteria: Mapping[str, float]
    slice_weights: Mapping[str, float]
    group_by: str
    control: Sequence[Literal["length", "style", "none"]]
    source: str
    matrix: bool


class ReportQuery(TypedDict, total=False):
    """What an agreement report is asked with; `dataset` is needed. `part` is side:fraction:seed.

    Criteria are weighed by `criteria`, as for leaderboards, or by `criterion`, as NAME=WEIGHT.
    """

    dataset: str
    calibration: str | None
    judges: str | Sequence[str] | None
    group_by: str | None
    include: str | Sequence[str] | None
    criterion: Sequence[str] | None
    criteria: Mapping[str, float]
    part: str | None
    own: Sequence[str] | None
    epsilon: float
    seed: int
    confidence_level: float


class HealthRequest(TypedDict, total=False):
    """What a health card is asked with; `dataset` and `judge` are needed."""

    dataset: str
    judge: str
    lines: Mapping[str, float | None]
    calibration: str
    part: str
    own: Sequence[str]
    epsilon: float
    seed: int
    confidence_level: float


class HistoryQuery(TypedDict, total=False):
    """Whose figures are followed over time."""

    judge: str
    calibration: str


class ListQuery(TypedDict, total=False):
    """Where a list starts, how it is ordered, and how many rows are fetched at a time."""

    after: str
    limit: int
    order: Literal["asc", "desc"]


class FileQuery(ListQuery, total=False):
    """Which files are listed."""

    purpose: Literal["batch"]


class WantedQuery(TypedDict, total=False):
    """Which pairs of a dataset are meant, and in which order; what is not given does not matter."""

    judge: str
    status: Literal["accepted", "abstained", "failed", "unjudged"]
    people: Literal["agree", "disagree", "undecided", "unlabelled"]
    slice: str
    least: float
    most: float
    text: str
    sort: Literal["position", "surest", "least_sure"]
    after: str


class SearchQuery(WantedQuery, total=False):
    """Which pairs of a dataset are found, and how many."""

    limit: int


class VerdictQuery(ListQuery, total=False):
    """Which stored verdicts are listed."""

    dataset: str
    calibration: str
    batch: str
    status: Literal["accepted", "abstained", "failed"]
    include: Literal["reasons"]


class _Label(TypedDict):
    dataset: str
    annotator: str | None


class Label(_Label, total=False):
    """What one person says of a stored pair: of its id, `pair`, or of its `prompt` and models.

    Give `label`, or the `winner` as people write it.
    """

    label: str
    winner: str
    pair: str
    prompt: str | Sequence[str]
    model_a: str
    model_b: str
    response_a: str
    response_b: str
    criterion: str
    strength: float
    first_shown: Literal["a", "b"]
    comment: str
    details: Mapping[str, Any]


class QueueRequest(TypedDict, total=False):
    """What a queue is asked with; `name` and `dataset` are needed."""

    name: str
    dataset: str
    purpose: Literal["calibration", "ranking", "audit", "finish", "asked"]
    votes_per_pair: int
    adjudicate: bool
    calibration: str
    leaderboard: str
    part: Part
    pairs: Sequence[str]
    labels: int
    unlabelled: bool
    criterion: str
    guidelines: str
    allow_tie: bool
    seed: int


class _Answer(TypedDict):
    item: str
    label: Literal["left", "right", "tie", "both", "skip"]


class Answer(_Answer, total=False):
    """What one person says of a claimed pair."""

    comment: str
    seconds: float


class MonitorRequest(TypedDict, total=False):
    """What a monitor is asked with; `calibration` is needed."""

    calibration: str
    audit_rate: float
    abstained_rate: float
    failure_probability: float
    slices: str
    on_alarm: Literal["alarm", "suspend", "revoke"]
    webhook: str
    votes_per_pair: int
    canaries: bool


class _AuditAnswer(TypedDict):
    judgment: str
    label: str
    annotator: str


class AuditAnswer(_AuditAnswer, total=False):
    """What one person says of a verdict that was drawn."""

    comment: str


class ReplayRequest(TypedDict, total=False):
    """What a replay is asked with; `dataset` or `batch` is needed."""

    dataset: str
    batch: str
    part: Part
    calibration: str
    thresholds: Sequence[Mapping[str, str | float | None]] | Mapping[str, float | None]
    ties: Ties
    annotators: int
    judges: Sequence[str]


class _Finish(TypedDict):
    dataset: str
    max_error: float


class FinishRequest(_Finish, total=False):
    """What finishing a dataset is asked with."""

    cascade: str | JudgeOrder
    failure_probability: float
    ties: Ties
    labels: int
    votes_per_pair: int
    guidelines: str
    allow_tie: bool
    budget_usd: float
    seed: int


class _Shadow(TypedDict):
    calibration: str


class ShadowRequest(_Shadow, total=False):
    """What a shadow is asked with; one of `cascade`, `judge` and `candidate` is needed."""

    cascade: str | JudgeOrder
    judge: str
    candidate: str
    share: float
    precision: float
    budget_usd: float
