"""What a leaderboard is asked with.

Every field is checked against the method and the source it belongs to: a field that would change
nothing is an error that names it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.errors import Unprocessable
from app.names import Name
from app.parts import Part

Method = Literal["bradley_terry", "win_rate", "average_win_rate", "counting", "elo"]
Ties = Literal["half", "exclude", "davidson"]
Votes = Literal["each", "majority", "mean_sign"]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]

_JUDGE = "judge:"
_CONTROLS = "leaderboards are not adjusted for it in this version; leave it out"
_PREDICTION_POWERED = (
    "prediction_powered is not available in this version; use human, cascade or judge:<name>"
)


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
        description="whose verdicts: human, cascade, or judge:<name>",
        examples=["human", "cascade", "judge:student"],
    )
    calibration: Name | None = Field(None, description="the certificate, for the source cascade")
    method: Method = "bradley_terry"
    options: EloIn | None = Field(None, description="constants of the method elo")
    ties: Ties = Field("half", description="davidson: Bradley-Terry with a tie parameter")
    votes: Votes = Field("each", description="each human vote is a comparison, or one per pair")
    baseline: Name | None = Field(None, description="for win_rate: against this model alone")
    soft: bool = Field(False, description="a verdict counts as its p_a, not as 0 or 1")
    control: list[Name] | None = Field(None, description="not available in this version")
    criteria: dict[Name, Positive] | None = Field(
        None, description="rank by the votes on one criterion, such as {'helpfulness': 1}"
    )
    confidence_level: float = Field(0.95, gt=0, lt=1)
    group_by: Name | None = Field(None, description="a metadata field: rows for each value of it")
    part: Part | None = None
    seed: int = Field(0, ge=0, lt=2**63, description="of the resamples behind the intervals")

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str) -> str:
        if source == "prediction_powered":
            raise ValueError(_PREDICTION_POWERED)
        if source in ("human", "cascade") or source.removeprefix(_JUDGE) not in ("", source):
            return source
        raise ValueError("write human, cascade or judge:<name>")

    @property
    def judge(self) -> str | None:
        """The judge that the source names, None for people or a cascade."""
        return self.source.removeprefix(_JUDGE) if self.source.startswith(_JUDGE) else None

    @property
    def criterion(self) -> str:
        """The criterion whose votes count."""
        return next(iter(self.criteria)) if self.criteria else "overall"


def refuse_what_does_not_apply(request: LeaderboardIn) -> None:
    """Check the fields against each other.

    Raises:
        Unprocessable: names every field that the rest of the request leaves without a meaning.
    """
    errors = [
        {"loc": ["body", name], "msg": message}
        for name, message in (*_of_source(request), *_of_method(request))
    ]
    if errors:
        detail = "; ".join(f"{error['loc'][1]}: {error['msg']}" for error in errors)
        raise Unprocessable(detail, errors=errors)


def _of_source(request: LeaderboardIn) -> list[tuple[str, str]]:
    given = request.model_fields_set
    is_human, is_cascade = request.source == "human", request.source == "cascade"
    found: list[tuple[str, str]] = []
    if is_cascade and request.calibration is None:
        found.append(("calibration", "the source cascade needs the id of a certificate"))
    if not is_cascade and request.calibration is not None:
        found.append(("calibration", "a certificate is for the source cascade"))
    if not is_human and "votes" in given:
        found.append(("votes", "only the source human has votes"))
    if is_human and request.soft:
        found.append(
            ("soft", "votes have no p_a: soft is for the sources cascade and judge:<name>")
        )
    if request.control:
        found.append(("control", _CONTROLS))
    return found + _of_criteria(request)


def _of_criteria(request: LeaderboardIn) -> list[tuple[str, str]]:
    if request.criteria is None:
        return []
    if request.source != "human":
        return [("criteria", "only the source human has votes by criterion")]
    if len(request.criteria) != 1:
        message = "name one criterion: several with weights are not available in this version"
        return [("criteria", message)]
    return []


def _of_method(request: LeaderboardIn) -> list[tuple[str, Any]]:
    found = []
    if request.options is not None and request.method != "elo":
        found.append(("options", "constants are for the method elo"))
    if request.baseline is not None and request.method != "win_rate":
        found.append(("baseline", "a baseline is for the method win_rate"))
    if request.ties == "davidson" and request.method != "bradley_terry":
        found.append(("ties", "davidson is for the method bradley_terry"))
    if request.ties == "davidson" and request.soft:
        found.append(("ties", "davidson needs wins, ties and losses: leave soft out"))
    return found
