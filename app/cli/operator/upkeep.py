"""The state of a service, its keys, and the schema of its database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from io import StringIO
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from app.calibrations import signing
from app.core import auth, migrate
from app.core.db import Database
from app.core.errors import Conflict, NotFound
from app.core.migrate import alembic_config
from app.core.names import shown
from app.core.runtime import now
from app.core.settings import Settings
from app.main import open_runtime
from judges.base import Judge, JudgeHealth

_log = logging.getLogger(__name__)
Change = Callable[[Connection], dict[str, Any]]
_LOADING_SECONDS: Final = 900
_IN_MEMORY: Final = "sqlite+aiosqlite:///:memory:"


async def examined(settings: Settings) -> dict[str, Any]:
    """Return the state of the database, the judges and cascades, and whether every judge is ready.

    Nothing is made or changed: where there is no current database, an empty one in memory serves.
    """
    status = await _state(settings)
    if status != "ok":
        settings = settings.model_copy(update={"database_url": _IN_MEMORY})
    return {"database": status, **await _judges_of(settings)}


async def _state(settings: Settings) -> str:
    if migrate.is_missing(settings) and migrate.could_be_made(settings):
        return "none"
    db = Database(settings.database_url)
    try:
        return await migrate.state(db)
    finally:
        await db.aclose()


async def _judges_of(settings: Settings) -> dict[str, Any]:
    async with open_runtime(settings) as running:
        await running.open_judges()
        judges = [
            {"name": name, "is_ready": health.is_ready, "detail": health.detail}
            for name, judge in running.registry.judges.items()
            for health in [await _health_when_started(judge)]
        ]
        return {
            "is_well": all(judge["is_ready"] for judge in judges),
            "judges": judges,
            "cascades": {name: list(js) for name, js in running.registry.cascades.items()},
        }


async def _health_when_started(judge: Judge) -> JudgeHealth:
    """Return the health of a judge, once a model of its own has loaded."""
    deadline = asyncio.get_running_loop().time() + _LOADING_SECONDS
    health = await judge.health()
    while health.is_starting and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(1)
        health = await judge.health()
    return health


async def create_key(
    settings: Settings, wanted: auth.NewKey, lasts: timedelta | None
) -> dict[str, Any]:
    """Make a key, which expires after some time if one is given, and return it with its secret.

    Raises:
        Conflict: a key in use has this name.
    """
    async with _database(settings) as db:
        secret = await auth.server_secret(settings, db)
        async with db.write() as session:
            for other in await auth.list_keys(session):
                if other["name"] == wanted.name and _is_in_use(other):
                    raise Conflict(
                        f"there is a key {shown(wanted.name)} already ({other['id']}): take another name, "
                        "or revoke that one first"
                    )
            moment = now()
            until = None if lasts is None else moment + lasts
            row, key = await auth.create_key(
                session, secret, replace(wanted, expires_at=until), moment
            )
            return {**auth.shown_key(row), "key": key}


async def signing_key(settings: Settings) -> dict[str, Any]:
    """Return the public half of the key that signs certificates.

    Raises:
        ConfigurationInvalid: it is stored under another secret than the present one.
    """
    async with _database(settings) as db:
        key = await signing.signing_key(settings, db)
    place = "database" if settings.signing_key is None else "TRIBUNAL_SIGNING_KEY"
    return {"algorithm": signing.ALGORITHM, "public_key": key.public, "kept_in": place}


async def list_keys(settings: Settings) -> list[dict[str, Any]]:
    """Return all keys without their secrets."""
    async with _database(settings) as db, db.read() as session:
        return await auth.list_keys(session)


async def revoke_key(settings: Settings, ref: str) -> dict[str, Any]:
    """Revoke the key of this id or name, and return it.

    Raises:
        NotFound: no key has this id or name.
        Conflict: several keys have the name, and none of them is in use.
    """
    async with _database(settings) as db, db.write() as session:
        key = await _find(session, ref)
        if key["revoked_at"] is None:
            await auth.revoke_key(session, key["id"], now())
        return await _find(session, key["id"])


def _is_in_use(key: dict[str, Any]) -> bool:
    ends = key["expires_at"]
    has_expired = ends is not None and datetime.fromisoformat(ends) <= now()
    return key["revoked_at"] is None and not has_expired


async def _find(session: AsyncSession, ref: str) -> dict[str, Any]:
    """Return the key of this id, else the one of this name; one in use comes before revoked ones."""
    every = await auth.list_keys(session)
    named = [key for key in every if key["name"] == ref]
    in_use = [key for key in named if _is_in_use(key)]
    found = [key for key in every if key["id"] == ref] or in_use or named
    if not found:
        raise NotFound(f"there is no key {shown(ref)}")
    if len(found) > 1:
        ids = ", ".join(key["id"] for key in found)
        raise Conflict(f"{len(found)} keys have the name {shown(ref)}: give an id ({ids})")
    return found[0]


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    """Open the migrated database of the settings."""
    db = Database(settings.database_url)
    try:
        await migrate.upgrade(db)
        yield db
    finally:
        await db.aclose()


async def upgrade(settings: Settings, revision: str) -> dict[str, Any]:
    """Apply the migrations up to a revision."""
    return await _changed(settings, "upgraded", lambda c: command.upgrade(c, revision))


async def downgrade(settings: Settings, revision: str) -> dict[str, Any]:
    """Undo the migrations down to a revision."""
    return await _changed(settings, "downgraded", lambda c: command.downgrade(c, revision))


async def compare(settings: Settings) -> dict[str, Any]:
    """Compare the database with what this version expects."""

    def compared(connection: Connection) -> dict[str, Any]:
        config = alembic_config(connection)
        config.stdout = StringIO()  # its findings are printed by the verb
        try:
            command.check(config)
        except CommandError as error:
            return {"status": "differs", "revision": _revision(connection), "detail": str(error)}
        return {"status": "current", "revision": _revision(connection), "detail": None}

    return await _on_connection(settings, compared)


async def _changed(
    settings: Settings, done: str, change: Callable[[Config], None]
) -> dict[str, Any]:
    def changed(connection: Connection) -> dict[str, Any]:
        change(alembic_config(connection))
        return {"status": done, "revision": _revision(connection)}

    return await _on_connection(settings, changed)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


async def _on_connection(settings: Settings, verb: Change) -> dict[str, Any]:
    db = Database(settings.database_url)
    try:
        await migrate.refuse_later_schema(db)
        async with db.engine.begin() as connection:
            return await connection.run_sync(verb)
    finally:
        await db.aclose()
