"""Formats whose pairs join several rows; votes in long form.

The side shown first is drawn from seed and id alone, so it is always the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from unicodedata import normalize

from pydantic import ValidationError

from app.core.names import shown
from app.formats.base import RowInvalid, describe, whole
from app.formats.canonical import VoteIn
from app.formats.columns.flat import VERDICTS, answers_in


@dataclass(frozen=True, slots=True)
class Piece:
    """A row that makes a pair only with others.

    Args:
        kind: What it is of its format: a question, an answer, a verdict.
        key: What it is joined by; only pieces of the same key meet.
        row: The row.
        line: Where it stood.
        file: The name of its file without its endings; "" = not known.
        file_name: The name as it was sent.
        number: Its place among all pieces of the upload.
    """

    kind: str
    key: str
    row: Mapping[str, Any]
    line: int = 0
    file: str = ""
    file_name: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Joined:
    """A canonical row, the pieces it was made of, and what the sender should know of it."""

    row: Mapping[str, Any]
    pieces: tuple[Piece, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """The reason why a piece is in no pair."""

    piece: Piece
    reason: str


Outcome = Joined | Fault


@dataclass(frozen=True, slots=True)
class Join:
    """Describes how the rows of a format are joined into pairs.

    Args:
        on: The field they are joined on, for messages.
        kind: What a row is; it raises RowInvalid where the row cannot be read.
        key: The value a row is joined by.
        pairs: The pairs of all pieces of one key, in the order they came; `kinds` are those that
            the whole upload has.
        is_piece: Whether a row of an upload of several files, or of one, waits for others.
    """

    on: str
    kind: Callable[[Mapping[str, Any]], str]
    key: Callable[[Mapping[str, Any]], object]
    pairs: Callable[[Sequence[Piece], Collection[str]], Iterator[Outcome]]
    is_piece: Callable[[Mapping[str, Any], bool], bool] = lambda row, is_one_of_several: True

    def piece(self, row: Mapping[str, Any], line: int, file_name: str) -> Piece:
        """Return the piece that a row is."""
        kind = self.kind(row)
        key = hashlib.sha256(_text(self.key(row))).hexdigest()
        return Piece(kind, key, row, line, file_name.split(".")[0], file_name)


def _text(value: object) -> bytes:
    # a number and its digits are the same id
    plain = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return json.dumps(plain).encode("ascii")


def text_of(row: Mapping[str, Any], field: str) -> str:
    """Return a field that must be a text.

    Raises:
        RowInvalid: it is none.
    """
    value = row.get(field)
    if not isinstance(value, str):
        raise RowInvalid(f"{field}: {shown(value)} is not a string")
    return value


def plain(text: object) -> str:
    """Return a text without regard to case, Unicode form and how much white space stands where."""
    return " ".join(normalize("NFC", str(text)).replace("\ufeff", "").split()).casefold()


def name_of(row: Mapping[str, Any], field: str) -> str | int:
    """Return a field that must be a name or a number.

    Raises:
        RowInvalid: it is none.
    """
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowInvalid(f"{field}: {shown(value)} is neither a string nor an integer")
    return value


def texts_of(row: Mapping[str, Any], field: str) -> list[str]:
    """Return a field that must be a list of texts, at least one.

    Raises:
        RowInvalid: it is none.
    """
    value = row.get(field)
    if not isinstance(value, list) or not value or not all(isinstance(t, str) for t in value):
        raise RowInvalid(f"{field}: {shown(value)} is not a list of strings")
    return value


def by_name(
    pieces: Sequence[Piece], name: Callable[[Piece], str], what: str
) -> tuple[dict[str, Piece], list[Fault]]:
    """Return pieces by a name that only one of them may have, and the faults of the others."""
    found: dict[str, Piece] = {}
    faults: list[Fault] = []
    for piece in pieces:
        first = found.setdefault(name(piece), piece)
        if first is not piece:
            place = f"line {first.line}" + (f" of {first.file_name}" if first.file_name else "")
            faults.append(Fault(piece, f"{what} {shown(name(piece))} stands in {place} already"))
    return found, faults


def both_sides(a: Mapping[str, Any], b: Mapping[str, Any], read: Collection[str]) -> dict[str, Any]:
    """Return further fields of two answers: once where they agree, else one for each side."""
    metadata: dict[str, Any] = {}
    for name in dict.fromkeys((*a, *b)):
        if name in read:
            continue
        if name in a and name in b and a[name] == b[name]:
            metadata[name] = a[name]
        else:
            sides = (("a", a), ("b", b))
            metadata.update({f"{name}_{side}": row[name] for side, row in sides if name in row})
    return metadata


_OTHER = {"a": "b", "b": "a", "tie": "tie"}


def first_side(seed: int, pair_id: str) -> str:
    """Return the side, `a` or `b`, whose answer is shown first (left)."""
    digest = hashlib.sha256(f"{seed}\n{pair_id}".encode()).digest()
    return "ab"[digest[0] & 1]


def side_read(fields: Mapping[str, Any], name: str) -> str:
    """Return the side that a file says was shown first; `a` where it says nothing.

    Raises:
        RowInvalid: it says something else than `a` or `b`.
    """
    side = fields.get(name, "a")
    if side not in ("a", "b"):
        raise RowInvalid(f"{name}: {shown(side)} is neither a nor b")
    return str(side)


def turned(label: str, first: str) -> str:
    """Convert a label about (first, second) into one about (a, b), or back.

    The two directions are the same exchange.
    """
    return label if first == "a" else _OTHER[label]


def sided(first: str, one: object, other: object) -> dict[str, Any]:
    """Return the two responses from those shown first and second."""
    a, b = (one, other) if first == "a" else (other, one)
    return {"response_a": a, "response_b": b}


_OTHERS: Final = (
    "prompt", "messages", "response_a", "response_b", "responses_a", "responses_b", "judges",
    "model_a", "model_b", "left", "right", "question",
)  # fmt: skip


def is_vote(row: Mapping[str, Any]) -> bool:
    """Return whether the row is a vote on a pair of another row."""
    has_vote = any(name in row for name in VERDICTS) or set(row) == {"id", "human"}
    is_of_a_pair = any(name in row for name in _OTHERS) or answers_in(row) is not None
    return "id" in row and has_vote and not is_of_a_pair


def with_id(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row whose column `pair` is the id of the pair it votes on, as in files of labels."""
    if "pair" not in row or "id" in row or not is_vote({**row, "id": row["pair"]}):
        return row
    return {"id": row["pair"], **{name: value for name, value in row.items() if name != "pair"}}


def votes_of(row: Mapping[str, Any]) -> list[VoteIn]:
    """Return the votes of such a row.

    Raises:
        RowInvalid: one cannot be read.
    """
    said = row.get("human")
    if said is None:
        said = [{name: value for name, value in row.items() if name != "id"}]
    if not isinstance(said, list):
        raise RowInvalid(f"human: {shown(said)} is not a list of votes")
    try:
        return [VoteIn.model_validate(vote) for vote in said]
    except ValidationError as error:
        raise RowInvalid(describe(error)) from None


# a vote whose label may be the name of a model of the pair
NAMED: Final = "named vote"


def _kind(row: Mapping[str, Any]) -> str:
    name_of({**row, "id": whole(row.get("id"))}, "id")
    if isinstance(row.get("label"), str):
        votes_of({**row, "label": "a"})
        return NAMED
    votes_of(row)
    return "vote"


def _pairs(pieces: Sequence[Piece], kinds: Collection[str]) -> Iterator[Outcome]:
    return (Fault(piece, "no pair has this id") for piece in pieces)


VOTES_JOIN: Final = Join(
    on="id",
    kind=_kind,
    key=lambda row: row["id"],
    pairs=_pairs,
    is_piece=lambda row, is_one_of_several: is_vote(row),
)
