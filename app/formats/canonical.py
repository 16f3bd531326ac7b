"""The canonical row: its fields, and its form after parsing.

`PairIn` is the contract of one row, in an import and in a request alike. An import is lenient in
one thing: fields it does not know move into `metadata` under their own names.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from app.core.models import OVERALL
from app.formats.base import (
    AnyName,
    AnyObject,
    RowInvalid,
    TextsIn,
    TrimmedName,
    check_depth,
    conversation,
    describe,
    read_name,
    read_object,
    texts_fault,
    trim,
    whole,
)
from judges.errors import SLIP, nearest
from judges.probability import parse_label
from judges.recorded import score_from_record
from judges.types import Label, Pair, Score

_BOTH_BAD: Final = ("both_bad", "bothbad", "tie (bothbad)")
_RECORD_SCHEMA: Final = {
    "type": "object",
    "additionalProperties": {
        "description": "p_a; or annotators; or label_original and label_swapped; or label; "
        "null = the judge failed on this pair",
        "anyOf": [{"type": "object"}, {"type": "null"}],
    },
}


def _read_records(value: object) -> dict[str, Score]:
    records = read_object(value)
    scores = {}
    for name, record in records.items():
        known = _judge_name(name)
        scores[known] = score_from_record(known, record)
    return scores


def _judge_name(name: str) -> str:
    try:
        return read_name(name)
    except ValueError as error:
        raise ValueError(f"judges: the name of a judge {error}") from None


Records = Annotated[dict[str, Score], PlainValidator(_read_records), WithJsonSchema(_RECORD_SCHEMA)]


HumanLabel = Annotated[
    Label,
    PlainValidator(parse_label),
    WithJsonSchema({"enum": ["a", "b", "tie"], "type": "string"}),
]


class VoteIn(BaseModel):
    """The vote of one person; further fields (`strength`, `first_shown`, ...) are kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True)
    annotator: TrimmedName | None = Field(None, description="who said it; null = unknown")
    label: HumanLabel
    criterion: TrimmedName = OVERALL

    @model_validator(mode="before")
    @classmethod
    def _note_both_bad(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        check_depth(value)
        if value.get("criterion", "") is None:
            value = {name: field for name, field in value.items() if name != "criterion"}
        label = value.get("label")
        is_both_bad = isinstance(label, str) and label.strip().lower() in _BOTH_BAD
        return {**value, "both_bad": True} if is_both_bad else value

    @property
    def details(self) -> dict[str, Any]:
        """The further fields."""
        return dict(self.model_extra or {})


class PairIn(TextsIn):
    """One row: a pair to judge or to learn from.

    Give `prompt` or `messages`, and the two responses; everything else is optional.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "q81-gpt4-vicuna",
                    "prompt": "Name three primary colours.",
                    "response_a": "Red, yellow and blue.",
                    "response_b": "Red, green, purple.",
                    "model_a": "gpt-4",
                    "model_b": "vicuna-13b",
                    "group": "q81",
                    "human": [{"annotator": "expert_0", "label": "a"}],
                    "judges": {"gpt-4-turbo": {"p_a": 0.93}},
                    "metadata": {"task": "writing"},
                }
            ]
        },
    )
    id: AnyName | None = Field(None, description="default: a hash of the texts and models")
    model_a: AnyName | None = None
    model_b: AnyName | None = None
    criterion: AnyName | None = Field(None, description="what a judge is asked to compare by")
    group: AnyName | None = Field(
        None,
        description="unit of exchangeability; default: question_id, else prompt_id, else the "
        "hash of the prompt",
    )
    human: list[VoteIn] = Field(default_factory=list, description="what people said of it")
    judges: Records = Field(default_factory=dict, description="recorded scores by judge")
    metadata: AnyObject = Field(default_factory=dict)

    @field_validator("human", mode="before")
    @classmethod
    def _allow_null(cls, value: Any) -> Any:
        return [] if value is None else value

    @model_validator(mode="after")
    def _check_texts(self) -> Self:
        fault = _battle_fault(self) if self.is_battle else texts_fault(self)
        if fault is not None:
            raise ValueError(fault)
        return self


def _battle_fault(row: PairIn) -> str | None:
    if row.model_a is None and row.model_b is None:
        return "prompt: is missing (or messages)"
    if row.model_a is None or row.model_b is None:
        return f"model_{'a' if row.model_a is None else 'b'}: is missing in a row without texts"
    if not row.human and not row.judges:
        return "human: a row without texts needs a label"
    return None


def to_pair(row: PairIn) -> Pair:
    """Return the pair that judges see.

    Raises:
        RowInvalid: the row is a battle, which has no texts to judge.
    """
    if row.is_battle:
        raise RowInvalid("prompt: is missing (or messages)")
    pair = Pair(
        id=row.id or "",
        conversation=conversation(row),
        responses_a=row.responses_a or (row.response_a or "",),
        responses_b=row.responses_b or (row.response_b or "",),
        model_a=row.model_a,
        model_b=row.model_b,
        criterion=row.criterion,
        recorded=row.judges,
    )
    if row.id is not None:
        return pair
    return replace(pair, id=default_id(pair.content_hash, pair.model_a, pair.model_b))


def default_id(content_hash: str, model_a: str | None, model_b: str | None) -> str:
    """Return the id of a pair that came without one: a hash of its texts and its two models."""
    text = json.dumps([content_hash, model_a, model_b])
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


_FIELDS: Final = frozenset(PairIn.model_fields)
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


_NAMES: Final = ("id", "model_a", "model_b", "criterion", "group")


def with_trimmed_names(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row whose names have no blanks around them, and no fraction where they are numbers.

    NaN is no name, as in a column of numbers with gaps.

    Raises:
        RowInvalid: two judges have the same name but for such blanks.
    """
    trimmed: dict[str, Any] = {
        name: trim(row[name])
        for name in _NAMES
        if isinstance(row.get(name), str) and trim(row[name]) != row[name]
    }
    for name in _NAMES:
        value = row.get(name)
        if isinstance(value, float):
            trimmed[name] = None if math.isnan(value) else whole(value)
    records = row.get("judges")
    if isinstance(records, dict) and any(trim(name) != name for name in records):
        trimmed["judges"] = {trim(name): record for name, record in records.items()}
        if len(trimmed["judges"]) < len(records):
            raise RowInvalid("judges: two names differ only by blanks around them")
    return {**row, **trimmed} if trimmed else row


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
    found = {name: nearest(name, missing, alike=SLIP) for name in unknown}
    return {name: near for name, near in found.items() if near}


def _group_of(metadata: Mapping[str, Any]) -> str | None:
    for name in _GROUP_FIELDS:
        value = whole(metadata.get(name))
        if value is not None and value == value:  # NaN is no name
            try:
                return read_name(value)
            except ValueError as error:
                raise RowInvalid(f"{name}: {error}") from None
    return None
