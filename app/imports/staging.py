"""Keeps the checked rows of an upload on disk until they are stored.

Every row of an upload is read, checked and merged here first, so that the database is locked only
while finished rows are copied, and so that memory does not grow with the file: ids seen before are
looked up in an index on disk.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from app.core.names import shown
from app.datasets.records import pair_content
from app.datasets.score_columns import score_values
from app.formats.base import RowInvalid
from app.formats.canonical import ParsedRow, ParsedVote
from app.formats.joining import Piece
from judges.types import Pair, Score

# the columns of a pair as the database has them, JSON as text, in this order
_PAIR: Final = (
    "id", "content_hash", "swapped_hash", "prompt_hash", "group_key", "model_a", "model_b",
    "metadata", "content",
)  # fmt: skip
_COLUMNS: Final = (*_PAIR, "recorded", "votes")
_SCHEMA: Final = f"""
CREATE TABLE staged (
    position INTEGER PRIMARY KEY, line INTEGER NOT NULL, {", ".join(_COLUMNS)}, UNIQUE (id)
)
"""
_INSERT: Final = f"INSERT INTO staged VALUES ({', '.join('?' * (len(_COLUMNS) + 2))}) ON CONFLICT (id) DO NOTHING"
_SELECT: Final = f"SELECT position, line, {', '.join(_COLUMNS)} FROM staged"
_DIFFERENCES: Final = {
    "content_hash": "content",
    "model_a": "model_a",
    "model_b": "model_b",
    "group_key": "group",
    "metadata": "metadata",
}
_PRAGMAS: Final = ("journal_mode=OFF", "synchronous=OFF", "cache_size=-16000", "temp_store=FILE")
CHUNK_ROWS: Final = 1_000
CHUNK_CHARACTERS: Final = 4 * 2**20


@dataclass(frozen=True, slots=True)
class StagedRow:
    """One pair as it goes into the database: columns, with JSON as text."""

    position: int
    pair: dict[str, Any]
    recorded: list[dict[str, Any]]
    votes: list[ParsedVote]


@dataclass(slots=True)
class Staging:
    """The accepted rows of one upload, in a file of its own."""

    connection: sqlite3.Connection
    rows: int = 0
    judges: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, path: Path) -> Staging:
        """Make an empty one; it is used by one thread at a time."""
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(_SCHEMA)
        connection.execute("BEGIN")
        return cls(connection)

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def add(
        self, row: ParsedRow, line: int, *, has_vote_rows: bool, has_unique_ids: bool = False
    ) -> None:
        """Keep a row, or what it adds to the row of the same id.

        Args:
            row: What was read.
            line: Where it stood.
            has_vote_rows: Whether an equal row is a further vote, not a repetition.
            has_unique_ids: Whether a row may not even repeat another one.

        Raises:
            RowInvalid: the id has other content already, or must be unique.
        """
        pair = _pair_values(row)
        recorded = {name: _score_values(score) for name, score in sorted(row.recorded.items())}
        votes = [_vote_values(vote) for vote in row.votes]
        values = (self.rows, line, *pair, _text(recorded), _text(votes))
        if self.connection.execute(_INSERT, values).rowcount:
            self.rows += 1
        elif has_unique_ids:
            raise RowInvalid(
                f"custom_id: {shown(row.id)} stands in line {self._line_of(row.id)} already"
            )
        else:
            self._merge(pair, recorded, votes, has_vote_rows=has_vote_rows)
        self.judges.update(recorded)

    def _line_of(self, row_id: str) -> int:
        query = "SELECT line FROM staged WHERE id = ?"
        return int(self.connection.execute(query, (row_id,)).fetchone()[0])

    def _merge(
        self,
        pair: tuple[str | None, ...],
        recorded: dict[str, Any],
        votes: list[list[Any]],
        *,
        has_vote_rows: bool,
    ) -> None:
        found = self.connection.execute(f"{_SELECT} WHERE id = ?", pair[:1]).fetchone()
        position, line, *before = found
        other = [
            _DIFFERENCES[name]
            for name, new, old in zip(_PAIR, pair, before, strict=False)
            if new != old and name in _DIFFERENCES
        ]
        if other:
            fields = " and ".join(other)
            raise RowInvalid(f"id: {shown(pair[0])} stands in line {line} already, other {fields}")
        known, said = json.loads(before[-2]), json.loads(before[-1])
        for name in recorded.keys() & known.keys():
            if recorded[name] != known[name]:
                raise RowInvalid(f"judges.{name}: line {line} records another score of this pair")
        merged = said + votes if has_vote_rows else _union(said, votes)
        self.connection.execute(
            "UPDATE staged SET recorded = ?, votes = ? WHERE position = ?",
            (_text(dict(sorted({**known, **recorded}.items()))), _text(merged), position),
        )

    def add_votes(self, pair_id: str, votes: Sequence[ParsedVote]) -> bool:
        """Add votes to the row of this id; False if no row has it."""
        query = "SELECT position, votes FROM staged WHERE id = ?"
        found = self.connection.execute(query, (pair_id,)).fetchone()
        if found is None:
            return False
        said = json.loads(found[1]) + [_vote_values(vote) for vote in votes]
        update = "UPDATE staged SET votes = ? WHERE position = ?"
        self.connection.execute(update, (_text(said), found[0]))
        return True

    def content_hash(self) -> str:
        """Return a hash of all pairs and recorded scores in order; votes do not enter."""
        digest = hashlib.sha256()
        for _, _, *columns in self.connection.execute(f"{_SELECT} ORDER BY position"):
            # the texts enter by their hash; JSON keeps every column apart from the next
            digest.update(_text([*columns[:8], columns[9]]).encode("ascii"))
        return digest.hexdigest()

    def chunks(self) -> Iterator[list[StagedRow]]:
        """Yield the rows in order, few enough at a time for memory."""
        chunk: list[StagedRow] = []
        size = 0
        for row in self.connection.execute(f"{_SELECT} ORDER BY position"):
            chunk.append(_staged(row))
            size += sum(len(text or "") for text in row[2:])
            if len(chunk) == CHUNK_ROWS or size > CHUNK_CHARACTERS:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk


def _pair_values(row: ParsedRow) -> tuple[str | None, ...]:
    pair = row.pair
    return (
        row.id,
        pair.content_hash if pair else None,
        _swapped_hash(pair) if pair else None,
        pair.prompt_hash if pair else None,
        row.group,
        row.model_a,
        row.model_b,
        _text(row.metadata),
        _text(pair_content(pair)) if pair else None,
    )


def _swapped_hash(pair: Pair) -> str:
    # what came with the pair does not enter the hash, so it need not be mirrored for it
    return replace(pair, responses_a=pair.responses_b, responses_b=pair.responses_a).content_hash


def _score_values(score: Score) -> dict[str, Any]:
    values = score_values(score)
    return {**values, **{name: _text(values[name]) for name in ("annotators", "flags", "usage")}}


def _vote_values(vote: ParsedVote) -> list[Any]:
    return [vote.annotator, vote.label, vote.criterion, vote.details]


def _staged(row: tuple[Any, ...]) -> StagedRow:
    position, _, *columns = row
    return StagedRow(
        position=position,
        pair=dict(zip(_PAIR, columns, strict=False)),
        recorded=list(json.loads(columns[-2]).values()),
        votes=[ParsedVote(*vote) for vote in json.loads(columns[-1])],
    )


_text = json.JSONEncoder(separators=(",", ":")).encode


def _union(known: list[list[Any]], votes: list[list[Any]]) -> list[list[Any]]:
    """Merge the votes of two rows: each counts as often as in the row that has it more often."""
    missing = Counter(map(_text, votes)) - Counter(map(_text, known))
    return known + [json.loads(text) for text in missing.elements()]


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
_OF_KEY: Final = "SELECT * FROM pieces WHERE key = ? ORDER BY number"


@dataclass(slots=True)
class Pieces:
    """The pieces of one upload, in the file of its other rows."""

    connection: sqlite3.Connection
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
            yield [_piece(found) for found in self.connection.execute(_OF_KEY, (key,))]


def _piece(found: tuple[Any, ...]) -> Piece:
    number, key, kind, line, file, file_name, row = found
    return Piece(kind, key, json.loads(row), line, file, file_name, number)
