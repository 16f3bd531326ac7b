"""API keys: what each opens, for how long, and that nothing stores or lists the key itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.core import auth
from app.core.auth import NewKey, Scope
from app.core.db import Database, rfc3339
from app.core.http.access import Open, scopes_of
from app.core.http.openapi import AnswerRoute
from app.core.migrate import downgrade, upgrade
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import create_app
from app.pages.frame import ANYBODY, PageRoute
from tests.app.rows import labelled_rows, upload
from tests.conftest import client_of

PAGES = ("/docs", "/redoc", "/openapi.json", "/static/swagger-ui.css")


async def make_key(service: FastAPI, name: str = "ci", **options: Any) -> tuple[str, str]:
    running: Runtime = service.state.runtime
    secret = await auth.server_secret(running.settings, running.db)
    async with running.db.write() as session:
        row, key = await auth.create_key(session, secret, NewKey(name, **options), running.now())
        return row.id, key


def bearer(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


async def status(
    client: httpx.AsyncClient, key: str | None = None, path: str = "/v1/judges"
) -> int:
    return (await client.get(path, headers=bearer(key))).status_code


@pytest.mark.both_databases
async def test_with_keys_every_request_needs_one(service: FastAPI) -> None:
    key_id, key = await make_key(service)
    async with client_of(service) as client:
        assert await status(client) == 401
        assert await status(client, "trib_wrong") == 401
        assert await status(client, key) == 200
        assert await status(client, path="/healthz") == 200
        assert await status(client, path="/readyz") == 200
        assert await status(client, path="/") == 303
        assert await status(client, "trib_wrong", path="/") == 401
        for path in ("/metrics", "/v1/nothing", "/favicon.ico", "/docs/x", "/healthz/x"):
            assert await status(client, path=path) == 401, path
        for path in ("/v1/nothing", "/favicon.ico"):
            assert await status(client, key, path) == 404
        running: Runtime = service.state.runtime
        async with running.db.write() as session:
            await auth.revoke_key(session, key_id, running.now())
        revoked = await client.get("/v1/judges", headers=bearer(key))
        assert (revoked.status_code, revoked.json()["detail"]) == (401, "this key was revoked")
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
    assert (listed[0]["name"], listed[0]["scopes"]) == ("ci", ["admin"])
    assert key.startswith(listed[0]["prefix"])
    assert key not in str(listed)


async def test_the_documentation_is_open_where_keys_exist_unless_it_is_hidden(
    settings: Settings,
) -> None:
    hidden = create_app(settings.model_copy(update={"hide_docs": True}))
    shown = create_app(settings)
    async with (
        shown.router.lifespan_context(shown),
        hidden.router.lifespan_context(hidden),
        client_of(shown) as open_client,
        client_of(hidden) as closed_client,
    ):
        _, key = await make_key(shown)
        for path in PAGES:
            assert await status(open_client, path=path) == 200, path
            assert await status(open_client, "trib_wrong", path) == 200, path
            assert await status(closed_client, path=path) == 401, path
            assert await status(closed_client, key, path) == 200, path


def routes() -> Iterator[AnswerRoute]:
    for route in create_app(Settings(workers=0)).routes:
        assert isinstance(route, AnswerRoute), f"{route} is not checked for a scope"
        yield route


def test_every_route_declares_what_it_needs() -> None:
    undeclared = [
        f"{route.methods} {route.path}"
        for route in routes()
        if not hasattr(route.endpoint, "__tribunal_needs__")
    ]
    assert not undeclared, "add @needs(...) to these endpoints"
    needed = {(method, route.path): route.need for route in routes() for method in route.methods}
    assert {path for (_, path), need in needed.items() if need is Open.PROBE} == {
        "/healthz",
        "/readyz",
    }
    assert {path for (_, path), need in needed.items() if need is Open.PAGE} == {
        "/docs",
        "/redoc",
        "/openapi.json",
        "/static/{name}",
    }
    assert {path for (_, path), need in needed.items() if need is Open.FRONT} == {
        "/signin",
        "/signout",
        "/assets/{name}",
    }
    either = {path for (_, path), need in needed.items() if need == ANYBODY}
    assert either == {"/", "/label", "/label/{queue}"}
    for (method, path), need in needed.items():
        if method == "GET" and path not in either:
            assert isinstance(need, Open) or need is Scope.READ, path
        if method == "DELETE":
            assert need is Scope.ADMIN, path
        if method == "POST" and path in ("/v1/judgments", "/v1/batches"):
            assert need is Scope.JUDGE, path


CALLS = [
    pytest.param(method, route, id=f"{method} {route.path}")
    for route in routes()
    for method in sorted(route.methods)
    if scopes_of(route.need)
]


class Untouched:
    """A body that no one may read."""

    def __init__(self) -> None:
        self.asked = 0

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        return {"type": "http.request", "body": b"[" * 65_536, "more_body": True}


async def refusal(service: FastAPI, method: str, path: str, key: str | None) -> tuple[int, int]:
    """Return the status of a request with an endless body, and how often that was read."""
    body, sent = Untouched(), []
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    headers += [(b"idempotency-key", b"seen before")]
    headers += [(name.encode(), value.encode()) for name, value in bearer(key).items()]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": headers, "client": ("127.0.0.1", 4711), "server": ("127.0.0.1", 8000),
    }  # fmt: skip

    async def send(message: Any) -> None:
        sent.append(message)

    await service(scope, body.receive, send)
    return sent[0]["status"], body.asked


@pytest.fixture(scope="module")
def no_scope_service(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[asyncio.Runner, FastAPI, dict[Scope, str]]]:
    """A service with a key for each scope, for tests that change nothing."""
    file = tmp_path_factory.mktemp("scopes") / "test.db"
    app = create_app(Settings(database_url=f"sqlite+aiosqlite:///{file}", workers=0))
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        keys = {
            scope: runner.run(make_key(app, scope, scopes=frozenset({scope})))[1] for scope in Scope
        }
        yield runner, app, keys
        runner.run(lifespan.__aexit__(None, None, None))


@pytest.mark.parametrize(("method", "route"), CALLS)
def test_no_body_is_read_for_a_caller_without_the_scope(
    no_scope_service: tuple[asyncio.Runner, FastAPI, dict[Scope, str]],
    method: str,
    route: AnswerRoute,
) -> None:
    runner, service, keys = no_scope_service
    path = route.path.replace("{", "").replace("}", "")
    # a browser without a session is led to the page of sign-in
    nobody = 303 if isinstance(route, PageRoute) else 401
    assert runner.run(refusal(service, method, path, None)) == (nobody, 0)
    assert runner.run(refusal(service, method, path, "trib_wrong")) == (401, 0)
    for scope in set(Scope) - {*scopes_of(route.need), Scope.ADMIN}:
        assert runner.run(refusal(service, method, path, keys[scope])) == (403, 0), scope


async def test_each_scope_opens_its_own_routes_and_no_others(service: FastAPI) -> None:
    pair = {"prompt": "Why?", "response_a": "Because it is so.", "response_b": ""}
    keys = {one: await make_key(service, one, scopes=frozenset({one})) for one in Scope}
    both = frozenset({Scope.READ, Scope.JUDGE})
    _, pair_of_scopes = await make_key(service, "both", scopes=both)
    async with client_of(service) as client:
        client.headers.update(bearer(keys[Scope.JUDGE][1]))
        await upload(client, "rivers", labelled_rows(10))
        client.headers.pop("authorization")

        async def can(key: str) -> list[int]:
            headers = bearer(key)
            judged = await client.post("/v1/judgments", json={"pairs": [pair]}, headers=headers)
            read = await client.get("/v1/datasets/rivers", headers=headers)
            gone = await client.delete("/v1/datasets/none", headers=headers)
            return [judged.status_code, read.status_code, gone.status_code]

        assert await can(keys[Scope.READ][1]) == [403, 200, 403]
        assert await can(keys[Scope.JUDGE][1]) == [200, 403, 403]
        assert await can(keys[Scope.LABEL][1]) == [403, 403, 403]
        assert await can(keys[Scope.ADMIN][1]) == [200, 200, 404]
        assert await can(pair_of_scopes) == [200, 200, 403]
        told = await client.delete("/v1/datasets/rivers", headers=bearer(pair_of_scopes))
        assert told.json()["detail"] == (
            "this needs a key with the scope admin; this key has: read, judge"
        )


async def test_a_key_opens_nothing_once_it_has_expired(service: FastAPI) -> None:
    running: Runtime = service.state.runtime
    start = running.now()
    _, key = await make_key(service, expires_at=start + timedelta(days=90))
    async with client_of(service) as client:
        assert await status(client, key) == 200
        running.now = lambda: start + timedelta(days=91)
        told = await client.get("/v1/judges", headers=bearer(key))
        assert told.status_code == 401
        assert told.json()["detail"].startswith("this key expired at ")
        assert await status(client) == 401, "the last key's end must not open the service"


@pytest.mark.both_databases
async def test_the_last_use_of_a_key_is_stored_once_a_minute(service: FastAPI) -> None:
    running: Runtime = service.state.runtime
    start = running.now()
    _, key = await make_key(service)

    async def last_use() -> str | None:
        if storing := [task for task in running._tasks if "last use" in task.get_name()]:
            await asyncio.wait(storing)
        async with running.db.read() as session:
            used: str | None = (await auth.list_keys(session))[0]["last_used_at"]
        return used

    assert await last_use() is None
    async with client_of(service) as client:
        for passed, stored in ((0, 0), (59, 0), (61, 61), (90, 61), (130, 130)):
            running.now = partial(start.__add__, timedelta(seconds=passed))
            assert await status(client, key) == 200
            assert await last_use() == rfc3339(start + timedelta(seconds=stored))


@pytest.mark.both_databases
async def test_keys_of_an_older_database_are_admin_keys(db: Database, settings: Settings) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        _, key = await make_key(app)
        _, narrow = await make_key(app, "narrow", scopes=frozenset({Scope.READ}))
        _, ending = await make_key(app, "ending", expires_at=app.state.runtime.now())
    await downgrade(db, "0004")
    async with db.read() as session:
        usable = await session.scalars(text("SELECT name FROM api_keys WHERE revoked_at IS NULL"))
        assert usable.all() == ["ci"], "an earlier version would give the others everything"
    await upgrade(db)
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.delete("/v1/datasets/none", headers=bearer(key))).status_code == 404
        assert await status(client, narrow) == await status(client, ending) == 401
