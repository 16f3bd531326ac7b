"""A budget: whole ways only, in random order, never more than the cap, and what finishing costs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from app.batches.worker import leases
from app.batches.worker.loop import Worker, backoff
from app.core.models import Batch
from app.core.runtime import Runtime
from app.core.settings import Settings
from judges.base import JudgeSpec
from tests.app.paid_judge import PaidJudge, install, without_label
from tests.app.rows import labelled_rows, upload
from tests.conftest import client_of

CHEAP, DEAR = 0.01, 0.05


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"workers": 0, "shard_size": 20})


@pytest.fixture
async def client(service: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service) as opened:
        await upload(opened, "rivers", [{**row, "judges": {}} for row in labelled_rows(100)])
        yield opened


async def run(
    client: httpx.AsyncClient, running: Runtime, **request: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    created = await client.post("/v1/batches", json={"dataset": "rivers", **request})
    assert created.status_code == 202, created.text
    return await finish(client, running, created.json()["id"])


async def finish(
    client: httpx.AsyncClient, running: Runtime, batch_id: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    while await Worker(running, "worker").work():
        pass
    batch = (await client.get(f"/v1/batches/{batch_id}")).json()
    results = await client.get(f"/v1/batches/{batch_id}/results")
    return batch, [httpx.Response(200, content=line).json() for line in results.text.splitlines()]


@pytest.mark.both_databases
async def test_at_the_cap_the_rest_abstains_and_no_pair_goes_half_its_way(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    cheap, dear = PaidJudge("cheap", CHEAP, confidence=0.6), PaidJudge("dear", DEAR, confidence=0.9)
    install(running, cheap, dear)
    batch, verdicts = await run(client, running, budget_usd=1.0)
    judged = [v for v in verdicts if v["tiers"]]
    assert len(verdicts) == 100
    assert {v["judge"] for v in judged} == {"dear"}
    for verdict in verdicts:
        is_left_out = verdict.get("abstained_because") == "budget"
        assert is_left_out == (not verdict["tiers"])
    # the last pair must have been covered twice over, and would not have been once more
    assert len(judged) == int((1.0 - 2 * (CHEAP + DEAR)) / (CHEAP + DEAR)) + 1
    assert batch["cost_usd"] == pytest.approx(len(judged) * (CHEAP + DEAR))
    assert batch["spent_usd"] == pytest.approx(batch["cost_usd"])
    assert batch["reserved_usd"] == pytest.approx(0)
    assert batch["request_counts"]["not_admitted"] == 100 - len(judged)
    finish_cost = batch["cost_to_finish_usd"]
    assert finish_cost["value"] == pytest.approx((100 - len(judged)) * (CHEAP + DEAR))
    assert batch["next_pair_usd"] == pytest.approx(2 * (CHEAP + DEAR))


async def test_a_budget_that_covers_no_pair_says_what_one_may_cost(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    install(running, PaidJudge("j", CHEAP))
    batch, _ = await run(client, running, budget_usd=CHEAP)
    assert (batch["request_counts"]["not_admitted"], batch["cost_usd"]) == (100, 0)
    assert batch["next_pair_usd"] == pytest.approx(2 * CHEAP)
    more = {"budget_usd": 2 * CHEAP}
    again = (await client.post(f"/v1/batches/{batch['id']}/retry", json=more)).json()
    assert (again["status"], again["next_pair_usd"]) == ("in_progress", None)


async def test_a_retry_of_failures_spends_more_of_the_budget(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    class Mute(PaidJudge):
        async def score(self, pair: Any) -> Any:
            return without_label(await super().score(pair), CHEAP)

    install(running, Mute("j", CHEAP))
    batch, _ = await run(client, running, budget_usd=50)
    install(running, PaidJudge("j", CHEAP))
    await client.post(f"/v1/batches/{batch['id']}/retry")
    batch, _ = await finish(client, running, batch["id"])
    assert batch["cost_usd"] == pytest.approx(200 * CHEAP)
    assert batch["spent_usd"] == pytest.approx(200 * CHEAP)


async def test_a_seed_fixes_who_is_admitted_and_another_admits_others(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    admitted: list[set[str]] = []
    for seed in (0, 0, 1):
        install(running, PaidJudge(f"j{len(admitted)}", CHEAP))
        _, verdicts = await run(client, running, budget_usd=0.5, seed=seed)
        admitted.append({v["id"] for v in verdicts if v["tiers"]})
    assert admitted[0] == admitted[1] != admitted[2]
    # not the first ones of the file
    assert admitted[0] != {f"p{i}" for i in range(len(admitted[0]))}


@pytest.mark.both_databases
async def test_a_soft_budget_goes_by_what_pairs_have_cost(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    install(running, PaidJudge("j", CHEAP))
    batch, verdicts = await run(client, running, budget_usd=0.5, budget="soft")
    judged = sum(bool(v["tiers"]) for v in verdicts)
    assert batch["cost_usd"] == pytest.approx(0.5)
    assert judged == 50


async def test_a_judge_without_a_price_is_refused(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    class Unpriced(PaidJudge):
        @property
        def spec(self) -> JudgeSpec:
            return JudgeSpec(self.name, "paid", "m", {"name": self.name})

    install(running, Unpriced("mystery"))
    refused = await client.post("/v1/batches", json={"dataset": "rivers", "budget_usd": 1})
    assert refused.status_code == 422
    assert "mystery" in refused.text


@pytest.mark.both_databases
async def test_what_is_stored_already_needs_no_money(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    install(running, PaidJudge("j", CHEAP))
    await run(client, running)
    batch, verdicts = await run(client, running, budget_usd=0)
    assert all(v["tiers"] and v["cached"] for v in verdicts)
    assert batch["cost_usd"] == 0


@pytest.mark.both_databases
async def test_a_larger_budget_takes_the_batch_up_again(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    judge = PaidJudge("j", CHEAP)
    install(running, judge)
    batch, verdicts = await run(client, running, budget_usd=0.3)
    first = {v["id"]: v for v in verdicts if v["tiers"]}
    too_little = await client.post(f"/v1/batches/{batch['id']}/retry", json={"budget_usd": 0.01})
    assert too_little.status_code == 422
    retried = await client.post(f"/v1/batches/{batch['id']}/retry", json={"budget_usd": 5})
    assert retried.status_code == 202, retried.text
    batch, verdicts = await finish(client, running, batch["id"])
    assert batch["request_counts"]["not_admitted"] == 0
    assert len(verdicts) == 100
    assert all(judge.asked[f"p{i}"] == 1 for i in range(100))
    assert batch["cost_usd"] == pytest.approx(100 * CHEAP)
    assert batch["spent_usd"] == pytest.approx(100 * CHEAP)
    assert {v["id"]: v for v in verdicts if v["id"] in first} == first


@pytest.mark.both_databases
async def test_what_a_dead_worker_had_reserved_counts_as_spent(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    install(running, PaidJudge("j", CHEAP))
    await client.post("/v1/batches", json={"dataset": "rivers", "budget_usd": 1.0})
    async with running.db.write() as session:
        moment = await leases.ledger_time(session, running.now)
        shard = await leases.claim(session, "dead", moment, backoff(1))
        assert shard is not None
        shard.leased_until = moment - backoff(1)
        shard.reserved_usd = 0.4
        batch = (await session.scalars(select(Batch))).one()
        batch.reserved_usd = 0.4
    assert await Worker(running, "alive").work()
    async with running.db.read() as session:
        batch = (await session.scalars(select(Batch))).one()
    assert batch.spent_usd == pytest.approx(0.4 + 20 * CHEAP)
    assert batch.reserved_usd == pytest.approx(0)


async def test_the_admitted_are_a_fair_sample(client: httpx.AsyncClient, running: Runtime) -> None:
    """Over seeds every pair is admitted about equally often."""
    counts = np.zeros(100)
    rounds = 12
    for seed in range(rounds):
        install(running, PaidJudge(f"j{seed}", CHEAP))
        _, verdicts = await run(client, running, budget_usd=0.5, seed=seed)
        for verdict in verdicts:
            counts[int(verdict["id"][1:])] += bool(verdict["tiers"])
    share = counts.sum() / (100 * rounds)
    spread = np.sqrt(rounds * share * (1 - share))
    assert np.all(np.abs(counts - rounds * share) < 4.5 * spread)
    # no end of the file is preferred
    half = counts[:50].sum() - counts[50:].sum()
    assert abs(half) < 4.5 * np.sqrt(100) * spread
