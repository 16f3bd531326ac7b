"""Pairs without their texts, and votes, as what every feature reads of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Row

from judges.types import Label

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
