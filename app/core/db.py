"""One database, two ways in: `read()` and `write()`, each one transaction.

SQLite allows one writer. A transaction that starts as a reader and later writes can fail even after
waiting, so writers use `BEGIN IMMEDIATE` on an engine of their own, and the writers of one process
queue for it. On PostgreSQL both ways share one engine.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import aiosqlite
import msgspec
from sqlalchemy import DateTime, Text, event, text
from sqlalchemy.engine import Connection, Dialect, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool
from sqlalchemy.types import TypeDecorator

from app.core.outages import BUSY, DatabaseFile, DatabaseUnavailable, outage
from app.core.tasks import shielded

WAIT_SECONDS: Final = 30.0
DEFAULT_URL: Final = "sqlite+aiosqlite:///tribunal.db"
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


def rfc3339(moment: datetime) -> str:
    """Return a moment as all answers spell it: `2026-01-31T08:00:00.000000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


_DURATION: Final = re.compile(
    r"(?P<n>\d{1,9})(?P<unit>[smhdw])|p(?P<w>\d{1,9})w"
    r"|p(?=.)((?P<d>\d{1,9})d)?(t(?=.)((?P<h>\d{1,9})h)?((?P<m>\d{1,9})m)?((?P<s>\d{1,9})s)?)?",
    re.ASCII,
)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
_LONGEST: Final = timedelta(days=36_500)


def read_duration(text: str) -> timedelta:
    """Return a length of time: a number and a unit, or as ISO 8601 writes it.

    Raises:
        ValueError: it is none, or longer than a hundred years.

    Example:
        >>> read_duration("90d") == read_duration("P90D")
        True
        >>> read_duration("P1DT12H") == read_duration("36h")
        True
    """
    match = _DURATION.fullmatch(text.strip().lower())
    said = {} if match is None else match.groupdict()
    parts = {said["unit"]: said["n"]} if said.get("n") else said
    seconds = sum(int(parts.get(unit) or 0) * each for unit, each in _SECONDS.items())
    if not seconds:
        raise ValueError(f"{text!r} is no length of time; write 30m, 12h, 90d or 8w")
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f"{text!r} is too long; leave it out for no end")
    return timedelta(seconds=seconds)


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
    """The engines of one process.

    Args:
        url: Names an async driver.
        wait_seconds: How long a transaction waits for another writer of an SQLite file.
    """

    def __init__(self, url: str, wait_seconds: float = WAIT_SECONDS) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self._wait_seconds = wait_seconds
        self._file = _file_of(url)
        # what hindered the last transaction that was to write
        self._fault: str | None = None
        make = partial(_engine, url, self._file, wait_seconds)
        self._reader = make(begin="BEGIN")
        self._writer = self._reader
        self._queue: asyncio.Lock | None = None
        if self.is_sqlite:
            self._queue = asyncio.Lock()
            if not _is_in_memory(url):
                self._writer = make(begin="BEGIN IMMEDIATE")

    @property
    def engine(self) -> AsyncEngine:
        """The engine that writes."""
        return self._writer

    @property
    def in_use(self) -> int:
        """The number of connections that transactions hold."""
        engines = {self._reader, self._writer}
        return sum(getattr(engine.pool, "checkedout", int)() for engine in engines)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that only reads; it is rolled back at the end."""
        async with AsyncSession(self._reader, expire_on_commit=False) as session:
            await _connected(session)
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that writes; it commits at the end, or rolls back on any error.

        Raises:
            DatabaseUnavailable: other writers take too long, or the file of the database is gone.
        """
        async with self._turn():
            try:
                async with (
                    AsyncSession(self._writer, expire_on_commit=False) as session,
                    session.begin(),
                ):
                    await _connected(session)
                    self._check_file()
                    yield session
                    # what is committed to a file that is gone would be lost without a word
                    self._check_file()
            except Exception as error:
                said = outage(error)
                self._fault = None if said == BUSY else said
                raise
            self._fault = None

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait until no other transaction of this process writes, where there is one writer."""
        if self._queue is None:
            yield
            return
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._wait_seconds):
                    await stack.enter_async_context(self._queue)
            except TimeoutError:
                raise DatabaseUnavailable(
                    f"other requests have written for {self._wait_seconds:g} s"
                ) from None
            yield

    def _check_file(self) -> None:
        if self._file is not None:
            self._file.check()

    async def fault(self) -> str | None:
        """Say why the database cannot be read or written now; None if it can."""
        try:
            self._check_file()
            async with self.read() as session:
                await session.execute(text("SELECT 1"))
                if not self.is_sqlite and await session.scalar(_IS_READ_ONLY):
                    return "the database is read-only"
            if self._file is not None and (why := self._file.refusal()):
                return why
            if self._fault is not None or (self._file is not None and self._file.is_cramped):
                # only trying tells, with a row that stays as it is
                async with self.write() as session:
                    await session.execute(_SAME_AGAIN)
        except Exception as error:
            return outage(error) or "the database gives errors; the log has them"
        return None

    async def aclose(self) -> None:
        """Close every connection."""
        await self._reader.dispose()
        if self._writer is not self._reader:
            await self._writer.dispose()


async def _connected(session: AsyncSession) -> None:
    # nothing would close a connection that is cancelled while it is being made
    await shielded(session.connection())


_IS_READ_ONLY = text("SELECT current_setting('transaction_read_only') = 'on'")
_SAME_AGAIN = text("UPDATE alembic_version SET version_num = version_num")


def checked_url(url: str) -> str:
    """Return the address of a database with its async driver.

    Raises:
        ValueError: it is none that is known, or there is no folder for its file.
    """
    for plain, driver in (
        ("sqlite://", "sqlite+aiosqlite://"),
        ("postgresql://", "postgresql+asyncpg://"),
        ("postgres://", "postgresql+asyncpg://"),
    ):
        if url.startswith(plain):
            url = driver + url.removeprefix(plain)
            break
    if not url.startswith(("sqlite+aiosqlite://", "postgresql+asyncpg://")):
        scheme = url.partition("://")[0] if "://" in url else "no scheme"
        raise ValueError(f"it must start with sqlite:// or postgresql://, not {scheme}")
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # what is wrong is not repeated: the address may hold a password
        raise ValueError("it is not the address of a database") from None
    if url.startswith("sqlite") and parsed.database and ":" not in parsed.database:
        folder = Path(parsed.database).parent
        if not folder.is_dir():
            raise ValueError(f"there is no folder {str(folder)!r} for the database")
    return url


def _is_in_memory(url: str) -> bool:
    return ":memory:" in url or url.endswith("://")


def _file_of(url: str) -> DatabaseFile | None:
    name = make_url(url).database if url.startswith("sqlite") else None
    return DatabaseFile(Path(name).absolute()) if name and ":" not in name else None


def _engine(url: str, file: DatabaseFile | None, wait_seconds: float, *, begin: str) -> AsyncEngine:
    # what people wrote is not for the log
    options: dict[str, Any] = {"hide_parameters": True, "pool_timeout": wait_seconds}
    if not url.startswith("sqlite"):
        return create_async_engine(
            url, pool_pre_ping=True, pool_size=10, max_overflow=10, **options
        )
    if _is_in_memory(url):
        options = {"hide_parameters": True, "poolclass": StaticPool}
    opener = partial(_open_sqlite, file)
    engine = create_async_engine(url, connect_args={"async_creator_fn": opener}, **options)
    event.listen(engine.sync_engine, "connect", partial(_prepare_sqlite, wait_seconds))
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


async def _open_sqlite(
    file: DatabaseFile | None, *args: Any, **options: Any
) -> aiosqlite.Connection:
    """Open a file; if that fails, wait until the driver's thread has ended.

    The thread reports its end to the event loop, which a service that cannot start closes soon.
    """
    if file is not None:
        file.check()  # an empty database would be made in its place
    _keep_private(str(args[0]) if args else "")
    connection = aiosqlite.connect(*args, **options)
    thread = connection._thread
    thread.daemon = True
    try:
        opened = await connection
        if file is not None:
            file.note()
        return opened
    except BaseException:
        await shielded(asyncio.to_thread(thread.join))
        raise


def _prepare_sqlite(
    wait_seconds: float, connection: DBAPIConnection, _: ConnectionPoolEntry
) -> None:
    # the driver's own BEGIN comes too late and is always deferred: ours is sent instead
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={round(wait_seconds * 1000)}",
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


class Stores(Protocol):
    """What is needed to look at what is stored: a database and a clock."""

    @property
    def db(self) -> Database:
        """The database."""

    @property
    def now(self) -> Callable[[], datetime]:
        """The clock."""
