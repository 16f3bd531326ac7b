"""Votes in long form, one a row: `id`, `annotator`, `label`, joined to the pairs of that id."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from app.dialects.canonical import VoteIn
from app.dialects.joining import Fault, Join, Outcome, Piece, name_of
from app.dialects.reasons import RowInvalid, describe

_OTHERS: Final = (
    "prompt", "messages", "response_a", "response_b", "responses_a", "responses_b", "judges",
    "model_a", "model_b", "left", "right", "question",
)  # fmt: skip


def is_vote(row: Mapping[str, Any]) -> bool:
    """Whether the row is a vote on a pair of another row."""
    has_vote = "label" in row or (set(row) == {"id", "human"})
    return "id" in row and has_vote and not any(name in row for name in _OTHERS)


def votes_of(row: Mapping[str, Any]) -> list[VoteIn]:
    """Return the votes of such a row.

    Raises:
        RowInvalid: one cannot be read.
    """
    said = row.get("human")
    if said is None:
        said = [{name: value for name, value in row.items() if name != "id"}]
    try:
        return [VoteIn.model_validate(vote) for vote in said]
    except ValidationError as error:
        raise RowInvalid(describe(error)) from None


def _kind(row: Mapping[str, Any]) -> str:
    name_of(row, "id")
    votes_of(row)
    return "vote"


def _pairs(pieces: Sequence[Piece], kinds: Collection[str]) -> Iterator[Outcome]:
    return (Fault(piece, "no pair has this id") for piece in pieces)


VOTES_JOIN: Final = Join(
    on="id",
    kind=_kind,
    key=lambda row: row["id"],
    pairs=_pairs,
    is_piece=lambda row, is_one_of_several: is_vote(row),
)
