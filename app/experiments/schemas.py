"""What an experiment is asked with."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.calibrations.schemas import CalibrationIn, JudgeOrder, LabelRule, Name, Share, Ties
from app.parts import Part
from calibration.plan import BASELINES, DEFAULT_RULES

# some minutes of one core
MOST_CELLS = 100_000
_NOT_ASKED = {"target_agreements", "rules", "splits", "calibration_share", "calibration_pairs",
              "costs", "confidence_level"}  # fmt: skip


class ExperimentIn(BaseModel):
    """Which rules to compare, at which targets, on how many splits of which labels."""

    model_config = ConfigDict(extra="forbid")
    dataset: Name = Field(description="id or name")
    cascade: Name | JudgeOrder = "default"
    target_agreements: list[Share] = Field([0.8, 0.85, 0.9], min_length=1, max_length=16)
    rules: list[Name] = Field(
        list(DEFAULT_RULES), min_length=1, max_length=16,
        description=f"{', '.join(BASELINES)}, or any method of a calibration",
    )  # fmt: skip
    splits: int = Field(1_000, ge=1, le=10_000, description="number of random splits, by group")
    calibration_share: Share = Field(0.5, description="share of the groups that calibrates")
    calibration_pairs: int | None = Field(
        None, ge=1, description="instead: whole groups until this many pairs would be exceeded"
    )
    costs: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = Field(
        None, max_length=16, description="cost of asking each judge; default: what was recorded"
    )
    failure_probability: Share = 0.1
    label_rule: LabelRule = "majority"
    ties: Ties = "exclude"
    part: Part | None = None
    max_group_size: int | None = Field(None, ge=1, le=10_000)
    min_label_probability: float | None = Field(None, gt=0, le=1)
    confidence_level: Share = Field(0.95, description="of the Monte-Carlo intervals")
    seed: int = Field(0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _is_bearable(self) -> Self:
        cells = self.splits * len(self.target_agreements) * len(self.rules)
        if cells > MOST_CELLS:
            raise ValueError(
                f"splits x target_agreements x rules are {cells}, more than {MOST_CELLS}"
            )
        return self

    def as_calibration(self) -> CalibrationIn:
        """Return the calibration whose labels and judges are looked at."""
        given: dict[str, Any] = self.model_dump(exclude=_NOT_ASKED)
        return CalibrationIn.model_validate(
            {**given, "target_agreement": self.target_agreements[0]}
        )
