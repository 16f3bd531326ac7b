"""Query parameters of an agreement report."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.core.fields import Key, Name
from app.core.names import MAX_LENGTH
from app.datasets.splits import PART_PATTERN

Names = Annotated[str, Field(min_length=1, max_length=20_000)]


class _OnPairs(BaseModel):
    """Which pairs are used, and how intervals are made."""

    model_config = ConfigDict(extra="forbid")
    dataset: Name = Field(description="id or name of the dataset")
    calibration: Name | None = Field(
        None, description="the certificate whose cascade is reported, too"
    )
    part: Name | None = Field(
        None,
        description="side:fraction:seed of a split by group",
        examples=["test:0.5:0"],
        json_schema_extra={
            "anyOf": [
                {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_LENGTH,
                    "pattern": PART_PATTERN,
                },
                {"type": "null"},
            ]
        },
    )
    own: list[Names] = Field(
        [],
        max_length=100,
        description="judge=model: the judge wrote the responses of this model, too",
        examples=[["gpt-4-pair=gpt-4"]],
    )
    epsilon: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="how much worse than a person a judge may be in the alternative annotator "
        "test: .2 beside experts, .15 skilled people, .1 crowd workers",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of the resamples behind the intervals")
    confidence_level: float = Field(0.95, ge=1e-6, le=1 - 1e-6, description="of the intervals")


class AgreementIn(_OnPairs):
    """Whose agreement is reported, and on which pairs."""

    judges: list[Names] = Field(
        [], max_length=500, description="names, repeated or comma-separated; all by default"
    )
    group_by: Name | None = Field(None, description="a metadata field: a report for each value")
    include: list[Literal["judge_pairs", "group_details", "correlations"]] = Field(
        [],
        max_length=4,
        description="every two judges; for each group what a health card shows; correlations with "
        "people, which a dataset of scores has anyway",
    )
    criterion: list[Names] = Field(
        [],
        max_length=20,
        description="NAME=WEIGHT: correlations over criteria weigh them so; equally by default",
        examples=[["fluency=2"]],
    )


class CardIn(BaseModel):
    """Whose card, and in which form; by default the header `Accept` says which."""

    judge: Names = Field(description="name of the judge")
    format: Literal["json", "html"] | None = Field(
        None, description="instead of what the header `Accept` says"
    )


class HealthIn(_OnPairs, CardIn):
    """A judge on some pairs."""


class HealthQuery(HealthIn):
    """The same in a query string, beside `line.NAME=NUMBER` for each line that is moved."""

    model_config = ConfigDict(extra="allow")


class LinesQuery(CardIn):
    """A judge of a stored report, beside `line.NAME=NUMBER`."""

    model_config = ConfigDict(extra="allow")


class HealthBody(HealthIn):
    """The same in a body."""

    lines: dict[Key, float | None] = Field(
        {}, max_length=100, description="where lines lie instead of their defaults; null drops one"
    )


class HistoryIn(BaseModel):
    """Whose figures are followed over time; all judges and certificates by default."""

    model_config = ConfigDict(extra="forbid")
    dataset: Name = Field(description="id or name of the dataset")
    judge: Name | None = Field(None, description="only this judge")
    calibration: Name | None = Field(None, description="only the cascade of this certificate")
