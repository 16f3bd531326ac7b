"""API keys: how they are made, what each opens, and whose key a request carries.

A key is 32 random bytes, shown once. What is stored is its HMAC under a server secret, which needs
no slow hash because no one can guess 256 random bits.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Final

from sqlalchemy import exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import Database, rfc3339
from app.core.errors import NotAuthenticated, NotFound
from app.core.models import ApiKey, ServerSecret, new_id
from app.core.outages import outages
from app.core.runtime import Runtime
from app.core.settings import Settings

_PREFIX = "trib_"
# a use is stored this often at most, so that reading does not become writing
_USE_STEP: Final = timedelta(minutes=1)
_log = logging.getLogger(__name__)


class Scope(StrEnum):
    """What a key opens; a key has a set of them, and `admin` is all."""

    READ = "read"
    JUDGE = "judge"
    LABEL = "label"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """The one who sends a request.

    Attributes:
        key_id: The id of the key; empty where no key was needed.
        scopes: What the caller may do.
        annotator: The only annotator whose answers a key with the scope `label` may give.
    """

    key_id: str = ""
    scopes: frozenset[Scope] = frozenset({Scope.ADMIN})
    annotator: str | None = None

    def may(self, scope: Scope) -> bool:
        """Return whether this caller may do what needs a scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be made."""

    name: str
    scopes: frozenset[Scope] = frozenset({Scope.ADMIN})
    annotator: str | None = None
    expires_at: datetime | None = None


async def server_secret(settings: Settings, db: Database) -> bytes:
    """Return the secret of the settings, else the one the database keeps (made on first use)."""
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    async with db.read() as session:
        found = await session.get(ServerSecret, "keys")
    if found is not None:
        return found.value.encode()
    async with db.write() as session:
        stored = await session.get(ServerSecret, "keys")
        if stored is None:
            stored = ServerSecret(name="keys", value=secrets.token_hex(32))
            session.add(stored)
        return stored.value.encode()


def _hashed(secret: bytes, key: str) -> str:
    return hmac.new(secret, key.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


async def create_key(
    session: AsyncSession, secret: bytes, wanted: NewKey, moment: datetime
) -> tuple[ApiKey, str]:
    """Store a new key; the second value is the key itself, which is not stored."""
    key = _PREFIX + secrets.token_urlsafe(32)
    row = ApiKey(
        id=new_id("key"),
        name=wanted.name,
        prefix=key[: len(_PREFIX) + 6],
        key_hash=_hashed(secret, key),
        scopes=[scope.value for scope in Scope if scope in wanted.scopes],
        annotator=wanted.annotator,
        created_at=moment,
        expires_at=wanted.expires_at,
        last_used_at=None,
        revoked_at=None,
    )
    session.add(row)
    await session.flush()
    return row, key


async def list_keys(session: AsyncSession) -> list[dict[str, Any]]:
    """Return every key as it is listed, without its secret part."""
    return [shown_key(row) for row in await session.scalars(select(ApiKey).order_by(ApiKey.seq))]


def shown_key(row: ApiKey) -> dict[str, Any]:
    """Return a key as it is listed, without its secret part."""
    return {
        "id": row.id,
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "annotator": row.annotator,
        "created_at": rfc3339(row.created_at),
        "expires_at": row.expires_at and rfc3339(row.expires_at),
        "last_used_at": row.last_used_at and rfc3339(row.last_used_at),
        "revoked_at": row.revoked_at and rfc3339(row.revoked_at),
    }


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


async def keys_exist(running: Runtime) -> bool:
    """Return whether any key was ever made."""
    return (await _found(running, None)).keys_exist


async def identify(running: Runtime, key: str | None) -> Caller | None:
    """Return who sends this key; None where no keys exist, so that none is needed.

    Raises:
        NotAuthenticated: keys exist and this is no valid one.
    """
    found = await _found(running, key)
    if not found.keys_exist:
        return None
    if key is None:
        raise _refused("send a key: Authorization: Bearer ...")
    row = found.row
    if row is None:
        raise _refused("this key is unknown")
    return _caller(running, row)


async def caller_with(running: Runtime, key_id: str) -> Caller | None:
    """Return who has the key with this id, None where it is not valid any more."""
    async with running.db.read() as session:
        row = await session.scalar(select(ApiKey).where(ApiKey.id == key_id))
    try:
        return None if row is None else _caller(running, row)
    except NotAuthenticated:
        return None


def _caller(running: Runtime, row: ApiKey) -> Caller:
    if row.revoked_at is not None:
        raise _refused("this key was revoked")
    moment = running.now()
    if row.expires_at is not None and row.expires_at <= moment:
        raise _refused(f"this key expired at {row.expires_at.isoformat(timespec='seconds')}")
    _note_use(running, row, moment)
    # a scope of a later version opens nothing here
    scopes = frozenset(scope for scope in Scope if scope in row.scopes)
    return Caller(row.id, scopes, row.annotator)


def _refused(why: str) -> NotAuthenticated:
    return NotAuthenticated(why, headers={"WWW-Authenticate": "Bearer"})


@dataclass(frozen=True, slots=True)
class _Found:
    """What the database has for a key: whether there are keys at all, and this one."""

    keys_exist: bool
    row: ApiKey | None = None


async def _found(running: Runtime, key: str | None) -> _Found:
    return await running.coalescer.call("keys", key, partial(_look, running))


async def _look(running: Runtime, keys: Sequence[str | None]) -> list[_Found]:
    """Look keys up, those of several requests at a time; None is a request without a key."""
    async with running.db.read() as session:
        # a revoked key still counts: revoking the last one must not open the service
        if not await session.scalar(select(exists().select_from(ApiKey))):
            return [_Found(keys_exist=False)] * len(keys)
        secret = await _stored_secret(session, running.settings)
        hashes = [None if key is None else _hashed(secret, key) for key in keys]
        query = select(ApiKey).where(ApiKey.key_hash.in_({one for one in hashes if one}))
        rows = {row.key_hash: row for row in await session.scalars(query)}
    return [_Found(True, None if one is None else rows.get(one)) for one in hashes]


async def _stored_secret(session: AsyncSession, settings: Settings) -> bytes:
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    stored = await session.get(ServerSecret, "keys")
    return stored.value.encode() if stored else b""


def _note_use(running: Runtime, row: ApiKey, moment: datetime) -> None:
    """Store, beside the request, when a key was last used."""
    noted = running.key_uses.get(row.id, row.last_used_at)
    if noted is None or abs(moment - noted) >= _USE_STEP:
        running.key_uses[row.id] = moment
        running.start(_store_use(running, row.id, moment), "last use of a key")


async def _store_use(running: Runtime, key_id: str, moment: datetime) -> None:
    try:
        async with running.db.write() as session:
            query = update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=moment)
            await session.execute(query)
    except outages():
        # a request is not refused because this cannot be written; the next one tries again
        running.key_uses.pop(key_id, None)
        _log.debug("the last use of a key could not be stored", exc_info=True)
