"""Labels as users send them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from app.core.models import OVERALL
from app.core.names import shown
from app.formats.base import AnyObject, AnyReference, AnyText, Prompt, TrimmedName
from judges.probability import parse_label
from judges.types import Label

# null is no label
_Said = Annotated[
    Label | None,
    PlainValidator(parse_label),
    WithJsonSchema({"enum": ["a", "b", "tie"], "type": "string"}),
]

# further fields that a stored label is shown with
_OWN: Final = ("object", "id", "replaced_at")


class LabelIn(BaseModel):
    """What one person says of one stored pair.

    The pair is named by its id, or by its prompt and, where several pairs have it, its two models.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    dataset: AnyText = Field(description="id or name")
    pair: AnyReference | None = Field(None, description="id of the pair in that dataset")
    prompt: Prompt | None = Field(
        None,
        description="instead of `pair`; blanks and case do not matter where it is the only one",
    )
    model_a: TrimmedName | None = Field(None, description="the model of what the person saw as a")
    model_b: TrimmedName | None = Field(
        None,
        description="that of the one seen as b; a pair with the models the other way round is meant "
        "too, and the label is turned",
    )
    response_a: AnyText | None = Field(
        None, description="the response that the person saw as a; with response_b"
    )
    response_b: AnyText | None = Field(
        None,
        description="the one seen as b; a pair with the two the other way round is meant too, and the "
        "label is turned",
    )
    annotator: TrimmedName | None = Field(
        description="null = unknown, never one and the same person"
    )
    label: _Said = Field(default_factory=lambda: None, description="or `winner`")
    winner: AnyText | None = Field(
        None,
        description="instead of `label`: who won, as people write it: the name of one of the two "
        "models, left, A>B, tie, both bad",
    )
    criterion: TrimmedName = OVERALL
    strength: float | None = Field(None, allow_inf_nan=False)
    first_shown: Literal["a", "b"] | None = Field(None, description="what the person saw first")
    comment: AnyText | None = None
    details: AnyObject = Field(
        default_factory=dict,
        description="what else is to be kept with the label, such as `seconds`; exports give it back",
    )

    @field_validator("details")
    @classmethod
    def _no_fields(cls, value: dict[str, Any]) -> dict[str, Any]:
        own = next((name for name in value if name in _OWN or name in cls.model_fields), None)
        if own is not None:
            raise ValueError(f"{shown(own)} is a field of the label itself")
        return value

    @model_validator(mode="after")
    def _one_pair(self) -> Self:
        if (self.pair is None) == (self.prompt is None):
            raise ValueError("pair: give the id of the pair, or its prompt")
        models = (self.model_a, self.model_b)
        if models.count(None) == 1:
            raise ValueError("model_a, model_b: give both")
        if (self.response_a is None) != (self.response_b is None):
            raise ValueError("response_a, response_b: give both")
        if (self.label is None) == (self.winner is None):
            raise ValueError("label: give label, or winner")
        return self

    @property
    def kept(self) -> dict[str, Any]:
        """Return what is stored beside the label."""
        named = self.model_dump(include={"strength", "first_shown", "comment"}, exclude_none=True)
        return {**self.details, **named}


class LabelsIn(BaseModel):
    """Labels to store, all or none."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    labels: Annotated[list[LabelIn], Field(min_length=1)]
