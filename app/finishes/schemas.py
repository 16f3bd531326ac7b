"""Requests to finish a dataset."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.calibrations.schemas import CalibrationIn, ErrorShare, JudgeOrder, Name, Share, Ties


class FinishIn(BaseModel):
    """Which dataset is to get a verdict on every row, and how many of them may be wrong."""

    model_config = ConfigDict(extra="forbid")
    dataset: Name = Field(description="id or name")
    cascade: Name | JudgeOrder = Field("default", description="a configured cascade, or its judges")
    max_error: ErrorShare = Field(description="of all rows, those with a wrong verdict of a judge")
    failure_probability: Share = Field(
        0.1, description="probability that the promise does not hold, over the draw of the labels"
    )
    ties: Ties = Field("exclude", description="what a tie of the people means for a verdict")
    labels: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="pairs without a label, drawn uniformly, that people label before anything is "
        "certified; then labels that no queue for calibration asked for certify nothing, since nobody "
        "knows how their rows were chosen; default: none, the labels that are there will do",
    )
    votes_per_pair: int = Field(1, ge=1, le=100, description="persons to ask about each pair")
    guidelines: str | None = Field(None, max_length=20_000, description="shown beside each pair")
    allow_tie: bool = True
    budget_usd: float | None = Field(
        None,
        ge=0,
        description="the most that judging may cost; people label what it does not cover",
    )
    seed: int = Field(0, ge=0, lt=2**63)

    @property
    def of_people(self) -> dict[str, Any]:
        """How people are asked, as a queue takes it."""
        return {
            "votes_per_pair": self.votes_per_pair,
            # a row with as many votes for either side would have no verdict
            "adjudicate": self.votes_per_pair > 1,
            "guidelines": self.guidelines,
            "allow_tie": self.allow_tie,
            "seed": self.seed,
        }

    def calibration(self, dataset_id: str, queues: list[str] | None = None) -> CalibrationIn:
        """Return the request for the certificate on the whole, on labels of these queues."""
        return CalibrationIn(
            dataset=dataset_id,
            cascade=self.cascade,
            scope="dataset",
            max_error=self.max_error,
            failure_probability=self.failure_probability,
            ties=self.ties,
            queues=queues,
            seed=self.seed,
        )


class FinishRetryIn(BaseModel):
    """How to go on where judges failed."""

    model_config = ConfigDict(extra="forbid")
    people: bool = Field(
        False,
        description="people label every row that a judge failed on; else judges are asked again",
    )
