"""What a plan is asked with."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from app.calibrations.schemas import CalibrationIn, JudgeOrder, LabelRule, Name, Share, Ties
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
    seed: int = Field(0, ge=0, lt=2**63)

    def as_calibration(self) -> CalibrationIn:
        """Return the calibration that a plan looks ahead to, for its first target."""
        given = self.model_dump(exclude={"target_agreements"})
        return CalibrationIn.model_validate(
            {**given, "target_agreement": self.target_agreements[0]}
        )
