"""Bodies of searches in datasets, and of all that is known of one pair."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from typing_extensions import Doc, TypedDict

from app.bodies.common import JsonValue, Label, Promise
from app.bodies.datasets import LabelBody, PairBody
from app.bodies.judgments import FailureBody, StoredVerdictBody

Opinion = Literal["agree", "disagree", "undecided", "unlabelled"]


class VotesBody(TypedDict):
    """How many people said what of a pair."""

    a: int
    b: int
    tie: int


class SaidBody(TypedDict):
    """What a cascade or one judge said of a pair."""

    judge: str | None
    status: Literal["accepted", "abstained", "failed", "answered"]
    label: Label | None
    confidence: float | None
    promise: NotRequired[Promise]
    calibration: NotRequired[str | None]


class FoundPairBody(TypedDict):
    """A pair that a search found, without its whole texts."""

    object: Literal["found_pair"]
    id: str
    position: Annotated[int, Doc("place in the dataset, from 0")]
    excerpt: Annotated[str, Doc("the beginning of the prompt; empty for a battle")]
    model_a: str | None
    model_b: str | None
    group: str
    metadata: dict[str, JsonValue]
    votes: VotesBody
    people: Annotated[
        Label | None, Doc("the most frequent label; null without one, or without votes")
    ]
    said: Annotated[SaidBody | None, Doc("null where nothing was said")]
    opinion: Annotated[
        Opinion | None,
        Doc("of what was said with the people's label; null where nothing was said"),
    ]


class SearchBody(TypedDict):
    """One page of the pairs that a search found."""

    object: Literal["list"]
    data: list[FoundPairBody]
    first_id: str | None
    last_id: Annotated[
        str | None, Doc("the last pair looked at: give it as `after` to look at those behind it")
    ]
    has_more: Annotated[bool, Doc("whether there are pairs that were not looked at")]
    looked_at: Annotated[int, Doc("pairs that were looked at for this page; the work is bounded")]
    with_answer: Annotated[
        int, Doc("of these, pairs with a verdict, or with a score of the judge that is asked for")
    ]


class ScoreBody(TypedDict):
    """What one judge said of a pair, by each simulated annotator in both orders."""

    judge: str
    fingerprint: str
    recorded: Annotated[bool, Doc("it came with the row; else the service obtained it")]
    p_a: float | None
    p_tie: float | None
    confidence: float | None
    label: Label | None
    annotators: list[list[float | None]]
    ratings: Annotated[list[float] | None, Doc("of a and of b, by a judge that rates each alone")]
    failure: FailureBody | None
    flags: list[str]
    cost_usd: float | None
    seconds: float | None


class PairDetailBody(TypedDict):
    """All that is known of one pair."""

    object: Literal["pair"]
    id: str
    dataset: str
    position: int
    previous: Annotated[
        str | None,
        Doc("id of the pair before it in the dataset, or in the search that is asked for"),
    ]
    next: Annotated[str | None, Doc("id of the pair behind it")]
    pair: PairBody
    votes: VotesBody
    people: Label | None
    labels: Annotated[list[LabelBody], Doc("replaced ones too, the newest first; at most 200")]
    scores: list[ScoreBody]
    verdicts: Annotated[list[StoredVerdictBody], Doc("the newest first; at most 20")]


class SimilarPairBody(TypedDict):
    """A pair of the same prompt or group, or with nearly the same features."""

    id: str
    position: int
    why: Annotated[
        Literal["same prompt", "same group", "similar features"],
        Doc("features: what the embedded judge measures, nearest of the pairs around this one"),
    ]
    model_a: str | None
    model_b: str | None


class SimilarBody(TypedDict):
    """Pairs of the same prompt, then of the same group, then the nearest by features; at most 20."""

    object: Literal["list"]
    data: list[SimilarPairBody]
