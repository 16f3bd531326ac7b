"""Output and error files; schemas."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, Field

Kind = Literal["output", "errors"]
_ID: Final = re.compile(r"(batch_[0-9a-f]{24})_(output|errors)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Derived:
    """Which of the two files of which batch."""

    batch_id: str
    kind: Kind


def output_id(batch_id: str) -> str:
    """Return the id of the file of a batch's verdicts."""
    return f"{batch_id}_output"


def errors_id(batch_id: str) -> str:
    """Return the id of the file of what has no verdict."""
    return f"{batch_id}_errors"


def derived(file_id: str) -> Derived | None:
    """Return what a file's id says, None where it is the id of an uploaded one."""
    found = _ID.fullmatch(file_id)
    if found is None:
        return None
    return Derived(found.group(1), "output" if found.group(2) == "output" else "errors")


BATCH = "batch"


class FileOut(BaseModel):
    """A file. Times are Unix seconds."""

    id: str = Field(examples=["file_5f2c0d9a7b3e4f1a2b3c4d5e"])
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"] = "processed"
    status_details: str | None = Field(
        None, description="how many lines are no requests, and why the first is none"
    )
    expires_at: int | None = None
    dataset: str | None = Field(None, description="the dataset that holds its requests")
    requests: int | None = Field(None, description="lines that are requests")
    rejected_count: int | None = Field(None, description="lines that are none")


class FilePage(BaseModel):
    """One page of files."""

    object: Literal["list"] = "list"
    data: list[FileOut]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True
