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
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from app.core.names import shown
from app.datasets.records import pair_content
from app.datasets.score_columns import score_values
from app.formats.base import RowInvalid
from app.formats.canonical import ParsedRow, ParsedVote
from app.formats.joining import Piece
from judges.types import Message, Pair, Score

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
_CONTENT: Final = {
    "conversation": "prompt", "responses_a": "response_a", "responses_b": "response_b",
}  # fmt: skip
_MOST_FIELDS: Final = 5
# annotator, label, criterion and details; what lay beside the vote in its row may follow
_PLAIN_VOTE: Final = 4
_PRAGMAS: Final = ("journal_mode=OFF", "synchronous=OFF", "cache_size=-16000", "temp_store=FILE")
CHUNK_ROWS: Final = 1_000
CHUNK_CHARACTERS: Final = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Repeats:
    """What a row means that has the id of an earlier one.

    Args:
        has_vote_rows: An equal row is a further vote, not a repetition.
        is_vote: The row is one vote with its pair beside it. A person's vote that is given twice
            counts once, and a field that differs from row to row is the vote's.
        has_unique_ids: A row may not even repeat another one.
        keeps_first: Its metadata may differ from those of the earlier row, which are kept.
        is_preference: Its two answers may not be those of an earlier row the other way round.
    """

    has_vote_rows: bool = False
    is_vote: bool = False
    has_unique_ids: bool = False
    keeps_first: bool = False
    is_preference: bool = False


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
    vote_fields: set[str] = field(default_factory=set)
    repeated: int = 0
    first_kept: Counter[str] = field(default_factory=Counter)
    _has_index: bool = False

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

    def add(self, row: ParsedRow, line: int, repeats: Repeats) -> None:
        """Keep a row, or what it adds to the row of the same id.

        Args:
            row: What was read.
            line: Where it stood.
            repeats: What a row of an id that was seen before means.

        Raises:
            RowInvalid: the id has other content already, or must be unique.
        """
        pair = _pair_values(row)
        recorded = {name: _score_values(score) for name, score in sorted(row.recorded.items())}
        beside = row.metadata if repeats.is_vote or repeats.has_vote_rows else None
        votes = [_vote_values(vote, beside) for vote in row.votes]
        if repeats.is_preference:
            self._check_preference(pair, votes)
        values = (self.rows, line, *pair, _text(recorded), _text(votes))
        if self.connection.execute(_INSERT, values).rowcount:
            self.rows += 1
        elif repeats.has_unique_ids:
            raise RowInvalid(
                f"custom_id: {shown(row.id)} stands in line {self._line_of(row.id)} already"
            )
        else:
            self._merge(pair, recorded, votes, repeats)
        self.judges.update(recorded)

    def _line_of(self, row_id: str) -> int:
        query = "SELECT line FROM staged WHERE id = ?"
        return int(self.connection.execute(query, (row_id,)).fetchone()[0])

    def _check_preference(self, pair: tuple[str | None, ...], votes: list[list[Any]]) -> None:
        """Refuse a preference that an earlier row contradicts."""
        if not self._has_index:
            self.connection.execute("CREATE INDEX staged_by_content ON staged (content_hash)")
            self._has_index = True
        query = "SELECT line, content_hash, votes FROM staged WHERE content_hash IN (?, ?)"
        for line, content_hash, said in self.connection.execute(query, pair[1:3]):
            labels = [vote[1] for vote in json.loads(said)]
            is_turned = content_hash != pair[1]
            if labels and votes and (labels[0] == votes[0][1]) == is_turned:
                raise RowInvalid(f"chosen and rejected of line {line} the other way round")

    def _merge(
        self,
        pair: tuple[str | None, ...],
        recorded: dict[str, Any],
        votes: list[list[Any]],
        repeats: Repeats,
    ) -> None:
        found = self.connection.execute(f"{_SELECT} WHERE id = ?", pair[:1]).fetchone()
        position, line, *before = found
        self._check_same(pair, before, line, repeats)
        known, said = json.loads(before[-2]), json.loads(before[-1])
        for name in recorded.keys() & known.keys():
            if recorded[name] != known[name]:
                raise RowInvalid(f"judges.{name}: line {line} records another score of this pair")
        self.connection.execute(
            "UPDATE staged SET recorded = ?, votes = ? WHERE position = ?",
            (
                _text(dict(sorted({**known, **recorded}.items()))),
                _text(self._merged(said, votes, repeats)),
                position,
            ),
        )

    def _check_same(
        self, pair: tuple[str | None, ...], before: list[str | None], line: int, repeats: Repeats
    ) -> None:
        """Refuse a row that says other things of a pair than an earlier one; name the fields."""
        differ = [
            name
            for name, new, old in zip(_PAIR, pair, before, strict=False)
            if new != old and name in _DIFFERENCES
        ]
        fields = _differences(pair, before) if "metadata" in differ else []
        if repeats.is_vote or repeats.has_vote_rows:
            self.vote_fields.update(fields)
        elif repeats.keeps_first:
            self.first_kept.update(fields)
        if repeats.is_vote or repeats.has_vote_rows or repeats.keeps_first:
            differ = [name for name in differ if name != "metadata"]
        if differ:
            said = " and ".join(_other(name, pair, before) for name in differ)
            raise RowInvalid(f"id: {shown(pair[0])} stands in line {line} already, other {said}")

    def _merged(
        self, said: list[list[Any]], votes: list[list[Any]], repeats: Repeats
    ) -> list[list[Any]]:
        if not repeats.is_vote:
            return said + votes if repeats.has_vote_rows else _union(said, votes)
        new = [vote for vote in votes if vote[0] is None or vote not in said]
        self.repeated += len(votes) - len(new)
        return said + new

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

    def content_hash(self, *, by_line: bool = False) -> str:
        """Return a hash of all pairs and recorded scores in order; votes do not enter.

        Battles are named by their row; `by_line`: by their line, as they once were.
        """
        digest = hashlib.sha256()
        for _, line, *columns in self.connection.execute(f"{_SELECT} ORDER BY position"):
            settled = self._settled(columns)
            if by_line and settled[1] is None:
                settled = [str(line) if one == settled[0] else one for one in settled]
            # the texts enter by their hash; JSON keeps every column apart from the next
            digest.update(_text([*settled[:8], settled[9]]).encode("ascii"))
        return digest.hexdigest()

    def _settled(self, columns: list[Any]) -> list[Any]:
        """Return the columns of a pair, with the fields that are its votes' moved to them."""
        votes = json.loads(columns[-1])
        if all(len(vote) == _PLAIN_VOTE for vote in votes):
            return columns
        own = [
            [*vote[:3], {**_of_vote(vote, self.vote_fields), **vote[3]}]
            if len(vote) > _PLAIN_VOTE
            else vote
            for vote in votes
        ]
        if not self.vote_fields:
            return [*columns[:-1], _text(own)]
        metadata = json.loads(columns[7])
        kept = {name: v for name, v in metadata.items() if name not in self.vote_fields}
        return [*columns[:7], _text(kept), *columns[8:-1], _text(own)]

    def spread_prompts(self) -> int:
        """Return how many prompts stand in several groups."""
        query = (
            "SELECT count(*) FROM (SELECT prompt_hash FROM staged WHERE prompt_hash IS NOT NULL "
            "GROUP BY prompt_hash HAVING count(DISTINCT group_key) > 1)"
        )
        return int(self.connection.execute(query).fetchone()[0])

    def sentences(self) -> list[str]:
        """Return what the sender should know of how rows were merged into pairs."""
        found = []
        if self.vote_fields:
            names = ", ".join(sorted(shown(name)[1:-1] for name in self.vote_fields))
            found.append(f"kept with each vote, because votes on one pair differ in them: {names}")
        if self.repeated:
            found.append(
                f"{self.repeated} votes repeat one of the same person on the same pair, and count once"
            )
        found += [
            f"{shown(name)[1:-1]}: differs from an earlier row on the same pair in {count} rows; the "
            "first value is kept"
            for name, count in self.first_kept.items()
        ]
        spread = self.spread_prompts()
        if spread:
            found.append(
                f"{spread} prompts stand in several groups, so that their pairs count as independent; "
                "leave out group, question_id or prompt_id to group pairs by their prompt"
            )
        return found

    def chunks(self) -> Iterator[list[StagedRow]]:
        """Yield the rows in order, few enough at a time for memory."""
        chunk: list[StagedRow] = []
        size = 0
        for position, line, *columns in self.connection.execute(f"{_SELECT} ORDER BY position"):
            row = (position, line, *self._settled(columns))
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


def _vote_values(vote: ParsedVote, beside: Mapping[str, Any] | None = None) -> list[Any]:
    """Return a vote and, where it came in a row of its own, the metadata of that row."""
    values = [vote.annotator, vote.label, vote.criterion, vote.details]
    return [*values, beside] if beside else values


def parsed_pair(values: Mapping[str, Any]) -> Pair | None:
    """Return the pair of staged columns, without recorded scores; None for a battle."""
    if values["content"] is None:
        return None
    content = json.loads(values["content"])
    return Pair(
        values["id"],
        tuple(Message(role, text) for role, text in content["conversation"]),
        tuple(content["responses_a"]),
        tuple(content["responses_b"]),
        values["model_a"],
        values["model_b"],
        content["criterion"],
    )


def _of_vote(vote: list[Any], fields: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in vote[4].items() if name in fields}


def _differences(pair: tuple[str | None, ...], before: Sequence[str | None]) -> list[str]:
    """Return the fields of the metadata that two rows on one pair do not share."""
    new, old = (json.loads(columns[7] or "{}") for columns in (pair, before))
    nothing = object()
    names = dict.fromkeys((*old, *new))
    return [name for name in names if _text_of(new, name, nothing) != _text_of(old, name, nothing)]


def _text_of(metadata: Mapping[str, Any], name: str, otherwise: object) -> object:
    return _text(metadata[name]) if name in metadata else otherwise


def _other(name: str, pair: tuple[str | None, ...], before: Sequence[str | None]) -> str:
    """Return what differs between two rows, and in which of its fields."""
    what = _DIFFERENCES[name]
    if name == "metadata":
        fields = [shown(one)[1:-1] for one in _differences(pair, before)]
    elif name == "content_hash" and pair[8] and before[8]:
        new, old = json.loads(pair[8]), json.loads(before[8])
        fields = [_CONTENT.get(one, one) for one in old if old[one] != new.get(one)]
    else:
        return what
    return f"{what} ({', '.join(fields[:_MOST_FIELDS])})"


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
