"""Tables of uploaded files of requests, and of the questions that providers answer in batches.

They are apart from those of batches, which are loaded without them to look at a batch.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, SmallInteger, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import JsonText, UtcTime
from app.core.models.base import Base, Hash, Listed, Name


class ProviderLine(Base):
    """A question of a shard that a provider answers in a batch.

    `state`: `queued` (in no file yet), `waiting` (in one), `answered`, `left_out` (not answered and
    not billed: it is asked directly), `lost` (nobody knows). `question` is the same in every
    `round`, and the latest round counts. `body` is kept until the provider has taken the file.
    """

    __tablename__ = "provider_lines"
    batch_seq: Mapped[int] = mapped_column(
        ForeignKey("batches.seq", ondelete="CASCADE"), primary_key=True
    )
    shard: Mapped[int] = mapped_column(primary_key=True)
    question: Mapped[str] = mapped_column(String(32), primary_key=True)
    round: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    judge: Mapped[str] = mapped_column(Name)
    file_seq: Mapped[int | None] = mapped_column(
        ForeignKey("provider_files.seq", ondelete="CASCADE"), index=True
    )
    state: Mapped[str] = mapped_column(String(16))
    body: Mapped[str | None] = mapped_column(Text)
    bytes: Mapped[int]
    flags: Mapped[list[str]] = mapped_column(JsonText)
    status: Mapped[int | None]
    answer: Mapped[Any] = mapped_column(JsonText, nullable=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    # every look asks which are queued
    __table_args__ = (Index("ix_provider_lines_state", "state", "batch_seq", "judge"),)


class StoredFile(Listed, Base):
    """An uploaded file of requests; its accepted lines are the pairs of a dataset of its own."""

    __tablename__ = "files"
    purpose: Mapped[str] = mapped_column(String(32))
    filename: Mapped[str] = mapped_column(Name)
    bytes: Mapped[int]
    content_hash: Mapped[str] = mapped_column(Hash)
    dataset_seq: Mapped[int | None] = mapped_column(
        ForeignKey("datasets.seq", ondelete="SET NULL"), index=True
    )


class FilePiece(Base):
    """A piece of a file's content, compressed by zlib on its own."""

    __tablename__ = "file_pieces"
    file_seq: Mapped[int] = mapped_column(
        ForeignKey("files.seq", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class RejectedLine(Base):
    """A line of a file that is no request; it stays as long as batches on the others do."""

    __tablename__ = "rejected_lines"
    dataset_seq: Mapped[int] = mapped_column(
        ForeignKey("datasets.seq", ondelete="CASCADE"), primary_key=True
    )
    line: Mapped[int] = mapped_column(primary_key=True)
    custom_id: Mapped[str | None] = mapped_column(JsonText)
    reason: Mapped[str] = mapped_column(Text)
