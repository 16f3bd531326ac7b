"""Reads the rows of Parquet files, so many at a time as fit in memory."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final, cast

from app.core.errors import BadRequest
from app.core.limits import Limits, Meter, check_row_count
from app.formats.base import RowInvalid
from app.formats.columns.declared import Layout
from app.formats.tables import column_values
from app.imports.tables import RawRow, check_names, within_limits

_BATCH_ROWS: Final = 500
_FEW_ROWS: Final = 16
_PIECE_BYTES: Final = 16 * 2**20
# a page of a column is read at a time, not a whole row group
_BUFFER_BYTES: Final = 2**20
# a column of more bytes in one row group keeps no dictionary
_LONG_BYTES: Final = 4 * 2**20
# bytes that a value takes in memory at least
_LEAST_VALUE: Final = 8


def parquet_rows(
    stream: io.BufferedReader, layout: Layout | None = None, meter: Meter | None = None
) -> Iterator[RawRow]:
    """Yield the rows of a Parquet file, numbered from 1.

    Raises:
        BadRequest: the file cannot be read, or the extra that reads it is not installed.
        TooLarge: it unpacks to more than the meter allows.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise BadRequest("Parquet needs pyarrow: install tribunal-judge[arrow]") from error
    meter = meter or Meter()
    limits = meter.limits
    try:
        with _opened(stream) as file:
            _check_table(file, meter)
            said = layout or Layout()
            said.of(file.schema_arrow.names)
            line = 0
            for batch in _batches(file, stream, range(file.metadata.num_row_groups)):
                for piece, size in _in_memory(batch):
                    meter.count(size)
                    for row in _objects(piece):
                        line += 1
                        yield within_limits(_parquet_row(line, said.row(row)), size, limits)
    except (pa.ArrowException, OSError) as error:
        raise BadRequest(f"the Parquet file cannot be read: {error}") from error


def _opened(source: Any, *, plain: Collection[str] | None = ()) -> Any:
    """Open a Parquet file; texts that repeat stay in memory once, except in the `plain` columns.

    `plain` is None where no column may keep its dictionary.
    """
    import pyarrow.parquet as pq

    schema = pq.read_metadata(source).schema
    columns = [schema.column(number) for number in range(len(schema))]
    texts = [one.path for one in columns if one.physical_type == "BYTE_ARRAY"]
    return pq.ParquetFile(
        source,
        pre_buffer=False,
        buffer_size=_BUFFER_BYTES,
        read_dictionary=[] if plain is None else [one for one in texts if one not in plain],
    )


def _batches(file: Any, source: Any, groups: Iterable[int]) -> Iterator[Any]:
    """Yield the rows of row groups, each with dictionaries as far as they can be kept.

    Arrow gathers all texts of a row group in one dictionary, repeated or not. A column that is too
    long for that is read without, a few rows at a time where its own dictionary holds long texts.
    """
    import pyarrow as pa

    long = _long_columns(file)
    with _opened(source, plain=long) if long else nullcontext(file) as read:
        for group in groups:
            done = 0
            rows = _rows_at_once(file, group, long)
            try:
                for batch in read.iter_batches(batch_size=rows, row_groups=[group]):
                    done += len(batch)
                    yield batch
            except pa.ArrowNotImplementedError:
                # a nested column of several dictionaries
                with _opened(source, plain=None) as plain:
                    for batch in plain.iter_batches(batch_size=_FEW_ROWS, row_groups=[group]):
                        if done < len(batch):
                            yield batch.slice(done)
                        done = max(0, done - len(batch))


def _long_columns(file: Any) -> list[str]:
    """Return the columns with one text a row that are long in some row group."""
    found = []
    for number in range(len(file.schema)):
        column = file.schema.column(number)
        if column.physical_type == "BYTE_ARRAY" and column.max_repetition_level == 0:
            sizes = (
                file.metadata.row_group(group).column(number).total_uncompressed_size
                for group in range(file.metadata.num_row_groups)
            )
            if max(sizes, default=0) > _LONG_BYTES:
                found.append(column.path)
    return found


def _rows_at_once(file: Any, group: int, plain: Sequence[str]) -> int:
    """Return how many rows fit in memory, if each has the longest text of the columns' dictionaries.

    The first row of a column, read with its dictionary, tells how long these are. Where it comes
    with no text but its own, its page has no dictionary; that of a later page is not seen.
    """
    import pyarrow.compute as pc

    longest = 1
    for column in plain:
        first = next(file.iter_batches(batch_size=1, row_groups=[group], columns=[column]), None)
        # a field of a structure is not looked into
        array = None if first is None or "." in column else first.column(0)
        if array is None or len(array.dictionary) <= 1:
            return _FEW_ROWS
        longest += pc.max(pc.binary_length(array.dictionary)).as_py()
    return min(_BATCH_ROWS, max(_FEW_ROWS, _PIECE_BYTES // longest))


def _check_table(file: Any, meter: Meter) -> None:
    """Refuse a table by what its footer says: a small file may hold very many values."""
    metadata = file.metadata
    check_names(file.schema_arrow.names, meter.limits)
    check_row_count(metadata.num_rows, meter.limits)
    values = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        columns = [group.column(number) for number in range(group.num_columns)]
        values += sum(column.num_values for column in columns)
        meter.check(sum(column.total_uncompressed_size for column in columns))
        meter.check(_LEAST_VALUE * values)


def _in_memory(batch: Any) -> Iterator[tuple[Any, int]]:
    """Cut a batch into pieces that fit in memory as rows, each with its bytes."""
    size = sum(_value_bytes(column) for column in batch.columns)
    if size <= _PIECE_BYTES or len(batch) <= 1:
        yield batch, size
        return
    middle = len(batch) // 2
    yield from _in_memory(batch.slice(0, middle))
    yield from _in_memory(batch.slice(middle))


def _objects(piece: Any) -> list[dict[str, Any]]:
    """Return the rows of a batch, the maps in them as objects."""
    try:
        return cast(list[dict[str, Any]], piece.to_pylist(maps_as_pydicts="strict"))
    except KeyError as error:
        raise BadRequest(f"a map of the Parquet file names a key twice: {error}") from None
    except TypeError:
        # a struct or a list names no field: such a map is a list of its keys and values
        return cast(list[dict[str, Any]], piece.to_pylist())
    except (ValueError, OverflowError) as error:
        return _in_words(piece, error)


def _in_words(piece: Any, error: Exception) -> list[dict[str, Any]]:
    """Return the rows of a batch with its moments as text: one is none of Python's.

    Python knows the years to 9999, and without pandas no nanoseconds.
    """
    import pyarrow as pa

    kinds = (pa.types.is_timestamp, pa.types.is_date)
    columns = [
        column.cast(pa.string()) if any(is_kind(column.type) for is_kind in kinds) else column
        for column in piece.columns
    ]
    told = pa.RecordBatch.from_arrays(columns, names=piece.schema.names)
    try:
        return cast(list[dict[str, Any]], told.to_pylist(maps_as_pydicts="strict"))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BadRequest(f"the Parquet file holds a value that cannot be read: {error}") from None


def _value_bytes(array: Any) -> int:
    """Return how many bytes the values of an array are, each counted as often as it stands there."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        return int(pc.sum(pc.binary_length(array.dictionary).take(array.indices)).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(_value_bytes(field) for field in array.flatten())
    if pa.types.is_map(kind):
        begin, end = array.offsets[0].as_py(), array.offsets[-1].as_py()
        parts = (array.keys, array.items)
        return sum(_value_bytes(part.slice(begin, end - begin)) for part in parts)
    if pa.types.is_nested(kind):
        return _LEAST_VALUE * len(array) + _value_bytes(array.flatten())
    return int(array.nbytes)


def parquet_batches(path: Path, first: int, last: int) -> Iterator[tuple[list[RawRow], int]]:
    """Yield the rows `[first, last)` of a Parquet file, a few hundred at a time, with their bytes.

    Row groups that hold none of them are not read. Rows are numbered from 1, as by `parquet_rows`.

    Raises:
        BadRequest: the file cannot be read.
    """
    import pyarrow as pa

    try:
        with _opened(path) as file:
            check_names(file.schema_arrow.names, Limits())
            groups, line = _groups_of(file.metadata, first, last)
            for batch in _batches(file, path, groups):
                wanted = batch.slice(max(first - line, 0), max(last - max(first, line), 0))
                begin = max(first, line) + 1
                line += len(batch)
                for piece, size in _in_memory(wanted):
                    rows = [
                        _parquet_row(number, row)
                        for number, row in enumerate(_objects(piece), begin)
                    ]
                    begin += len(rows)
                    if rows:
                        yield rows, size
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
