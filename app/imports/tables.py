"""Reads the rows of CSV and Parquet files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.core.errors import BadRequest
from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.tables import cell_values, column_values, is_long_form


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row: its line from 1, and its value or the reason why it has none.

    Args:
        line: Where it stood in its file: the line, the element of an array, the row of a Parquet.
        value: The row.
        reason: Why there is no value.
        file: The name of its file, where it is known.
        number: The line counted over all files of the upload; 0 = in the first, the line itself.
        is_one_of_several: Whether the upload holds several files.
        is_vote: Whether the row of a table is one vote, so that equal rows are as many votes.
    """

    line: int
    value: Any = None
    reason: str | None = None
    file: str = ""
    number: int = 0
    is_one_of_several: bool = False
    is_vote: bool = False


PARQUET: Final = "application/vnd.apache.parquet"
_PARQUET_TYPES: Final = (PARQUET, "application/x-parquet", "application/parquet")
_CSV_TYPES: Final = ("text/csv", "application/csv")
_PARQUET_MAGIC: Final = b"PAR1"
_MOST_CELL_CHARACTERS: Final = 64 * 2**20
_BATCH_ROWS: Final = 500
# a page of a column is read at a time, not a whole row group
_BUFFER_BYTES: Final = 2**20

csv.field_size_limit(_MOST_CELL_CHARACTERS)


def is_parquet(media_type: str, name: str, begins: bytes) -> bool:
    """Return whether a file is Parquet, by its first bytes, its media type or its name."""
    said = media_type in _PARQUET_TYPES or name.lower().endswith(".parquet")
    return begins == _PARQUET_MAGIC or said


def is_csv(media_type: str, name: str) -> bool:
    """Return whether a file is CSV by its media type or its name."""
    return media_type in _CSV_TYPES or name.lower().removesuffix(".gz").endswith(".csv")


def csv_rows(stream: io.BufferedReader) -> Iterator[RawRow]:
    """Yield the rows of a CSV file with a header, numbered by the line each begins on.

    Raises:
        BadRequest: there is no header, or a column is named twice.
    """
    text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
    try:
        table = csv.reader(text, strict=True)
        header = _header(table)
        is_vote = is_long_form(header)
        while True:
            line = table.line_num + 1
            try:
                cells = next(table, None)
                if cells is None:
                    return
                if cells:
                    yield RawRow(
                        line, cell_values(header, _checked(header, cells)), is_vote=is_vote
                    )
            except (csv.Error, RowInvalid) as error:
                yield RawRow(line, reason=f"not a row of the table: {error}")
    finally:
        text.detach()


def _header(table: Any) -> list[str]:
    try:
        header = [name.strip() for name in next(table, [])]
    except csv.Error as error:
        raise BadRequest(f"line 1 of the table is not a header: {error}") from error
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
            raise RowInvalid(f"{name}: not UTF-8")
    return cells


def parquet_rows(stream: io.BufferedReader) -> Iterator[RawRow]:
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
            is_vote = is_long_form(file.schema_arrow.names)
            line = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for row in batch.to_pylist():
                    line += 1
                    yield _parquet_row(line, row, is_vote=is_vote)
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
            is_vote = is_long_form(file.schema_arrow.names)
            groups, line = _groups_of(file.metadata, first, last)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups):
                wanted = batch.slice(max(first - line, 0), max(last - max(first, line), 0))
                begin = max(first, line)
                line += len(batch)
                rows = [
                    _parquet_row(begin + i + 1, row, is_vote=is_vote)
                    for i, row in enumerate(wanted.to_pylist())
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


def _parquet_row(line: int, row: dict[str, Any], *, is_vote: bool) -> RawRow:
    try:
        return RawRow(line, column_values(row), is_vote=is_vote)
    except RowInvalid as error:
        return RawRow(line, reason=f"not a row of the table: {error}")
