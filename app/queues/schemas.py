"""Requests to label queues."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.bodies.queues import Purpose, Said
from app.core.fields import Name
from app.core.models import OVERALL
from app.datasets.splits import Part
from app.formats.base import AnyReference, AnyText, TrimmedName

MOST_AT_ONCE = 100
MOST_ANSWERS = 1_000
LONGEST_SECONDS = 1e9


class QueueIn(BaseModel):
    """Which pairs people are to label, and how."""

    model_config = ConfigDict(extra="forbid")
    name: Name
    dataset: AnyText = Field(description="id or name")
    purpose: Purpose = Field(
        "calibration",
        description="calibration: in an order drawn uniformly; ranking: pairs by which ranks settle "
        "soonest; audit: accepted verdicts of a certificate; finish: what it abstained on; asked: "
        "pairs in the order in which they are named, else drawn, after those of all other queues",
    )
    votes_per_pair: int = Field(1, ge=1, le=100, description="of different persons, in this queue")
    adjudicate: bool = Field(
        False, description="one more person is asked where the votes have no majority"
    )
    calibration: str | None = Field(None, max_length=64)
    leaderboard: str | None = Field(None, max_length=64)
    part: Part | None = None
    pairs: list[AnyReference] | None = Field(None, min_length=1, description="only these")
    labels: int | None = Field(
        None, ge=1, description="how many pairs to label; default: all, for ranking at most 200"
    )
    unlabelled: bool = Field(
        False,
        description="only pairs without any label yet; where pairs are drawn, those of audits and "
        "finishes count as none",
    )
    criterion: TrimmedName = OVERALL
    guidelines: str | None = Field(None, max_length=20_000, description="shown beside each pair")
    allow_tie: bool = True
    seed: int = Field(0, ge=0, lt=2**63, description="draws the order and the sides")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.purpose in ("audit", "finish") and self.calibration is None and self.pairs is None:
            raise ValueError(f"calibration: {self.purpose} needs the certificate of the verdicts")
        return self

    @property
    def keeps_order(self) -> bool:
        """Whether pairs are served in the order in which somebody named them."""
        return self.purpose == "asked" and self.pairs is not None


class ClaimIn(BaseModel):
    """Who wants pairs to label, and how many."""

    model_config = ConfigDict(extra="forbid")
    annotator: TrimmedName | None = Field(
        None, description="may be left out with a key that is one annotator's own"
    )
    n: int = Field(1, ge=1, le=MOST_AT_ONCE)
    again: bool = Field(
        False, description="pairs that this person skipped, too, after all others that wait"
    )


class AnswerIn(BaseModel):
    """What one person says of one pair."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    item: str = Field(max_length=64)
    label: Said = Field(description="both: both are fine, a tie of its own kind")
    comment: AnyText | None = None
    seconds: Annotated[float, Field(ge=0, le=LONGEST_SECONDS, allow_inf_nan=False)] | None = None


class AnswersIn(BaseModel):
    """Answers of one person."""

    model_config = ConfigDict(extra="forbid")
    annotator: TrimmedName | None = None
    answers: list[AnswerIn] = Field(min_length=1, max_length=MOST_ANSWERS)


class UndoIn(BaseModel):
    """The answer to take back."""

    model_config = ConfigDict(extra="forbid")
    annotator: TrimmedName | None = None
    item: str = Field(max_length=64)


Tool = Literal["label_studio", "argilla"]
