"""What a batch says of itself while its first shard is far from done, and at what price."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event, insert, select

from app.batches import totals
from app.batches.worker.loop import Worker
from app.core.models import Shard
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.judgments import verdicts
from judges.types import FailureKind, JudgeFailure, Pair, Score
from tests.app.paid_judge import PaidJudge, install
from tests.app.rows import labelled_rows, upload
from tests.conftest import client_of

PAIRS, PRICE = 60, 0.01


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(
        update={
            "workers": 0, "shard_size": 2_000, "checkpoint_seconds": 0.02, "pairs_in_flight": 4, "max_attempts": 2,
            "tables_dir": tmp_path,
        }
    )  # fmt: skip


@pytest.fixture
async def client(service: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service) as opened:
        await upload(opened, "rivers", [{**row, "judges": {}} for row in labelled_rows(PAIRS)])
        yield opened


class HaltingJudge(PaidJudge):
    """Answers so many questions, and the others once it is let go on; some answers are failures."""

    def __init__(self, answers: int, *, failures: int = 0) -> None:
        super().__init__("dear", PRICE)
        self.answers, self.failures = answers, failures
        self.may_go_on = asyncio.Event()

    async def score(self, pair: Pair) -> Score:
        number = self.asked.total()
        if number >= self.answers:
            await self.may_go_on.wait()
        found = await super().score(pair)
        if number < self.failures:
            failure = JudgeFailure(FailureKind.CONNECTION, "nobody is there")
            return Score(self.name, found.fingerprint, None, failure=failure, cost_usd=PRICE)
        return found


async def create(client: httpx.AsyncClient, **request: Any) -> str:
    created = await client.post("/v1/batches", json={"dataset": "rivers", **request})
    assert created.status_code == 202, created.text
    return f"/v1/batches/{created.json()['id']}"


async def seen(
    client: httpx.AsyncClient, address: str, is_meant: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Look at a batch until it is as it is meant to be."""
    for _ in range(400):
        batch: dict[str, Any] = (await client.get(address)).json()
        if is_meant(batch):
            return batch
        await asyncio.sleep(0.01)
    raise AssertionError(batch)


def has_judged(count: int) -> Callable[[dict[str, Any]], bool]:
    return lambda batch: judged(batch) == count


def judged(batch: dict[str, Any]) -> int:
    counts = batch["request_counts"]
    return int(counts["completed"] + counts["failed"])


@asynccontextmanager
async def working(running: Runtime, name: str = "worker") -> AsyncIterator[asyncio.Task[None]]:
    async def work() -> None:
        while await Worker(running, name).work():
            pass

    task = asyncio.create_task(work())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.both_databases
async def test_counts_cost_and_judges_move_before_the_first_shard_is_done(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    judge = HaltingJudge(answers=20, failures=5)
    install(running, judge)
    address = await create(client)
    async with working(running) as work:
        batch = await seen(client, address, has_judged(20))
        assert batch["shards"] == {"todo": 1}
        assert batch["request_counts"]["failed"] == 5
        assert batch["request_counts"]["accepted"] == 15
        assert batch["cost_usd"] == pytest.approx(20 * PRICE)
        assert batch["cost_to_finish_usd"]["value"] == pytest.approx(40 * PRICE)
        [tier] = batch["progress"]["tiers"]
        assert (tier["judge"], tier["asked"], tier["failed"], tier["obtained"]) == (
            "dear",
            20,
            5,
            20,
        )
        assert batch["progress"]["pairs_per_second"] > 0
        assert batch["progress"]["seconds_left"] > 0
        [listed] = (await client.get("/v1/batches")).json()["data"]
        assert judged(listed) == 20
        judge.may_go_on.set()
        await work
    ended = (await client.get(address)).json()
    assert judged(ended) == PAIRS
    assert ended["progress"]["tiers"][0]["asked"] == PAIRS
    assert ended["cost_usd"] == pytest.approx(PAIRS * PRICE)


async def test_events_and_metrics_move_with_the_counts(
    client: httpx.AsyncClient, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.batches.events.POLL_SECONDS", 0.02)
    judge = HaltingJudge(answers=20)
    install(running, judge)
    address = await create(client)
    batch_id = address.rpartition("/")[2]
    listening = asyncio.create_task(client.get(f"{address}/events"))
    async with working(running) as work:
        await seen(client, address, has_judged(20))
        said = (await client.get("/metrics")).text
        assert f'tribunal_batch_pairs{{batch="{batch_id}",status="waiting"}} 40.0' in said
        cost = said.partition(f'tribunal_batch_cost_usd{{batch="{batch_id}"}} ')[2].split("\n")[0]
        assert float(cost) == pytest.approx(0.2)
        asked = f'tribunal_batch_judge_pairs{{batch="{batch_id}",judge="dear",outcome="asked"}}'
        assert f"{asked} 20.0" in said
        assert f'tribunal_batch_pairs_per_second{{batch="{batch_id}"}}' in said
        await asyncio.sleep(0.6)  # the listener looks many times
        judge.may_go_on.set()
        await work
    blocks = (await listening).text.split("\n\n")
    told = [
        json.loads(block.partition("data: ")[2].partition("\n")[0])
        for block in blocks
        if "data: " in block
    ]
    assert 20 in [judged(batch) for batch in told]
    assert batch_id not in (await client.get("/metrics")).text


@pytest.mark.both_databases
async def test_a_worker_that_dies_leaves_its_counts_and_none_counts_twice(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    judge = HaltingJudge(answers=20, failures=4)
    install(running, judge)
    address = await create(client)
    async with working(running):
        await seen(client, address, has_judged(20))
    # the next attempt must judge the four again
    told = [judged((await client.get(address)).json())]
    assert told == [20]
    judge.answers, judge.failures = judge.asked.total() + 10, 0
    async with working(running, "another") as work:
        for _ in range(1000):
            told.append(judged((await client.get(address)).json()))
            if told[-1] == 26:
                break
            await asyncio.sleep(0.01)
        judge.may_go_on.set()
        await work
    assert told == sorted(told)
    assert told[-1] == 26
    ended = (await client.get(address)).json()
    assert ended["request_counts"]["completed"] == PAIRS
    assert ended["progress"]["tiers"][0]["asked"] == PAIRS


@pytest.mark.both_databases
async def test_what_was_spent_on_a_shard_that_ends_without_verdicts_stays(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    """Cancelled while its worker was away, or set aside after the last attempt."""
    judge = HaltingJudge(answers=20)
    install(running, judge)
    address = await create(client)
    async with working(running):
        await seen(client, address, has_judged(20))
    cancelled = (await client.post(f"{address}/cancel")).json()
    assert judged(cancelled) == 0
    assert cancelled["cost_usd"] == pytest.approx(20 * PRICE)
    judge.may_go_on.set()
    await client.post(f"{address}/retry")
    async with working(running) as work:
        await work
    ended = (await client.get(address)).json()
    assert ended["request_counts"]["completed"] == PAIRS
    assert ended["cost_usd"] == pytest.approx(PAIRS * PRICE)


@pytest.mark.both_databases
async def test_a_shard_that_is_set_aside_counts_its_cost_once(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    class Breaks(HaltingJudge):
        async def score(self, pair: Pair) -> Score:
            if self.asked.total() >= self.answers:
                await asyncio.sleep(0.1)
                raise RuntimeError("a fault of the program")
            return await super().score(pair)

    judge = Breaks(answers=20)
    install(running, judge)
    address = await create(client)
    async with working(running) as work:
        await work
    [shard] = await rows(running, Shard)
    assert shard.state == "todo"
    assert judged((await client.get(address)).json()) == 20
    async with running.db.write() as session:
        stored = await session.get(Shard, (shard.batch_seq, 0))
        assert stored is not None
        stored.leased_until = None
    async with working(running) as work:
        await work
    ended = (await client.get(address)).json()
    assert ended["status"] == "failed"
    assert ended["request_counts"]["failed"] == PAIRS
    assert ended["cost_usd"] == pytest.approx(20 * PRICE)


@pytest.mark.both_databases
async def test_looking_at_a_batch_costs_the_same_however_many_shards_it_has(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    install(running, HaltingJudge(answers=8))
    address = await create(client)
    async with working(running):
        await seen(client, address, has_judged(8))
        with fetched(running) as few:
            await client.get(address)
        [shard] = await rows(running, Shard)
        values = {
            "batch_seq": shard.batch_seq, "first": 0, "last": 0, "worker": None,
            "leased_until": None, "attempts": 0, "error": None, "reserved_usd": 0.0,
        }  # fmt: skip
        more = [
            {**values, "number": number, "state": state, "counts": {"pairs": 0}}
            for number, state in enumerate(["done"] * 500 + ["todo"] * 500, start=1)
        ]
        async with running.db.write() as session:
            await session.execute(insert(Shard), more)
        with fetched(running) as many:
            await client.get(address)
    assert len(many) == len(few)
    # of 1,001 shards one is under way: an index finds it
    query = select(Shard.number).where(
        Shard.batch_seq == shard.batch_seq, Shard.so_far.is_not(None), Shard.state == "todo"
    )
    async with running.db.read() as session:
        assert len((await session.execute(query)).all()) == 1


@contextmanager
def fetched(running: Runtime) -> Iterator[list[str]]:
    """Collect the statements that are sent."""
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    engine = running.db._reader.sync_engine
    event.listen(engine, "after_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "after_cursor_execute", note)


async def test_each_verdict_is_counted_once_however_many_checkpoints_there_are(
    client: httpx.AsyncClient, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    made: list[str] = []
    make, really = verdicts.verdict_body, totals.shard_counts

    def made_again(one: Any, *args: Any, **options: Any) -> Any:
        made.append(one.verdict.id)
        return make(one, *args, **options)

    monkeypatch.setattr("app.batches.worker.shard.verdict_body", made_again)

    def count_them(verdicts: Any, *others: Any) -> Any:
        shown = list(verdicts)
        counted.append(len(shown))
        return really(shown, *others)

    monkeypatch.setattr(totals, "shard_counts", count_them)
    judge = PaidJudge("dear", PRICE, pause=0.01)
    install(running, judge)
    address = await create(client)
    async with working(running) as work:
        await work
    assert judged((await client.get(address)).json()) == PAIRS
    assert len([n for n in counted if n]) > 3
    assert sum(counted) == PAIRS
    assert sorted(made) == sorted(set(made))


async def test_a_batch_over_files_tells_how_far_it_is(
    client: httpx.AsyncClient, running: Runtime, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    exported = await client.get("/v1/datasets/rivers/export", params={"format": "parquet"})
    (tmp_path / "pairs.parquet").write_bytes(exported.content)
    judge = HaltingJudge(answers=20)
    install(running, judge)
    created = await client.post(
        "/v1/batches", json={"input": "pairs.parquet", "output": "verdicts", "cascade": "default"}
    )
    assert created.status_code == 202, created.text
    address = f"/v1/batches/{created.json()['id']}"
    async with working(running) as work:
        batch = await seen(client, address, has_judged(20))
        assert batch["cost_usd"] == pytest.approx(20 * PRICE)
        assert batch["progress"]["tiers"][0]["asked"] == 20
        judge.may_go_on.set()
        await work
    ended = (await client.get(address)).json()
    assert judged(ended) == PAIRS
    assert ended["cost_usd"] == pytest.approx(PAIRS * PRICE)
    [part] = (tmp_path / "verdicts").glob("*.parquet")
    models = parquet.read_table(part, columns=["model_a", "model_b"]).to_pylist()
    assert {frozenset(row.values()) for row in models} == {frozenset(["left", "right"])}


async def test_the_rate_is_that_of_the_last_minute_from_the_first_pair_on(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    """Two shards of two workers are under way: their sum counts, and none goes back."""
    running.settings = running.settings.model_copy(update={"shard_size": 30})
    judge = HaltingJudge(answers=24)
    install(running, judge)
    address = await create(client)
    async with working(running, "one") as first, working(running, "two") as second:
        batch = await seen(client, address, has_judged(24))
        assert batch["shards"] == {"todo": 2}
        rate = batch["progress"]["pairs_per_second"]
        assert batch["progress"]["seconds_left"] == pytest.approx(36 / rate)
        judge.may_go_on.set()
        await first
        await second
    assert judged((await client.get(address)).json()) == PAIRS


async def rows(running: Runtime, table: type[Any]) -> list[Any]:
    async with running.db.read() as session:
        return list(await session.scalars(select(table)))
