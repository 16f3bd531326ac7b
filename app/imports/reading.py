"""Reading an upload: raw rows become parsed ones, row by row or joined with others.

The first row that is recognised fixes the format of the whole upload.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Final

from app.core.errors import Unprocessable
from app.core.limits import Meter, first_of
from app.core.names import shown
from app.formats import joining
from app.formats.base import RowInvalid, trim, whole, whole_text
from app.formats.canonical import (
    ParsedRow,
    ParsedVote,
    misspelt_fields,
    parse_row,
    with_trimmed_names,
)
from app.formats.columns.declared import is_like_nothing
from app.formats.columns.flat import (
    VERDICTS,
    codes_in,
    further_answers,
    like_verdicts,
    second_verdicts,
    spelt_verdicts,
    texts_in,
)
from app.formats.columns.unknown import of_columns, of_grades, why_unknown
from app.formats.columns.verdicts import Heard, counted
from app.formats.joining import Fault, Joined, Outcome, Piece
from app.formats.registry import ALIASES, AUTO, CANONICAL, DIALECTS, Dialect, Prepared, candidates
from app.imports.names import Names, fault_of_voters, with_judges_apart
from app.imports.pieces import Pieces
from app.imports.staging import Repeats, Staging
from app.imports.tables import RawRow

MOST_REASONS: Final = 1_000
_MOST_WARNINGS: Final = 100
_ONLY_VOTES: Final = (
    "is a label, and no row of the upload is a pair: labels of a dataset that is there are added "
    "by `tribunal label DATASET FILE` (POST /v1/labels)"
)


@dataclass(frozen=True, slots=True)
class Read:
    """What one row says; `has_own_id`: its pair has the id that the sender gave it."""

    row: ParsedRow | Piece
    is_vote: bool = False
    has_own_id: bool = True


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
    warned: Counter[str] = field(default_factory=Counter)
    heard: Heard = field(default_factory=Heard)
    names: Names = field(default_factory=Names)
    meter: Meter = field(default_factory=Meter)
    with_texts: int = 0
    battles: int = 0
    in_words: dict[str, Counter[bool]] = field(default_factory=dict)
    in_codes: dict[str, set[str]] = field(default_factory=dict)
    has_verdicts: bool = False

    def read(self, raw: RawRow) -> ParsedRow | Piece:
        """Return what a row says that holds one pair, or a part of one.

        Raises:
            RowInvalid: it cannot be read, or holds several pairs; the reason names the field.
            Unprocessable: its fields fit several formats and none was chosen.
        """
        found = self.read_all(raw)
        if len(found) != 1:
            raise RowInvalid(f"the row holds {len(found)} pairs, where one is wanted")
        return found[0].row

    def read_all(self, raw: RawRow) -> list[Read]:
        """Return what a row says: one pair or several, or a part of one.

        Raises:
            RowInvalid: it cannot be read; the reason names the field.
            Unprocessable: its fields fit several formats and none was chosen.
        """
        if raw.not_kept:
            self.warn(raw.not_kept)
        if raw.reason is not None:
            raise RowInvalid(raw.reason)
        if not isinstance(raw.value, dict):
            raise RowInvalid(f"{shown(raw.value)} is not an object with fields")
        if why := of_columns(raw.value):
            raise RowInvalid(why)
        dialect = self.dialect or _detect(raw.value)
        if dialect.is_foreign and not dialect.matches(raw.value):
            why = _but_texts(raw.value)
            raise RowInvalid(f"the fields are not those of {dialect.name} ({dialect.fields}){why}")
        self.dialect = dialect
        self.heard.line = raw.line
        try:
            prepared = dialect.prepare(raw.value, self.heard)
            return [self._read(dialect, raw, one) for one in prepared]
        except RecursionError:
            raise RowInvalid("is nested too deeply") from None

    def _read(self, dialect: Dialect, raw: RawRow, prepared: Prepared) -> Read:
        join, row = dialect.join, prepared.row
        if join is not None and join.is_piece(row, raw.is_one_of_several):
            return Read(join.piece(row, raw.line, raw.file))
        number = raw.number or raw.line
        converted = dialect.convert(row, number)
        # an answer names a request by the very id that it came with
        if not dialect.has_unique_ids:
            converted = with_trimmed_names(converted)
        parsed = with_judges_apart(parse_row(converted, number), self.heard)
        if not dialect.is_foreign:
            self._warn_of(row)
        for what, count in dialect.notes(row).items():
            self.warn(what, count)
        has_own_id = converted.get("id") is not None
        return Read(parsed, prepared.is_vote, has_own_id)

    def _warn_of(self, row: Mapping[str, Any]) -> None:
        further = further_answers(row)
        for name, near in misspelt_fields(row).items():
            if name in further:
                continue
            self.warn(f"{_plain(name)}: kept as metadata in {{n}} rows; did you mean {near}?")
        for name in VERDICTS:
            if name in row and row.get("human"):
                self.warn(f"{name}: kept as metadata in {{n}} rows, beside the votes in human")

    def warn(self, what: str, count: int = 1) -> None:
        """Count something that the sender should know."""
        if what in self.warned or len(self.warned) < _MOST_WARNINGS:
            self.warned[what] += count

    def look_at(self, parsed: ParsedRow, given: object = None) -> None:
        """Note the names of a row that was kept, and what in it looks like a verdict unread.

        Args:
            parsed: The row.
            given: It as it came; beside votes, what it calls metadata itself is meant as such.
        """
        self.names.add(parsed)
        self.battles += parsed.pair is None
        self.with_texts += parsed.pair is not None
        self._look_at_texts(parsed)
        columns = _columns(parsed.metadata, given) if parsed.votes else parsed.metadata
        for name, is_spelt in spelt_verdicts(columns).items():
            if name in self.in_words or len(self.in_words) < _MOST_WARNINGS:
                self.in_words.setdefault(name, Counter())[is_spelt] += 1
        self._look_at_codes(columns, has_verdict=bool(parsed.votes or parsed.recorded))
        if parsed.votes:
            told = () if self.dialect is None or self.dialect.is_foreign else VERDICTS
            for name in set(second_verdicts(columns)).difference(told):
                self.warn(
                    f"{_plain(name)}: looks like a further verdict and is kept as metadata in {{n}} "
                    "rows; give every vote a row of its own (id, annotator, label)"
                )
        elif not parsed.recorded:
            for name in like_verdicts(parsed.metadata):
                plain = _plain(name)
                is_elsewhere = name in VERDICTS and self.dialect and self.dialect.is_foreign
                how = (
                    f"write the rows with prompt, response_a, response_b and {plain}, as the verdicts of "
                    "this format stand elsewhere"
                    if is_elsewhere
                    else f"read it with --map label={plain} (parameter `map`)"
                )
                self.warn(
                    f"{plain}: looks like a verdict and is kept as metadata in {{n}} rows; if it says "
                    f"which response is better, {how}"
                )

    def _look_at_codes(self, columns: Mapping[str, Any], *, has_verdict: bool) -> None:
        self.has_verdicts = self.has_verdicts or has_verdict
        if self.has_verdicts:
            return
        for name, code in codes_in(columns).items():
            if name in self.in_codes or len(self.in_codes) < _MOST_WARNINGS:
                self.in_codes.setdefault(name, set()).add(code)

    def _look_at_texts(self, parsed: ParsedRow) -> None:
        if parsed.pair is None:
            return
        pair = parsed.pair
        texts_all = (pair.conversation[-1].content, *pair.responses_a, *pair.responses_b)
        if all(text.startswith('["') and text.endswith('"]') for text in texts_all):
            self.warn(
                "prompt and responses are lists in JSON in {n} rows, and are kept as the texts that "
                "they are; turns are given as lists (prompt, responses_a, responses_b)"
            )
        for side, texts in (("a", parsed.pair.responses_a), ("b", parsed.pair.responses_b)):
            if any(map(is_like_nothing, texts)):
                self.warn(
                    f"response_{side}: reads like a missing value ('nan', 'None', 'null', ...) in "
                    "{n} rows, and is kept as the text of the response"
                )

    def warnings(self) -> list[str]:
        """Return, in sentences, what was kept elsewhere than meant, or not kept, with counts."""
        told = [counted(what, count) for what, count in self.warned.items()]
        if self.battles and self.with_texts:
            told.append(
                f"{self.battles} rows have no texts and are kept as battles, beside "
                f"{self.with_texts} pairs with texts"
            )
        told += self._told_in_words("\n".join(told))
        told += self._told_in_codes()
        return [*told, *self.heard.sentences(), *self.names.sentences()]

    def _told_in_words(self, told: str) -> list[str]:
        """Return which further columns hold verdicts alone, whatever they are called."""
        names = [
            _plain(name)
            for name, counts in self.in_words.items()
            if not counts[False] and f"{_plain(name)}: " not in told
        ]
        if not names:
            return []
        holds = "column holds" if len(names) == 1 else "columns hold"
        return [
            f"{', '.join(names)}: the {holds} nothing but verdicts and "
            f"{'is' if len(names) == 1 else 'are'} kept as metadata; to count them, give every vote "
            f"a row of its own (id, annotator, label), or read one with --map label={names[0]} "
            f"(parameter `map`){self._as_labels(names)}"
        ]

    @staticmethod
    def _as_labels(names: Sequence[str]) -> str:
        """Return how columns of several people or criteria are counted once the pairs are stored."""
        if len(names) < 2 or any("," in name for name in names):
            return ""
        listed = ",".join(names)
        return (
            f"; if each is a person, import this, then give the file again: tribunal label DATASET FILE "
            f'--voters "{listed}" (--criteria where each is a criterion)'
        )

    def _told_in_codes(self) -> list[str]:
        """Return which columns may hold verdicts as numbers, where no row has a verdict."""
        names = [
            _plain(name)
            for name, codes in self.in_codes.items()
            if len(codes) > 1 and "" not in codes
        ]
        if self.has_verdicts or not names:
            return []
        return [
            f"no row has a label or a score, and {', '.join(names)} hold nothing but -1, 0, 1, 2, true or false: if "
            f"they say which response is better, read one with --map label={names[0]}, and say with "
            "--coding what its numbers mean (parameters `map`, `coding`)"
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
                for found in reader.read_all(raw):
                    if isinstance(found.row, Piece):
                        pieces.add(found.row)
                    else:
                        _add(staging, reader, found, raw)
            except RowInvalid as error:
                reader.reject_row(raw, str(error))
    join_pieces(staging, reader, pieces)


def _add(staging: Staging, reader: Reader, found: Read, raw: RawRow) -> None:
    assert isinstance(found.row, ParsedRow)
    repeats = replace(_repeats(reader), is_vote=found.is_vote)
    if repeats.is_preference and found.has_own_id:
        repeats = replace(repeats, may_contradict=True)
    staging.add(found.row, raw.line, repeats)
    reader.look_at(found.row, raw.value)


def _repeats(reader: Reader) -> Repeats:
    dialect = reader.dialect
    assert dialect is not None  # a row was read
    return Repeats(
        dialect.has_vote_rows,
        has_unique_ids=dialect.has_unique_ids,
        keeps_first=dialect.keeps_first,
        is_preference=dialect.is_preference,
    )


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
    if made.note:
        reader.warn(made.note)
    before = staging.size
    try:
        parsed = with_judges_apart(parse_row(with_trimmed_names(made.row), last.line), reader.heard)
        staging.add(parsed, last.line, replace(_repeats(reader), may_contradict=True))
        reader.look_at(parsed)
    except (RowInvalid, RecursionError) as error:
        reason = str(error) if isinstance(error, RowInvalid) else "is nested too deeply"
        reader.reject(last.line, reason, last.file_name)
    # every two answers to a prompt make a pair: a few rows may make very many
    reader.meter.count(staging.size - before)


def _add_votes(staging: Staging, reader: Reader, piece: Piece) -> None:
    pair_id = trim(str(whole(piece.row["id"])))
    models = staging.models(pair_id)
    if models is None and (short := whole_text(pair_id)) != pair_id:
        pair_id, models = short, staging.models(short)
    if models is None:
        reason = f"no pair has the id {shown(piece.row['id'])}"
        if not staging.rows:
            reason = f"{_ONLY_VOTES}{_but_texts(piece.row)}"
        reader.unmatched += 1
        reader.reject(piece.line, reason, piece.file_name)
        return
    row = dict(piece.row)
    if piece.kind == joining.NAMED:
        reader.heard.line = piece.line
        try:
            row["label"] = reader.heard.label("label", row["label"], models)
        except RowInvalid as error:
            reader.reject(piece.line, str(error), piece.file_name)
            return
    votes = [
        ParsedVote(vote.annotator, vote.label, vote.criterion, vote.details)
        for vote in joining.votes_of(row)
    ]
    if fault := fault_of_voters((vote.annotator for vote in votes), reader.heard):
        reader.reject(piece.line, fault, piece.file_name)
        return
    staging.add_votes(pair_id, votes)
    reader.names.add_annotators(vote.annotator for vote in votes)


def _columns(metadata: Mapping[str, Any], given: object) -> Mapping[str, Any]:
    """Return the metadata without what the row itself calls so."""
    own = given.get("metadata") if isinstance(given, dict) else None
    if not isinstance(own, dict):
        return metadata
    return {name: value for name, value in metadata.items() if name not in own}


def _plain(name: str) -> str:
    return shown(name)[1:-1]


def _but_texts(row: Mapping[str, Any]) -> str:
    if grades := of_grades(row):
        return f"; {grades}"
    texts = texts_in(row)
    return f"; the row has texts ({', '.join(map(shown, texts))})" if texts else ""


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
        why = why_unknown(row)
        more = f"; {why}" if why else ""
        raise RowInvalid(f"the fields are those of no known format: {fields}{more}")
    return found[0]


def _in_query(field_name: str, message: str) -> Unprocessable:
    return Unprocessable(
        f"{field_name}: {message}", errors=[{"loc": ["query", field_name], "msg": message}]
    )
