from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.core import auth
from app.core.runtime import Runtime
from tests.conftest import client_of

DESCRIPTIONS = ("/", "/docs", "/redoc", "/openapi.json")


async def make_key(service: FastAPI, name: str = "ci") -> tuple[str, str]:
    running: Runtime = service.state.runtime
    secret = await auth.server_secret(running.settings, running.db)
    async with running.db.write() as session:
        row, key = await auth.create_key(session, secret, name, running.now())
        return row.id, key


async def status(
    client: httpx.AsyncClient, key: str | None = None, path: str = "/v1/judges"
) -> int:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return (await client.get(path, headers=headers)).status_code


async def test_without_keys_only_this_machine_is_answered(service: FastAPI) -> None:
    async with client_of(service) as near:
        assert await status(near) == 200
    transport = httpx.ASGITransport(service, client=("203.0.113.9", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as far:
        assert await status(far) == 403
        assert await status(far, path="/healthz") == 200
        assert await status(far, path="/readyz") == 200
        assert await status(far, path="/metrics") == 403
        for path in DESCRIPTIONS:
            assert await status(far, path=path) == 403


@pytest.mark.both_databases
async def test_with_keys_every_request_needs_one(service: FastAPI) -> None:
    key_id, key = await make_key(service)
    async with client_of(service) as client:
        assert await status(client) == 401
        assert await status(client, "trib_wrong") == 401
        assert await status(client, key) == 200
        assert await status(client, path="/healthz") == 200
        assert await status(client, path="/readyz") == 200
        for path in DESCRIPTIONS:
            assert await status(client, path=path) == 401
            assert await status(client, key, path=path) in (200, 307)
        running: Runtime = service.state.runtime
        async with running.db.write() as session:
            await auth.revoke_key(session, key_id, running.now())
        assert await status(client, key) == 401
        assert await status(client) == 401, "revoking the last key must not open the service"


@pytest.mark.both_databases
async def test_of_requests_at_the_same_time_each_is_let_in_by_its_own_key(
    service: FastAPI,
) -> None:
    _, key = await make_key(service, "one")
    _, other = await make_key(service, "other")
    given = [key, other, None, "trib_wrong"] * 3
    async with client_of(service) as client, asyncio.TaskGroup() as group:
        tasks = [group.create_task(status(client, one)) for one in given]
    assert [task.result() for task in tasks] == [200, 200, 401, 401] * 3


async def test_every_address_but_two_asks_who_is_there(service: FastAPI) -> None:
    open_to_all = []
    for route in service.routes:
        assert isinstance(route, APIRoute), route
        asked = [dependency.call for dependency in route.dependant.dependencies]
        if auth.authenticate not in asked:
            open_to_all.append(route.path)
    assert open_to_all == ["/healthz", "/readyz"]


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", "bearer \u00e9"])
async def test_a_header_that_is_no_key_is_401(service: FastAPI, header: str) -> None:
    await make_key(service)
    async with client_of(service) as client:
        headers = httpx.Headers({b"authorization": header.encode("latin-1")})
        response = await client.get("/v1/judges", headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.both_databases
async def test_neither_list_nor_table_holds_the_key(service: FastAPI) -> None:
    _, key = await make_key(service)
    running: Runtime = service.state.runtime
    async with running.db.read() as session:
        listed: list[dict[str, Any]] = await auth.list_keys(session)
    assert listed[0]["name"] == "ci"
    assert key.startswith(listed[0]["prefix"])
    assert key not in str(listed)
