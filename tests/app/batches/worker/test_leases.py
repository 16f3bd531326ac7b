from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from fastapi import FastAPI

from app.batches.worker import leases
from app.batches.worker.loop import Worker, backoff
from app.core.models import Shard
from app.core.runtime import Runtime
from app.core.settings import Settings
from tests.app.rows import labelled_rows, upload
from tests.conftest import client_of

pytestmark = pytest.mark.both_databases

LEASE = timedelta(seconds=15)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"workers": 0})


@pytest.fixture
async def running(service: FastAPI) -> Runtime:
    """A service with one batch of two shards and nobody who works on them."""
    async with client_of(service) as client:
        await upload(client, "rivers", labelled_rows(100))
        created = await client.post("/v1/batches", json={"dataset": "rivers"})
        assert created.status_code == 202
    runtime: Runtime = service.state.runtime
    return runtime


async def test_a_worker_without_work_opens_one_transaction(
    running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running.db.write() as session:
        for name in ("one", "two"):
            assert await leases.claim(session, name, running.now(), LEASE)
    opened: list[str] = []

    def counted(begin: Callable[[], Any], way: str) -> Any:
        opened.append(way)
        return begin()

    for way in ("read", "write"):
        monkeypatch.setattr(running.db, way, partial(counted, getattr(running.db, way), way))
    assert await Worker(running, "three", LEASE).claim() is None
    # a service looks once a second, all its life
    assert opened == ["read"]


async def test_each_shard_is_claimed_once_until_its_lease_runs_out(running: Runtime) -> None:
    moment = running.now()
    async with running.db.write() as session:
        first = await leases.claim(session, "one", moment, LEASE)
        second = await leases.claim(session, "two", moment, LEASE)
        assert first is not None
        assert second is not None
        assert {first.number, second.number} == {0, 1}
        assert await leases.claim(session, "three", moment, LEASE) is None
    async with running.db.write() as session:
        taken = await leases.claim(session, "three", moment + LEASE * 2, LEASE)
        assert taken is not None
        assert taken.attempts == 2


async def test_a_lost_lease_can_neither_be_renewed_nor_finished(running: Runtime) -> None:
    moment = running.now()
    async with running.db.write() as session:
        shard = await leases.claim(session, "slow", moment, LEASE)
        assert shard is not None
        session.expunge(shard)
    async with running.db.write() as session:
        await leases.claim(session, "quick", moment + LEASE * 2, LEASE)
    async with running.db.write() as session:
        with pytest.raises(leases.LeaseLost):
            await leases.renew(session, shard, moment)
        with pytest.raises(leases.LeaseLost):
            await leases.finish(session, shard, {})
        with pytest.raises(leases.LeaseLost):
            await leases.give_up(session, shard, "x", retry_at=None)


async def test_a_shard_given_up_rests_before_it_is_tried_again(running: Runtime) -> None:
    moment = running.now()
    async with running.db.write() as session:
        shard = await leases.claim(session, "one", moment, LEASE)
        assert shard is not None
        later = moment + timedelta(minutes=1)
        await leases.give_up(session, shard, "it broke", retry_at=later)
    async with running.db.write() as session:
        other = await leases.claim(session, "two", moment, LEASE)
        assert other is not None
        assert other.number != shard.number
        assert await leases.claim(session, "two", moment, LEASE) is None
        assert await leases.claim(session, "two", later + LEASE, LEASE) is not None


async def test_a_shard_handed_back_is_free_at_once_and_counts_no_attempt(
    running: Runtime,
) -> None:
    moment = running.now()
    async with running.db.write() as session:
        shard = await leases.claim(session, "one", moment, LEASE)
        assert shard is not None
    async with running.db.write() as session:
        await leases.hand_back(session, shard)
    async with running.db.write() as session:
        again = await leases.claim(session, "two", moment, LEASE)
        assert again is not None
        assert (again.number, again.attempts) == (shard.number, 1)


async def test_a_clock_that_is_set_back_keeps_no_shard_longer_than_a_lease(
    running: Runtime,
) -> None:
    """Of the two shards one was held by a worker that died, the other failed and rests."""
    moment = running.now()
    ahead, second = moment + timedelta(hours=1), timedelta(seconds=1)
    async with running.db.write() as session:
        await leases.claim(session, "dead", ahead, LEASE)
        failed = await leases.claim(session, "alive", ahead, LEASE)
        assert failed is not None
        await session.flush()
        await leases.give_up(session, failed, "it broke", retry_at=ahead + backoff(9))
    assert not await Worker(running, "next", LEASE).work()
    async with running.db.write() as session:
        now = await leases.ledger_time(session, running.now)
        assert await leases.claim(session, "next", now, LEASE) is None
        shard = await leases.claim(session, "next", now + LEASE + second, LEASE)
        assert shard is not None
        assert (shard.number, shard.attempts) == (0, 2)
        await session.flush()
        assert await leases.claim(session, "next", now + LEASE + second, LEASE) is None
        assert await leases.claim(session, "next", now + backoff(16) + second, LEASE) is not None


async def test_a_lease_that_is_in_force_is_not_shortened(running: Runtime) -> None:
    moment = running.now()
    longest = leases.Longest(LEASE, backoff(16))
    async with running.db.write() as session:
        shard = await leases.claim(session, "one", moment, LEASE)
        assert shard is not None
        assert not await leases.is_any_overlong(session, moment, longest)
        until, key = shard.leased_until, (shard.batch_seq, shard.number)
        await session.flush()
        await leases.shorten(session, moment, longest)
        assert not await leases.is_any_overlong(session, moment, longest)
        session.expire_all()
        stored = await session.get(Shard, key)
        assert stored is not None
        assert stored.leased_until == until


def test_backoff_grows_and_is_bounded() -> None:
    waits = [backoff(n) for n in range(1, 30)]
    assert waits == sorted(waits)
    assert waits[-1] <= timedelta(minutes=5)
