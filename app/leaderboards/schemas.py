"""What a leaderboard is asked with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.names import Name
from app.parts import Part

Method = Literal["bradley_terry", "win_rate", "average_win_rate", "counting", "elo"]
Ties = Literal["half", "exclude", "davidson"]
Votes = Literal["each", "majority", "mean_sign"]
Control = Literal["length", "style"]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Criteria = Annotated[dict[Name, Weight], Field(min_length=1, max_length=20)]

POWERED = "prediction_powered"
_JUDGE = "judge:"


class EloIn(BaseModel):
    """Constants of Elo: step, first rating, rating points per factor of ten in the odds."""

    model_config = ConfigDict(extra="forbid")
    k: Positive = 4.0
    start: float = Field(1000.0, ge=-1e9, le=1e9)
    scale: Positive = 400.0


class LeaderboardIn(BaseModel):
    """Which comparisons to rank models by, and how."""

    model_config = ConfigDict(extra="forbid")
    dataset: Name = Field(description="id or name of the dataset")
    source: Name = Field(
        "human",
        description="whose verdicts: human, cascade, judge:<name>, or prediction_powered "
        "(verdicts on all pairs, corrected by the labels there are)",
        examples=["human", "cascade", "judge:student", "prediction_powered"],
    )
    calibration: Name | None = Field(
        None, description="the certificate whose verdicts count: cascade or prediction_powered"
    )
    judge: Name | None = Field(
        None, description="for prediction_powered: the judge whose scores are corrected"
    )
    certified_only: bool = Field(
        False,
        description="for cascade: nothing but accepted verdicts of a certificate whose promise "
        "holds, on pairs it was not made from",
    )
    method: Method = "bradley_terry"
    options: EloIn | None = Field(None, description="constants of the method elo")
    ties: Ties = Field("half", description="davidson: Bradley-Terry with a tie parameter")
    votes: Votes = Field("each", description="each human vote is a comparison, or one per pair")
    baseline: Name | None = Field(None, description="for win_rate: against this model alone")
    soft: bool = Field(False, description="a verdict counts as its p_a, not as 0 or 1")
    control: list[Control] | None = Field(
        None,
        min_length=1,
        description="ratings at equal length, or at equal style (headings, list items, bold)",
    )
    criteria: Criteria | None = Field(
        None,
        description="weights of criteria: the rating is the weighted mean of the ratings by each. "
        "A criterion of people is that of their votes; of a judge, the judge <name>/<criterion>",
    )
    confidence_level: float = Field(0.95, ge=1e-6, le=1 - 1e-6)
    group_by: Name | None = Field(None, description="a metadata field: rows for each value of it")
    part: Part | None = None
    seed: int = Field(0, ge=0, lt=2**63, description="of the resamples behind the intervals")

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str) -> str:
        if source in ("human", "cascade", POWERED) or source.removeprefix(_JUDGE) not in (
            "",
            source,
        ):
            return source
        raise ValueError("write human, cascade, prediction_powered or judge:<name>")

    @property
    def own_judge(self) -> str | None:
        """The judge that the source names, None for people, a cascade or corrected scores."""
        return self.source.removeprefix(_JUDGE) if self.source.startswith(_JUDGE) else None

    @property
    def is_powered(self) -> bool:
        """Whether verdicts are corrected by labels."""
        return self.source == POWERED

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each criterion; `overall` alone where none is named."""
        return dict(self.criteria) if self.criteria else {"overall": 1.0}

    @property
    def has_several_criteria(self) -> bool:
        """Whether the rating is a mean over criteria."""
        return len(self.weights) > 1


class ReweightIn(BaseModel):
    """Other weights for the criteria of a stored leaderboard."""

    model_config = ConfigDict(extra="forbid")
    criteria: Criteria = Field(description="criteria that are not named weigh nothing")
