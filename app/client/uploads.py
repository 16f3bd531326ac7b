"""What an import sends: rows, a file with its name, or several files as one multipart body."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast
from urllib.parse import quote

from app.client.http import chunks

_ANY: Final = "application/octet-stream"
_TYPES: Final = {".csv": "text/csv", ".parquet": "application/vnd.apache.parquet"}
Source = Path | Sequence[Path] | BinaryIO | Iterable[Mapping[str, Any]]


@contextmanager
def upload_of(source: Source) -> Iterator[dict[str, Any]]:
    """Open the files of a source; yield the body of the request and its headers."""
    with ExitStack() as stack:
        if isinstance(source, Path):
            yield _one(source, stack)
        elif isinstance(source, list | tuple) and source and isinstance(source[0], Path):
            yield _several(source, stack)
        else:
            # lines or an array, packed or not: the service looks at the first bytes
            rows = cast("BinaryIO | Iterable[Mapping[str, Any]]", source)
            yield {"content": chunks(rows), "headers": {"content-type": _ANY}}


def _one(path: Path, stack: ExitStack) -> dict[str, Any]:
    opened = stack.enter_context(path.open("rb"))
    headers = {
        "content-type": _type_of(path),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(path.name, safe='')}",
    }
    return {"content": chunks(opened), "headers": headers}


def _several(paths: Sequence[Path], stack: ExitStack) -> dict[str, Any]:
    opened = [(path, stack.enter_context(path.open("rb"))) for path in paths]
    return {"files": [("file", (path.name, file, _type_of(path))) for path, file in opened]}


def _type_of(path: Path) -> str:
    # a packed table is told by its name
    return _TYPES.get(path.suffix.lower(), _ANY)
