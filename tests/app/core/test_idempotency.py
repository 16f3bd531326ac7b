"""`Idempotency-Key`: whose answers are replayed, by which of several servers, and for how long."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select

from app.core import auth
from app.core.http.idempotency import Watch, purge
from app.core.models import IdempotencyKey
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import create_app
from tests.app.core.test_auth import bearer, make_key
from tests.app.rows import labelled_rows, upload
from tests.conftest import client_of

PAIR = {"prompt": "Why?", "response_a": "Because it is so.", "response_b": ""}
LEASE_SECONDS = 0.3


async def judged(
    client: httpx.AsyncClient, key: str | None = None, *, at: str = "k", pair: Any = None
) -> httpx.Response:
    headers = {"Idempotency-Key": at, **bearer(key)}
    return await client.post("/v1/judgments", json={"pairs": [pair or PAIR]}, headers=headers)


async def stored(running: Runtime) -> int:
    async with running.db.read() as session:
        return await session.scalar(select(func.count()).select_from(IdempotencyKey)) or 0


@pytest.mark.both_databases
async def test_a_stored_answer_is_for_the_key_that_made_it(service: FastAPI) -> None:
    running: Runtime = service.state.runtime
    key_id, key = await make_key(service)
    _, other = await make_key(service, "other")
    changed = {**PAIR, "id": "other"}
    async with client_of(service) as client:
        first = await judged(client, key)
        assert (await judged(client, key)).json() == first.json()
        assert (await judged(client, key, pair=changed)).status_code == 409
        own = await judged(client, other, pair=changed)
        assert own.status_code == 200, "another key knows nothing of it"
        assert own.json() != first.json()
        for stranger in (None, "trib_wrong"):
            for pair in (PAIR, changed):
                assert (await judged(client, stranger, pair=pair)).status_code == 401
        async with running.db.write() as session:
            await auth.revoke_key(session, key_id, running.now())
        for pair in (PAIR, changed):
            assert (await judged(client, key, pair=pair)).status_code == 401


async def test_answers_from_before_there_were_keys_are_no_ones_but_theirs(
    service: FastAPI,
) -> None:
    async with client_of(service) as client:
        assert (await judged(client)).status_code == 200
        _, key = await make_key(service)
        again = await judged(client, key, pair={**PAIR, "id": "other"})
        assert again.status_code == 200


@pytest.mark.both_databases
async def test_one_key_at_two_servers_at_the_same_moment_makes_one_batch(
    settings: Settings,
) -> None:
    settings = settings.model_copy(update={"workers": 0})
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(2):
            app = create_app(settings)
            await stack.enter_async_context(app.router.lifespan_context(app))
            clients.append(await stack.enter_async_context(client_of(app)))
        await upload(clients[0], "rivers", labelled_rows(4))
        for number in range(6):
            headers = {"Idempotency-Key": f"k{number}"}
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(
                        client.post("/v1/batches", json={"dataset": "rivers"}, headers=headers)
                    )
                    for client in clients * 2
                ]
            answers = [task.result() for task in asked]
            assert {answer.status_code for answer in answers} == {202}
            assert len({answer.json()["id"] for answer in answers}) == 1
            assert len({answer.headers["location"] for answer in answers}) == 1
        made = (await clients[0].get("/v1/batches")).json()["data"]
        assert len(made) == 6


def claim_of(running: Runtime, *, body_hash: str, at: str = "k") -> IdempotencyKey:
    moment = running.now()
    return IdempotencyKey(
        caller="", key=at, path="/v1/judgments", body_hash=body_hash, holder="someone",
        beat=7, created_at=moment, kept_until=moment + timedelta(hours=1),
    )  # fmt: skip


async def body_hash_of(client: httpx.AsyncClient, running: Runtime) -> str:
    """Return the hash under which the body of a request is stored."""
    await judged(client, at="for its hash")
    async with running.db.read() as session:
        return str(await session.scalar(select(IdempotencyKey.body_hash)))


@pytest.fixture
def impatient(settings: Settings) -> Settings:
    return settings.model_copy(update={"lease_seconds": LEASE_SECONDS})


@pytest.mark.both_databases
async def test_the_claim_of_a_server_that_died_is_taken_over(impatient: Settings) -> None:
    app = create_app(impatient)
    async with app.router.lifespan_context(app), client_of(app) as client:
        running: Runtime = app.state.runtime
        body_hash = await body_hash_of(client, running)
        async with running.db.write() as session:
            session.add(claim_of(running, body_hash=body_hash))
            session.add(claim_of(running, body_hash="of another body", at="other"))
        assert (await judged(client, at="other")).status_code == 409
        answer = await judged(client)
        assert answer.status_code == 200
        assert (await judged(client)).json() == answer.json()


@pytest.mark.both_databases
async def test_a_repetition_waits_while_another_server_still_answers(service: FastAPI) -> None:
    async with client_of(service) as client:
        running: Runtime = service.state.runtime
        first = await judged(client, at="first")
        async with running.db.read() as session:
            body_hash = str(await session.scalar(select(IdempotencyKey.body_hash)))
        async with running.db.write() as session:
            session.add(claim_of(running, body_hash=body_hash))
        waiting = asyncio.create_task(judged(client))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        async with running.db.write() as session:
            claim = await session.get_one(IdempotencyKey, ("", "k", "/v1/judgments"))
            claim.status, claim.body = 200, first.json()
        assert (await waiting).json() == first.json()


def test_a_claim_is_dead_when_it_has_not_moved_for_the_length_of_a_lease() -> None:
    moments = iter([0.0, 9.0, 11.0, 20.0, 21.5])
    watch = Watch(10.0, lambda: next(moments))
    claims = [IdempotencyKey(holder="one", beat=beat) for beat in (1, 1, 2, 2, 2)]
    assert [watch.is_dead(claim) for claim in claims] == [False, False, False, False, True]
    assert watch.pause_s <= 1.0


async def test_a_request_that_takes_long_shows_that_it_lives(
    impatient: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.judgments import service as judgments_service

    app, may_end = create_app(impatient), asyncio.Event()
    judge = judgments_service.judge

    async def slow(*args: Any, **options: Any) -> Any:
        await may_end.wait()
        return await judge(*args, **options)

    monkeypatch.setattr(judgments_service, "judge", slow)
    async with app.router.lifespan_context(app), client_of(app) as client:
        running: Runtime = app.state.runtime
        asked = asyncio.create_task(judged(client))
        beats: set[int] = set()
        async with asyncio.timeout(60):
            while len(beats) < 3:
                await asyncio.sleep(0.01)
                async with running.db.read() as session:
                    beats.update(await session.scalars(select(IdempotencyKey.beat)))
        may_end.set()
        assert (await asked).status_code == 200


@pytest.mark.both_databases
async def test_a_refused_request_leaves_its_key_free(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k"}
    body = {"dataset": "rivers"}
    refused = await client.post("/v1/batches", json=body, headers=headers)
    assert refused.status_code == 404
    await upload(client, "rivers", labelled_rows(4))
    made = await client.post("/v1/batches", json=body, headers=headers)
    assert made.status_code == 202


@pytest.mark.both_databases
async def test_stored_answers_are_purged_when_their_time_is_over(service: FastAPI) -> None:
    running: Runtime = service.state.runtime
    start = running.now()
    async with client_of(service) as client:
        first = await judged(client)
        running.now = lambda: start + timedelta(hours=23)
        assert (await judged(client)).json() == first.json()
        running.now = lambda: start + timedelta(hours=25)
        again = await judged(client)
        assert again.json()["verdicts"][0]["cached"], "a new answer"
        await judged(client, at="second")
    assert await stored(running) == 2
    assert await purge(running.db, start + timedelta(hours=48)) == 0
    assert await purge(running.db, start + timedelta(hours=50)) == 2
    assert await stored(running) == 0


async def test_a_service_purges_by_itself(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"idempotency_hours": 0.2 / 3_600}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await judged(client)).status_code == 200
        async with asyncio.timeout(60):
            while await stored(app.state.runtime):  # noqa: ASYNC110 - as one who looks
                await asyncio.sleep(0.02)
