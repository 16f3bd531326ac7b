"""Bodies of label queues."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from typing_extensions import Doc, TypedDict

from app.bodies.common import Estimate
from app.bodies.datasets import MessageBody, Rejected

Purpose = Literal["audit", "calibration", "ranking", "finish", "asked"]
Said = Literal["left", "right", "tie", "both", "skip"]


class AnnotatorBody(TypedDict):
    """What one person did in a queue, and how that compares with the others."""

    annotator: str
    answered: int
    skipped: int
    agreement: Annotated[
        Estimate, Doc("share of pairs on which the others have a majority and this person says it")
    ]
    left: Annotated[
        Estimate, Doc("share of left among left and right; sides are drawn, so near .5")
    ]
    median_seconds: float | None
    weak: Annotated[list[str], Doc("why these labels should be looked at; empty: nothing found")]


class PeopleBody(TypedDict):
    """How far people agree with one another in a queue, on pairs with several votes."""

    percent_agreement: Estimate
    krippendorff_alpha: Estimate
    disagreed: Annotated[int, Doc("pairs with several votes that differ")]


class QueueBody(TypedDict):
    """A queue; each of its pairs is counted once: done, claimed, skipped or waiting."""

    object: Literal["queue"]
    id: str
    name: str
    dataset: str
    purpose: Purpose
    status: Annotated[Literal["open", "done"], Doc("done: every pair has its votes")]
    votes_per_pair: int
    adjudicate: bool
    allow_tie: bool
    criterion: str
    guidelines: str | None
    calibration: str | None
    leaderboard: str | None
    seed: int
    pairs: int
    waiting: int
    claimed: Annotated[int, Doc("held by somebody; pages hold some pairs ahead for each person")]
    labelling: Annotated[int, Doc("people who hold pairs now")]
    done: int
    skipped: Annotated[int, Doc("neither done nor claimed, and skipped by somebody")]
    votes: int
    spare: Annotated[int, Doc("answers that came when their pair had its votes: kept, not counted")]
    annotators: list[AnnotatorBody]
    people: PeopleBody
    created_at: str


class ItemBody(TypedDict):
    """A pair to label; nothing names a model or a judge."""

    item: str
    queue: str
    prompt: NotRequired[str | list[str]]
    messages: NotRequired[list[MessageBody]]
    left: str
    right: str
    criterion: str
    allow_tie: bool
    guidelines: str | None
    lease_expires_at: str


class ClaimBody(TypedDict):
    """Pairs that are this person's until their leases expire."""

    items: list[ItemBody]
    waiting: Annotated[int, Doc("pairs that this person may still be given, beside these")]
    answered: Annotated[int, Doc("pairs of these queues that this person has answered")]
    skipped: Annotated[
        int,
        Doc(
            "where none waits: pairs that this person skipped and may still answer; claim them with "
            "`again`"
        ),
    ]
    for_others: Annotated[
        int,
        Doc("where this person has nothing to do: further pairs that others hold or must answer"),
    ]


class AnsweredBody(TypedDict):
    """What became of one answer."""

    item: str
    status: Literal["stored", "unchanged", "replaced", "skipped"]
    comment_wanted: NotRequired[
        Annotated[
            bool,
            Doc("true: an audit prefers the other response than the verdict, and does not say why"),
        ]
    ]


class AnswersBody(TypedDict):
    """What became of answers, in their order."""

    answers: list[AnsweredBody]


class QueueImportBody(TypedDict):
    """What became of answers that were given in another tool."""

    stored: int
    unchanged: int
    replaced: int
    spare: Annotated[int, Doc("their pairs had their votes already: kept, not counted")]
    rejected: list[Rejected]
    warnings: list[str]
