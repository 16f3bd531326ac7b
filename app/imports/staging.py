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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from app.core.limits import Limits, too_many
from app.core.names import is_name, shown
from app.formats.base import RowInvalid
from app.formats.canonical import ParsedRow, ParsedVote
from app.imports.columns import (
    PAIR,
    PLAIN_VOTE,
    StagedRow,
    as_text,
    pair_values,
    recorded_values,
    staged_row,
    vote_values,
)

_COLUMNS: Final = (*PAIR, "recorded", "votes")
# What further rows of an id add is kept by itself, so that a row costs what it holds and not what
# there is of its id. Of a pair they added to, `recorded` and `votes` are NULL. Of a pair that a row
# differed from, `first_fields` has the fields of its first row by their hashes. `preferred` has the
# first line of each label on a text.
_SCHEMA: Final = f"""
CREATE TABLE staged (
    position INTEGER PRIMARY KEY, line INTEGER NOT NULL, known BLOB NOT NULL,
    {", ".join(_COLUMNS)}, UNIQUE (id)
);
CREATE TABLE added_scores (
    position INTEGER, judge TEXT, score TEXT NOT NULL, PRIMARY KEY (position, judge)
) WITHOUT ROWID;
CREATE TABLE added_votes (
    number INTEGER PRIMARY KEY, position INTEGER NOT NULL, known BLOB NOT NULL, vote TEXT NOT NULL
);
CREATE INDEX added_votes_by_pair ON added_votes (position, known);
CREATE TABLE first_fields (
    position INTEGER, part TEXT, field TEXT, known BLOB NOT NULL, PRIMARY KEY (position, part, field)
) WITHOUT ROWID;
CREATE TABLE preferred (
    content_hash TEXT, label TEXT, line INTEGER NOT NULL, PRIMARY KEY (content_hash, label)
) WITHOUT ROWID;
"""
_INSERT: Final = f"INSERT INTO staged VALUES ({', '.join('?' * (len(_COLUMNS) + 3))}) ON CONFLICT (id) DO NOTHING"
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
_ONLY_A_VOTE: Final = (
    "; this row has no texts: a vote on that pair has id, annotator and label alone, and names its "
    "response a or b or the winner's model"
)
# the columns whose fields are compared one by one
_PARTS: Final = ("metadata", "content")
_METADATA: Final = 2 + PAIR.index("metadata")  # of a row, after its position and its line
_PRAGMAS: Final = ("journal_mode=OFF", "synchronous=OFF", "cache_size=-16000", "temp_store=FILE")
_LEAST_ROW: Final = 500  # what a row takes beside its texts, about
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
        is_preference: It says which of two answers is better.
        may_contradict: Its two answers may be those of an earlier row the other way round.
    """

    has_vote_rows: bool = False
    is_vote: bool = False
    has_unique_ids: bool = False
    keeps_first: bool = False
    is_preference: bool = False
    may_contradict: bool = False


@dataclass(slots=True)
class Staging:
    """The accepted rows of one upload, in a file of its own; `size` counts their characters."""

    connection: sqlite3.Connection
    limits: Limits
    rows: int = 0
    size: int = 0
    judges: set[str] = field(default_factory=set)
    vote_fields: set[str] = field(default_factory=set)
    repeated: int = 0
    first_kept: Counter[str] = field(default_factory=Counter)

    @classmethod
    def open(cls, path: Path, limits: Limits | None = None) -> Staging:
        """Make an empty one; it is used by one thread at a time."""
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.executescript(_SCHEMA)
        connection.execute("BEGIN")
        return cls(connection, limits or Limits())

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
        pair = pair_values(row)
        recorded = {name: recorded_values(score) for name, score in sorted(row.recorded.items())}
        beside = row.metadata if repeats.is_vote or repeats.has_vote_rows else None
        votes = [vote_values(vote, beside) for vote in row.votes]
        self._check_judges(recorded)
        if repeats.is_preference and not repeats.may_contradict:
            self._check_preference(pair, votes)
        said, texts = as_text(recorded), as_text(votes)
        values = (self.rows, line, _identity(pair), *pair, said, texts)
        self.size += _LEAST_ROW + len(pair[-1] or "") + len(pair[-2] or "") + len(said) + len(texts)
        if self.connection.execute(_INSERT, values).rowcount:
            self.rows += 1
        elif repeats.has_unique_ids:
            raise RowInvalid(
                f"custom_id: {shown(row.id)} stands in line {self._line_of(row.id)} already"
            )
        else:
            self._merge(pair, recorded, votes, repeats)
        self.judges.update(recorded)
        if repeats.is_preference and votes:
            insert = "INSERT INTO preferred VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
            self.connection.execute(insert, (pair[1], votes[0][1], line))

    def _check_judges(self, recorded: Mapping[str, Any]) -> None:
        count = len(self.judges) + len(recorded.keys() - self.judges)
        if count > self.limits.fields:
            many = too_many(count, "recorded judges", self.limits.fields, "fields")
            raise RowInvalid(f"judges: with this row the upload has {many}")

    def _line_of(self, row_id: str) -> int:
        query = "SELECT line FROM staged WHERE id = ?"
        return int(self.connection.execute(query, (row_id,)).fetchone()[0])

    def _check_preference(self, pair: tuple[str | None, ...], votes: list[list[Any]]) -> None:
        """Refuse a preference that an earlier row contradicts."""
        query = "SELECT content_hash, label, line FROM preferred WHERE content_hash IN (?, ?)"
        for content_hash, label, line in self.connection.execute(query, pair[1:3]):
            is_turned = content_hash != pair[1]
            if votes and (label == votes[0][1]) == is_turned:
                raise RowInvalid(f"chosen and rejected of line {line} the other way round")

    def _merge(
        self,
        pair: tuple[str | None, ...],
        recorded: dict[str, Any],
        votes: list[list[Any]],
        repeats: Repeats,
    ) -> None:
        query = "SELECT position, line, known FROM staged WHERE id = ?"
        position, line, known = self.connection.execute(query, pair[:1]).fetchone()
        if known != _identity(pair):
            self._check_same(position, pair, line, repeats)
        self._open_to_more(position)
        find = "SELECT score FROM added_scores WHERE position = ? AND judge = ?"
        texts = {name: as_text(score) for name, score in recorded.items()}
        for name, text in texts.items():
            there = self.connection.execute(find, (position, name)).fetchone()
            if there is not None and there[0] != text:
                raise RowInvalid(f"judges.{name}: line {line} records another score of this pair")
        self._add_scores(position, texts)
        if repeats.is_vote:
            self._add_votes(position, self._unlike(position, votes))
        elif repeats.has_vote_rows:
            self._add_votes(position, votes)
        else:
            self._add_votes(position, self._missing(position, votes))

    def _check_same(
        self, position: int, pair: tuple[str | None, ...], line: int, repeats: Repeats
    ) -> None:
        """Refuse a row that says other things of a pair than an earlier one; name the fields."""
        differ = self._differences(position, pair)
        if "metadata" in differ and (
            repeats.is_vote or repeats.has_vote_rows or repeats.keeps_first
        ):
            fields = self._fields_unlike(position, pair, "metadata")
            if repeats.is_vote or repeats.has_vote_rows:
                self.vote_fields.update(fields)
            else:
                self.first_kept.update(fields)
            differ.remove("metadata")
        if differ:
            said = " and ".join(self._other(position, pair, name) for name in differ)
            is_battle = pair[1] is None and "content_hash" in differ
            more = _ONLY_A_VOTE if is_battle else ""
            raise RowInvalid(
                f"id: {shown(pair[0])} stands in line {line} already, other {said}{more}"
            )

    def _differences(self, position: int, pair: tuple[str | None, ...]) -> list[str]:
        query = f"SELECT {', '.join(_DIFFERENCES)} FROM staged WHERE position = ?"
        before = self.connection.execute(query, (position,)).fetchone()
        new = dict(zip(PAIR, pair, strict=True))
        return [name for name, old in zip(_DIFFERENCES, before, strict=True) if new[name] != old]

    def _other(self, position: int, pair: tuple[str | None, ...], name: str) -> str:
        """Return what differs between two rows, and in which of its fields."""
        what = _DIFFERENCES[name]
        if what not in _PARTS:
            return what
        unlike = self._fields_unlike(position, pair, what)
        if what == "content":
            fields = [_CONTENT.get(one, one) for one in unlike]
        else:
            fields = [shown(one)[1:-1] for one in unlike]
        return f"{what} ({', '.join(fields[:_MOST_FIELDS])})" if fields else what

    def _fields_unlike(self, position: int, pair: tuple[str | None, ...], part: str) -> list[str]:
        """Return the fields of a part that a row does not share with the first row of its id."""
        self._note_fields(position)
        query = "SELECT field, known FROM first_fields WHERE position = ? AND part = ?"
        old = dict(self.connection.execute(query, (position, part)).fetchall())
        new = _fields_of(pair[PAIR.index(part)])
        if part == "content" and not (old and new):
            return []
        names = dict.fromkeys((*old, *new))
        return [json.loads(name) for name in names if new.get(name) != old.get(name)]

    def _note_fields(self, position: int) -> None:
        """Keep the fields of the first row of an id by their hashes, once."""
        query = "SELECT 1 FROM first_fields WHERE position = ? LIMIT 1"
        if self.connection.execute(query, (position,)).fetchone():
            return
        query = f"SELECT {', '.join(_PARTS)} FROM staged WHERE position = ?"
        texts = self.connection.execute(query, (position,)).fetchone()
        self.connection.executemany(
            "INSERT INTO first_fields VALUES (?, ?, ?, ?)",
            [
                (position, part, name, known)
                for part, text in zip(_PARTS, texts, strict=True)
                for name, known in _fields_of(text).items()
            ],
        )

    def _open_to_more(self, position: int) -> None:
        """Move the scores and votes of a pair to where further ones are added, once."""
        query = "SELECT recorded, votes FROM staged WHERE position = ? AND votes IS NOT NULL"
        found = self.connection.execute(query, (position,)).fetchone()
        if found is None:
            return
        recorded, votes = map(json.loads, found)
        self._add_scores(position, {name: as_text(score) for name, score in recorded.items()})
        self._add_votes(position, votes)
        update = "UPDATE staged SET recorded = NULL, votes = NULL WHERE position = ?"
        self.connection.execute(update, (position,))

    def _add_scores(self, position: int, scores: Mapping[str, str]) -> None:
        self.connection.executemany(
            "INSERT INTO added_scores VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(position, name, text) for name, text in scores.items()],
        )

    def _add_votes(self, position: int, votes: Iterable[list[Any]]) -> None:
        texts = map(as_text, votes)
        self.connection.executemany(
            "INSERT INTO added_votes (position, known, vote) VALUES (?, ?, ?)",
            [(position, _vote_digest(text), text) for text in texts],
        )

    def _missing(self, position: int, votes: Sequence[list[Any]]) -> list[list[Any]]:
        """Return the votes that are to be added so that each counts as often as in these."""
        count = "SELECT count(*) FROM added_votes WHERE position = ? AND known = ?"
        missing: list[list[Any]] = []
        for text, times in Counter(map(as_text, votes)).items():
            there = self.connection.execute(count, (position, _vote_digest(text))).fetchone()[0]
            missing += [json.loads(text)] * (times - there)
        return missing

    def _unlike(self, position: int, votes: Sequence[list[Any]]) -> list[list[Any]]:
        """Return the votes that no person gave in an earlier row; those of no one always count."""
        find = "SELECT 1 FROM added_votes WHERE position = ? AND known = ? LIMIT 1"
        new = [
            vote
            for vote in votes
            if vote[0] is None
            or not self.connection.execute(find, (position, _vote_digest(as_text(vote)))).fetchone()
        ]
        self.repeated += len(votes) - len(new)
        return new

    def models(self, pair_id: str) -> tuple[str | None, ...] | None:
        """Return the names of the two models of a pair; None where no pair has this id."""
        if not is_name(pair_id):
            return None
        query = "SELECT model_a, model_b FROM staged WHERE id = ?"
        found = self.connection.execute(query, (pair_id,)).fetchone()
        return None if found is None else tuple(found)

    def add_votes(self, pair_id: str, votes: Sequence[ParsedVote]) -> None:
        """Add votes to the row of this id, which must exist."""
        query = "SELECT position FROM staged WHERE id = ?"
        (position,) = self.connection.execute(query, (pair_id,)).fetchone()
        self._open_to_more(position)
        self._add_votes(position, [vote_values(vote) for vote in votes])

    def content_hash(self, *, by_line: bool = False) -> str:
        """Return a hash of all pairs and recorded scores in order; votes do not enter.

        Battles are named by their row; `by_line`: by their line, as they once were.
        """
        digest = hashlib.sha256()
        for found in self.connection.execute(f"{_SELECT} ORDER BY position"):
            # votes matter only where fields of the pair are theirs
            _, line, *columns = self._settled(self._whole(found)) if self.vote_fields else found
            if columns[9] is None:
                columns[9] = self._recorded(found[0])
            if by_line and columns[1] is None:
                columns = [str(line) if one == columns[0] else one for one in columns]
            # the texts enter by their hash; JSON keeps every column apart from the next
            digest.update(as_text([*columns[:8], columns[9]]).encode("ascii"))
        return digest.hexdigest()

    def _settled(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a whole row with the fields that are its votes' moved to them."""
        votes = json.loads(row[-1])
        if all(len(vote) == PLAIN_VOTE for vote in votes):
            return row
        own = [
            [*vote[:3], {**_of_vote(vote, self.vote_fields), **vote[3]}]
            if len(vote) > PLAIN_VOTE
            else vote
            for vote in votes
        ]
        if not self.vote_fields:
            return (*row[:-1], as_text(own))
        metadata = json.loads(row[_METADATA])
        kept = {name: v for name, v in metadata.items() if name not in self.vote_fields}
        return (*row[:_METADATA], as_text(kept), *row[_METADATA + 1 : -1], as_text(own))

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
        for found in self.connection.execute(f"{_SELECT} ORDER BY position"):
            row = self._settled(self._whole(found))
            chunk.append(staged_row(row))
            size += sum(len(text or "") for text in row[2:])
            if len(chunk) == CHUNK_ROWS or size > CHUNK_CHARACTERS:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def _whole(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a row with the scores and votes of all rows of its id."""
        if row[-1] is not None:
            return row
        query = "SELECT vote FROM added_votes WHERE position = ? ORDER BY number"
        votes = ",".join(vote for (vote,) in self.connection.execute(query, row[:1]))
        return (*row[:-2], self._recorded(row[0]), f"[{votes}]")

    def _recorded(self, position: int) -> str:
        query = "SELECT judge, score FROM added_scores WHERE position = ?"
        scores = dict(sorted(self.connection.execute(query, (position,)).fetchall()))
        fields = (f"{as_text(name)}:{score}" for name, score in scores.items())
        return f"{{{','.join(fields)}}}"


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).digest()


def _vote_digest(text: str) -> bytes:
    """Return a hash of a vote, whatever the order of its fields."""
    return _digest(json.dumps(json.loads(text), separators=(",", ":"), sort_keys=True))


def _fields_of(text: str | None) -> dict[str, bytes]:
    """Return the hashes of the fields of an object, by their names as JSON."""
    fields = json.loads(text or "{}")
    return {as_text(name): _digest(as_text(value)) for name, value in fields.items()}


def _of_vote(vote: list[Any], fields: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in vote[PLAIN_VOTE].items() if name in fields}


def _identity(pair: tuple[str | None, ...]) -> bytes:
    """Return a hash of what two rows of one id must agree in."""
    values = dict(zip(PAIR, pair, strict=True))
    return _digest(as_text([values[name] for name in _DIFFERENCES]))
