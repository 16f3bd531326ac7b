"""API keys: without any key only loopback may call, otherwise only callers with one.

A key is 32 random bytes, shown once. What is stored is its HMAC under a server secret, which needs
no slow hash because no one can guess 256 random bits.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Sequence
from datetime import datetime
from enum import Enum, auto
from functools import partial
from typing import Any

from fastapi import Request
from sqlalchemy import exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import Database, rfc3339
from app.core.errors import NotAllowed, NotAuthenticated, NotFound
from app.core.models import ApiKey, ServerSecret, new_id
from app.core.runtime import Running, Runtime
from app.core.settings import Settings

_PREFIX = "trib_"


async def server_secret(settings: Settings, db: Database) -> bytes:
    """Return the secret of the settings, else the one the database keeps (made on first use)."""
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    async with db.write() as session:
        stored = await session.get(ServerSecret, "keys")
        if stored is None:
            stored = ServerSecret(name="keys", value=secrets.token_hex(32))
            session.add(stored)
        return stored.value.encode()


def _hashed(secret: bytes, key: str) -> str:
    return hmac.new(secret, key.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


async def create_key(
    session: AsyncSession, secret: bytes, name: str, moment: datetime
) -> tuple[ApiKey, str]:
    """Store a new key; the second value is the key itself, which is not stored."""
    key = _PREFIX + secrets.token_urlsafe(32)
    row = ApiKey(
        id=new_id("key"),
        name=name,
        prefix=key[: len(_PREFIX) + 6],
        key_hash=_hashed(secret, key),
        created_at=moment,
        revoked_at=None,
    )
    session.add(row)
    await session.flush()
    return row, key


async def list_keys(session: AsyncSession) -> list[dict[str, Any]]:
    """Return every key as it is listed, without its secret part."""
    rows = await session.scalars(select(ApiKey).order_by(ApiKey.seq))
    return [
        {
            "id": row.id,
            "name": row.name,
            "prefix": row.prefix,
            "created_at": rfc3339(row.created_at),
            "revoked_at": row.revoked_at and rfc3339(row.revoked_at),
        }
        for row in rows
    ]


async def revoke_key(session: AsyncSession, key_id: str, moment: datetime) -> None:
    """Revoke a key.

    Raises:
        NotFound: no key has this id.
    """
    result = await session.execute(
        update(ApiKey).where(ApiKey.id == key_id).values(revoked_at=moment).returning(ApiKey.id)
    )
    if result.first() is None:
        raise NotFound(f"there is no key {key_id!r}")


async def authenticate(request: Request, running: Running) -> None:
    """Let a request in, or say why not.

    Raises:
        NotAuthenticated: keys exist and the request carries no valid one.
        NotAllowed: no keys exist and the request does not come from this machine.
    """
    if not running.asks_for_keys:
        return None
    key = _bearer(request)
    door = await running.coalescer.call("keys", key, partial(_look, running))
    if door is _Door.WITHOUT_KEYS:
        return _allow_loopback(request)
    if key is None:
        raise NotAuthenticated(
            "send a key: Authorization: Bearer ...", headers={"WWW-Authenticate": "Bearer"}
        )
    if door is _Door.CLOSED:
        raise NotAuthenticated(
            "this key is unknown or revoked", headers={"WWW-Authenticate": "Bearer"}
        )


class _Door(Enum):
    """The access that a request has, given its key and the keys that exist."""

    WITHOUT_KEYS = auto()
    OPEN = auto()
    CLOSED = auto()


async def _look(running: Runtime, keys: Sequence[str | None]) -> list[_Door]:
    """Return what each of these keys opens; None is a request without a key."""
    async with running.db.read() as session:
        # a revoked key still counts: revoking the last one must not open the service
        if not await session.scalar(select(exists().select_from(ApiKey))):
            return [_Door.WITHOUT_KEYS] * len(keys)
        secret = await _stored_secret(session, running.settings)
        hashes = [None if key is None else _hashed(secret, key) for key in keys]
        query = select(ApiKey.key_hash).where(
            ApiKey.key_hash.in_([one for one in hashes if one]), ApiKey.revoked_at.is_(None)
        )
        valid = set(await session.scalars(query))
    return [_Door.OPEN if one in valid else _Door.CLOSED for one in hashes]


async def _stored_secret(session: AsyncSession, settings: Settings) -> bytes:
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    stored = await session.get(ServerSecret, "keys")
    return stored.value.encode() if stored else b""


def _bearer(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key else None


def _allow_loopback(request: Request) -> None:
    host = request.client.host if request.client else None
    try:
        is_near = host is None or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_near = False
    if not is_near:
        raise NotAllowed(
            "without keys this service answers on loopback only; make one: tribunal keys create"
        )
