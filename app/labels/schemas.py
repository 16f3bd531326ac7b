"""Labels as users send them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.core.models import OVERALL
from app.formats.base import AnyReference, AnyText, Prompt, TrimmedName
from app.formats.canonical import HumanLabel


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
    model_a: TrimmedName | None = Field(None, description="with `prompt`: the model of response a")
    model_b: TrimmedName | None = Field(
        None,
        description="with `prompt`: that of response b; a pair with the models the other way round "
        "is meant too, and the label is turned",
    )
    annotator: TrimmedName | None = Field(
        description="null = unknown, never one and the same person"
    )
    label: HumanLabel
    criterion: TrimmedName = OVERALL
    strength: float | None = Field(None, allow_inf_nan=False)
    first_shown: Literal["a", "b"] | None = Field(None, description="what the person saw first")
    comment: AnyText | None = None

    @model_validator(mode="after")
    def _one_pair(self) -> Self:
        if (self.pair is None) == (self.prompt is None):
            raise ValueError("pair: give the id of the pair, or its prompt")
        models = (self.model_a, self.model_b)
        if models.count(None) == 1 or (self.pair is not None and models != (None, None)):
            raise ValueError("model_a, model_b: give both, and only with prompt")
        return self

    @property
    def details(self) -> dict[str, Any]:
        """Return what is stored beside the label."""
        return self.model_dump(include={"strength", "first_shown", "comment"}, exclude_none=True)


class LabelsIn(BaseModel):
    """Labels to store, all or none."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    labels: Annotated[list[LabelIn], Field(min_length=1)]
