"""Uploads and exports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast
from urllib.parse import quote

import httpx

from app.client.http import checked, chunks, explained
from app.client.requests import Json


class Exports:
    """The part of the client that streams answers into files."""

    _http: httpx.Client

    def export(self, ref: str, target: BinaryIO, **query: Any) -> dict[str, int]:
        """Write a dataset to a binary file in the format `format`; return what it cannot hold."""
        return self._fetch(_export(ref), target, query)

    def preferences(self, batch_id: str, target: BinaryIO, **query: Any) -> Json:
        """Write a batch's trusted preferences to a binary file; return their card."""
        path = _preferences(batch_id)
        with explained(self._http.base_url):
            card = checked(self._http.get(f"{path}/card", params=query))
        self._fetch(path, target, query)
        return card

    def _fetch(self, path: str, target: BinaryIO, query: Mapping[str, Any]) -> dict[str, int]:
        with (
            explained(self._http.base_url),
            self._http.stream("GET", path, params=dict(query)) as response,
        ):
            if not response.is_success:
                response.read()
                checked(response)
            for chunk in response.iter_bytes():
                target.write(chunk)
            return _loss(response)


class AsyncExports:
    """The part of the asynchronous client that streams answers into files."""

    _http: httpx.AsyncClient

    async def export(self, ref: str, target: BinaryIO, **query: Any) -> dict[str, int]:
        """Write a dataset to a binary file in the format `format`; return what it cannot hold."""
        return await self._fetch(_export(ref), target, query)

    async def preferences(self, batch_id: str, target: BinaryIO, **query: Any) -> Json:
        """Write a batch's trusted preferences to a binary file; return their card."""
        path = _preferences(batch_id)
        with explained(self._http.base_url):
            card = checked(await self._http.get(f"{path}/card", params=query))
        await self._fetch(path, target, query)
        return card

    async def _fetch(self, path: str, target: BinaryIO, query: Mapping[str, Any]) -> dict[str, int]:
        with explained(self._http.base_url):
            async with self._http.stream("GET", path, params=dict(query)) as response:
                if not response.is_success:
                    await response.aread()
                    checked(response)
                async for chunk in response.aiter_bytes():
                    target.write(chunk)
                return _loss(response)


def _export(ref: str) -> str:
    return f"/v1/datasets/{quote(ref, safe='')}/export"


def _preferences(batch_id: str) -> str:
    return f"/v1/batches/{quote(batch_id, safe='')}/preferences"


def _loss(response: httpx.Response) -> dict[str, int]:
    loss: dict[str, int] = json.loads(response.headers.get("x-tribunal-loss", "{}"))
    return loss


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
