"""Clients that read a part of an answer and stall: they hold nothing that others need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from app.batches import queries, service
from app.core.errors import Conflict
from app.core.models import Batch
from app.core.runtime import Runtime
from tests.app.batches.files.lines import lines, sent, start
from tests.app.batches.test_batches import wait_for
from tests.app.rows import labelled_rows

# more than the connections of both engines together
READERS = 20
ROWS = 40


class Stalled:
    """A client that takes the first piece of an answer, and the rest when it is released."""

    def __init__(self, app: FastAPI, path: str) -> None:
        self.status, self.body = 0, b""
        self.has_piece, self._released = asyncio.Event(), asyncio.Event()
        path, _, query = path.partition("?")
        self._scope = {
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
            "query_string": query.encode(), "headers": [(b"host", b"127.0.0.1")],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        }  # fmt: skip
        self.task = asyncio.create_task(app(self._scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif body := message.get("body"):
            self.has_piece.set()
            await self._released.wait()
            self.body += body

    async def finish(self) -> bytes:
        self._released.set()
        await self.task
        return self.body


@asynccontextmanager
async def cancelled_batch(
    client: httpx.AsyncClient, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[str, str]]:
    """The ids of a file and of a batch over it: some pairs judged, some not, one line refused."""
    monkeypatch.setattr(queries, "VERDICTS_AT_ONCE", 5)
    file = await sent(client, lines(labelled_rows(ROWS)) + b"no request\n")
    batch = (await start(client, file["id"])).json()
    await wait_for(client, batch["id"])
    async with running.db.write() as session:
        # a batch that was cancelled has an error file with what was not judged
        await session.execute(update(Batch).values(status="cancelled"))
    yield file["id"], batch["id"]


async def nothing_in_use(running: Runtime) -> None:
    """Wait for a moment at which idle workers do not look for shards either."""
    for _ in range(3_000):
        if not running.db.in_use:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{running.db.in_use} connections are in use")


@pytest.mark.both_databases
async def test_no_connection_is_held_while_a_client_reads(
    client: httpx.AsyncClient,
    service: FastAPI,
    running: Runtime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with cancelled_batch(client, running, monkeypatch) as (file, batch):
        output = (await client.get(f"/v1/batches/{batch}")).json()
        paths = [
            f"/v1/batches/{batch}/results",
            f"/v1/batches/{batch}/preferences?promise=any",
            f"/v1/batches/{batch}/events",
            f"/v1/files/{file}/content",
            f"/v1/files/{output['output_file_id']}/content",
            f"/v1/files/{output['error_file_id']}/content",
            f"/v1/datasets/{output['dataset']}/export",
        ]
        for path in paths:
            whole = (await client.get(path)).content
            readers = [Stalled(service, path) for _ in range(READERS)]
            for reader in readers:
                await asyncio.wait_for(reader.has_piece.wait(), 60)
            await nothing_in_use(running)
            assert (await client.get("/readyz")).status_code == 200
            assert [await reader.finish() for reader in readers] == [whole] * READERS, path


async def test_a_batch_that_changes_while_it_is_read_is_not_half_a_batch(
    client: httpx.AsyncClient, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cancelled_batch(client, running, monkeypatch) as (_, batch):
        verdicts = await service.results(running, batch)
        await anext(verdicts)
        async with running.db.write() as session:
            await session.execute(update(Batch).values(status="in_progress", completed_at=None))
        with pytest.raises(Conflict, match="was deleted or taken up again while it was read"):
            [verdict async for verdict in verdicts]
