"""A row of an upload as the columns of the file in which it is staged, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from app.datasets.records import pair_content
from app.datasets.score_columns import score_values
from app.formats.canonical import ParsedRow, ParsedVote
from judges.types import Message, Pair, Score

# the columns of a pair as the database has them, JSON as text, in this order
PAIR: Final = (
    "id", "content_hash", "swapped_hash", "prompt_hash", "group_key", "model_a", "model_b",
    "metadata", "content",
)  # fmt: skip
# annotator, label, criterion and details; what lay beside the vote in its row may follow
PLAIN_VOTE: Final = 4


@dataclass(frozen=True, slots=True)
class StagedRow:
    """One pair as it goes into the database: columns, with JSON as text."""

    position: int
    pair: dict[str, Any]
    recorded: list[dict[str, Any]]
    votes: list[ParsedVote]


def pair_values(row: ParsedRow) -> tuple[str | None, ...]:
    """Return the columns of a pair, in the order of `PAIR`."""
    pair = row.pair
    return (
        row.id,
        pair.content_hash if pair else None,
        _swapped_hash(pair) if pair else None,
        pair.prompt_hash if pair else None,
        row.group,
        row.model_a,
        row.model_b,
        as_text(row.metadata),
        as_text(pair_content(pair)) if pair else None,
    )


def _swapped_hash(pair: Pair) -> str:
    # what came with the pair does not enter the hash, so it need not be mirrored for it
    return replace(pair, responses_a=pair.responses_b, responses_b=pair.responses_a).content_hash


def recorded_values(score: Score) -> dict[str, Any]:
    """Return the columns of a recorded score, with JSON as text."""
    values = score_values(score)
    if score.ratings is None:  # the hash of an upload without ratings is as it always was
        del values["rating_a"], values["rating_b"]
    return {**values, **{name: as_text(values[name]) for name in ("annotators", "flags", "usage")}}


def vote_values(vote: ParsedVote, beside: Mapping[str, Any] | None = None) -> list[Any]:
    """Return a vote and, where it came in a row of its own, the metadata of that row."""
    values = [vote.annotator, vote.label, vote.criterion, vote.details]
    return [*values, beside] if beside else values


def parsed_pair(values: Mapping[str, Any]) -> Pair | None:
    """Return the pair of staged columns, without recorded scores; None for a battle."""
    if values["content"] is None:
        return None
    content = json.loads(values["content"])
    return Pair(
        values["id"],
        tuple(Message(role, text) for role, text in content["conversation"]),
        tuple(content["responses_a"]),
        tuple(content["responses_b"]),
        values["model_a"],
        values["model_b"],
        content["criterion"],
    )


def staged_row(row: tuple[Any, ...]) -> StagedRow:
    """Return the pair of a row that was read from the file."""
    position, _, *columns = row
    return StagedRow(
        position=position,
        pair=dict(zip(PAIR, columns, strict=False)),
        recorded=list(json.loads(columns[-2]).values()),
        votes=[ParsedVote(*vote) for vote in json.loads(columns[-1])],
    )


as_text = json.JSONEncoder(separators=(",", ":")).encode
