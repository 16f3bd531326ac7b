"""What a batch is asked with."""

from __future__ import annotations

from typing import Literal

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
    budget_usd: float | None = Field(
        None, ge=0, description="the most that judging may cost; pairs it does not cover abstain"
    )
    budget: Literal["hard", "soft"] = Field(
        "hard",
        description="hard: the most that a pair may cost must be left before it is begun; soft: "
        "what pairs have cost on average, so that the last ones may cost a little too much",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of the order in which a budget admits pairs")

    @model_validator(mode="after")
    def _one_authority(self) -> BatchIn:
        if self.calibration is not None and self.cascade is not None:
            raise ValueError("give calibration or cascade, not both")
        return self


class RetryIn(BaseModel):
    """How to take up a batch that has ended."""

    model_config = ConfigDict(extra="forbid")
    budget_usd: float | None = Field(None, ge=0, description="a new budget for the whole batch")
