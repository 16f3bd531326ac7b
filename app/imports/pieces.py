"""Keeps the pieces of an upload whose pairs join several rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from app.core.errors import TooLarge
from app.core.limits import Limits, setting_of
from app.formats.joining import Piece

_PIECES_SCHEMA: Final = """
CREATE TABLE pieces (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, kind TEXT NOT NULL, line INTEGER NOT NULL,
    file TEXT NOT NULL, file_name TEXT NOT NULL, row TEXT NOT NULL
)
"""
_INSERT_PIECE: Final = (
    "INSERT INTO pieces (key, kind, line, file, file_name, row) VALUES (?, ?, ?, ?, ?, ?)"
)
_KEYS: Final = "SELECT key FROM pieces GROUP BY key ORDER BY MIN(number)"
# rows of one key are in memory together, so many of the longest ones allowed
_MOST_KEY_ROWS: Final = 4
_OF_KEY: Final = "SELECT * FROM pieces WHERE key = ? ORDER BY number"


@dataclass(slots=True)
class Pieces:
    """The pieces of one upload, in the file of its other rows."""

    connection: sqlite3.Connection
    limits: Limits
    kinds: set[str] = field(default_factory=set)
    _is_ready: bool = False

    def add(self, piece: Piece) -> None:
        """Keep a piece."""
        if not self._is_ready:
            self.connection.execute(_PIECES_SCHEMA)
            self._is_ready = True
        self.kinds.add(piece.kind)
        row = json.dumps(piece.row, separators=(",", ":"))
        values = (piece.key, piece.kind, piece.line, piece.file, piece.file_name, row)
        self.connection.execute(_INSERT_PIECE, values)

    def by_key(self) -> Iterator[list[Piece]]:
        """Yield the pieces of each key together, in the order that the keys came in."""
        if not self._is_ready:
            return
        self.connection.execute("CREATE INDEX pieces_by_key ON pieces (key)")
        for (key,) in self.connection.execute(_KEYS):
            yield list(self._of_key(key))

    def _of_key(self, key: str) -> Iterator[Piece]:
        size = 0
        for found in self.connection.execute(_OF_KEY, (key,)):
            size += len(found[-1])
            if size > _MOST_KEY_ROWS * self.limits.row_bytes:
                most = f"{_MOST_KEY_ROWS} times {setting_of('row_bytes')}"
                raise TooLarge(
                    f"the rows that are joined with line {found[3]} are more than {most}"
                )
            yield _piece(found)

    def in_order(self) -> Iterator[Piece]:
        """Yield all pieces in the order that they came in."""
        if self._is_ready:
            query = "SELECT * FROM pieces ORDER BY number"
            yield from map(_piece, self.connection.execute(query))


def _piece(found: tuple[Any, ...]) -> Piece:
    number, key, kind, line, file, file_name, row = found
    return Piece(kind, key, json.loads(row), line, file, file_name, number)
