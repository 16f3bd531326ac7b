"""What judgments are asked with and answered with."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.calibrations.schemas import JudgeOrder, Name
from app.judgments.rows import PostedPair

Promise = Literal["certified", "suspended", "none"]


class JudgmentsIn(BaseModel):
    """Pairs to judge, under a certificate or, without a promise, by a cascade."""

    model_config = ConfigDict(extra="forbid")
    pairs: list[PostedPair] = Field(
        min_length=1,
        max_length=256,
        description="up to 256 pairs; more is a batch. A row may be in any format that an import "
        "reads and that carries texts; fields it need not know move into its metadata. Of a chosen "
        "and a rejected response, the chosen one is `a`.",
    )
    calibration: str | None = Field(None, max_length=64, description="the certificate to apply")
    cascade: Name | JudgeOrder | None = Field(
        None, description="a configured cascade, or its judges; without a promise"
    )
    deadline_s: float = Field(60.0, gt=0, le=3600, description="seconds until failures are given")

    @model_validator(mode="after")
    def _one_authority(self) -> JudgmentsIn:
        if self.calibration is not None and self.cascade is not None:
            raise ValueError("give calibration or cascade, not both")
        return self


class FailureOut(BaseModel):
    """Why a judge gave no score."""

    kind: str
    detail: str


class TierOut(BaseModel):
    """What one judge that was asked said. `p_a` 0.83 means: response a is better with 83 %."""

    judge: str
    p_a: float | None
    p_tie: float | None
    confidence: float | None
    accepted: bool
    failure: FailureOut | None
    flags: list[str] = []


class VerdictOut(BaseModel):
    """The answer to one pair."""

    id: str
    status: Literal["accepted", "abstained", "failed"]
    label: Literal["a", "b", "tie"] | None
    confidence: float | None
    judge: str | None
    tiers: list[TierOut]
    calibration: str | None
    promise: Promise = Field(description="what the verdicts of this run promise, on new pairs")
    calibration_pair: bool = Field(
        False,
        description="whether the certificate was made from this pair, or from another of its prompt "
        "or group, or its judges learnt from it: the promise is about other pairs",
    )
    cost_usd: float | None
    cached: bool


class JudgmentsOut(BaseModel):
    """Verdicts in the order of the pairs."""

    object: Literal["judgments"] = "judgments"
    verdicts: list[VerdictOut]
    suspended_because: str | None
    calibration_pairs: int = Field(
        0,
        description="pairs of prompts that the certificate was made from or its judges learnt from: "
        "its promise is for others",
    )
