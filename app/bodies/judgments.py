"""Bodies of judges, and of what they say: verdicts, replays, trials, canaries."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from typing_extensions import Doc, TypedDict

from app.bodies.common import ComponentHealth, Estimate, Label, Promise, SaidBody
from app.bodies.datasets import MessageBody, TokensBody


class JudgeOrderBody(TypedDict):
    """A cascade made for one request: judges from cheap to strong."""

    judges: list[str]


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
    """What a judge that rates each response alone gave: on its scale, or a reward model's rewards."""

    a: Annotated[float, Doc("the expected rating of response a, or its reward")]
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
            "that wrote it preferred the other one in this order; verdict_differs: the verdict, which "
            "hears all judges, prefers another response than this judge; cut; and those of the texts"
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
            "promise does not apply to them"
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
    tau: NotRequired[
        Annotated[
            float | None, Doc("of a reward model: p_a is sigmoid((a - b) / tau) of its ratings")
        ]
    ]
    reason: NotRequired[ReasonBody]
    tokens: Annotated[TokensBody, Doc("of the score and, if there is one, its reason")]
    cost_usd: Annotated[float | None, Doc("the same in USD")]
    seconds: float | None


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
