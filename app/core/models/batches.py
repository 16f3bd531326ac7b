"""Tables of verdicts and batches, and of what is sent to providers in batches."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ForeignKey,
    Index,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import JsonText, UtcTime
from app.core.models.base import Base, Hash, Listed, Name, Sequence_


class Verdict(Base):
    """The cascade's answer to one pair; `body` is what the user was told, but for `promise`.

    `explained_by` is the fingerprint of the judge whose reason belongs to it.

    A verdict of a batch has the position of its pair in the batch, and there is one of each.
    """

    __tablename__ = "verdicts"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    pair_id: Mapped[str] = mapped_column(Name)
    content_hash: Mapped[str] = mapped_column(Hash)
    dataset_seq: Mapped[int | None] = mapped_column(
        ForeignKey("datasets.seq", ondelete="CASCADE"), index=True
    )
    pair_seq: Mapped[int | None] = mapped_column(
        ForeignKey("pairs.seq", ondelete="CASCADE"), index=True
    )
    certificate_seq: Mapped[int | None] = mapped_column(
        ForeignKey("certificates.seq", ondelete="CASCADE"), index=True
    )
    batch_seq: Mapped[int | None] = mapped_column(ForeignKey("batches.seq", ondelete="CASCADE"))
    position: Mapped[int | None]
    status: Mapped[str] = mapped_column(String(16))
    promise: Mapped[str] = mapped_column(String(16))
    body: Mapped[dict[str, Any]] = mapped_column(JsonText)
    explained_by: Mapped[str | None] = mapped_column(Name)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    __table_args__ = (
        UniqueConstraint("batch_seq", "position"),
        Index("ix_verdicts_batch", "batch_seq", "status", "seq"),
    )


UNFINISHED_BATCH = ("validating", "in_progress", "finalizing", "cancelling")


class Batch(Listed, Base):
    """A cascade over a dataset.

    `totals` are sums over its finished shards, kept with each that finishes; `open_shards` says how
    many are left. Under a budget `seed` fixes the order in which pairs are admitted; `spent_usd` is
    what was spent, `reserved_usd` what the pairs under way may still cost.
    """

    __tablename__ = "batches"
    status: Mapped[str] = mapped_column(String(16))
    dataset_seq: Mapped[int] = mapped_column(ForeignKey("datasets.seq", ondelete="CASCADE"))
    certificate_seq: Mapped[int | None] = mapped_column(
        ForeignKey("certificates.seq", ondelete="CASCADE")
    )
    request: Mapped[dict[str, Any]] = mapped_column(JsonText)
    total: Mapped[int]
    open_shards: Mapped[int] = mapped_column(default=0)
    totals: Mapped[dict[str, Any]] = mapped_column(JsonText, default=dict)
    budget_usd: Mapped[float | None]
    budget_mode: Mapped[str | None] = mapped_column(String(8))
    seed: Mapped[int | None]
    spent_usd: Mapped[float] = mapped_column(default=0.0)
    reserved_usd: Mapped[float] = mapped_column(default=0.0)
    promise: Mapped[str] = mapped_column(String(16))
    suspended_because: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    in_progress_at: Mapped[datetime | None] = mapped_column(UtcTime)
    completed_at: Mapped[datetime | None] = mapped_column(UtcTime)
    cancelled_at: Mapped[datetime | None] = mapped_column(UtcTime)
    expires_at: Mapped[datetime] = mapped_column(UtcTime)


class Shard(Base):
    """The pairs of a batch at dataset positions `[first, last)`, and who works on it until when.

    Under a budget these are places in the order of admission instead. `state`: `todo` (free, or
    leased while `leased_until` lies ahead), `done`, `failed` (set aside after too many attempts),
    `cancelled`. `reserved_usd` is what the worker that has it may still spend. `so_far` is what its
    pairs have come to while it is `todo`, stored with every checkpoint; `counts` holds it once the
    shard has ended.

    A shard `is_waiting` while it is `todo` and some of its pairs wait for a provider's batch; no
    worker has it then. It had `lines_seen` answers when it was put off the last time, None where it
    never was; `held_usd` is what those pairs may still cost, and `kept` holds the failures of
    judges, which are not asked again.

    `calls` names pairs and judges: those that calls are made about now, and those that an earlier
    attempt was cut off at. What the latter have cost is unknown for good.
    """

    __tablename__ = "shards"
    batch_seq: Mapped[int] = mapped_column(
        ForeignKey("batches.seq", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    first: Mapped[int]
    last: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    worker: Mapped[str | None] = mapped_column(String(128))
    leased_until: Mapped[datetime | None] = mapped_column(UtcTime)
    attempts: Mapped[int] = mapped_column(SmallInteger)
    error: Mapped[str | None] = mapped_column(Text)
    reserved_usd: Mapped[float] = mapped_column(default=0.0)
    counts: Mapped[dict[str, Any]] = mapped_column(JsonText)
    so_far: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    is_waiting: Mapped[bool] = mapped_column(default=False, server_default=false())
    lines_seen: Mapped[int | None]
    held_usd: Mapped[float] = mapped_column(default=0.0, server_default="0")
    kept: Mapped[list[dict[str, Any]] | None] = mapped_column(JsonText)
    calls: Mapped[list[list[str]] | None] = mapped_column(JsonText)
    __table_args__ = (
        Index("ix_shards_state", "state", "batch_seq", "number"),
        # few shards are under way at a time, and every look at a batch reads them
        Index(
            "ix_shards_so_far", "batch_seq",
            # on PostgreSQL it is partial by its migration: `postgresql_where` here would load that
            # dialect in every process
            sqlite_where=text("so_far IS NOT NULL"),
        ),
    )  # fmt: skip


class ProviderFile(Base):
    """A file of questions of one batch and one judge, and the provider's batch that answers it.

    `state`: `sealed` (its lines are settled), `creating` (the provider may have made its batch, or
    not), `sent`, `ended`. `mark` finds the provider's batch again. `status` is the provider's own.
    `holder` works on it until `held_until`; it is looked at again at `next_at`. `attempts` counts
    requests in a row that failed.
    """

    __tablename__ = "provider_files"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    batch_seq: Mapped[int] = mapped_column(
        ForeignKey("batches.seq", ondelete="CASCADE"), index=True
    )
    judge: Mapped[str] = mapped_column(Name)
    state: Mapped[str] = mapped_column(String(16))
    mark: Mapped[str] = mapped_column(String(64), unique=True)
    file_id: Mapped[str | None] = mapped_column(Text)
    provider_id: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str | None] = mapped_column(Text)
    lines: Mapped[int]
    answered: Mapped[int] = mapped_column(default=0)
    left_out: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(default=0)
    is_cancelled: Mapped[bool] = mapped_column(default=False)
    holder: Mapped[str | None] = mapped_column(String(128))
    held_until: Mapped[datetime | None] = mapped_column(UtcTime)
    next_at: Mapped[datetime] = mapped_column(UtcTime)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    sent_at: Mapped[datetime | None] = mapped_column(UtcTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)
    __table_args__ = (Index("ix_provider_files_state", "state", "next_at"),)
