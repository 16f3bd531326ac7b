"""Reading an upload: raw rows become parsed ones, row by row or joined with others.

The first row that is recognised fixes the format of the whole upload.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

from app.core.errors import Unprocessable
from app.core.limits import Meter, first_of
from app.core.names import shown
from app.formats import joining
from app.formats.base import RowInvalid
from app.formats.canonical import ParsedRow, ParsedVote, misspelt_fields, parse_row
from app.formats.joining import Fault, Joined, Outcome, Piece
from app.formats.registry import ALIASES, AUTO, CANONICAL, DIALECTS, Dialect, candidates
from app.imports.staging import Pieces, Staging
from app.imports.tables import RawRow

MOST_REASONS: Final = 1_000
_MOST_WARNINGS: Final = 100
_ONLY_VOTES: Final = (
    "is a label, and no row of the upload is a pair: labels of a dataset that is there are added "
    "by `tribunal label DATASET FILE` (POST /v1/labels)"
)


@dataclass(slots=True)
class Reader:
    """Turns raw rows into parsed ones, or into pieces of them, and notes what is not kept.

    `unmatched` counts the rejected rows that only lacked the rows to be joined with; `meter` what
    the upload unpacks to.
    """

    dialect: Dialect | None = None
    rejected: list[dict[str, Any]] = field(default_factory=list)
    rejected_count: int = 0
    unmatched: int = 0
    warned: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    meter: Meter = field(default_factory=Meter)

    def read(self, raw: RawRow) -> ParsedRow | Piece:
        """Return what a row says.

        Raises:
            RowInvalid: it cannot be read; the reason names the field.
            Unprocessable: its fields fit several formats and none was chosen.
        """
        if raw.reason is not None:
            raise RowInvalid(raw.reason)
        if not isinstance(raw.value, dict):
            raise RowInvalid(f"{shown(raw.value)} is not an object with fields")
        dialect = self.dialect or _detect(raw.value)
        if dialect.is_foreign and not dialect.matches(raw.value):
            raise RowInvalid(f"the fields are not those of {dialect.name} ({dialect.fields})")
        self.dialect = dialect
        try:
            return self._read(dialect, raw)
        except RecursionError:
            raise RowInvalid("is nested too deeply") from None

    def _read(self, dialect: Dialect, raw: RawRow) -> ParsedRow | Piece:
        join = dialect.join
        if join is not None and join.is_piece(raw.value, raw.is_one_of_several):
            return join.piece(raw.value, raw.line, raw.file)
        if not dialect.is_foreign:
            self._warn_of(raw.value)
        number = raw.number or raw.line
        parsed = parse_row(dialect.convert(raw.value, number), number)
        for what, count in dialect.notes(raw.value).items():
            self._warn(what, None, count)
        return parsed

    def _warn_of(self, row: Mapping[str, Any]) -> None:
        for name, near in misspelt_fields(row).items():
            self._warn(name, near, 1)

    def _warn(self, what: str, near: str | None, count: int) -> None:
        if (what, near) in self.warned or len(self.warned) < _MOST_WARNINGS:
            self.warned[what, near] += count

    def warnings(self) -> list[dict[str, Any]]:
        """Return what was kept elsewhere than meant, or not kept, with counts."""
        return [
            {"field": shown(name)[1:-1], "count": count, "did_you_mean": near}
            for (name, near), count in self.warned.items()
        ]

    def reject_row(self, raw: RawRow, reason: str) -> None:
        """Note a row that cannot be kept."""
        self.reject(raw.line, reason, raw.file if raw.is_one_of_several else "")

    def reject(self, line: int, reason: str, file: str = "") -> None:
        """Note a row that cannot be kept."""
        self.rejected_count += 1
        if len(self.rejected) < MOST_REASONS:
            named = {"file": file} if file else {}
            self.rejected.append({"line": line, "reason": reason, **named})


def stage(staging: Staging, reader: Reader, rows: Generator[RawRow]) -> None:
    """Read every row, join those that have to be, and keep what can be."""
    pieces = Pieces(staging.connection, staging.limits)
    with closing(rows):
        for raw in rows:
            try:
                found = reader.read(raw)
                if isinstance(found, Piece):
                    pieces.add(found)
                else:
                    is_vote = raw.is_vote or _has_vote_rows(reader)
                    is_unique = reader.dialect is not None and reader.dialect.has_unique_ids
                    staging.add(found, raw.line, has_vote_rows=is_vote, has_unique_ids=is_unique)
            except RowInvalid as error:
                reader.reject_row(raw, str(error))
    join_pieces(staging, reader, pieces)


def join_pieces(staging: Staging, reader: Reader, pieces: Pieces) -> None:
    """Keep the pairs that pieces make together, and count the pieces that are in none."""
    dialect = reader.dialect
    if dialect is None or dialect.join is None:
        return
    if dialect.name == CANONICAL:
        for piece in pieces.in_order():
            _add_votes(staging, reader, piece)
        return
    for group in pieces.by_key():
        used = _keep(staging, reader, dialect.join.pairs(group, pieces.kinds))
        for piece in group:
            if piece.number not in used:
                reader.unmatched += 1
                reason = f"no other row of the upload makes a pair with it ({dialect.join.on})"
                reader.reject(piece.line, reason, piece.file_name)


def _keep(staging: Staging, reader: Reader, outcomes: Any) -> set[int]:
    """Keep pairs; return the pieces that are in a pair or have a fault."""
    used: set[int] = set()
    outcome: Outcome
    for outcome in outcomes:
        if isinstance(outcome, Fault):
            if outcome.piece.number not in used:
                reader.unmatched += 1
                reader.reject(outcome.piece.line, outcome.reason, outcome.piece.file_name)
                used.add(outcome.piece.number)
            continue
        used.update(piece.number for piece in outcome.pieces)
        _keep_pair(staging, reader, outcome)
    return used


def _keep_pair(staging: Staging, reader: Reader, made: Joined) -> None:
    last = made.pieces[-1]
    before = staging.size
    try:
        parsed = parse_row(made.row, last.line)
        staging.add(parsed, last.line, has_vote_rows=_has_vote_rows(reader))
    except (RowInvalid, RecursionError) as error:
        reason = str(error) if isinstance(error, RowInvalid) else "is nested too deeply"
        reader.reject(last.line, reason, last.file_name)
    # every two answers to a prompt make a pair: a few rows may make very many
    reader.meter.count(staging.size - before)


def _add_votes(staging: Staging, reader: Reader, piece: Piece) -> None:
    votes = [
        ParsedVote(vote.annotator, vote.label, vote.criterion, vote.details)
        for vote in joining.votes_of(piece.row)
    ]
    if not staging.add_votes(str(piece.row["id"]), votes):
        reason = f"no pair has the id {shown(piece.row['id'])}" if staging.rows else _ONLY_VOTES
        reader.unmatched += 1
        reader.reject(piece.line, reason, piece.file_name)


def _has_vote_rows(reader: Reader) -> bool:
    return reader.dialect is not None and reader.dialect.has_vote_rows


def named_dialect(name: str) -> Dialect | None:
    """Return the format that was asked for; None = by the fields.

    Raises:
        Unprocessable: no format has this name.
    """
    name = ALIASES.get(name, name)
    if name == AUTO:
        return None
    if name not in DIALECTS:
        known = ", ".join((AUTO, *DIALECTS, *ALIASES))
        raise _in_query("dialect", f"{shown(name)} is none of {known}")
    return DIALECTS[name]


def _detect(row: Mapping[str, Any]) -> Dialect:
    found: Sequence[Dialect] = candidates(row)
    if len(found) > 1:
        names = ", ".join(dialect.name for dialect in found)
        raise _in_query("dialect", f"the fields fit several formats ({names}); choose one")
    if not found:
        fields = first_of(row) or "none"
        raise RowInvalid(f"the fields are those of no known format: {fields}")
    return found[0]


def _in_query(field_name: str, message: str) -> Unprocessable:
    return Unprocessable(
        f"{field_name}: {message}", errors=[{"loc": ["query", field_name], "msg": message}]
    )
