"""The shapes of datasets as users see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.datasets.importing import Imported
from app.models import Dataset


class Rejected(BaseModel):
    """A row that was not kept."""

    line: int = Field(description="number of the line, or of the element of a JSON array, from 1")
    reason: str = Field(examples=["human.0.label: 'C' is not a label: give a, b or tie"])
    file: str | None = Field(None, description="which file, where an upload had several")


class Warned(BaseModel):
    """Something that was kept elsewhere than it may have been meant, or not kept."""

    field: str = Field(examples=["respnse_a"], description="a field, or what was not kept")
    count: int = Field(description="in how many rows, or how often")
    did_you_mean: str | None = Field(None, examples=["response_a"])


class DatasetOut(BaseModel):
    """A dataset: what it holds, and what was rejected when it was imported."""

    model_config = ConfigDict(from_attributes=True)
    object: Literal["dataset"] = "dataset"
    id: str = Field(examples=["ds_5f2c0d9a7b3e4f1a2b3c4d5e"])
    name: str
    dialect: str = Field(examples=["canonical"])
    pairs: int
    groups: int = Field(description="units of exchangeability: pairs of one group go together")
    labels: int = Field(description="current labels, all criteria")
    annotators: int = Field(description="known persons; unknown ones are not counted")
    recorded_judges: list[str] = Field(description="judges whose scores came with the rows")
    rejected: list[Rejected] = Field(description="the first 1,000 rows that were not kept")
    rejected_count: int
    unmatched: int = Field(0, description="of this upload's rejected rows: nothing to join with")
    warnings: list[Warned] = Field([], description="of this upload; empty when read later")
    created_at: datetime


class ExportQuery(BaseModel):
    """How a dataset is written."""

    model_config = ConfigDict(extra="forbid")
    format: str = Field(
        "canonical",
        max_length=64,
        description="canonical, csv, parquet, a format of another tool, or label_studio_config "
        "and argilla_settings; an unknown one is refused with all names",
    )
    seed: int = Field(
        0, ge=0, lt=2**63, description="draws which answer is shown first; written beside it"
    )
    labels: bool = Field(
        False, description="label_studio, argilla: with the votes there are; else to be labelled"
    )


def shown(dataset: Dataset) -> dict[str, Any]:
    """Return a dataset as users see it."""
    body = DatasetOut.model_validate(dataset).model_dump(mode="json")
    # the rows as they are kept: a file is named where there were several
    return {**body, "rejected": list(dataset.rejected)}


def shown_import(imported: Imported) -> dict[str, Any]:
    """Return the outcome of an import: the dataset, with what this upload's rejected rows were."""
    return {
        **shown(imported.dataset),
        "rejected": list(imported.rejected),
        "rejected_count": imported.rejected_count,
        "unmatched": imported.unmatched,
        "warnings": list(imported.warnings),
    }
