"""One database, two ways in: `read()` and `write()`, each one transaction.

SQLite allows one writer. A transaction that starts as a reader and later writes can fail even after
waiting, so writers use `BEGIN IMMEDIATE` on an engine of their own, and the writers of one process
queue for it. On PostgreSQL both ways share one engine.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import aiosqlite
import msgspec
from sqlalchemy import DateTime, Text, event
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool
from sqlalchemy.types import TypeDecorator

from app.core.tasks import shielded

_BUSY_TIMEOUT_MS = 30_000
_encode = json.JSONEncoder(separators=(",", ":")).encode
_encode_quickly = msgspec.json.Encoder().encode


def to_json(value: Any) -> str:
    """Write a value as ASCII JSON; most are empty, and very many are written at a time."""
    if not value:
        if value == []:
            return "[]"
        if value == {}:
            return "{}"
    return _encode(value)


def to_json_quickly(value: Any) -> str:
    """Write JSON as `to_json` does, for values without NaN or infinity."""
    if not value:
        return to_json(value)
    try:
        text = _encode_quickly(value).decode()
    except (UnicodeEncodeError, TypeError):
        return to_json(value)
    return text if text.isascii() else to_json(value)


def texts_from_json(text: str) -> Any:
    """Read JSON that holds nothing but texts and lists and objects of them."""
    try:
        return msgspec.json.decode(text)
    except ValueError:
        # a lone surrogate, which JSON can spell
        return json.loads(text)


class JsonText(TypeDecorator[Any]):
    """JSON as ASCII text, so that NUL and lone surrogates are stored as they came.

    PostgreSQL's own JSON types refuse both, SQLite's driver refuses the second.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Write a value as ASCII JSON; None stays NULL."""
        return None if value is None else to_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Read a value back; most are empty, and very many are read at a time."""
        if value == "[]":
            return []
        if value == "{}":
            return {}
        return None if value is None else json.loads(value)


class UtcTime(TypeDecorator[datetime]):
    """A moment, always aware and in UTC; SQLite itself keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive moments."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a naive datetime cannot be stored")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give SQLite's naive moments their zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Database:
    """The engines of one process. `url` names an async driver."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self._reader = _engine(url, begin="BEGIN")
        self._writer = self._reader
        self._queue: asyncio.Lock | None = None
        if self.is_sqlite:
            self._queue = asyncio.Lock()
            if not _is_in_memory(url):
                self._writer = _engine(url, begin="BEGIN IMMEDIATE")

    @property
    def engine(self) -> AsyncEngine:
        """The engine that writes."""
        return self._writer

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that only reads; it is rolled back at the end."""
        async with AsyncSession(self._reader, expire_on_commit=False) as session:
            await _connected(session)
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that writes; it commits at the end, or rolls back on any error."""
        if self._queue is None:
            async with (
                AsyncSession(self._writer, expire_on_commit=False) as session,
                session.begin(),
            ):
                await _connected(session)
                yield session
            return
        async with (
            self._queue,
            AsyncSession(self._writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            await _connected(session)
            yield session

    async def aclose(self) -> None:
        """Close every connection."""
        await self._reader.dispose()
        if self._writer is not self._reader:
            await self._writer.dispose()


async def _connected(session: AsyncSession) -> None:
    # nothing would close a connection that is cancelled while it is being made
    await shielded(session.connection())


def _is_in_memory(url: str) -> bool:
    return ":memory:" in url or url.endswith("://")


def _engine(url: str, *, begin: str) -> AsyncEngine:
    if not url.startswith("sqlite"):
        return create_async_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=10)
    options: dict[str, Any] = {"poolclass": StaticPool} if _is_in_memory(url) else {}
    engine = create_async_engine(url, connect_args={"async_creator_fn": _open_sqlite}, **options)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "close", _unlock_sqlite)

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "begin", start)
    return engine


def _keep_private(name: str) -> None:
    """Make a file for a new database that its owner alone can read.

    A file that exists is closed to other users; its group may be meant to read it. SQLite gives the
    files beside it the same mode.
    """
    if not name or ":" in name:
        return
    with suppress(OSError):  # opening it says what is wrong
        try:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            mode = stat.S_IMODE(os.stat(name).st_mode)
            if mode & stat.S_IRWXO:
                os.chmod(name, mode & ~stat.S_IRWXO)


async def _open_sqlite(*args: Any, **options: Any) -> aiosqlite.Connection:
    """Open a file; if that fails, wait until the driver's thread has ended.

    The thread reports its end to the event loop, which a service that cannot start closes soon.
    """
    _keep_private(str(args[0]) if args else "")
    connection = aiosqlite.connect(*args, **options)
    thread = connection._thread
    thread.daemon = True
    try:
        return await connection
    except BaseException:
        await shielded(asyncio.to_thread(thread.join))
        raise


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # the driver's own BEGIN comes too late and is always deferred: ours is sent instead
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _unlock_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """End what a cancelled task had open.

    The frames of such a task keep its statements, and with them the file's lock, until the garbage
    collector comes round; until then, no other connection could write.
    """
    with suppress(MissingGreenlet):  # the garbage collector is closing it
        connection.rollback()
