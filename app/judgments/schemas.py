"""What a request for judgments may hold, in any format that an import reads, and its answer.

Unknown fields of a row move into its metadata, as in an import. Two things differ from an import,
because a caller waits for this answer: a field that looks like a misspelt one is an error that names
it, and `a` and `b` are the first and the second response as posted, even where an import would put
them in another order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.calibrations.schemas import JudgeOrder, Name
from app.core.names import shown
from app.formats.base import RowInvalid, describe
from app.formats.canonical import PairIn
from app.formats.columns.verdicts import Heard
from app.formats.registry import CANONICAL, DIALECTS, Dialect, candidates
from judges.errors import SLIP, nearest
from judges.probability import parse_label, swap_label

_FIELDS: Final = tuple(PairIn.model_fields)
_SIDES: Final = ("response", "responses", "model")


def canonical_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a posted row of any format into a canonical row.

    Raises:
        RowInvalid: its fields fit several formats, or one of them cannot be read.
        ValidationError: a field is a misspelt one, or contradicts the metadata; `loc` names it.
    """
    return _converted(row, _dialect_of(row))


def _converted(row: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    if not dialect.is_foreign:
        return _with_unknown_fields_aside(row)
    prepared = dialect.prepare(row, Heard())
    if len(prepared) != 1:
        raise RowInvalid(f"the row holds {len(prepared)} pairs: send each by itself")
    converted = {k: v for k, v in dialect.convert(prepared[0].row, 0).items() if v is not None}
    return _swapped(converted) if _is_turned(row, converted) else converted


def _read(value: object) -> object:
    """Convert a posted value, where it is a row of one of the formats, into a canonical row."""
    if not isinstance(value, dict):
        return value
    dialect = _dialect_of(value)
    canonical = _converted(value, dialect)
    if dialect.is_foreign:
        _check_converted(canonical, dialect)
    return canonical


def _check_converted(row: Mapping[str, Any], dialect: Dialect) -> None:
    """Refuse a converted row; its fields are not the sender's, so the error names the format."""
    try:
        PairIn.model_validate(row)
    except ValidationError as error:
        raise ValueError(f"as a row of {dialect.name}: {describe(error)}") from None


PostedPair = Annotated[PairIn, BeforeValidator(_read)]


def _dialect_of(row: Mapping[str, Any]) -> Dialect:
    found = candidates(row)
    # the canonical format is the documented one, so it wins over another that fits as well
    canonical = DIALECTS[CANONICAL]
    if not found or canonical in found:
        return canonical
    if len(found) > 1:
        names = ", ".join(dialect.name for dialect in found)
        raise RowInvalid(f"the fields fit several formats ({names}): send prompt and responses")
    return found[0]


def _with_unknown_fields_aside(row: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in row.items() if name in _FIELDS}
    unknown = {name: value for name, value in row.items() if name not in _FIELDS}
    metadata = known.get("metadata") or {}
    faults = [
        _fault(name, value, message)
        for name, value in unknown.items()
        if (message := _misspelt(name, known) or _contradiction(name, value, metadata))
    ]
    if faults:
        raise ValidationError.from_exception_data("pair", faults)
    if not unknown or not isinstance(metadata, dict):
        return known
    return {**known, "metadata": {**unknown, **metadata}}


def _misspelt(name: str, known: Mapping[str, Any]) -> str | None:
    missing = [field for field in _FIELDS if field not in known]
    near = nearest(name, missing, alike=SLIP)
    return f"there is no such field; did you mean {near}?" if near else None


def _contradiction(name: str, value: object, metadata: object) -> str | None:
    if isinstance(metadata, dict) and name in metadata and metadata[name] != value:
        return "differs from the field of metadata"
    return None


def _fault(name: str, value: object, message: str) -> InitErrorDetails:
    kind = PydanticCustomError("unknown_field", "{message}", {"message": message})
    return InitErrorDetails(type=kind, loc=(name,), input=shown(value))


def _is_turned(row: Mapping[str, Any], converted: Mapping[str, Any]) -> bool:
    """Return whether the format puts the second response of the posted row first."""
    if "chosen" in row and "rejected" in row:
        return bool(converted["metadata"]["chosen_side"] == "b")
    return "conversation_a" in row and converted.get("model_a") != row.get("model_a")


def _swapped(row: Mapping[str, Any]) -> dict[str, Any]:
    """Exchange the two sides of a converted row: texts, models, votes and scores."""
    swapped = dict(row)
    for name in _SIDES:
        for side, other in (("a", "b"), ("b", "a")):
            swapped.pop(f"{name}_{side}", None)
            if f"{name}_{other}" in row:
                swapped[f"{name}_{side}"] = row[f"{name}_{other}"]
    swapped["human"] = [_mirrored(vote) for vote in row.get("human", ())]
    swapped["judges"] = {name: _mirrored(one) for name, one in row.get("judges", {}).items()}
    metadata = row.get("metadata", {})
    if "chosen_side" in metadata:
        swapped["metadata"] = {**metadata, "chosen_side": "a"}
    return swapped


def _mirrored(vote: Mapping[str, Any]) -> dict[str, Any]:
    return {**vote, "label": swap_label(parse_label(vote["label"]))}


class JudgmentsIn(BaseModel):
    """Pairs to judge, under a certificate or, without a promise, by a cascade."""

    model_config = ConfigDict(extra="forbid")
    pairs: list[PostedPair] = Field(
        min_length=1,
        max_length=256,
        description="up to 256 pairs; more is a batch. A row may be in any format that an import "
        "reads and that carries texts; fields it need not know move into its metadata. Of a chosen "
        "and a rejected response, the chosen one is `a`.",
    )
    calibration: str | None = Field(None, max_length=64, description="the certificate to apply")
    cascade: Name | JudgeOrder | None = Field(
        None, description="a configured cascade, or its judges; without a promise"
    )
    deadline_s: float = Field(60.0, gt=0, le=3600, description="seconds until failures are given")

    @model_validator(mode="after")
    def _one_authority(self) -> JudgmentsIn:
        if self.calibration is not None and self.cascade is not None:
            raise ValueError("give calibration or cascade, not both")
        return self
