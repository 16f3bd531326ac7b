"""What a plan is asked with."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from app.calibrations.schemas import CalibrationIn, JudgeOrder, LabelRule, Method, Name, Share, Ties
from app.parts import Part


class PlanIn(BaseModel):
    """Which targets to look at, for which cascade, on which labels."""

    model_config = ConfigDict(extra="forbid")
    dataset: Name = Field(description="id or name")
    cascade: Name | JudgeOrder = "default"
    target_agreements: list[Share] = Field([0.8, 0.85, 0.9], min_length=1, max_length=50)
    failure_probability: Share = 0.1
    label_rule: LabelRule = "majority"
    ties: Ties = "exclude"
    part: Part | None = None
    method: Method = "auto"
    pool: Name | None = Field(None, description="a dataset of unlabelled pairs for the start")
    max_group_size: int | None = Field(None, ge=1, le=10_000)
    min_label_probability: float | None = Field(None, gt=0, le=1)
    seed: int = Field(0, ge=0, lt=2**63)

    def as_calibrations(self) -> list[CalibrationIn]:
        """Return the calibrations that a plan looks ahead to, one for each target."""
        given = self.model_dump(exclude={"target_agreements"})
        return [
            CalibrationIn.model_validate({**given, "target_agreement": target})
            for target in self.target_agreements
        ]
