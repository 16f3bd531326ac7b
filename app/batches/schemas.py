"""What a batch is asked with."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.calibrations.schemas import JudgeOrder, Name
from app.parts import Part


class BatchIn(BaseModel):
    """A dataset, or a part of it, to judge under a certificate or by a cascade."""

    model_config = ConfigDict(extra="forbid")
    dataset: Name = Field(description="id or name")
    calibration: str | None = Field(None, max_length=64)
    cascade: Name | JudgeOrder | None = Field(None, description="without a promise")
    part: Part | None = None
    budget_usd: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_authority(self) -> BatchIn:
        if self.calibration is not None and self.cascade is not None:
            raise ValueError("give calibration or cascade, not both")
        if self.budget_usd is not None:
            raise ValueError("budget_usd: this version cannot keep a budget; leave it out")
        return self
