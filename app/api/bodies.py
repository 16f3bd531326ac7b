"""Bodies of the API's answers, shared by the server and the client.

A client must load no server, so this file imports types only. TypedDict comes from
typing_extensions because pydantic, which makes the schemas, reads no other before Python 3.12.
"""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

Promise = Literal["certified", "suspended", "none"]


class Estimate(TypedDict):
    """A number with its interval."""

    value: float | None
    low: float | None
    high: float | None
    confidence_level: float
    n: int


class Rejected(TypedDict):
    """A row that was not kept."""

    line: int
    reason: str


class Warned(TypedDict):
    """A field that an import kept elsewhere than it may have been meant, or something not kept."""

    field: str
    count: int
    did_you_mean: str | None


class DatasetBody(TypedDict):
    """A dataset, with the first of the rows that its import rejected."""

    id: str
    name: str
    dialect: str
    pairs: int
    groups: int
    labels: int
    annotators: int
    recorded_judges: list[str]
    rejected: list[Rejected]
    rejected_count: int
    unmatched: int
    warnings: list[Warned]
    created_at: str


class FailureBody(TypedDict):
    """Why a judge gave no score."""

    kind: str
    detail: str


class TierBody(TypedDict):
    """What one judge that was asked said; `p_a` 0.83: response a is better with 83 %."""

    judge: str
    p_a: float | None
    p_tie: float | None
    confidence: float | None
    accepted: bool
    failure: FailureBody | None
    flags: list[str]


class VerdictBody(TypedDict):
    """The answer to one pair."""

    id: str
    status: Literal["accepted", "abstained", "failed"]
    label: Literal["a", "b", "tie"] | None
    confidence: float | None
    judge: str | None
    tiers: list[TierBody]
    calibration: str | None
    promise: Promise
    calibration_pair: bool
    cost_usd: float | None
    cached: bool


class JudgmentsBody(TypedDict):
    """Verdicts in the order of the pairs."""

    verdicts: list[VerdictBody]
    suspended_because: str | None
    calibration_pairs: int


class RequestCounts(TypedDict):
    """How far a batch is; completed = accepted + abstained."""

    total: int
    completed: int
    failed: int
    accepted: int
    abstained: int
    not_admitted: int


class BatchBody(TypedDict):
    """A batch; times are Unix seconds."""

    id: str
    object: Literal["batch"]
    status: Literal[
        "validating", "in_progress", "finalizing", "completed", "cancelling", "cancelled",
        "failed", "expired",
    ]  # fmt: skip
    request_counts: RequestCounts
    progress: dict[str, Any]
    calibration_pairs: int | None
    also_running: list[str]
    promise: Promise
    suspended_because: str | None
    cost_usd: float | None
    budget_usd: float | None
    budget: Literal["hard", "soft"] | None
    spent_usd: float | None
    reserved_usd: float | None
    cost_to_finish_usd: Estimate | None
    next_pair_usd: float | None
    error: str | None
    created_at: int
    completed_at: int | None
    expires_at: int | None


class AttackRow(TypedDict):
    """How a judge met one attack."""

    attack: str
    failed: int
    flagged: int
    followed: Estimate
    mean_shift: Estimate


class CanaryRow(TypedDict):
    """How a judge met every attack."""

    judge: str
    fingerprint: str
    attacks: list[AttackRow]


class CanariesBody(TypedDict):
    """Whether judges follow what responses tell them to do."""

    dataset: str
    pairs: int
    judges: list[CanaryRow]


class ModelRow(TypedDict):
    """One model's place."""

    model: str
    rating: Estimate
    strength: float | None
    win_rate: Estimate
    rank: int
    rank_low: int
    rank_high: int
    rank_text: str
    pairs: int  # comparisons: with votes "each", one a vote
    distinct_pairs: int
    wins: float
    losses: float
    ties: float
    asked: int
    abstained: int
    abstained_share: float | None
    unresolved: int


class LeaderboardBody(TypedDict):
    """Models by rank."""

    id: str
    method: str
    rows: list[ModelRow]
    groups: list[dict[str, Any]]
    pairs: int
    abstained: int
    rankable: bool
    not_rankable_because: str | None
    components: list[list[str]]
    promise: str | None
    warnings: list[str]
    rests_on: dict[str, Any]


class ReportBody(TypedDict):
    """How well people, judges and cascade agree."""

    id: str
    pairs: int
    human: dict[str, Any]
    judges: list[dict[str, Any]]
    cascade: dict[str, Any] | None


class LabelsBody(TypedDict):
    """What became of posted labels."""

    accepted: int
    replaced: int
    unchanged: int
    contradicted: int


class CheckedBody(TypedDict):
    """How many labels were looked at; none was stored."""

    checked: int


class LabelBody(TypedDict):
    """What one person said of a pair."""

    id: str
    dataset: str
    pair: str
    annotator: str | None
    label: Literal["a", "b", "tie"]
    criterion: str
    created_at: str
    replaced_at: str | None


class _Pair(TypedDict):
    id: str
    group: str
    human: list[dict[str, Any]]
    judges: dict[str, Any]
    metadata: dict[str, Any]


class PairBody(_Pair, total=False):
    """A pair as a row that would import it again; a battle has no texts."""

    prompt: str | list[str]
    messages: list[dict[str, str]]
    response_a: str
    response_b: str
    responses_a: list[str]
    responses_b: list[str]
    model_a: str
    model_b: str
    criterion: str


class JudgeBody(TypedDict):
    """A configured judge."""

    id: str
    name: str
    kind: str
    model: str | None
    fingerprint: str
    price_input: float | None
    price_output: float | None
    health: dict[str, Any]


class CascadeBody(TypedDict):
    """A configured cascade, judges from cheap to strong."""

    id: str
    name: str
    judges: list[str]
