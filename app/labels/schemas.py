"""Labels as users send them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.formats.base import AnyName, AnyReference, AnyText
from app.formats.canonical import OVERALL, HumanLabel


class LabelIn(BaseModel):
    """What one person says of one stored pair."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    dataset: AnyText = Field(description="id or name")
    pair: AnyReference = Field(description="id of the pair in that dataset")
    annotator: AnyName | None = Field(description="null = unknown, never one and the same person")
    label: HumanLabel
    criterion: AnyName = OVERALL
    strength: float | None = Field(None, allow_inf_nan=False)
    first_shown: Literal["a", "b"] | None = Field(None, description="what the person saw first")
    comment: AnyText | None = None

    @property
    def details(self) -> dict[str, Any]:
        """Return what is stored beside the label."""
        return self.model_dump(include={"strength", "first_shown", "comment"}, exclude_none=True)


class LabelsIn(BaseModel):
    """Labels to store, all or none."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    labels: Annotated[list[LabelIn], Field(min_length=1)]
