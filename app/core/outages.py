"""What it means when the database or a disk cannot be used, in words without anyone's texts.

Drivers put the values of a row into their messages: those are neither logged nor stored.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import sqlite3
import sys
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from app.core.errors import NotReady
from judges.errors import JudgeError

RETRY_AFTER: Final = {"Retry-After": "5"}
_LONGEST_MESSAGE: Final = 300
_LITTLE_ROOM: Final = 2**20
# Python repeats a value in quotes; in the messages of these errors the names of code
_ABOUT_CODE: Final = (AttributeError, ImportError, NameError, TypeError)
_QUOTED: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
BUSY: Final = "another process is writing to the database and has not ended in time"
_SQLITE: Final = {
    sqlite3.SQLITE_BUSY: BUSY,
    sqlite3.SQLITE_LOCKED: BUSY,
    sqlite3.SQLITE_PERM: "the database file may not be used",
    sqlite3.SQLITE_READONLY: "the database is read-only",
    sqlite3.SQLITE_IOERR: "the disk of the database cannot be read or written",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_NOTADB: "the database file is not a database",
}
# by SQLSTATE, or by its class
_POSTGRESQL: Final = {
    "08": "the connection to the database is lost",
    "25006": "the database is read-only",
    "28": "the database refuses the user or the password",
    "3D000": "the database does not exist",
    "40": "other requests changed the same rows at the same time",
    "53100": "the disk is full",
    "53": "the database has no room for more",
    "55P03": BUSY,
    "57": "the database is stopping or starting",
    "58": "the disk of the database cannot be read or written",
}
_SYSTEM: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full",
    errno.EFBIG: "the disk takes no larger file",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk cannot be read or written",
    errno.EMFILE: "too many files and connections are open",
    errno.ENFILE: "too many files and connections are open",
}
_UNREACHABLE: Final = "the database cannot be reached"


def outages() -> tuple[type[Exception], ...]:
    """Return what an outage raises."""
    return DBAPIError, NoConnectionFree, OSError, *_driver_errors()


def _driver_errors() -> tuple[type[Exception], ...]:
    """Return what PostgreSQL's driver raises by itself; none where it is not loaded."""
    asyncpg: Any = sys.modules.get("asyncpg")
    return () if asyncpg is None else (asyncpg.InterfaceError, asyncpg.PostgresError)


class DatabaseUnavailable(NotReady, OSError):
    """The database cannot be used now; an OSError, too, so that workers try again."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers=RETRY_AFTER)


def outage(error: BaseException) -> str | None:
    """Say what is out of order if an error tells of an outage; None for any other error."""
    if isinstance(error, BaseExceptionGroup):
        found = [outage(one) for one in error.exceptions]
        return None if None in found else found[0]
    if isinstance(error, DatabaseUnavailable):
        return error.detail
    if isinstance(error, NoConnectionFree):
        return "all connections to the database are in use"
    if isinstance(error, DBAPIError):
        return _outage_of(error.orig, is_lost=error.connection_invalidated)
    return _outage_of(error)


def _outage_of(error: BaseException | None, *, is_lost: bool = False) -> str | None:
    if isinstance(error, sqlite3.Error):
        return _SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str) and (said := _POSTGRESQL.get(state, _POSTGRESQL.get(state[:2]))):
        return said
    if isinstance(error, _driver_errors()[:1]) or is_lost:
        return _POSTGRESQL["08"]
    if isinstance(error, ConnectionError | socket.gaierror | TimeoutError):
        return _UNREACHABLE
    if not isinstance(error, OSError):
        return None
    if error.errno is None and "Connect call failed" in str(error):
        return _UNREACHABLE  # at several addresses of one name
    return _SYSTEM.get(error.errno or 0)


def in_words(error: BaseException) -> str:
    """Return what an error says, without the values that a driver or a validator repeats."""
    from pydantic import ValidationError  # only what fails needs it

    name = type(error).__name__
    said = outage(error)
    if said is not None:
        return f"{name}: {said}"
    if isinstance(error, ValidationError):
        places = {".".join(map(str, one["loc"])) for one in error.errors(include_input=False)}
        return f"{name}: {_cut(', '.join(sorted(places)))}"
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return f"{name}: {_cut(str(cause))}"  # it names columns, never values
    if isinstance(error, (SQLAlchemyError, *_driver_errors())):
        state = getattr(cause, "sqlstate", None)
        return f"{name} ({state or type(cause).__name__})"
    if isinstance(error, JudgeError):
        return name  # a server may repeat what it was asked
    text = str(error)
    if not isinstance(error, _ABOUT_CODE):
        text = _QUOTED.sub("'...'", text)
    return f"{name}: {_cut(text)}"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]}..."


class DatabaseFile:
    """The file of an SQLite database: a program that has it open does not notice that it is gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity: tuple[int, int] | None = None

    def note(self) -> None:
        """Remember which file was opened first."""
        self._identity = self._identity or self._found()

    def check(self) -> None:
        """Refuse to go on with a file that is no longer the one that was opened.

        Raises:
            DatabaseUnavailable: it was deleted, or another one is in its place.
        """
        found = self._found()
        if self._identity is not None and found != self._identity:
            what = "was deleted" if found is None else "was replaced by another file"
            raise DatabaseUnavailable(
                f"the database {self._path} {what} while the service ran: nothing is stored until "
                "it is back or the service starts again"
            )

    def refusal(self) -> str | None:
        """Say why the file cannot be written, as far as its system tells; None if it can be."""
        if not os.access(self._path, os.W_OK) or not os.access(self._path.parent, os.W_OK):
            return _SQLITE[sqlite3.SQLITE_READONLY]
        is_read_only = os.statvfs(self._path).f_flag & os.ST_RDONLY
        return _SYSTEM[errno.EROFS] if is_read_only else None

    @property
    def is_cramped(self) -> bool:
        """True if the disk is nearly full: only writing tells whether there is room."""
        disk = os.statvfs(self._path)
        return disk.f_bavail * disk.f_frsize < _LITTLE_ROOM

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
