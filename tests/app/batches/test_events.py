from __future__ import annotations

import asyncio
import json
import signal
from datetime import timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import delete

from app.core import auth
from app.core.auth import Scope
from app.core.models import Dataset
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import create_app
from tests.app.core.test_auth import bearer, make_key
from tests.app.rows import labelled_rows, upload
from tests.conftest import client_of

Event = tuple[str, dict[str, Any]]


def read(text: str) -> list[Event]:
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line)
        if "data" in fields:
            found.append((fields["id"], json.loads(fields["data"])))
    return found


async def start(client: httpx.AsyncClient) -> str:
    await upload(client, "rivers", labelled_rows(170))
    created = await client.post("/v1/batches", json={"dataset": "rivers"})
    assert created.status_code == 202
    return f"/v1/batches/{created.json()['id']}"


@pytest.mark.both_databases
async def test_progress_is_told_until_the_end_and_resumed_without_repeats(
    client: httpx.AsyncClient,
) -> None:
    address = await start(client)
    response = await client.get(f"{address}/events")
    assert response.headers["content-type"].startswith("text/event-stream")
    told = read(response.text)
    done = [batch["request_counts"]["completed"] for _, batch in told]
    assert done == sorted(done)
    assert told[-1][1] == (await client.get(address)).json()
    assert (done[-1], told[-1][1]["status"]) == (170, "completed")
    assert len({id for id, _ in told}) == len(told)
    resumed = await client.get(f"{address}/events", headers={"last-event-id": "50-in_progress"})
    assert read(resumed.text) == told[-1:]
    at_the_end = await client.get(f"{address}/events", headers={"last-event-id": told[-1][0]})
    assert at_the_end.status_code == 204


async def test_an_event_is_sent_when_something_happens_not_at_the_end(settings: Settings) -> None:
    app: FastAPI = create_app(settings.model_copy(update={"workers": 0}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        address = await start(client)
        sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        listening = asyncio.create_task(_listen(app, f"{address}/events", sent))
        assert (await sent.get())["status"] == 200
        assert read((await sent.get())["body"].decode())[0][0] == "0-in_progress"
        await client.post(f"{address}/cancel")
        assert read((await sent.get())["body"].decode())[0][0] == "0-cancelled"
        await asyncio.wait_for(listening, 10)


@pytest.mark.both_databases
async def test_a_batch_that_is_deleted_ends_its_events(settings: Settings) -> None:
    app: FastAPI = create_app(settings.model_copy(update={"workers": 0}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        address = await start(client)
        sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        listening = asyncio.create_task(_listen(app, f"{address}/events", sent))
        for _ in range(2):
            await sent.get()
        async with app.state.runtime.db.write() as session:
            await session.execute(delete(Dataset))
        await asyncio.wait_for(listening, 10)
        assert (await client.get(f"{address}/events")).status_code == 404


async def test_listeners_do_not_keep_a_service_from_stopping(settings: Settings) -> None:
    app: FastAPI = create_app(settings.model_copy(update={"workers": 0}))
    # a server hands the signal on when it has stopped
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    try:
        serving = asyncio.create_task(server.serve())
        for _ in range(3000):
            if server.started:
                break
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            address = await start(client)
            async with client.stream("GET", f"{address}/events") as response:
                lines = response.aiter_lines()
                [(first, _)] = read(f"{await anext(lines)}\n{await anext(lines)}\n\n")
                assert first == "0-in_progress"
                signal.raise_signal(signal.SIGTERM)
                assert [line async for line in lines]
        await asyncio.wait_for(serving, 10)
    finally:
        signal.signal(signal.SIGTERM, before)


async def _listen(app: FastAPI, path: str, sent: asyncio.Queue[dict[str, Any]]) -> None:
    """Ask the application itself: the client in process waits for the whole answer."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "root_path": "",
    }  # fmt: skip
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:
            await asyncio.Event().wait()
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        await sent.put(dict(message))

    await app(scope, receive, send)


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_key_that_ends_hears_no_more(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("app.batches.events.POLL_SECONDS", 0.01)
    app: FastAPI = create_app(settings.model_copy(update={"workers": 0}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        address = await start(client)
        running: Runtime = app.state.runtime
        ends = running.now() + timedelta(hours=1)
        key_id, key = await make_key(app, scopes=frozenset({Scope.READ}), expires_at=ends)
        heard = asyncio.create_task(client.get(f"{address}/events", headers=bearer(key)))
        done, _ = await asyncio.wait([heard], timeout=0.3)
        assert not done  # the batch goes on, and so does the stream
        if how == "revoked":
            async with running.db.write() as session:
                await auth.revoke_key(session, key_id, running.now())
        else:
            running.now = lambda: ends
        async with asyncio.timeout(30):
            answer = await heard
        assert len(read(answer.text)) == 1
