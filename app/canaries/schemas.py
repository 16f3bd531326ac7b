"""What canaries are asked with."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.calibrations.schemas import Name
from app.parts import Part


class CanariesIn(BaseModel):
    """Which judges to try, on pairs of which dataset."""

    model_config = ConfigDict(extra="forbid")
    dataset: Name = Field(description="id or name; its pairs need texts, not labels")
    judges: Annotated[list[Name], Field(min_length=1, max_length=16, examples=[["student"]])]
    pairs: int = Field(50, ge=1, le=256, description="how many, one a group, drawn by the seed")
    part: Part | None = None
    seed: int = Field(0, ge=0, lt=2**63)
