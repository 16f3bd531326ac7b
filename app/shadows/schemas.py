"""Requests for shadow judges."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.calibrations.schemas import JudgeOrder, Name


class ShadowIn(BaseModel):
    """Which candidate is to judge how much of whose traffic."""

    model_config = ConfigDict(extra="forbid")
    calibration: str = Field(
        max_length=64, description="the certificate in use, whose traffic is judged beside it"
    )
    cascade: Name | JudgeOrder | None = Field(
        None, description="the candidate: a configured cascade, or its judges from cheap to strong"
    )
    judge: Name | None = Field(None, description="the candidate: one judge, which always answers")
    candidate: str | None = Field(
        None, max_length=64, description="the candidate: another certificate, with its thresholds"
    )
    share: float = Field(0.1, gt=0, le=1, description="of the prompts; audited ones always count")
    precision: float = Field(
        0.05, gt=0, le=0.5, description="half the width of the intervals at which it is enough"
    )
    budget_usd: float | None = Field(None, ge=0, description="the most that the candidate may cost")

    @model_validator(mode="after")
    def _one_candidate(self) -> Self:
        given = [name for name in ("cascade", "judge", "candidate") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError("cascade: give one candidate, a cascade, a judge or a certificate")
        return self

    @property
    def order(self) -> str | JudgeOrder | None:
        """The candidate as a cascade; None where it is a certificate."""
        return self.cascade if self.judge is None else JudgeOrder(judges=[self.judge])
