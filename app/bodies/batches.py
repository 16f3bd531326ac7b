"""Bodies of batches, of their files and of the preferences made from them."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from typing_extensions import Doc, TypedDict

from app.bodies.certificates import Threshold
from app.bodies.common import Estimate, Promise
from app.bodies.datasets import MessageBody, PartBody
from app.bodies.judgments import JudgeOrderBody


class RequestCounts(TypedDict):
    """How far a batch is; completed = accepted + abstained."""

    total: int
    completed: int
    failed: int
    accepted: int
    abstained: int
    not_admitted: Annotated[int, Doc("abstained because the budget did not cover them")]


class JudgeProgress(TypedDict):
    """How one judge is doing in a batch."""

    judge: str
    asked: int
    accepted: int
    failed: int
    obtained: Annotated[int, Doc("scores that it was asked for now, not stored before")]
    cost_usd: Annotated[float | None, Doc("of scores and reasons; null where one is unknown")]
    known_usd: NotRequired[Annotated[float, Doc("where that is null: what is known of it")]]
    unpriced: NotRequired[
        Annotated[
            int | None,
            Doc("where that is null: scores, reasons and `cut_off` pairs whose cost is unknown"),
        ]
    ]
    cut_off: NotRequired[
        Annotated[
            int,
            Doc(
                "pairs it was asked about when a worker stopped: the cost of these calls is unknown"
            ),
        ]
    ]
    reasons: NotRequired[Annotated[int, Doc("reasons that it was asked for now")]]
    reasons_contradicting: NotRequired[
        Annotated[int, Doc("of these, those that end by preferring the other response")]
    ]
    reasons_failed: NotRequired[Annotated[int, Doc("of these, those that did not come")]]


class ProviderBatchBody(TypedDict):
    """A file of questions that a judge's provider answers in a batch of its own."""

    judge: str
    id: Annotated[str | None, Doc("of the provider's batch; null until it is known")]
    status: Annotated[
        str,
        Doc("the provider's word; `queued` until its batch is made, `not_sent` if it never was"),
    ]
    questions: int
    answered: int
    left_out: Annotated[int, Doc("questions without an answer: they are asked directly, or fail")]
    error: str | None
    created_at: int
    ended_at: int | None


class Progress(TypedDict):
    """How fast a batch is, and how its judges are doing."""

    pairs_per_second: float | None
    seconds_left: float | None
    tiers: list[JudgeProgress]
    at_providers: NotRequired[
        Annotated[list[ProviderBatchBody], Doc("where a judge has `batch_endpoint = true`")]
    ]


class OutputBody(TypedDict):
    """What one call of a judge is taken to answer, and what that rests on."""

    tokens_per_call: Annotated[float, Doc("what the likely figures count with")]
    most_per_call: Annotated[int, Doc("what its settings allow: the upper ends count with it")]
    source: Annotated[
        Literal["earlier_calls", "other_settings", "limit", "assumption"],
        Doc(
            "the mean over stored scores of this judge on any pairs, or of a judge of its name with "
            "other settings; the limit itself, where it is small; else nothing is known"
        ),
    ]
    scores: Annotated[int, Doc("stored scores that it rests on")]


class JudgeEstimateBody(TypedDict):
    """What one judge would be asked in a batch."""

    judge: str
    scored: Annotated[int, Doc("pairs looked at whose score is stored: they cost nothing")]
    pairs: Annotated[Estimate, Doc("pairs of the batch that it would have to score")]
    calls: Estimate | None
    prompt_tokens: Estimate | None
    completion_tokens: Estimate | None
    cost_usd: Annotated[Estimate | None, Doc("null where the judge has no price")]
    basis: Annotated[
        Literal["free", "stored_scores", "texts", "prices", "unknown"],
        Doc(
            "what calls, tokens and cost of a score are taken from: nothing to pay, the scores that "
            "are stored, the lengths of the prompts, the most that a score may cost, or nothing"
        ),
    ]
    output: Annotated[
        OutputBody | None, Doc("where `basis` is texts: what follows from no prompt, output tokens")
    ]
    budget_usd: Annotated[float | None, Doc("what its settings let it spend")]


class BatchEstimateBody(TypedDict):
    """What a batch would ask and cost; `value` is null where the range is all that is known."""

    object: Literal["batch_estimate"]
    dataset: str
    calibration: str | None
    cascade: str | JudgeOrderBody | None
    part: PartBody | None
    pairs: int
    looked_at: Annotated[int, Doc("pairs that the estimate rests on: all, or a random sample")]
    scored_pairs: Annotated[
        int, Doc("pairs looked at that cost nothing: scored already, or answered by free judges")
    ]
    scored_ids: Annotated[list[str], Doc("their ids, the first 1,000")]
    judges: list[JudgeEstimateBody]
    cost_usd: Annotated[
        Estimate | None, Doc("`value` is likely; `high` is the upper bound, as far as it is known")
    ]
    budget_usd: float | None
    warnings: Annotated[list[str], Doc("what was assumed, and which budget may not do")]


class BatchFault(TypedDict):
    """An error of a batch in the form of OpenAI."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchFaults(TypedDict):
    """The errors of a batch in the form of OpenAI."""

    object: Literal["list"]
    data: list[BatchFault]


class BatchBody(TypedDict):
    """A batch; times are Unix seconds."""

    id: str
    object: Literal["batch"]
    endpoint: Literal["/v1/judgments"]
    status: Literal[
        "validating", "in_progress", "finalizing", "completed", "cancelling", "cancelled",
        "failed", "expired",
    ]  # fmt: skip
    dataset: str
    calibration: str | None
    cascade: str | JudgeOrderBody | None
    part: PartBody | None
    request_counts: RequestCounts
    shards: Annotated[dict[str, int], Doc("shards by state")]
    calibration_pairs: Annotated[int | None, Doc("pairs that the certificate knows")]
    also_running: Annotated[list[str], Doc("batches that were asking the same when this began")]
    promise: Promise
    promised_pairs: Annotated[
        int, Doc("pairs to whose verdicts the promise applies; 0 where it is not `certified`")
    ]
    promise_note: Annotated[
        str | None, Doc("why it does not apply to the other pairs; null where it applies to all")
    ]
    suspended_because: str | None
    cost_usd: Annotated[
        float | None,
        Doc("of the scores obtained; null where one has no price, or a call was cut off"),
    ]
    known_usd: Annotated[float, Doc("what is known of that cost")]
    unpriced: Annotated[
        int | None,
        Doc(
            "scores, reasons and `cut_off` pairs whose cost is unknown; null in older batches, which did "
            "not count"
        ),
    ]
    budget_usd: float | None
    budget: Literal["hard", "soft"] | None
    spent_usd: Annotated[float | None, Doc("counted against the budget, with what is under way")]
    reserved_usd: float | None
    cost_to_finish_usd: Estimate | None
    next_pair_usd: float | None
    progress: Progress
    error: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    input_file_id: str | None
    completion_window: str
    metadata: dict[str, str] | None
    errors: BatchFaults | None
    output_file_id: str | None
    error_file_id: str | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    output: NotRequired[Annotated[str, Doc("folder of the verdicts of a batch over Parquet files")]]
    input_files: NotRequired[int]


class FileBody(TypedDict):
    """A file; times are Unix seconds."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"]
    status_details: Annotated[
        str | None, Doc("how many lines are no requests, and why the first is none")
    ]
    expires_at: int | None
    dataset: Annotated[str | None, Doc("the dataset that holds its requests")]
    requests: Annotated[int | None, Doc("lines that are requests")]
    rejected_count: Annotated[int | None, Doc("lines that are none")]


class FileDeletedBody(TypedDict):
    """A file that is gone."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


class PreferenceBody(TypedDict):
    """The answer that an accepted verdict prefers, and the other: one line of the preferences."""

    prompt: str | list[MessageBody]
    chosen: str
    rejected: str
    chosen_model: str | None
    rejected_model: str | None
    confidence: float
    judge: str
    pair: str
    calibration_pair: bool
    promise: Promise


class PreferenceEvidence(TypedDict):
    """What the certificate of preferences was tested on, and what came out."""

    pairs: int
    groups: int
    coverage: float
    agreement: float | None
    agreement_lower_bound: float | None


class PreferenceTerms(TypedDict):
    """What the certificate of preferences promises."""

    id: str
    status: str
    target_agreement: Annotated[float | None, Doc("null where all pairs are promised: max_error")]
    max_error: NotRequired[float | None]
    failure_probability: float
    method: str
    claim: str
    label_set_hash: str | None
    label_set_uses: int
    fingerprints: dict[str, str]
    thresholds: list[Threshold]
    revoked_at: str | None
    calibration: PreferenceEvidence


class PreferencesCardBody(TypedDict):
    """The terms of a batch's preferences."""

    object: Literal["preferences_card"]
    batch: str
    dataset: str
    promise: Promise
    suspended_because: str | None
    rows: int
    left_out: Annotated[dict[str, int], Doc("verdicts that are no row, by reason")]
    coverage: float | None
    calibration_pairs: int
    rows_on_calibration_pairs: int
    certificate: PreferenceTerms | None
    summary: str
