"""Reads the rows of CSV and Parquet files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.core.errors import BadRequest
from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.declared import TARGETS, Declared, Layout
from app.formats.tables import cell_values, column_values


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
    """

    line: int
    value: Any = None
    reason: str | None = None
    file: str = ""
    number: int = 0
    is_one_of_several: bool = False


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
_MOST_CELL_CHARACTERS: Final = 64 * 2**20
_BATCH_ROWS: Final = 500
# a page of a column is read at a time, not a whole row group
_BUFFER_BYTES: Final = 2**20

_SAVE: Final = "save the file as UTF-8 (Excel: CSV UTF-8)"

csv.field_size_limit(_MOST_CELL_CHARACTERS)


def is_parquet(media_type: str, name: str, begins: bytes) -> bool:
    """Return whether a file is Parquet, by its first bytes, its media type or its name."""
    said = media_type in _PARQUET_TYPES or name.lower().endswith(".parquet")
    return begins == _PARQUET_MAGIC or said


def is_csv(media_type: str, name: str) -> bool:
    """Return whether a file is a table in text by its media type or its name."""
    return media_type in _CSV_TYPES or name.lower().removesuffix(".gz").endswith(_CSV_ENDINGS)


@dataclass(frozen=True, slots=True)
class Separated:
    """How the cells of a table are separated, and whether its first line says so."""

    delimiter: str
    is_said: bool = False
    columns: int = 1
    known: int = 0


def separation(begins: str, declared: Declared) -> Separated:
    """Return how the cells of a table are separated, from how it begins.

    What separates the most known columns is meant, then what separates the most.
    """
    first = begins.lstrip("\ufeff").partition("\n")[0].strip().strip('"')
    if first.lower().startswith("sep=") and len(first) == len("sep=;"):
        return Separated(declared.delimiter or first[-1], is_said=True)
    known = {*TARGETS, *declared.columns.values(), *_COLUMNS}
    tried = [declared.delimiter] if declared.delimiter else list(_DELIMITERS)
    found = [_separated(begins, delimiter, known) for delimiter in tried]
    return max(found, key=lambda one: (one.known, one.columns))


def _separated(begins: str, delimiter: str, known: set[str]) -> Separated:
    try:
        header = next(csv.reader(io.StringIO(begins.lstrip("\ufeff")), delimiter=delimiter), [])
    except csv.Error:
        header = []
    names = [name.strip() for name in header]
    return Separated(delimiter, columns=len(names), known=sum(name in known for name in names))


def csv_rows(stream: io.BufferedReader, layout: Layout | None = None) -> Iterator[RawRow]:
    """Yield the rows of a table in text with a header, numbered by the line each begins on.

    Raises:
        BadRequest: there is no header, it is not UTF-8, or a column is named twice.
    """
    said = layout or Layout()
    begins = stream.peek(_LOOK_BYTES)[:_LOOK_BYTES].decode("utf-8", "replace")
    found = separation(begins, said.declared)
    text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
    try:
        skipped = 1 if found.is_said and text.readline() else 0
        table = csv.reader(text, delimiter=found.delimiter, strict=True)
        header = _header(table)
        places = said.of(header)
        names = [name for name, _ in places]
        while True:
            line = table.line_num + 1 + skipped
            try:
                cells = next(table, None)
                if cells is None:
                    return
                if cells:
                    checked = _checked(header, cells)
                    yield RawRow(line, cell_values(names, [checked[place] for _, place in places]))
            except (csv.Error, RowInvalid) as error:
                yield RawRow(line, reason=f"not a row of the table: {error}")
    finally:
        text.detach()


def _header(table: Any) -> list[str]:
    try:
        header = [name.strip() for name in next(table, [])]
    except csv.Error as error:
        raise BadRequest(f"line 1 of the table is not a header: {error}") from error
    if any("\udc80" <= letter <= "\udcff" for name in header for letter in name):
        raise BadRequest(f"the header of the table is not UTF-8; {_SAVE}")
    _check_names([name for name in header if name])
    return header


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise BadRequest("the table has no header")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadRequest(f"the table names a column twice: {', '.join(map(shown, twice))}")


def _checked(header: Sequence[str], cells: list[str]) -> list[str]:
    if len(cells) != len(header):
        raise RowInvalid(f"it has {len(cells)} cells, the header {len(header)}")
    for name, cell in zip(header, cells, strict=True):
        # the decoder escapes bytes that are no UTF-8 into this range
        if not cell.isascii() and any("\udc80" <= letter <= "\udcff" for letter in cell):
            raise RowInvalid(f"{name}: not UTF-8; {_SAVE}")
    return cells


def parquet_rows(stream: io.BufferedReader, layout: Layout | None = None) -> Iterator[RawRow]:
    """Yield the rows of a Parquet file, numbered from 1.

    Raises:
        BadRequest: the file cannot be read, or the extra that reads it is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise BadRequest("Parquet needs pyarrow: install tribunal-judge[arrow]") from error
    try:
        with pq.ParquetFile(stream, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
            _check_names(file.schema_arrow.names)
            said = layout or Layout()
            said.of(file.schema_arrow.names)
            line = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for row in batch.to_pylist():
                    line += 1
                    yield _parquet_row(line, said.row(row))
    except (pa.ArrowException, OSError) as error:
        raise BadRequest(f"the Parquet file cannot be read: {error}") from error


def parquet_batches(path: Path, first: int, last: int) -> Iterator[tuple[list[RawRow], int]]:
    """Yield the rows `[first, last)` of a Parquet file, a few hundred at a time, with their bytes.

    Row groups that hold none of them are not read. Rows are numbered from 1, as by `parquet_rows`.

    Raises:
        BadRequest: the file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
            _check_names(file.schema_arrow.names)
            groups, line = _groups_of(file.metadata, first, last)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups):
                wanted = batch.slice(max(first - line, 0), max(last - max(first, line), 0))
                begin = max(first, line)
                line += len(batch)
                rows = [
                    _parquet_row(begin + i + 1, row) for i, row in enumerate(wanted.to_pylist())
                ]
                if rows:
                    yield rows, wanted.nbytes
    except (pa.ArrowException, OSError) as error:
        raise BadRequest(f"the Parquet file cannot be read: {error}") from error


def _groups_of(metadata: Any, first: int, last: int) -> tuple[list[int], int]:
    """Return the row groups that hold these rows, and how many rows come before them."""
    groups: list[int] = []
    before = start = 0
    for number in range(metadata.num_row_groups):
        end = start + metadata.row_group(number).num_rows
        if start < last and end > first:
            before = start if not groups else before
            groups.append(number)
        start = end
    return groups, before


def _parquet_row(line: int, row: Mapping[str, Any]) -> RawRow:
    try:
        return RawRow(line, column_values(row))
    except RowInvalid as error:
        return RawRow(line, reason=f"not a row of the table: {error}")
