"""Bodies of the API's answers, shared by the server and the client.

A client must load no server, so this file imports types only. TypedDict comes from
typing_extensions because pydantic, which makes the schemas, reads no other before Python 3.12.
The server may send more than is named here. A field that is not always there is `NotRequired`.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar

from typing_extensions import Doc, TypeAliasType, TypedDict

Label = Literal["a", "b", "tie"]
Promise = Literal["certified", "suspended", "none"]
# any JSON value, where users get back what they gave: metadata, a request
JsonValue = TypeAliasType("JsonValue", Any)
ItemT = TypeVar("ItemT")


class PageBody(TypedDict, Generic[ItemT]):
    """One page of a list."""

    object: Literal["list"]
    data: list[ItemT]
    first_id: str | None
    last_id: Annotated[str | None, Doc("give it as `after` for the next page")]
    has_more: bool


class Estimate(TypedDict):
    """A number with its interval."""

    value: float | None
    low: float | None
    high: float | None
    confidence_level: float
    n: Annotated[int, Doc("number of cases")]


class FieldFault(TypedDict):
    """What is wrong with one field of a request."""

    loc: Annotated[list[str | int], Doc("where the field is: body, query, path or header first")]
    msg: str


class OpenAIErrorBody(TypedDict):
    """A refusal as OpenAI clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ProblemBody(TypedDict):
    """Why a request was refused (RFC 9457); some refusals have fields of their own besides."""

    type: str
    title: str
    status: int
    detail: str
    instance: NotRequired[str]
    errors: NotRequired[list[FieldFault]]
    error: NotRequired[Annotated[OpenAIErrorBody, Doc("under /v1/files and /v1/batches")]]


class ComponentHealth(TypedDict):
    """Whether something can answer, and what it says of itself."""

    ready: bool
    detail: str


class AliveBody(TypedDict):
    """The process is up."""

    status: Literal["ok"]


class ReadyBody(TypedDict):
    """The database answers, and at least one judge can; more than that with a key alone."""

    status: Literal["ready"]
    database: NotRequired[Literal["ok"]]
    judges: NotRequired[dict[str, ComponentHealth]]


class Rejected(TypedDict):
    """A row that was not kept."""

    line: Annotated[int, Doc("number of the line, or of the element of a JSON array, from 1")]
    reason: str
    file: NotRequired[Annotated[str | None, Doc("which file, where an upload had several")]]


class DatasetBody(TypedDict):
    """A dataset: what it holds, and what was rejected when it was imported."""

    object: Literal["dataset"]
    id: str
    name: str
    dialect: str
    pairs: int
    groups: Annotated[int, Doc("units of exchangeability: pairs of one group go together")]
    labels: Annotated[int, Doc("current labels, all criteria")]
    annotators: Annotated[int, Doc("known persons; unknown ones are not counted")]
    recorded_judges: Annotated[list[str], Doc("judges whose scores came with the rows")]
    rejected: Annotated[list[Rejected], Doc("the first 1,000 rows that were not kept")]
    rejected_count: int
    unmatched: Annotated[int, Doc("of this upload's rejected rows: nothing to join with")]
    warnings: Annotated[list[str], Doc("of this upload, in sentences; empty when read later")]
    created_at: str


class PartBody(TypedDict):
    """One side of a split by group."""

    fraction: float
    seed: int
    side: Literal["calibration", "test"]


class JudgeOrderBody(TypedDict):
    """A cascade made for one request: judges from cheap to strong."""

    judges: list[str]


class VoteBody(TypedDict):
    """What one person said, with further fields as they came."""

    annotator: str | None
    label: Label
    criterion: str


class TokensBody(TypedDict):
    """Tokens that a score took."""

    prompt: int
    completion: int
    cached: NotRequired[int]


class RecordBody(TypedDict, total=False):
    """What a judge said of a pair: of each annotator in both orders, or `p_a`, or a label."""

    annotators: list[list[float | list[float | None] | None]]
    ratings: Annotated[list[float], Doc("of a and of b, by a judge that rates each alone")]
    p_a: float | None
    p_tie: float | None
    label: Literal["tie"]
    inconsistent: bool
    cost: float
    seconds: float
    tokens: TokensBody
    criterion: str


class MessageBody(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


class PairBody(TypedDict):
    """A pair as a row that would import it again; a battle has no texts."""

    id: str
    prompt: NotRequired[str | list[str]]
    messages: NotRequired[list[MessageBody]]
    response_a: NotRequired[str]
    response_b: NotRequired[str]
    responses_a: NotRequired[list[str]]
    responses_b: NotRequired[list[str]]
    model_a: NotRequired[str]
    model_b: NotRequired[str]
    criterion: NotRequired[str]
    group: str
    human: list[VoteBody]
    judges: dict[str, RecordBody | None]
    metadata: dict[str, JsonValue]


class PreviewBody(TypedDict):
    """What an import would store; nothing was stored."""

    object: Literal["preview"]
    name: str
    dialect: Annotated[str, Doc("row format")]
    pairs: int
    groups: int
    labels: int
    annotators: int
    recorded_judges: list[str]
    rows: Annotated[list[PairBody], Doc("the first three pairs, as they would be stored")]
    rejected: list[Rejected]
    rejected_count: int
    unmatched: int
    warnings: list[str]


class LabelsBody(TypedDict):
    """What became of posted labels."""

    accepted: Annotated[int, Doc("labels that stand now, those that stood before included")]
    replaced: Annotated[int, Doc("earlier labels of the same annotators, kept in history")]
    unchanged: Annotated[int, Doc("labels that repeat what their annotator said before")]
    contradicted: Annotated[
        int,
        Doc(
            "pairs on which this request has labels of one annotator that differ: the last one "
            "stands, the others are in history"
        ),
    ]


class CheckedBody(TypedDict):
    """Labels that could be posted as they are."""

    checked: Annotated[int, Doc("labels that were looked at; none was stored")]


class LabelBody(TypedDict):
    """What one person said of a pair."""

    object: Literal["label"]
    id: str
    dataset: str
    pair: str
    annotator: str | None
    label: Label
    criterion: str
    created_at: str
    replaced_at: str | None
    strength: NotRequired[float | None]
    first_shown: NotRequired[Literal["a", "b"] | None]
    comment: NotRequired[str | None]


class TemplateBody(TypedDict):
    """The prompt that a judge is asked with."""

    name: str
    version: int
    labels: Annotated[list[str], Doc("what the model is to answer with")]
    variables: Annotated[dict[str, list[str]], Doc("variables that each part of it uses")]


class JudgeBody(TypedDict):
    """A configured judge."""

    id: str
    object: Literal["judge"]
    name: str
    kind: str
    model: str | None
    fingerprint: str
    price_input: Annotated[float | None, Doc("USD for a million tokens")]
    price_output: float | None
    training_prompts: Annotated[int, Doc("prompts that it is known to have been trained on")]
    example_prompts: Annotated[int, Doc("prompts of the examples that it is shown")]
    template: Annotated[TemplateBody | None, Doc("null where a judge reads no prompt")]
    health: ComponentHealth


class CascadeBody(TypedDict):
    """A configured cascade, judges from cheap to strong."""

    id: str
    object: Literal["cascade"]
    name: str
    judges: list[str]


class FailureBody(TypedDict):
    """Why a judge gave no score."""

    kind: str
    detail: str


class OrdersBody(TypedDict):
    """The mean `p_a` of a judge's annotators with response a shown first, and shown second."""

    a_first: float
    a_second: float


class RatingsBody(TypedDict):
    """What a judge that rates each response alone gave on its scale."""

    a: Annotated[float, Doc("the expected rating of response a")]
    b: float


class TierBody(TypedDict):
    """What one judge that was asked said; `p_a` 0.83: response a is better with 83 %."""

    judge: str
    p_a: float | None
    p_tie: float | None
    confidence: float | None
    accepted: bool
    failure: FailureBody | None
    flags: NotRequired[list[str]]
    orders: NotRequired[
        Annotated[
            OrdersBody,
            Doc("where verdicts are asked for at once, of a judge that is asked in both orders"),
        ]
    ]
    ratings: NotRequired[
        Annotated[RatingsBody, Doc("of a judge that rates each response alone, as for `orders`")]
    ]


class ReasonBody(TypedDict):
    """Why a judge prefers a response, in its own words."""

    judge: str
    text: Annotated[
        str | None, Doc("null where no reason came: `failed:` among the flags says why")
    ]
    flags: Annotated[
        list[str],
        Doc(
            "contradicts: it ends by preferring the other response; annotator_differs: the annotator "
            "that wrote it preferred the other one in this order; cut; and those of the texts"
        ),
    ]


class VerdictBody(TypedDict):
    """The answer to one pair."""

    id: str
    status: Literal["accepted", "abstained", "failed"]
    label: Label | None
    confidence: float | None
    judge: str | None
    tiers: list[TierBody]
    calibration: str | None
    promise: Annotated[Promise, Doc("what the verdicts of this run promise, on new pairs")]
    calibration_pair: Annotated[
        bool,
        Doc(
            "whether the certificate was made from this pair, or from another of its prompt or "
            "group, or its judges learnt from it: the promise is about other pairs"
        ),
    ]
    cost_usd: float | None
    cached: bool
    abstained_because: NotRequired[str]
    reason: NotRequired[
        Annotated[ReasonBody, Doc("with `include=reasons`, of verdicts that have one")]
    ]


class ResultBody(VerdictBody):
    """A verdict of a batch with its models; on request with the texts of its pair."""

    model_a: str | None
    model_b: str | None
    prompt: NotRequired[str | list[str]]
    messages: NotRequired[list[MessageBody]]
    response_a: NotRequired[str]
    response_b: NotRequired[str]
    responses_a: NotRequired[list[str]]
    responses_b: NotRequired[list[str]]
    criterion: NotRequired[str]


class StoredVerdictBody(VerdictBody):
    """A verdict as it is listed."""

    verdict_id: str
    judgment: Annotated[str, Doc("the same, as monitors name it")]
    position: NotRequired[
        Annotated[int, Doc("of a batch: its pair's place in the dataset, from 0")]
    ]
    created_at: str


class JudgmentsBody(TypedDict):
    """Verdicts in the order of the pairs."""

    object: Literal["judgments"]
    verdicts: list[VerdictBody]
    suspended_because: str | None
    calibration_pairs: Annotated[
        int,
        Doc(
            "pairs of prompts that the certificate was made from or its judges learnt from: its "
            "promise is for others"
        ),
    ]


class TokenBody(TypedDict):
    """A token at the place where an answer was read."""

    token: str
    logprob: float | None
    label: Annotated[str | None, Doc("the label of the template that it spells, if any")]


class ExchangeBody(TypedDict):
    """One question to a model, and what was read of its answer."""

    annotator: Annotated[int, Doc("number of the simulated annotator, from 0")]
    shown_first: Annotated[
        Literal["a", "b"], Doc("the response shown first; the only one where `is_alone`")
    ]
    is_alone: Annotated[bool, Doc("whether the judge rates each response alone")]
    prompt: Annotated[str, Doc("as one text; with control tokens where the tokenizer is known")]
    messages: Annotated[list[MessageBody], Doc("as it was sent to a chat server")]
    text: Annotated[str, Doc("what the model wrote")]
    read: Annotated[list[TokenBody], Doc("at the place of the answer, the most probable first")]
    failure: FailureBody | None
    tokens: TokensBody


class TriedBody(TypedDict):
    """How a judge judges one pair, step by step; nothing is stored."""

    object: Literal["tried_judge"]
    judge: str
    fingerprint: str
    exchanges: Annotated[list[ExchangeBody], Doc("empty where a judge reads no prompt")]
    p_a: float | None
    p_tie: float | None
    label: Label | None
    confidence: float | None
    failure: FailureBody | None
    flags: list[str]
    orders: NotRequired[OrdersBody]
    ratings: NotRequired[RatingsBody]
    reason: NotRequired[ReasonBody]
    tokens: TokensBody
    cost_usd: Annotated[float | None, Doc("of the score and, if there is one, its reason")]
    seconds: float | None


class SaidBody(TypedDict):
    """What a verdict was, or would be."""

    status: Literal["accepted", "abstained", "failed"]
    label: Label | None


class ChangedPair(TypedDict):
    """A pair whose verdict changes."""

    pair: str
    before: SaidBody
    after: SaidBody


class ChangedBody(TypedDict):
    """What changes."""

    count: int
    compared: Annotated[int, Doc("pairs whose verdict before is known")]
    pairs: Annotated[list[ChangedPair], Doc("the first 1,000 of them")]


class ReplayCounts(TypedDict):
    """Verdicts by status."""

    accepted: int
    abstained: int
    failed: int


class ReplayBody(TypedDict):
    """What the verdicts would be; no judge was asked, and nothing was stored."""

    object: Literal["replay"]
    pairs: int
    verdicts: ReplayCounts
    changed: ChangedBody
    cost_usd: Annotated[float | None, Doc("what the judges asked would have cost")]
    relative_cost: Annotated[float | None, Doc("as a share of asking the last judge on all pairs")]
    missing_scores: Annotated[int, Doc("pairs without a verdict here: a score is not stored")]


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

    object: Literal["canaries"]
    dataset: str
    pairs: int
    judges: list[CanaryRow]
