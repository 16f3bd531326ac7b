"""Tables of what is watched: monitors and their audits, and shadow judges."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, SmallInteger, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import JsonText, UtcTime
from app.core.models.base import Base, Hash, Listed, Name, Sequence_


class Monitor(Listed, Base):
    """A watch on a certificate: a random share of its verdicts is audited by people.

    `state` is what the statistics remember, `secret` draws the audits, `signing` signs webhooks.
    `canaries` is what is known of its judges, and `canary_at` when one is asked next, if one is.
    """

    __tablename__ = "monitors"
    certificate_seq: Mapped[int] = mapped_column(
        ForeignKey("certificates.seq", ondelete="CASCADE"), index=True
    )
    queue_seq: Mapped[int] = mapped_column(ForeignKey("queues.seq", ondelete="CASCADE"), index=True)
    status: Mapped[str] = mapped_column(String(16))
    options: Mapped[dict[str, Any]] = mapped_column(JsonText)
    state: Mapped[dict[str, Any]] = mapped_column(JsonText)
    history: Mapped[list[dict[str, Any]]] = mapped_column(JsonText)
    alarm: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    secret: Mapped[str] = mapped_column(String(64))
    signing: Mapped[str] = mapped_column(String(64))
    canaries: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    canary_at: Mapped[datetime | None] = mapped_column(UtcTime, index=True)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)


class Audit(Base):
    """A verdict that was drawn for a monitor.

    `unit` is what no two audits of a monitor share: a prompt, and the batch or the day. `loss` is
    NULL until the answers are there (`is_observed`), and where they say nothing of the verdict.
    """

    __tablename__ = "audits"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    monitor_seq: Mapped[int] = mapped_column(ForeignKey("monitors.seq", ondelete="CASCADE"))
    verdict_seq: Mapped[int] = mapped_column(
        ForeignKey("verdicts.seq", ondelete="CASCADE"), index=True
    )
    item: Mapped[str] = mapped_column(String(64), unique=True)
    unit: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(16))
    said: Mapped[str | None] = mapped_column(String(4))
    slice: Mapped[str | None] = mapped_column(Name)
    probability: Mapped[float]
    is_observed: Mapped[bool]
    loss: Mapped[float | None]
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    __table_args__ = (
        UniqueConstraint("monitor_seq", "unit"),
        Index("ix_audits_is_observed", "monitor_seq", "is_observed"),
    )


class Delivery(Base):
    """A message to a webhook, sent until it is taken; its `id` is the same each time."""

    __tablename__ = "deliveries"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    monitor_seq: Mapped[int] = mapped_column(
        ForeignKey("monitors.seq", ondelete="CASCADE"), index=True
    )
    body: Mapped[dict[str, Any]] = mapped_column(JsonText)
    attempts: Mapped[int] = mapped_column(SmallInteger)
    next_at: Mapped[datetime | None] = mapped_column(UtcTime, index=True)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcTime)
    error: Mapped[str | None] = mapped_column(Text)


class Shadow(Listed, Base):
    """A candidate that judges a share of a certificate's traffic and decides nothing.

    `options` holds what was asked for and the fingerprints of its judges; `secret` draws the pairs.
    """

    __tablename__ = "shadows"
    certificate_seq: Mapped[int] = mapped_column(
        ForeignKey("certificates.seq", ondelete="CASCADE"), index=True
    )
    status: Mapped[str] = mapped_column(String(16))
    options: Mapped[dict[str, Any]] = mapped_column(JsonText)
    secret: Mapped[str] = mapped_column(String(64))
    spent_usd: Mapped[float]
    error: Mapped[str | None] = mapped_column(Text)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)


class ShadowVerdict(Base):
    """What a candidate says of a pair beside the verdict that was given.

    `content` holds the texts until the candidate has judged them, and NULL then. `present` is what
    was said and what it costs to ask, `said` the same of the candidate.
    """

    __tablename__ = "shadow_verdicts"
    seq: Mapped[int] = mapped_column(Sequence_, primary_key=True, autoincrement=True)
    shadow_seq: Mapped[int] = mapped_column(ForeignKey("shadows.seq", ondelete="CASCADE"))
    verdict_seq: Mapped[int] = mapped_column(
        ForeignKey("verdicts.seq", ondelete="CASCADE"), index=True
    )
    pair_seq: Mapped[int | None]
    prompt: Mapped[str] = mapped_column(Hash)
    in_share: Mapped[bool]
    content: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    present: Mapped[dict[str, Any]] = mapped_column(JsonText)
    said: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    leased_until: Mapped[datetime | None] = mapped_column(UtcTime)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    __table_args__ = (UniqueConstraint("shadow_seq", "verdict_seq"),)
