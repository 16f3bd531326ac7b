"""Reading one canonical row of an import, fields it need not know included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from pydantic import ValidationError

from app.dialects.canonical import PairIn, to_pair
from app.dialects.fields import read_name
from app.dialects.reasons import RowInvalid, describe
from judges.types import Label, Pair, Score

_FIELDS: Final = frozenset(PairIn.model_fields)
# as alike as `judge` and `judges`; `prompt_id` and `prompt` are not
ALIKE: Final = 0.85
_GROUP_FIELDS: Final = ("question_id", "prompt_id")


@dataclass(frozen=True, slots=True)
class ParsedVote:
    """One vote of an imported row."""

    annotator: str | None
    label: Label
    criterion: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """One imported row; `pair` is None for a battle."""

    pair: Pair | None
    id: str
    group: str
    model_a: str | None
    model_b: str | None
    votes: tuple[ParsedVote, ...]
    recorded: Mapping[str, Score]
    metadata: Mapping[str, Any]


def parse_row(row: Mapping[str, Any], line: int) -> ParsedRow:
    """Read one canonical row of an import.

    Args:
        row: The row, fields it need not know included.
        line: Its number, from 1; the id of a battle without one.

    Raises:
        RowInvalid: it cannot be read; the message names the field.
    """
    try:
        read = PairIn.model_validate(_with_unknown_fields_aside(row))
    except ValidationError as error:
        raise RowInvalid(describe(error)) from None
    pair = None if read.is_battle else to_pair(read)
    row_id = pair.id if pair else (read.id or str(line))
    default_group = pair.prompt_hash if pair else row_id
    return ParsedRow(
        pair=pair,
        id=row_id,
        group=read.group or _group_of(read.metadata) or default_group,
        model_a=read.model_a,
        model_b=read.model_b,
        votes=tuple(ParsedVote(v.annotator, v.label, v.criterion, v.details) for v in read.human),
        recorded=read.judges,
        metadata=read.metadata,
    )


def _with_unknown_fields_aside(row: Mapping[str, Any]) -> dict[str, Any]:
    unknown = {name: value for name, value in row.items() if name not in _FIELDS}
    known = {name: value for name, value in row.items() if name in _FIELDS}
    if not unknown:
        return known
    metadata = known.get("metadata") or {}
    if not isinstance(metadata, dict):
        return known
    for name in unknown.keys() & metadata.keys():
        if unknown[name] != metadata[name]:
            raise RowInvalid(f"{name}: differs from the field of metadata")
    return {**known, "metadata": {**unknown, **metadata}}


def misspelt_fields(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the unknown fields of a row that look like a known one it lacks, and which."""
    unknown = [name for name in row if name not in _FIELDS]
    if not unknown:
        return {}
    missing = [name for name in _FIELDS if name not in row]
    found = {name: get_close_matches(name.lower(), missing, 1, ALIKE) for name in unknown}
    return {name: near[0] for name, near in found.items() if near}


def _group_of(metadata: Mapping[str, Any]) -> str | None:
    for name in _GROUP_FIELDS:
        value = metadata.get(name)
        if value is not None:
            try:
                return read_name(value)
            except ValueError as error:
                raise RowInvalid(f"{name}: {error}") from None
    return None
