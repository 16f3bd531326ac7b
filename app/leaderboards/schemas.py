"""Requests, and which of their fields go together.

A field that would have no effect is an error that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from app.core.errors import Unprocessable
from app.core.fields import Key, Name
from app.datasets.splits import Part

Method = Literal["bradley_terry", "win_rate", "average_win_rate", "counting", "elo"]
Ties = Literal["half", "exclude", "davidson"]
Votes = Literal["each", "majority", "mean_sign"]
Control = Literal["length", "style"]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Criteria = Annotated[dict[Key, Weight], Field(min_length=1, max_length=20)]
SliceWeights = Annotated[dict[Key, Weight], Field(min_length=1, max_length=1_000)]

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
        max_length=10,
        description="ratings at equal length, or at equal style (headings, list items, bold)",
    )
    criteria: Criteria | None = Field(
        None,
        description="weights of criteria: the rating is the weighted mean of the ratings by each. "
        "A criterion of people is that of their votes; of a judge, the judge <name>/<criterion>",
    )
    confidence_level: float = Field(0.95, ge=1e-6, le=1 - 1e-6)
    group_by: Name | None = Field(None, description="a metadata field: rows for each value of it")
    slice_weights: SliceWeights | None = Field(
        None,
        description="how much the comparisons of each slice of group_by count on the whole board; 1 "
        "where none is named, 0 leaves a slice out",
    )
    part: Part | None = None
    seed: int = Field(0, ge=0, lt=2**63, description="of the resamples behind the intervals")

    @field_validator("source")
    @classmethod
    def _is_known(cls, source: str) -> str:
        return _known_source(source)

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
    """What else to count of the same votes and scores; what is not given stays as it was."""

    model_config = ConfigDict(extra="forbid")
    criteria: Criteria | None = Field(None, description="criteria that are not named weigh nothing")
    slice_weights: SliceWeights | None = Field(
        None, description="of the slices of group_by; slices that are not named weigh 1"
    )
    group_by: Name | None = Field(None, description="a metadata field to slice by instead")
    control: list[Control] | None = Field(
        None, max_length=10, description="ratings at equal length or style; empty: at none"
    )

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give criteria, slice_weights, group_by or control")
        return self


class WhatIfQuery(BaseModel):
    """The same in a query string, beside `criterion.NAME=WEIGHT` and `slice.NAME=WEIGHT`."""

    model_config = ConfigDict(extra="allow")
    group_by: Name | None = Field(None, description="a metadata field to slice by instead")
    control: list[Literal["length", "style", "none"]] = Field(
        [], max_length=10, description="ratings at equal length or style; none: at neither"
    )
    source: Name | None = Field(
        None, description="the same pairs by another source: human, or judge:<name>"
    )
    matrix: bool = Field(False, description="also who won how often against whom")

    @field_validator("source")
    @classmethod
    def _is_known(cls, source: str | None) -> str | None:
        return None if source is None else _known_source(source)

    def changes(self) -> ReweightIn | None:
        """Return what is asked for instead, None where nothing is.

        Raises:
            Unprocessable: names the parameter.
        """
        given: dict[str, Any] = {}
        for name, text in (self.model_extra or {}).items():
            kind, _, key = name.partition(".")
            if kind not in _WEIGHED or not key:
                raise Unprocessable.field([name], "there is no such parameter", place="query")
            given.setdefault(_WEIGHED[kind], {})[key] = text
        if self.group_by is not None:
            given["group_by"] = self.group_by
        if self.control:
            given["control"] = [one for one in self.control if one != "none"]
        try:
            return ReweightIn.model_validate(given) if given else None
        except ValidationError as error:
            errors = [
                {"loc": ["query", *_as_given(one["loc"])], "msg": one["msg"]}
                for one in error.errors()
            ]
            detail = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in errors)
            raise Unprocessable(detail, errors=errors) from error


def _known_source(source: str) -> str:
    if source in ("human", "cascade", POWERED) or source.removeprefix(_JUDGE) not in ("", source):
        return source
    raise ValueError("write human, cascade, prediction_powered or judge:<name>")


_WEIGHED: Final = {"criterion": "criteria", "slice": "slice_weights"}


def _as_given(loc: Sequence[int | str]) -> tuple[int | str, ...]:
    """Return the place of a fault by the name of its parameter."""
    kinds = {field: kind for kind, field in _WEIGHED.items()}
    if len(loc) > 1 and loc[0] in kinds:
        return (f"{kinds[str(loc[0])]}.{loc[1]}",)
    return tuple(loc)


Fault = tuple[str, str]


def refuse_what_does_not_apply(request: LeaderboardIn) -> None:
    """Check the fields against each other.

    Raises:
        Unprocessable: names every field that the rest of the request leaves without a meaning.
    """
    found = [*_of_source(request), *_of_criteria(request), *_of_method(request)]
    found += _of_slices(request)
    if request.is_powered:
        found += _of_powered(request)
    errors = [{"loc": ["body", name], "msg": message} for name, message in found]
    if errors:
        detail = "; ".join(f"{name}: {message}" for name, message in found)
        raise Unprocessable(detail, errors=errors)


def _chosen(*faults: tuple[bool, str, str]) -> Iterable[Fault]:
    return [(name, message) for is_fault, name, message in faults if is_fault]


def _of_source(request: LeaderboardIn) -> Iterable[Fault]:
    is_human, is_cascade = request.source == "human", request.source == "cascade"
    has_certificate = request.calibration is not None
    has_votes = is_human or request.is_powered
    return _chosen(
        (
            is_cascade and not has_certificate,
            "calibration",
            "the source cascade needs the id of a certificate",
        ),
        (
            has_certificate and not (is_cascade or request.is_powered),
            "calibration",
            "a certificate is for the sources cascade and prediction_powered",
        ),
        (
            request.judge is not None and not request.is_powered,
            "judge",
            "a judge to correct is for the source prediction_powered; write judge:<name> as source",
        ),
        (
            request.certified_only and not is_cascade,
            "certified_only",
            "only the source cascade has verdicts of a certificate",
        ),
        (
            "votes" in request.model_fields_set and not has_votes,
            "votes",
            "only the sources human and prediction_powered have votes",
        ),
        (
            is_human and request.soft,
            "soft",
            "votes have no p_a: soft is for the sources cascade, judge:<name>, prediction_powered",
        ),
    )


def _of_criteria(request: LeaderboardIn) -> Iterable[Fault]:
    if request.criteria is None:
        return []
    is_several = request.has_several_criteria
    return _chosen(
        (
            not any(request.criteria.values()),
            "criteria",
            "give at least one criterion a weight above 0",
        ),
        (
            request.source == "cascade",
            "criteria",
            "a certificate's verdicts are of one criterion: use human or judge:<name>",
        ),
        (
            is_several and request.is_powered,
            "criteria",
            "verdicts are corrected by one criterion at a time: name one",
        ),
        (
            is_several and bool(request.control),
            "control",
            "length and style are controlled for one criterion at a time",
        ),
    )


def _of_slices(request: LeaderboardIn) -> Iterable[Fault]:
    if request.slice_weights is None:
        return []
    return _chosen(
        (
            request.group_by is None,
            "slice_weights",
            "give group_by: the field whose values are weighed",
        ),
        (
            request.is_powered,
            "slice_weights",
            "corrected verdicts have weights of their own: use human, cascade or judge:<name>",
        ),
    )


def _of_method(request: LeaderboardIn) -> Iterable[Fault]:
    is_strength = request.method == "bradley_terry"
    is_davidson = request.ties == "davidson"
    return _chosen(
        (
            request.options is not None and request.method != "elo",
            "options",
            "constants are for the method elo",
        ),
        (
            request.baseline is not None and request.method != "win_rate",
            "baseline",
            "a baseline is for the method win_rate",
        ),
        (
            is_davidson and not is_strength,
            "ties",
            "davidson is for the method bradley_terry",
        ),
        (
            is_davidson and request.soft,
            "ties",
            "davidson needs wins, ties and losses: leave soft out",
        ),
        (
            bool(request.control) and not is_strength,
            "control",
            "length and style can be controlled for with the method bradley_terry",
        ),
    )


def _of_powered(request: LeaderboardIn) -> Iterable[Fault]:
    return _chosen(
        (
            request.judge is not None and request.calibration is not None,
            "judge",
            "give a judge or a certificate whose verdicts are corrected, not both",
        ),
        (
            request.method not in ("bradley_terry", "win_rate"),
            "method",
            "prediction_powered is for bradley_terry and win_rate",
        ),
        (
            request.ties != "half",
            "ties",
            "prediction_powered counts a tie as half a win for each side",
        ),
        (
            bool(request.control),
            "control",
            "prediction_powered ratings cannot be controlled for length or style",
        ),
    )
