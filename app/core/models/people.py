"""Tables of what people are asked: queues, their answers, and datasets to be finished."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, SmallInteger, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import JsonText, UtcTime
from app.core.models.base import Base, Listed, Name, Sequence_


class Queue(Listed, Base):
    """Pairs that wait for the labels of people, and how these are to be given.

    `options` holds what else was asked for.
    """

    __tablename__ = "queues"
    name: Mapped[str] = mapped_column(Name, unique=True)
    dataset_seq: Mapped[int] = mapped_column(
        ForeignKey("datasets.seq", ondelete="CASCADE"), index=True
    )
    purpose: Mapped[str] = mapped_column(String(16))
    votes_per_pair: Mapped[int] = mapped_column(SmallInteger)
    options: Mapped[dict[str, Any]] = mapped_column(JsonText)


class QueueItem(Base):
    """A pair of a queue: its place in the order of serving, and the votes it has and needs.

    `probability` is that with which it was drawn among all that could have been; NULL where the
    pairs labelled so far are at any time a uniform sample.
    """

    __tablename__ = "queue_items"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    queue_seq: Mapped[int] = mapped_column(ForeignKey("queues.seq", ondelete="CASCADE"))
    pair_seq: Mapped[int] = mapped_column(ForeignKey("pairs.seq", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    probability: Mapped[float | None]
    votes: Mapped[int] = mapped_column(SmallInteger)
    wanted: Mapped[int] = mapped_column(SmallInteger)
    is_open: Mapped[bool]
    __table_args__ = (
        UniqueConstraint("queue_seq", "position"),
        Index("ix_queue_items_is_open", "queue_seq", "is_open", "position"),
    )


class QueueVote(Base):
    """What one person does with an item; there is one for each person and item.

    `state`: `claimed` (until `lease_until`, then anybody may have the item), `answered`, `skipped`,
    or `spare`: an answer that came when the item had its votes already, which is kept and counts
    nothing. `left_is` is the response that was shown on the left.
    """

    __tablename__ = "queue_votes"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    item_seq: Mapped[int] = mapped_column(ForeignKey("queue_items.seq", ondelete="CASCADE"))
    annotator: Mapped[str] = mapped_column(Name)
    left_is: Mapped[str] = mapped_column(String(1))
    state: Mapped[str] = mapped_column(String(16))
    said: Mapped[str | None] = mapped_column(String(8))
    details: Mapped[dict[str, Any]] = mapped_column(JsonText)
    claimed_at: Mapped[datetime] = mapped_column(UtcTime)
    lease_until: Mapped[datetime] = mapped_column(UtcTime)
    answered_at: Mapped[datetime | None] = mapped_column(UtcTime)
    __table_args__ = (UniqueConstraint("item_seq", "annotator"),)


class Finish(Listed, Base):
    """A dataset on its way to a verdict on every row.

    `queue_seq` is the queue of the sample first, then of what the judges left.
    """

    __tablename__ = "finishes"
    status: Mapped[str] = mapped_column(String(16))
    dataset_seq: Mapped[int] = mapped_column(
        ForeignKey("datasets.seq", ondelete="CASCADE"), index=True
    )
    certificate_seq: Mapped[int | None] = mapped_column(
        ForeignKey("certificates.seq", ondelete="SET NULL"), index=True
    )
    batch_seq: Mapped[int | None] = mapped_column(
        ForeignKey("batches.seq", ondelete="SET NULL"), index=True
    )
    queue_seq: Mapped[int | None] = mapped_column(
        ForeignKey("queues.seq", ondelete="SET NULL"), index=True
    )
    request: Mapped[dict[str, Any]] = mapped_column(JsonText)
    error: Mapped[str | None] = mapped_column(Text)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)
