"""What came of a batch, line by line, on each kind of database."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from app.batches import queries, service
from app.batches.worker.loop import Worker
from app.core.models import Shard
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import create_app
from tests.app.batches.files.lines import envelopes_of, line, lines, sent, start
from tests.app.rows import certify, labelled_rows, upload
from tests.conftest import client_of

Envelope = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bench:
    """A service whose batches are worked on by hand."""

    client: httpx.AsyncClient
    running: Runtime

    async def work(self, shards: int) -> None:
        """Judge some shards."""
        for _ in range(shards):
            assert await Worker(self.running, "by hand").work()

    async def batch(self, batch_id: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client.get(f"/v1/batches/{batch_id}")).json()
        return found

    async def files(self, batch_id: str) -> tuple[list[Envelope], list[Envelope]]:
        """Return the output and the errors of an ended batch."""
        batch = await self.batch(batch_id)
        output = await envelopes_of(self.client, batch["output_file_id"])
        return output, await envelopes_of(self.client, batch["error_file_id"])


@pytest.fixture
async def bench(settings: Settings) -> AsyncIterator[Bench]:
    app = create_app(settings.model_copy(update={"workers": 0, "shard_size": 20}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield Bench(client, app.state.runtime)


def _codes(errors: list[Envelope]) -> Counter[str]:
    return Counter(each["error"]["code"] for each in errors if each["error"])


@pytest.mark.both_databases
async def test_an_expired_batch_says_which_pairs_it_did_not_reach(bench: Bench) -> None:
    file = await sent(bench.client, lines(labelled_rows(50)) + b"bad\n")
    created = (await start(bench.client, file["id"], completion_window="1h")).json()
    early = await bench.client.get(f"/v1/files/{created['id']}_output/content")
    assert early.status_code == 409
    assert early.headers["retry-after"]
    await bench.work(1)
    started = bench.running.now()
    bench.running.now = lambda: started + timedelta(minutes=61)
    assert not await Worker(bench.running, "by hand").work()
    batch = await bench.batch(created["id"])
    assert batch["status"] == "expired"
    assert batch["expired_at"] == int(bench.running.now().timestamp())
    assert (batch["completed_at"], batch["finalizing_at"]) == (None, None)
    counts = batch["request_counts"]
    assert (counts["total"], counts["completed"], counts["failed"]) == (51, 20, 1)
    output, errors = await bench.files(batch["id"])
    assert [each["custom_id"] for each in output] == [f"p{n}" for n in range(20)]
    assert _codes(errors) == {"batch_expired": 30, "invalid_line": 1}
    assert [each["custom_id"] for each in errors] == [None, *(f"p{n}" for n in range(20, 50))]


@pytest.mark.both_databases
async def test_a_batch_that_expires_keeps_what_had_kept_it_from_being_judged(bench: Bench) -> None:
    file = await sent(bench.client, lines(labelled_rows(30)))
    created = (await start(bench.client, file["id"], completion_window="1h")).json()
    async with bench.running.db.write() as session:
        shard = (await session.scalars(select(Shard).where(Shard.number == 1))).one()
        shard.error, shard.leased_until = (
            "the disk is full",
            bench.running.now() + timedelta(days=1),
        )
    await bench.work(1)
    started = bench.running.now()
    bench.running.now = lambda: started + timedelta(minutes=61)
    assert not await Worker(bench.running, "by hand").work()
    batch = await bench.batch(created["id"])
    assert (batch["status"], batch["error"]) == ("expired", "the disk is full")
    assert batch["errors"]["data"][0]["message"] == "the disk is full"
    _, errors = await bench.files(batch["id"])
    assert {each["error"]["message"] for each in errors} == {
        "the batch expired before this pair was judged; its last attempt failed: the disk is full"
    }


@pytest.mark.both_databases
async def test_a_shard_that_was_set_aside_is_an_error_of_each_of_its_pairs(bench: Bench) -> None:
    file = await sent(bench.client, lines(labelled_rows(50)))
    batch_id = (await start(bench.client, file["id"])).json()["id"]
    async with bench.running.db.write() as session:
        shard = (await session.scalars(select(Shard).where(Shard.number == 1))).one()
        shard.state, shard.error = "failed", "it broke"
        batch_row = await queries.locked(session, shard.batch_seq)
        moment = bench.running.now()
        await service.shard_set_aside(session, batch_row, shard, "it broke", moment)
    await bench.work(2)
    batch = await bench.batch(batch_id)
    assert (batch["status"], batch["request_counts"]["failed"]) == ("completed", 20)
    assert batch["errors"]["data"][0]["message"] == "it broke"
    output, errors = await bench.files(batch_id)
    assert len(output) == 30
    assert [each["custom_id"] for each in errors] == [f"p{n}" for n in range(20, 40)]
    assert {each["error"]["message"] for each in errors} == {"it broke"}
    assert _codes(errors) == {"shard_failed": 20}


async def test_a_failed_verdict_is_an_error_with_the_verdict_in_it(bench: Bench) -> None:
    await upload(bench.client, "rivers", labelled_rows(200))
    certificate = await certify(bench.client, "rivers", target_agreement=0.8)
    rows = labelled_rows(30, seed=3)
    for row in rows[:5]:
        row["judges"] = {"cheap": None, "dear": None}
    file = await sent(bench.client, lines(rows))
    metadata = {"calibration": certificate["id"]}
    batch_id = (await start(bench.client, file["id"], metadata=metadata)).json()["id"]
    await bench.work(2)
    batch = await bench.batch(batch_id)
    assert (batch["promise"], batch["request_counts"]["failed"]) == ("suspended", 5)
    output, errors = await bench.files(batch_id)
    assert {each["response"]["body"]["promise"] for each in output} == {"suspended"}
    assert [each["custom_id"] for each in errors] == [f"p{n}" for n in range(5)]
    for each in errors:
        assert (each["error"], each["response"]["status_code"]) == (None, 502)
        assert each["response"]["body"]["status"] == "failed"
        assert each["response"]["body"]["tiers"][0]["failure"]


@pytest.mark.both_databases
async def test_a_deleted_file_leaves_its_batch_whole(bench: Bench) -> None:
    file = await sent(bench.client, lines(labelled_rows(30)) + b"bad\n")
    batch_id = (await start(bench.client, file["id"])).json()["id"]
    await bench.work(1)
    assert (await bench.client.delete(f"/v1/files/{file['id']}")).status_code == 200
    assert (await start(bench.client, file["id"])).status_code == 404
    await bench.work(1)
    batch = await bench.batch(batch_id)
    assert (batch["status"], batch["input_file_id"]) == ("completed", file["id"])
    output, errors = await bench.files(batch_id)
    assert (len(output), _codes(errors)) == (30, {"invalid_line": 1})


async def test_a_part_of_a_dataset_has_errors_for_that_part_alone(bench: Bench) -> None:
    await upload(bench.client, "rivers", labelled_rows(60))
    part = {"fraction": 0.5, "seed": 0, "side": "test"}
    body = {"dataset": "rivers", "part": part}
    batch_id = (await bench.client.post("/v1/batches", json=body)).json()["id"]
    await bench.work(1)
    await bench.client.post(f"/v1/batches/{batch_id}/cancel")
    output, errors = await bench.files(batch_id)
    assert (len(output), _codes(errors)) == (20, {"batch_cancelled": 10})
    ids = [each["custom_id"] for each in (*output, *errors)]
    assert len(set(ids)) == 30


@pytest.mark.both_databases
async def test_a_pair_with_a_verdict_is_no_error_whatever_its_shard_says(bench: Bench) -> None:
    file = await sent(bench.client, lines(labelled_rows(50)))
    batch_id = (await start(bench.client, file["id"])).json()["id"]
    await bench.work(1)
    async with bench.running.db.write() as session:
        await session.execute(update(Shard).values(state="todo"))
    await bench.client.post(f"/v1/batches/{batch_id}/cancel")
    output, errors = await bench.files(batch_id)
    assert [each["custom_id"] for each in (*output, *errors)] == [f"p{n}" for n in range(50)]
    assert _codes(errors) == {"batch_cancelled": 30}


@pytest.mark.both_databases
async def test_texts_of_any_kind_pass_through(bench: Bench) -> None:
    rows = labelled_rows(1)
    odd = {**rows[0], "response_a": "\x00\ud800", "metadata": {"\ud800": "\x00"}}
    name = "\ud83d\ude00 \u00e9"
    file = await sent(bench.client, line(odd, name) + b'{"custom_id": "\\ud800\\u0000"}\n')
    batch_id = (await start(bench.client, file["id"])).json()["id"]
    await bench.work(1)
    output, errors = await bench.files(batch_id)
    assert [each["custom_id"] for each in output] == ["\U0001f600 \u00e9"]
    assert [each["custom_id"] for each in errors] == ["\ud800\x00"]
