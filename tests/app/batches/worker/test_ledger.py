"""What survives a worker: scores, money, the rest of the batch."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select

from app.batches.worker import leases
from app.batches.worker.loop import Worker, is_dead, node_name, work_until_ended, worker_name
from app.batches.worker.spending import Calls
from app.core.models import Batch, Report, Score, Shard, Verdict
from app.core.runtime import Runtime
from app.core.settings import Settings
from judges.base import announce_call
from tests.app.batches.worker.breaking import breaking_at_the_end
from tests.app.paid_judge import PaidJudge, install, without_label
from tests.app.rows import labelled_rows, upload
from tests.conftest import client_of

pytestmark = pytest.mark.both_databases

LEASE = timedelta(seconds=12)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"workers": 0, "shard_size": 10, "max_attempts": 2, "checkpoint_seconds": 0.01}
    )


@pytest.fixture
async def client(service: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service) as opened:
        await upload(opened, "rivers", [{**row, "judges": {}} for row in labelled_rows(30)])
        yield opened


async def create(client: httpx.AsyncClient) -> str:
    created = await client.post("/v1/batches", json={"dataset": "rivers"})
    assert created.status_code == 202, created.text
    batch_id: str = created.json()["id"]
    return batch_id


async def work(running: Runtime) -> None:
    while await Worker(running, "worker").work():
        pass


async def results(client: httpx.AsyncClient, batch_id: str) -> list[dict[str, Any]]:
    text = (await client.get(f"/v1/batches/{batch_id}/results")).text
    return [httpx.Response(200, content=line).json() for line in text.splitlines()]


async def count(running: Runtime, table: type) -> int:
    async with running.db.read() as session:
        return int(await session.scalar(select(func.count()).select_from(table)) or 0)


async def noted(running: Runtime) -> int:
    """Return how many calls are under way or were cut off."""
    async with running.db.read() as session:
        return sum(len(shard.calls or []) for shard in await session.scalars(select(Shard)))


async def test_a_worker_that_is_stopped_has_stored_what_it_had_obtained(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    class HalfSlow(PaidJudge):
        async def score(self, pair: Any) -> Any:
            if int(pair.id[1:]) % 2:
                await announce_call(self.spec, pair)
                self.asked[pair.id] += 1
                await asyncio.Event().wait()
            return await super().score(pair)

    judge = HalfSlow("j")
    install(running, judge)
    batch_id = await create(client)
    task = asyncio.create_task(Worker(running, "stopped").work())
    while await count(running, Score) < 5:  # noqa: ASYNC110  # the worker tells nobody
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await count(running, Verdict) == 0
    usual = PaidJudge("j")
    install(running, usual)
    await work(running)
    verdicts = await results(client, batch_id)
    assert len(verdicts) == 30
    assert sum(usual.asked.values()) == 25
    # as if nothing had happened: the batch has paid for every one of them
    was_cut_off = {v["id"]: v["tiers"][0]["flags"] == ["cut_off"] for v in verdicts}
    assert {v["cached"] for v in verdicts} == {False}
    assert {v["cost_usd"] for v in verdicts if not was_cut_off[v["id"]]} == {0.01}
    # what the calls have cost that were cut off nobody knows
    assert {name for name, cut in was_cut_off.items() if cut} == {
        name for name, times in judge.asked.items() if times and int(name[1:]) % 2
    }
    assert {v["cost_usd"] for v in verdicts if was_cut_off[v["id"]]} == {None}
    batch = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert (batch["cost_usd"], batch["known_usd"]) == (None, pytest.approx(0.3))
    [tier] = batch["progress"]["tiers"]
    assert (tier["obtained"], tier["cut_off"], tier["cost_usd"]) == (30, 5, None)
    page = " ".join((await client.get(f"/batches/{batch_id}")).text.split())
    assert "<b>at least $0.30</b>" in page
    assert "while j was asked about 5 pairs: what those calls cost is unknown" in page
    assert await noted(running) == 5


async def test_what_was_spent_on_a_batch_that_is_cancelled_counts(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    judge = PaidJudge("j", gate=asyncio.Event())
    install(running, judge)
    batch_id = await create(client)
    task = asyncio.create_task(Worker(running, "worker").work())
    while await noted(running) < 10:  # noqa: ASYNC110  # the judge tells nobody
        await asyncio.sleep(0.01)
    cancelled = (await client.post(f"/v1/batches/{batch_id}/cancel")).json()
    assert cancelled["status"] == "cancelled"
    # nobody knows yet what the calls under way will have cost
    assert (cancelled["cost_usd"], cancelled["known_usd"]) == (None, 0.0)
    assert cancelled["progress"]["tiers"][0]["cut_off"] == 10
    assert judge.gate is not None
    judge.gate.set()
    await task
    batch = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert batch["cost_usd"] == pytest.approx(0.1)
    assert batch["request_counts"]["completed"] == 0
    # taken up again, the ten are not paid for twice
    assert (await client.post(f"/v1/batches/{batch_id}/retry")).status_code == 202
    await work(running)
    batch = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert batch["request_counts"]["completed"] == 30
    assert batch["cost_usd"] == pytest.approx(0.3)
    assert sum(judge.asked.values()) == 30


async def cut_off(running: Runtime, until: Callable[[], Awaitable[bool]]) -> None:
    """Let a worker begin, and end it in the midst of its calls."""
    task = asyncio.create_task(Worker(running, "cut off").work())
    while not await until():  # noqa: ASYNC110  # the worker tells nobody
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])


async def test_calls_of_a_cancelled_batch_whose_worker_is_gone_have_an_unknown_cost(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    judge = PaidJudge("j", gate=asyncio.Event())
    install(running, judge)
    batch_id = await create(client)

    async def has_asked() -> bool:
        return await noted(running) == 10

    await cut_off(running, has_asked)
    await client.post(f"/v1/batches/{batch_id}/cancel")
    batch = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert (batch["cost_usd"], batch["known_usd"]) == (None, 0.0)
    install(running, PaidJudge("j"))
    assert (await client.post(f"/v1/batches/{batch_id}/retry")).status_code == 202
    await work(running)
    batch = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert (batch["cost_usd"], batch["known_usd"]) == (None, pytest.approx(0.3))
    assert [v["cost_usd"] for v in await results(client, batch_id)].count(None) == 10


async def test_what_a_failure_cost_is_not_forgotten_after_a_crash(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    class Broken(PaidJudge):
        async def score(self, pair: Any) -> Any:
            score = await super().score(pair)
            if int(pair.id[1:]) % 2:
                await asyncio.Event().wait()
            return without_label(score)

    judge = Broken("j")
    install(running, judge)
    batch_id = await create(client)

    async def has_stored() -> bool:
        return await count(running, Score) == 5

    await cut_off(running, has_stored)
    install(running, PaidJudge("j"))
    await work(running)
    # five have failed at a price, five were under way
    assert [v["cost_usd"] for v in await results(client, batch_id)].count(None) == 10


async def test_no_call_is_made_by_a_worker_that_has_lost_its_shard(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    install(running, PaidJudge("j"))
    batch_id = await create(client)
    shard = await Worker(running, "late").claim()
    assert shard is not None
    calls = Calls(running, shard)
    await calls.before("p0", "j")
    assert (await client.post(f"/v1/batches/{batch_id}/cancel")).status_code == 200
    await calls.before("p0", "j")
    waiting = asyncio.create_task(calls.before("p1", "j"))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_pairs_on_which_a_judge_was_away_are_judged_when_it_is_back(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    cheap, dear = PaidJudge("cheap", confidence=0.6), PaidJudge("dear", confidence=0.9)
    install(running, cheap, dear)
    dear.is_away = True
    batch_id = await create(client)
    await work(running)
    batch = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert batch["request_counts"]["accepted"] == 0
    dear.is_away = False
    retried = await client.post(f"/v1/batches/{batch_id}/retry")
    assert retried.json()["status"] == "in_progress"
    await work(running)
    batch = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert (batch["status"], batch["request_counts"]["accepted"]) == ("completed", 30)
    assert await count(running, Verdict) == 30
    assert set(cheap.asked.values()) == {1}
    tiers = {tier["judge"]: tier for tier in batch["progress"]["tiers"]}
    assert (tiers["dear"]["asked"], tiers["dear"]["failed"]) == (30, 0)
    nothing = await client.post(f"/v1/batches/{batch_id}/retry")
    assert nothing.status_code == 409


class Mute(PaidJudge):
    """Gives no label on the odd pairs, at a price that is its usual one or unknown."""

    def __init__(self, name: str, failure_usd: float | None = 0.01) -> None:
        super().__init__(name)
        self.failure_usd = failure_usd

    async def score(self, pair: Any) -> Any:
        score = await super().score(pair)
        return without_label(score, self.failure_usd) if int(pair.id[1:]) % 2 else score


async def retried(client: httpx.AsyncClient, running: Runtime, batch_id: str) -> dict[str, Any]:
    answer = await client.post(f"/v1/batches/{batch_id}/retry")
    assert answer.status_code == 202, answer.text
    opened = answer.json()
    await work(running)
    found: dict[str, Any] = (await client.get(f"/v1/batches/{batch_id}")).json()
    # what was spent is spent, also while it is judged again
    assert opened["known_usd"] <= found["known_usd"] + 1e-9
    return {**found, "at_first": opened["known_usd"]}


async def test_what_failures_cost_that_are_retried_stays_counted(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    install(running, Mute("j"))
    batch_id = await create(client)
    await work(running)
    # it gives no label this time either
    batch = await retried(client, running, batch_id)
    assert batch["cost_usd"] == pytest.approx(0.45)
    assert batch["at_first"] == pytest.approx(0.3)
    install(running, PaidJudge("j"))
    batch = await retried(client, running, batch_id)
    assert batch["at_first"] == pytest.approx(0.45)
    assert batch["cost_usd"] == pytest.approx(0.6)
    assert (batch["known_usd"], batch["unpriced"]) == (pytest.approx(0.6), 0)
    [tier] = batch["progress"]["tiers"]
    assert (tier["asked"], tier["failed"], tier["obtained"]) == (30, 0, 60)
    assert tier["cost_usd"] == pytest.approx(0.6)
    # each verdict says what it has cost itself
    assert {v["cost_usd"] for v in await results(client, batch_id)} == {0.01}


async def test_failures_of_unknown_cost_that_are_retried_stay_unknown(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    install(running, Mute("j", None))
    batch_id = await create(client)
    await work(running)
    install(running, PaidJudge("j"))
    batch = await retried(client, running, batch_id)
    assert (batch["cost_usd"], batch["unpriced"]) == (None, 15)
    assert batch["known_usd"] == pytest.approx(0.3)


async def test_a_retry_that_is_cut_off_or_cancelled_counts_nothing_twice(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    install(running, Mute("j"))
    batch_id = await create(client)
    await work(running)
    judge = PaidJudge("j", gate=asyncio.Event())
    install(running, judge)
    await client.post(f"/v1/batches/{batch_id}/retry")

    async def has_asked() -> bool:
        return await noted(running) == 5

    await cut_off(running, has_asked)
    await client.post(f"/v1/batches/{batch_id}/cancel")
    batch = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert (batch["cost_usd"], batch["known_usd"]) == (None, pytest.approx(0.3))
    install(running, PaidJudge("j"))
    batch = await retried(client, running, batch_id)
    # of the calls that were cut off nobody knows the cost
    assert (batch["unpriced"], batch["known_usd"]) == (5, pytest.approx(0.45))


async def test_a_retry_that_is_cut_off_after_some_answers_counts_these_once(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    class HangsOnNine(PaidJudge):
        async def score(self, pair: Any) -> Any:
            score = await super().score(pair)
            if pair.id == "p9":
                await asyncio.Event().wait()
            return score

    install(running, Mute("j"))
    batch_id = await create(client)
    await work(running)
    install(running, HangsOnNine("j"))
    await client.post(f"/v1/batches/{batch_id}/retry")

    async def has_stored() -> bool:
        async with running.db.read() as session:
            stored = select(func.count()).where(Score.shard == 0, Score.failure.is_(None))
            return await session.scalar(stored) == 9

    await cut_off(running, has_stored)
    install(running, PaidJudge("j"))
    await work(running)
    batch = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert (batch["unpriced"], batch["known_usd"]) == (1, pytest.approx(0.45))


async def test_equal_pairs_of_a_shard_are_asked_once(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    row = {"prompt": "why?", "response_a": "so", "response_b": "for no reason"}
    mirror = {**row, "response_a": row["response_b"], "response_b": row["response_a"]}
    await upload(
        client, "twins", [{**row, "id": "p1"}, {**mirror, "id": "p2"}, {**row, "id": "p3"}]
    )
    judge = PaidJudge("j")
    install(running, judge)
    created = await client.post("/v1/batches", json={"dataset": "twins"})
    await work(running)
    assert sum(judge.asked.values()) == 1
    first, second, third = await results(client, created.json()["id"])
    assert first["label"] == third["label"] != second["label"]
    assert [v["cost_usd"] for v in (first, second, third)] == [0.01, 0, 0]


async def test_a_shard_that_kills_its_workers_is_set_aside(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    install(running, PaidJudge("j"))
    batch_id = await create(client)
    for _ in range(2):
        async with running.db.write() as session:
            moment = await leases.ledger_time(session, running.now)
            shard = await leases.claim(session, "dies", moment, LEASE)
            assert shard is not None
            assert shard.number == 0
            shard.leased_until = moment - LEASE
    await work(running)
    batch = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert batch["status"] == "completed"
    assert batch["shards"] == {"done": 2, "failed": 1}
    assert (batch["request_counts"]["completed"], batch["request_counts"]["failed"]) == (20, 10)
    assert "2 workers died" in batch["error"]
    assert (await client.post(f"/v1/batches/{batch_id}/retry")).status_code == 202
    await work(running)
    batch = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert (batch["request_counts"]["completed"], batch["error"]) == (30, None)


@pytest.fixture(scope="module")
def gone() -> str:
    """The name of a worker of this node whose process has ended."""
    code = "from app.batches.worker.loop import node_name, worker_name; print(worker_name(node_name()))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ended.stdout.strip()


async def test_shards_of_a_process_that_is_gone_are_free_at_once(
    client: httpx.AsyncClient, running: Runtime, gone: str
) -> None:
    install(running, PaidJudge("j"))
    await create(client)
    async with running.db.write() as session:
        moment = await leases.ledger_time(session, running.now)
        assert await leases.claim(session, gone, moment, LEASE) is not None
    await work(running)
    async with running.db.read() as session:
        batch = (await session.scalars(select(Batch))).one()
        attempts = list(await session.scalars(select(Shard.attempts).order_by(Shard.number)))
    assert batch.status == "completed"
    assert attempts == [2, 1, 1]


def test_only_the_dead_of_our_own_place_are_known_to_be_dead() -> None:
    node = node_name()
    own = worker_name(node)
    assert not is_dead(own, node)
    assert not is_dead(own, "elsewhere")
    place, pid, started, token = own.split("/")
    assert (place, pid) == (node, str(os.getpid()))
    # another process has the number by now
    assert is_dead(f"{node}/{pid}/{int(started) - 1}/{token}", node)
    assert not is_dead(f"elsewhere/{pid}/0/{token}", node)
    assert not is_dead("a name of old", node)
    assert node_name("pod-3/a") == "pod-3_a"


async def test_a_worker_of_one_batch_leaves_the_others_alone_and_ends_with_it(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    install(running, PaidJudge("j"))
    others, own = await create(client), await create(client)
    await work_until_ended(running, own)
    counts = [
        (await client.get(f"/v1/batches/{one}")).json()["request_counts"]["completed"]
        for one in (others, own)
    ]
    assert counts == [0, 30]


async def test_a_connection_that_breaks_after_the_last_commit_costs_no_report(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    install(running, PaidJudge("j"))
    batch_id = await create(client)
    async with breaking_at_the_end(running) as broken:
        await work(running)
        async with asyncio.timeout(10):
            while not await count(running, Report):  # noqa: ASYNC110  # it is made on the side
                await asyncio.sleep(0.01)
    assert broken.is_set()
    batch = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert (batch["status"], batch["request_counts"]["completed"]) == ("completed", 30)
