"""The shape of files as users see them: OpenAI's, with what became of the lines."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

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
