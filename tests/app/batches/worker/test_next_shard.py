"""The shard that a worker goes on with is its own exactly when the one before is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.batches.worker.loop import Worker
from app.core.db import Database
from app.core.models import Shard
from app.core.runtime import Runtime
from app.core.settings import Settings
from tests.app.paid_judge import PaidJudge, install
from tests.app.rows import labelled_rows, upload
from tests.conftest import client_of

pytestmark = pytest.mark.both_databases


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"workers": 0, "shard_size": 10})


@pytest.fixture
async def client(service: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service) as opened:
        await upload(opened, "rivers", [{**row, "judges": {}} for row in labelled_rows(30)])
        yield opened


async def batch_of(client: httpx.AsyncClient, running: Runtime) -> PaidJudge:
    """Start a batch of three shards and return its judge."""
    judge = PaidJudge("j")
    install(running, judge)
    assert (await client.post("/v1/batches", json={"dataset": "rivers"})).status_code == 202
    return judge


class _Watched(Database):
    """Calls back once in the transaction that ends the first shard, before it commits."""

    def __init__(self, url: str, call: Callable[[], None]) -> None:
        super().__init__(url)
        self._call: Callable[[], None] | None = call

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        async with super().write() as session:
            yield session
            done = select(func.count()).select_from(Shard).where(Shard.state == "done")
            if self._call is not None and await session.scalar(done):
                call, self._call = self._call, None
                call()


@asynccontextmanager
async def watched(running: Runtime, call: Callable[[], None]) -> AsyncIterator[None]:
    usual, running.db = running.db, _Watched(running.db.url, call)
    try:
        yield
    finally:
        await running.db.aclose()
        running.db = usual


async def shards(running: Runtime) -> list[tuple[str, int, bool]]:
    """Return state, attempts and whether leased of all shards, in order."""
    query = select(Shard).order_by(Shard.number)
    async with running.db.read() as session:
        found = (await session.scalars(query)).all()
    return [(one.state, one.attempts, one.leased_until is not None) for one in found]


UNTRIED = ("todo", 0, False)
DONE = ("done", 1, False)


async def test_a_worker_goes_on(client: httpx.AsyncClient, running: Runtime) -> None:
    judge = await batch_of(client, running)
    assert await Worker(running, "worker").work()
    assert await shards(running) == [DONE, UNTRIED, UNTRIED]
    assert await Worker(running, "worker").work(goes_on=True)
    assert await shards(running) == [DONE, DONE, DONE]
    assert set(judge.asked.values()) == {1}


async def test_a_shard_that_others_had_waits_for_its_turn(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    await batch_of(client, running)
    async with running.db.write() as session:
        second = (await session.scalars(select(Shard).where(Shard.number == 1))).one()
        second.attempts = 1
    assert await Worker(running, "worker").work(goes_on=True)
    assert await shards(running) == [DONE, ("todo", 1, False), DONE]


async def test_a_worker_that_is_stopped_hands_back_what_follows(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    await batch_of(client, running)
    task: asyncio.Task[bool]

    def stop() -> None:
        task.cancel()

    async with watched(running, stop):
        task = asyncio.create_task(Worker(running, "worker").work(goes_on=True))
        with suppress(asyncio.CancelledError):
            await task
    assert task.cancelled()
    assert await shards(running) == [DONE, UNTRIED, UNTRIED]


async def test_what_is_rolled_back_is_followed_by_nothing(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    judge = await batch_of(client, running)

    def refuse() -> None:
        raise IntegrityError("COMMIT", None, ValueError("refused"))

    async with watched(running, refuse):
        assert await Worker(running, "worker").work(goes_on=True)
    first, *others = await shards(running)
    assert first[:2] == ("todo", 1)
    assert others == [UNTRIED, UNTRIED]
    assert sum(judge.asked.values()) == 10
