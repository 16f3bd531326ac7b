"""What the clients write to files: datasets in other formats, trusted verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO
from urllib.parse import quote

import httpx

from app.client.http import checked, explained
from app.client.verbs import Json


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
