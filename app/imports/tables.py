"""Reads the rows of tables in text: CSV and its kin. Holds what a row of any file is."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from app.core.errors import BadRequest
from app.core.limits import (
    Limits,
    check_row_count,
    first_of,
    setting_of,
    shape_fault,
    too_many,
)
from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.columns.declared import TARGETS, Declared, Layout
from app.formats.tables import cell_values


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row: its line from 1, and its value or the reason why it has none.

    Args:
        line: Where it stood in its file: the line, the element of an array, the row of a Parquet.
        value: The row.
        reason: Why there is no value.
        file: The name of its file, where it is known.
        number: Which row of the upload it is, counted over all files; 0 = its line.
        is_one_of_several: Whether the upload holds several files.
        not_kept: What of it is not in its value, as a sentence with `{n}` for the rows.
    """

    line: int
    value: Any = None
    reason: str | None = None
    file: str = ""
    number: int = 0
    is_one_of_several: bool = False
    not_kept: str = ""


def within_limits(row: RawRow, size: int, limits: Limits) -> RawRow:
    """Return a row, or why it is not kept: it has too many fields, or a list in it too many items.

    Args:
        row: The row.
        size: Its characters as text: a short one cannot hold too much.
        limits: What it may hold.
    """
    if size <= min(_LEAST_FIELD * limits.fields, _LEAST_ITEM * limits.list_items):
        return row
    fault = shape_fault(row.value, limits)
    return row if fault is None else replace(row, value=None, reason=str(fault))


# characters that a field and an item take at least
_LEAST_FIELD: Final = 5
_LEAST_ITEM: Final = 2
PARQUET: Final = "application/vnd.apache.parquet"
_PARQUET_TYPES: Final = (PARQUET, "application/x-parquet", "application/parquet")
_CSV_TYPES: Final = ("text/csv", "application/csv", "text/tab-separated-values")
_CSV_ENDINGS: Final = (".csv", ".tsv", ".tab")
_DELIMITERS: Final = (",", ";", "\t", "|")
_LOOK_BYTES: Final = 2**16
# columns of other formats than our own, by which a table is told from other texts
_COLUMNS: Final = (
    "instruction", "output", "output_1", "output_2", "question", "response_A", "response_B",
    "chosen", "rejected", "winner_model_a", "winner_model_b", "winner_tie", "annotation_id", "turns",
    "generator", "model_1", "model_2", "g1_winner", "g2_winner", "uid", "games", "response",
    "judge_score", "oracle_label", "conversation_a", "conversation_b", "messages_a", "messages_b",
    "fields", "responses", "data", "annotations", "generations", "pair",
)  # fmt: skip
_PARQUET_MAGIC: Final = b"PAR1"
_NOT_UTF8: Final = re.compile("[\udc80-\udcff]")
_SAVE: Final = "save the file as UTF-8 (Excel: CSV UTF-8)"
# the length of whole rows is limited instead
csv.field_size_limit(sys.maxsize)


def is_parquet(media_type: str, name: str, begins: bytes) -> bool:
    """Return whether a file is Parquet, by its first bytes, its media type or its name."""
    said = media_type in _PARQUET_TYPES or name.lower().endswith(".parquet")
    return begins == _PARQUET_MAGIC or said


def is_csv(media_type: str, name: str) -> bool:
    """Return whether a file is a table in text by its media type or its name."""
    return media_type in _CSV_TYPES or name.lower().removesuffix(".gz").endswith(_CSV_ENDINGS)


@dataclass(frozen=True, slots=True)
class Separated:
    """How the cells of a table are separated, and whether its first line says so.

    `is_spaced`: a blank follows every separator.
    """

    delimiter: str
    is_said: bool = False
    columns: int = 1
    known: int = 0
    is_spaced: bool = False


def separation(begins: str, declared: Declared) -> Separated:
    """Return how the cells of a table are separated, from how it begins.

    What separates the most known columns is meant, then what separates the most.
    """
    first = begins.lstrip("\ufeff").partition("\n")[0].strip('\r "')
    if first.lower().startswith("sep=") and len(first) == len("sep=;"):
        return Separated(declared.delimiter or first[-1], is_said=True)
    known = {*TARGETS, *declared.columns.values(), *_COLUMNS}
    tried = [declared.delimiter] if declared.delimiter else list(_DELIMITERS)
    found = [_separated(begins, delimiter, known) for delimiter in tried]
    return max(found, key=lambda one: (one.known, one.columns))


def _separated(begins: str, delimiter: str, known: set[str]) -> Separated:
    try:
        rows = csv.reader(io.StringIO(begins.lstrip("\ufeff\r\n")), delimiter=delimiter)
        header = next(rows, [])
    except csv.Error:
        header = []
    names = [name.strip() for name in header]
    # blanks after every separator belong to none of the cells
    is_spaced = len(header) > 1 and all(name[:1] == " " for name in header[1:])
    count = len(known.intersection(names))
    return Separated(delimiter, columns=len(names), known=count, is_spaced=is_spaced)


def csv_rows(
    stream: io.BufferedReader, layout: Layout | None = None, limits: Limits | None = None
) -> Iterator[RawRow]:
    """Yield the rows of a table in text with a header, numbered by the line each begins on.

    Raises:
        BadRequest: there is no header, it is not UTF-8, a column is named twice, or a row is longer
            than allowed.
    """
    said, limits = layout or Layout(), limits or Limits()
    begins = stream.peek(_LOOK_BYTES)[:_LOOK_BYTES].decode("utf-8", "replace")
    found = separation(begins, said.declared)
    text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
    lines = _Lines(text, limits)
    try:
        if found.is_said:
            next(lines, None)
        table = csv.reader(
            lines, delimiter=found.delimiter, strict=True, skipinitialspace=found.is_spaced
        )
        header = _header(table, lines, limits)
        places = said.of(header)
        while True:
            line = lines.begin_row()
            try:
                cells = next(table, None)
                if cells is None:
                    return
                if cells:
                    values = cell_values(header, _checked(header, cells), places)
                    row = RawRow(line, values, not_kept=_nameless(header, cells))
                    yield within_limits(row, lines.size, limits)
            except (csv.Error, RowInvalid) as error:
                yield RawRow(line, reason=f"not a row of the table: {in_words(error)}")
    finally:
        text.detach()


def in_words(error: Exception) -> str:
    """Return what is wrong with a row; what the reader of tables says of its end is no cause."""
    said = str(error)
    return "a quote in it is not closed" if said == "unexpected end of data" else said


@dataclass(slots=True)
class _Lines:
    """The lines of a table; `size` counts the characters of the row that is being read."""

    text: io.TextIOWrapper
    limits: Limits
    size: int = 0
    first: int = 1
    last: int = 0

    def begin_row(self) -> int:
        """Note that the next line begins a row; return its number."""
        self.size, self.first = 0, self.last + 1
        return self.first

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        most = self.limits.row_bytes
        line = self.text.readline(most + 1)
        if not line:
            raise StopIteration
        self.size += len(line)
        if self.size > most:
            raise BadRequest(
                f"line {self.first}: the row is longer than {most} bytes "
                f"({setting_of('row_bytes')}), or a quote in it is not closed"
            )
        self.last += 1
        check_row_count(self.last, self.limits)
        return line


def _header(table: Any, lines: _Lines, limits: Limits) -> list[str]:
    """Return the names of the columns, in the first line that is not empty."""
    header: list[str] = []
    try:
        while not any(header):
            lines.begin_row()
            header = [name.strip() for name in next(table)]
    except StopIteration:
        pass
    except csv.Error as error:
        raise BadRequest(f"line 1 of the table is not a header: {error}") from error
    if _NOT_UTF8.search("".join(header)):
        raise BadRequest(f"the header of the table is not UTF-8; {_SAVE}")
    check_header(header, limits)
    return header


def check_header(header: Sequence[str], limits: Limits) -> None:
    """Refuse a first line that seems to be a title, or whose names are no names of columns.

    Raises:
        BadRequest: it is such.
    """
    named = [name for name in header if name]
    if len(header) > len(named) == 1:
        raise BadRequest(
            f"line 1 of the table names one of its {len(header)} columns, {shown(named[0])}: if it is "
            "a title, remove it, so that the names of the columns stand in the first line"
        )
    check_names(named, limits)


def check_markdown(header: Sequence[str], cells: Sequence[str]) -> None:
    """Refuse a table in Markdown, by the line below its header.

    Raises:
        BadRequest: it is one.
    """
    if not (header[0] or header[-1]) and set("".join(cells)) <= set("-: "):
        raise BadRequest("the file is a table in Markdown: save it as CSV")


def check_names(names: Sequence[str], limits: Limits) -> None:
    """Refuse a table with no named column, with too many, or with a name that stands twice.

    Raises:
        BadRequest: the names are such.
    """
    if not names:
        raise BadRequest("the table has no header")
    if len(names) > limits.fields:
        many = too_many(len(names), "columns", limits.fields, "fields")
        raise BadRequest(f"the table has {many}: {first_of(names)}")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise BadRequest(f"the table names a column twice: {first_of(twice)}")


def _nameless(header: Sequence[str], cells: Sequence[str]) -> str:
    """Return which cells stand under no name; an index of the rows, as pandas writes it, is none."""
    if "" not in header:
        return ""
    places = [
        place
        for place, (name, cell) in enumerate(zip(header, cells, strict=True), start=1)
        if not name and cell.strip() and not (place == 1 and cell.isdecimal())
    ]
    if not places:
        return ""
    column = "columns" if len(places) > 1 else "column"
    return (
        f"{column} {', '.join(map(str, places))}: has no name in the header, so its cells in {{n}} "
        "rows are not kept"
    )


def _checked(header: Sequence[str], cells: list[str]) -> list[str]:
    if not any(map(str.strip, cells)):
        raise RowInvalid("it is empty")
    check_markdown(header, cells)
    if len(cells) > len(header) and not any(map(str.strip, cells[len(header) :])):
        del cells[len(header) :]  # some programs end every line with a delimiter
    if len(header) == 1 and len(cells) > 1:
        raise BadRequest(
            f"the first line of the table names one column, {shown(header[0])}, and a later one has "
            f"{len(cells)} cells: if it is a title or a remark, remove it, so that the names of the "
            "columns stand in the first line"
        )
    if len(cells) != len(header):
        raise RowInvalid(f"it has {len(cells)} cells, the header {len(header)}")
    for name, cell in zip(header, cells, strict=True):
        # the decoder escapes bytes that are no UTF-8 into this range
        if not cell.isascii() and _NOT_UTF8.search(cell):
            raise RowInvalid(f"{name}: not UTF-8; {_SAVE}")
    return cells
