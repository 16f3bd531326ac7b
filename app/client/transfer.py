"""The files and rows that are imported, as the body of one request."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast
from urllib.parse import quote

import httpx

from app.client.portal import beside

_CHUNK_BYTES: Final = 1 << 20
_ANY: Final = "application/octet-stream"
_TYPES: Final = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".parquet": "application/vnd.apache.parquet",
}
_FRAME_ROWS: Final = 1_000


class Frame(Protocol):
    """A data frame, as pandas has it; it need not be installed."""

    columns: Any
    iloc: Any

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def to_dict(self, orient: Any, /) -> Any:
        """Return the rows."""


Source = Path | Sequence[Path] | BinaryIO | Iterable[Mapping[str, Any]] | Frame


@dataclass(frozen=True, slots=True)
class Upload:
    """A body, read piece by piece so that a large file is never in memory, and its headers.

    `failures` holds the error that ended the reading: to a service in this process it is an error
    of the request, and to the caller it is the caller's own.
    """

    pieces: Iterator[bytes]
    headers: Mapping[str, str]
    failures: list[Exception] = field(default_factory=list)

    async def content(self) -> AsyncIterator[bytes]:
        """Yield the pieces; reading them may block, and runs where it holds nothing up."""
        while (piece := await self._next()) is not None:
            yield piece

    async def _next(self) -> bytes | None:
        try:
            return await beside(next, self.pieces, None)
        except Exception as error:
            self.failures.append(error)
            raise


@contextmanager
def upload_of(source: Source) -> Iterator[Upload]:
    """Open the files of a source, and close them at the end."""
    with ExitStack() as stack:
        if isinstance(source, Path):
            yield _one(source, stack)
        elif isinstance(source, list | tuple) and source and isinstance(source[0], Path):
            yield _several(source, stack)
        else:
            # lines or an array, packed or not: the service looks at the first bytes
            rows = cast("BinaryIO | Iterable[Mapping[str, Any]]", _frame_or_rows(source))
            yield Upload(_pieces(rows), {"content-type": _ANY})


def _one(path: Path, stack: ExitStack) -> Upload:
    opened = stack.enter_context(path.open("rb"))
    headers = {
        "content-type": _type_of(path),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(path.name, safe='')}",
    }
    return Upload(_pieces(opened), headers)


def _several(paths: Sequence[Path], stack: ExitStack) -> Upload:
    opened = [(path, stack.enter_context(path.open("rb"))) for path in paths]
    return _form([("file", (path.name, file, _type_of(path))) for path, file in opened], {})


@contextmanager
def requests_of(source: Path | BinaryIO) -> Iterator[Upload]:
    """Open a file of requests for a batch, and close it at the end if it was a path."""
    with ExitStack() as stack:
        is_path = isinstance(source, Path)
        opened = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
        name = source.name if is_path else "requests.jsonl"
        yield _form([("file", (name, opened, _ANY))], {"purpose": "batch"})


def _form(files: Sequence[tuple[str, Any]], fields: Mapping[str, str]) -> Upload:
    form = httpx.Request("POST", "http://server", files=files, data=fields)
    assert isinstance(form.stream, httpx.SyncByteStream)
    headers = {name: value for name, value in form.headers.items() if name != "host"}
    return Upload(iter(form.stream), headers)


def _frame_or_rows(source: object) -> object:
    """Return the rows of a data frame, as pandas, polars and pyarrow have them; others as they are."""
    if isinstance(source, Mapping):
        raise TypeError("one object is given where rows are expected: give a list of rows")
    if isinstance(source, str):
        raise TypeError("a text is given where rows are expected: name a file by a pathlib.Path")
    _check_columns(source)
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        return _frame_rows(cast(Frame, source))
    for rows in ("iter_rows", "to_pylist"):  # polars, pyarrow
        read = getattr(source, rows, None)
        if read is not None and not hasattr(source, "read"):
            return read(named=True) if rows == "iter_rows" else read()
    return source


def _check_columns(source: object) -> None:
    """Refuse a data frame of which two columns have one name: a row would lose one of them.

    Raises:
        ValueError: names them.
    """
    columns = getattr(source, "column_names", None)  # pyarrow
    if hasattr(source, "iloc"):
        columns = [name for name in _index_names(source) if name is not None]
        columns += list(getattr(source, "columns", ()))
    counts = Counter(map(str, columns or ()))
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"the data frame names a column twice: {', '.join(twice)}")


def _index_names(frame: Any) -> list[Any]:
    return list(getattr(getattr(frame, "index", None), "names", None) or [])


def _frame_rows(frame: Frame) -> Iterator[dict[str, Any]]:
    """Yield the rows of a data frame; an integer that a gap made a float is an integer again.

    An index with a name is a column: `set_index("id")` loses no ids.
    """
    if any(name is not None for name in _index_names(frame)):
        frame = cast(Any, frame).reset_index()
    names = [str(name) for name in frame.columns]
    gaps = [at for at in range(len(names)) if _is_integer_with_gaps(frame.iloc[:, at])]
    for start in range(0, len(frame), _FRAME_ROWS):
        piece = frame.iloc[start : start + _FRAME_ROWS]
        for cells in piece.itertuples(index=False, name=None):
            row = {name: _plain(cell) for name, cell in zip(names, cells, strict=True)}
            for at in gaps:
                if row[names[at]] is not None:
                    row[names[at]] = int(row[names[at]])
            yield row


def _is_integer_with_gaps(column: Any) -> bool:
    if getattr(column.dtype, "kind", "") != "f":
        return False
    filled = column.dropna()
    return 0 < len(filled) < len(column) and all(float(one).is_integer() for one in filled)


def _plain(value: Any) -> Any:
    """Return a cell as JSON has it: a missing one is null, an array a list, a moment its text."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    # NaN, NaT; pandas' NA is not even equal or unequal to itself
    if type(value).__name__ == "NAType" or value != value:
        return None
    return value if isinstance(value, float) else _other(value)


def _other(value: Any) -> Any:
    if isinstance(value, Decimal) and value.is_finite():
        is_whole = value == value.to_integral_value()
        is_exact = Decimal(repr(float(value))) == value
        return int(value) if is_whole else float(value) if is_exact else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, (set, frozenset)) or repr(value) == object.__repr__(value):
        # its text would be an address in memory, or have no order
        raise TypeError(f"a value of type {type(value).__name__} is not JSON serializable")
    return str(value)


def _pieces(source: BinaryIO | Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield a file as it is, or rows as lines."""
    read = getattr(source, "read", None)
    if read is None:
        for row in source:
            yield json.dumps(row, default=_plain).encode() + b"\n"
        return
    while chunk := read(_CHUNK_BYTES):
        yield chunk


def _type_of(path: Path) -> str:
    # a packed table is told by its name
    return _TYPES.get(path.suffix.lower(), _ANY)
