"""Keys, votes and pairs, made from the rows that store them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Row

from app.core.db import texts_from_json
from judges.types import Label, Message, Pair, Score

_NOTHING: Final[dict[str, Any]] = {}


class PairKey(NamedTuple):
    """A pair without its texts; the three hashes are None for a battle, which has none."""

    seq: int
    position: int
    id: str
    group: str
    prompt_hash: str | None
    content_hash: str | None
    swapped_hash: str | None
    model_a: str | None
    model_b: str | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair that may be meant: the user's turns, the two models, and what they answered."""

    pair_seq: int
    turns: tuple[str, ...]
    model_a: str | None
    model_b: str | None
    responses_a: tuple[str, ...] = ()
    responses_b: tuple[str, ...] = ()


def candidate_from_row(row: Row[Any]) -> Candidate:
    """Return the pair that a row holds; a battle has no texts."""
    content = row.content or {"conversation": (), "responses_a": (), "responses_b": ()}
    return Candidate(
        row.seq,
        tuple(text for role, text in content["conversation"] if role == "user"),
        row.model_a,
        row.model_b,
        tuple(content["responses_a"]),
        tuple(content["responses_b"]),
    )


@dataclass(frozen=True, slots=True)
class Vote:
    """One current label; an unknown annotator (None) is never one and the same person."""

    annotator: str | None
    label: Label
    details: dict[str, Any]
    criterion: str = "overall"


def vote_from_row(row: Row[Any]) -> Vote:
    """Return the vote that a row holds."""
    return Vote(row.annotator, row.label, row.details, row.criterion)


def key_from_row(row: Row[Any], known: dict[str, str] | None = None) -> PairKey:
    """Make a key; names that are `known` already are kept once for all keys."""
    once = {} if known is None else known
    prompt_hash, model_a, model_b = (
        None if name is None else once.setdefault(name, name)
        for name in (row.prompt_hash, row.model_a, row.model_b)
    )
    return PairKey(
        seq=row.seq,
        position=row.position,
        id=row.id,
        group=once.setdefault(row.group, row.group),
        prompt_hash=prompt_hash,
        content_hash=row.content_hash,
        swapped_hash=row.swapped_hash,
        model_a=model_a,
        model_b=model_b,
        metadata=row.details or _NOTHING,
    )


def judged_from_row(row: Sequence[Any], recorded: dict[str, Score]) -> tuple[PairKey, Pair]:
    """Make key and pair of a row of `queries.judged_rows`, of which batches read very many."""
    seq, position, name, group, prompt, content, swapped, model_a, model_b, details, texts = row
    metadata = json.loads(details) if details != "{}" else {}
    key = PairKey(seq, position, name, group, prompt, content, swapped, model_a, model_b, metadata)
    said = texts_from_json(texts)
    pair = Pair(
        name,
        tuple([Message(role, text) for role, text in said["conversation"]]),
        tuple(said["responses_a"]),
        tuple(said["responses_b"]),
        model_a,
        model_b,
        said["criterion"],
        recorded,
    )
    return key, pair


def pair_content(pair: Pair) -> dict[str, Any]:
    """Return the texts of a pair as its row keeps them."""
    return {
        "conversation": [[turn.role, turn.content] for turn in pair.conversation],
        "responses_a": pair.responses_a,
        "responses_b": pair.responses_b,
        "criterion": pair.criterion,
    }


def pair_from_row(row: Row[Any], recorded: dict[str, Score]) -> Pair:
    """Return the pair whose texts a row keeps."""
    content = row.content
    return Pair(
        id=row.id,
        conversation=tuple(Message(role, text) for role, text in content["conversation"]),
        responses_a=tuple(content["responses_a"]),
        responses_b=tuple(content["responses_b"]),
        model_a=row.model_a,
        model_b=row.model_b,
        criterion=content["criterion"],
        recorded=recorded,
    )
