"""Tables of API keys, of secrets, and of answers kept for requests that are sent again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import JsonText, UtcTime
from app.core.models.base import Base, Hash, Listed, Name


class ApiKey(Listed, Base):
    """A key, by its hash; the key itself is shown once and never stored."""

    __tablename__ = "api_keys"
    name: Mapped[str] = mapped_column(Name)
    prefix: Mapped[str] = mapped_column(String(16), index=True)
    key_hash: Mapped[str] = mapped_column(Hash, unique=True)
    scopes: Mapped[list[str]] = mapped_column(JsonText, server_default='["admin"]')
    annotator: Mapped[str | None] = mapped_column(Name)
    expires_at: Mapped[datetime | None] = mapped_column(UtcTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcTime)


class IdempotencyKey(Base):
    """The first answer to a request that carried an `Idempotency-Key`.

    `caller` is the id of the API key that the request came with, empty where none was needed.
    `status` is NULL while the request is being answered by `holder`, who counts `beat` up as long
    as it lives.
    """

    __tablename__ = "idempotency_keys"
    caller: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    path: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_hash: Mapped[str] = mapped_column(Hash)
    holder: Mapped[str | None] = mapped_column(String(32))
    beat: Mapped[int] = mapped_column(server_default="0")
    status: Mapped[int | None]
    location: Mapped[str | None] = mapped_column(Text)
    body: Mapped[Any] = mapped_column(JsonText, nullable=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    kept_until: Mapped[datetime] = mapped_column(UtcTime, index=True)


class ServerSecret(Base):
    """The secrets that no setting gives: what keys are hashed with, and what signs certificates."""

    __tablename__ = "server_secrets"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(String(128))
