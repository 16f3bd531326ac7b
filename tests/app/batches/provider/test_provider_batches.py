"""Batches through a provider's own batches: half the price, nothing twice, nothing lost."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from app.batches.provider.files import Courier
from app.batches.provider.loop import Rounds
from app.batches.worker.loop import Worker
from app.core.models import Batch, ProviderFile, ProviderLine, Score, Shard
from app.core.runtime import Runtime
from app.core.settings import Settings
from judges.prompting.examples import LabelledPair
from judges.registry import Registry
from judges.types import Message, Pair
from tests.app.batches.provider.fake_provider import Plan, Provider, serving
from tests.app.rows import upload
from tests.conftest import client_of
from tests.judges.model_server import PROMPT_TOKENS

Json = dict[str, Any]
# of a million tokens: one call of 100 and 1 tokens costs 0.0101 USD directly
PRICES = {"price_input": 100.0, "price_output": 100.0}
CALL = (PROMPT_TOKENS + 1) * 100 / 1e6
N = 24


def rows(n: int = N) -> list[dict[str, Any]]:
    return [
        {
            "id": f"p{i}",
            "prompt": f"Which is {i}?",
            "response_a": f"the left of {i}:" + " good" * (i % 4),
            "response_b": f"the right of {i}:" + " good" * (2 * i % 5),
        }
        for i in range(n)
    ]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "workers": 0, "shard_size": 10, "checkpoint_seconds": 0.01,
            "provider_poll_seconds": 1e-3, "provider_settle_seconds": 1e-3,
        }
    )  # fmt: skip


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    with serving(tmp_path / "provider.db") as served:
        yield served


EXAMPLES = [
    LabelledPair(
        Pair(f"e{i}", (Message("user", f"And {i}?"),), ("x",), ("y",)),
        (("anna", "b" if i % 2 else "a"),),
        f"g{i}",
    )
    for i in range(8)
]
_INSTALLED: list[Registry] = []


@pytest.fixture
async def client(service: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service) as opened:
        await upload(opened, "d", rows())
        yield opened
    while _INSTALLED:
        await _INSTALLED.pop().aclose()


def later(provider: Provider, **more: Any) -> dict[str, Any]:
    return {
        "kind": "openai", "base_url": provider.base_url, "model": "judge", "revision": "1",
        "annotators": 1,
        "batch_endpoint": True, **PRICES, **more,
    }  # fmt: skip


def install(running: Runtime, judges: dict[str, Any], thresholds: list[float]) -> None:
    cascade = {"judges": list(judges), "thresholds": thresholds}
    config = {"judges": judges, "cascades": {"default": cascade}}
    running.registry = Registry.from_config(config, examples=lambda _: EXAMPLES)
    _INSTALLED.append(running.registry)


async def create(client: httpx.AsyncClient, **request: Any) -> str:
    made = await client.post("/v1/batches", json={"dataset": "d", **request})
    assert made.status_code == 202, made.text
    return str(made.json()["id"])


async def work(running: Runtime, name: str = "worker") -> None:
    while await Worker(running, name).work():
        pass


async def finish(
    client: httpx.AsyncClient, running: Runtime, batch_id: str, most: int = 40
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rounds = Rounds(running, "rounds", lambda _: True)
    for _ in range(most):
        await work(running)
        await rounds.go()
        batch = (await client.get(f"/v1/batches/{batch_id}")).json()
        if batch["status"] not in ("in_progress", "validating"):
            text = (await client.get(f"/v1/batches/{batch_id}/results")).text
            return batch, [httpx.Response(200, content=line).json() for line in text.splitlines()]
    raise AssertionError(f"the batch has not ended: {batch}")


async def all_rows(running: Runtime, table: Any) -> list[Any]:
    async with running.db.read() as session:
        return list(await session.scalars(select(table)))


def cost_of(provider: Provider) -> float:
    return sum(CALL * (1.0 if batch is None else 0.5) for batch, _, _ in provider.ledger)


def assert_nothing_was_paid_twice(provider: Provider) -> None:
    billed = Counter(question for _, _, question in provider.ledger)
    assert [(q, n) for q, n in billed.items() if n > 1] == []


@pytest.mark.both_databases
async def test_a_batch_is_asked_in_the_providers_batches_at_half_the_price(
    client: httpx.AsyncClient, running: Runtime, provider: Provider
) -> None:
    forecasts = []
    for is_later in (False, True):
        install(running, {"j": later(provider, batch_endpoint=is_later)}, [0.5])
        forecast = await client.post("/v1/batches/estimate", json={"dataset": "d"})
        forecasts.append(forecast.json()["cost_usd"])
    assert forecasts[1]["value"] == pytest.approx(forecasts[0]["value"] / 2)
    assert forecasts[1]["high"] == forecasts[0]["high"]
    batch, verdicts = await finish(client, running, await create(client))
    assert [v["id"] for v in verdicts] == [f"p{i}" for i in range(N)]
    assert (len(provider.batches), len(provider.ledger)) == (1, 2 * N)
    assert batch["cost_usd"] == pytest.approx(2 * N * CALL / 2)
    assert [v["cost_usd"] for v in verdicts] == pytest.approx([CALL] * N)
    tier = batch["progress"]["tiers"][0]
    assert (tier["obtained"], tier["cost_usd"]) == (N, pytest.approx(cost_of(provider)))
    [file] = batch["progress"]["at_providers"]
    assert (file["id"], file["status"]) == (provider.batches[0]["id"], "completed")
    assert (file["questions"], file["answered"], file["left_out"]) == (2 * N, 2 * N, 0)
    page = await client.get(f"/batches/{batch['id']}")
    assert (page.status_code, "At the providers" in page.text) == (200, True)
    # nothing is left of it but the scores
    assert await all_rows(running, ProviderLine) == []
    # asked directly, the judge gives the same scores, and has the same fingerprint
    direct = later(provider, batch_endpoint=False)
    install(running, {"j": direct}, [0.5])
    again, same = await finish(client, running, await create(client))
    assert (again["cost_usd"], len(provider.ledger)) == (0, 2 * N)
    for one, other in zip(verdicts, same, strict=True):
        assert one["tiers"] == other["tiers"]


@pytest.mark.both_databases
async def test_what_the_provider_left_out_is_asked_directly(
    client: httpx.AsyncClient, running: Runtime, provider: Provider
) -> None:
    provider.plan = Plan(dropped=0.2, failed=0.2, repeated=0.5, expired=0.5, garbled=0.1, seed=1)
    install(running, {"j": later(provider)}, [0.5])
    batch, verdicts = await finish(client, running, await create(client))
    assert len(verdicts) == N
    assert_nothing_was_paid_twice(provider)
    directly = [row for row in provider.ledger if row[0] is None]
    assert 0 < len(directly) < 2 * N
    assert batch["cost_usd"] == pytest.approx(cost_of(provider))
    # an answer without a label is a failure of its pair, and is not asked for again
    failed = [v for v in verdicts if v["status"] == "failed"]
    assert {v["tiers"][0]["failure"]["kind"] for v in failed} == {"unparseable"}


async def test_a_second_tier_begins_with_the_first_file_that_is_back(
    client: httpx.AsyncClient, running: Runtime, provider: Provider, tmp_path: Path
) -> None:
    with serving(tmp_path / "dear.db") as dear:
        provider.plan = Plan(garbled=0.1, seed=3)
        judges = {"cheap": later(provider), "dear": later(dear, revision="2", batch_endpoint=False)}
        install(running, judges, [0.8, 0.5])
        running.settings = running.settings.model_copy(update={"provider_lines": 20})
        batch_id = await create(client)
        provider.plan.looks = 2
        rounds = Rounds(running, "rounds", lambda _: True)
        await work(running)
        await rounds.go()
        # several files, none is back
        assert (len(provider.batches), dear.ledger) == (1, [])
        batch, verdicts = await finish(client, running, batch_id)
        assert len(provider.batches) == 3
        assert len(verdicts) == N
        by = Counter(v["judge"] for v in verdicts)
        assert {"cheap", "dear"} <= set(by)
        assert_nothing_was_paid_twice(provider)
        assert_nothing_was_paid_twice(dear)
        assert batch["cost_usd"] == pytest.approx(cost_of(provider) + cost_of(dear))


async def test_direct_judges_before_it_are_not_asked_again_in_later_rounds(
    client: httpx.AsyncClient, running: Runtime, provider: Provider, tmp_path: Path
) -> None:
    with serving(tmp_path / "cheap.db", Plan(garbled=0.3, seed=2)) as cheap:
        judges = {
            "cheap": later(cheap, batch_endpoint=False),
            "dear": later(provider, revision="2"),
        }
        install(running, judges, [0.99, 0.5])
        cheap.plan.garbled = 0.0
        batch, verdicts = await finish(client, running, await create(client))
        assert len(verdicts) == N
        assert_nothing_was_paid_twice(cheap)
        assert_nothing_was_paid_twice(provider)
        assert len(provider.ledger) > 0
        assert batch["cost_usd"] == pytest.approx(cost_of(cheap) + cost_of(provider))
        assert len(provider.batches) == 1


async def test_an_unheard_answer_makes_no_second_batch(
    client: httpx.AsyncClient, running: Runtime, provider: Provider
) -> None:
    provider.plan = Plan(unheard=1.0)
    install(running, {"j": later(provider)}, [0.5])
    running.settings = running.settings.model_copy(update={"provider_lines": 10})
    batch, verdicts = await finish(client, running, await create(client))
    assert len(verdicts) == N
    assert len(provider.batches) == len(await all_rows(running, ProviderFile)) == 5
    assert_nothing_was_paid_twice(provider)
    assert batch["cost_usd"] == pytest.approx(cost_of(provider))


async def test_a_provider_without_batches_is_asked_directly(
    client: httpx.AsyncClient, running: Runtime, provider: Provider
) -> None:
    provider.plan = Plan(has_batches=False)
    install(running, {"j": later(provider)}, [0.5])
    health = await running.registry.judges["j"].health()
    assert health.is_ready
    assert "has no batches" in health.detail
    batch, verdicts = await finish(client, running, await create(client))
    assert {v["status"] for v in verdicts} <= {"accepted", "abstained"}
    assert batch["cost_usd"] == pytest.approx(2 * N * CALL)
    [file] = await all_rows(running, ProviderFile)
    assert "unknown path" in file.error


async def test_a_refusal_of_a_field_is_learned_and_asked_for_otherwise_in_another_batch(
    client: httpx.AsyncClient, running: Runtime, provider: Provider
) -> None:
    provider.plan = Plan(refuses_field="temperature")
    install(running, {"j": later(provider)}, [0.5])
    batch, verdicts = await finish(client, running, await create(client))
    assert len(provider.batches) == 2
    assert {row[0] for row in provider.ledger} == {provider.batches[1]["id"]}
    assert {tuple(v["tiers"][0]["flags"]) for v in verdicts} == {("omitted:temperature",)}
    assert batch["cost_usd"] == pytest.approx(cost_of(provider))


async def test_twins_are_asked_once_and_a_second_step_in_a_second_file(
    client: httpx.AsyncClient, running: Runtime, provider: Provider
) -> None:
    first, sure = rows(7)[1], {**rows(7)[4], "response_a": "this: good good good good good good"}
    swapped = {"response_a": first["response_b"], "response_b": first["response_a"]}
    twins = [first, sure, {**first, "id": "again"}, {**first, "id": "mirrored", **swapped}]
    await upload(client, "twins", twins)
    early = {
        "annotators": 3,
        "examples": 1,
        "examples_from": "e",
        "early_annotators": 1,
        "early_confidence": 0.8,
    }
    # an answer that cannot be read is paid for once, too, and has failed for its twins
    for plan, status in ((Plan(), "accepted"), (Plan(garbled=1.0), "failed")):
        provider.plan, before = plan, len(provider.ledger)
        install(running, {"j": later(provider, revision=status, **early)}, [0.5])
        batch, verdicts = await finish(client, running, await create(client, dataset="twins"))
        assert {v["status"] for v in verdicts} == {status}
        asked = provider.ledger[before:]
        assert batch["cost_usd"] == pytest.approx(len(asked) * CALL / 2)
        assert sum(v["cost_usd"] for v in verdicts) == pytest.approx(batch["cost_usd"])
        files = [row[0] for row in asked]
        assert list(Counter(files).values()) == ([4, 4] if status == "accepted" else [4])


@pytest.mark.both_databases
async def test_a_budget_is_kept_over_rounds_and_used_up(
    client: httpx.AsyncClient, running: Runtime, provider: Provider
) -> None:
    install(running, {"j": later(provider, attempts=1)}, [0.5])
    one = 2 * CALL / 2
    budget = 4 * one + running.registry.judges["j"].most_usd(_pair())  # type: ignore[attr-defined]
    batch, verdicts = await finish(client, running, await create(client, budget_usd=budget))
    judged = [v for v in verdicts if v["tiers"]]
    assert len(verdicts) == N
    assert 4 <= len(judged) < N
    assert batch["request_counts"]["not_admitted"] == N - len(judged)
    assert (
        batch["spent_usd"] == pytest.approx(batch["cost_usd"]) == pytest.approx(cost_of(provider))
    )
    assert batch["reserved_usd"] == pytest.approx(0)


def _pair() -> Any:
    texts = ("the left of 13: good good good",), ("the right of 13: good good good good",)
    return Pair("p", (Message("user", "Which is 13?"),), *texts)


@pytest.mark.parametrize("waits", [True, False])
async def test_a_batch_that_ends_while_shards_wait_promises_nothing(
    client: httpx.AsyncClient, running: Runtime, provider: Provider, waits: bool
) -> None:
    """What has ended by then are the shards whose pairs asked fewer judges."""
    provider.plan = Plan(looks=1000)
    install(running, {"j": later(provider)}, [0.5])
    batch_id = await create(client)
    if waits:
        await work(running)
    async with running.db.write() as session:
        await session.execute(update(Batch).values(promise="certified"))
    assert (await client.post(f"/v1/batches/{batch_id}/cancel")).status_code == 200
    shown = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert shown["promise"] == ("suspended" if waits else "certified")
    assert ("while 3 of its shards waited" in str(shown["suspended_because"])) == waits


async def test_a_cancelled_batch_is_cancelled_at_the_provider_and_keeps_what_was_paid_for(
    client: httpx.AsyncClient, running: Runtime, provider: Provider
) -> None:
    provider.plan = Plan(looks=1000)
    install(running, {"j": later(provider)}, [0.5])
    batch_id = await create(client)
    rounds = Rounds(running, "rounds", lambda _: True)
    await work(running)
    await rounds.go()
    assert [one["status"] for one in provider.batches] == ["in_progress"]
    assert {shard.is_waiting for shard in await all_rows(running, Shard)} == {True}
    assert (await client.post(f"/v1/batches/{batch_id}/cancel")).status_code == 200
    running.settings = running.settings.model_copy(update={"lease_seconds": 1e-4})
    for _ in range(4):
        await rounds.go()
    assert [one["status"] for one in provider.batches] == ["cancelled"]
    assert [file.state for file in await all_rows(running, ProviderFile)] == ["ended"]
    # half of the questions were answered by then, and have to be paid for
    assert len(provider.ledger) == N
    shown = (await client.get(f"/v1/batches/{batch_id}")).json()
    assert shown["status"] == "cancelled"
    assert shown["cost_usd"] == pytest.approx(cost_of(provider))
    scores = len(await all_rows(running, Score))
    assert 0 < scores < N / 2
    assert await all_rows(running, ProviderLine) == []
    # taken up again, it asks for the other pairs alone; answers of no use stay paid for
    provider.plan = Plan()
    assert (await client.post(f"/v1/batches/{batch_id}/retry")).status_code == 202
    batch, verdicts = await finish(client, running, batch_id)
    assert (len(verdicts), len(await all_rows(running, Score))) == (N, N)
    assert len(provider.ledger) == N + 2 * (N - scores)
    assert batch["cost_usd"] == pytest.approx(cost_of(provider))


HUGE = 10**30


def _answers(change: Callable[[Json], None]) -> Callable[[str, Any], Any]:
    """Return what changes each line of the files with answers."""

    def changed(path: str, answer: Any) -> Any:
        if not path.endswith("/content"):
            return answer
        lines = [json.loads(line) for line in answer.splitlines()]
        for line in lines:
            change(line)
        return "".join(json.dumps(line) + "\n" for line in lines).encode()

    return changed


def _batches(**fields: Any) -> Callable[[str, Any], Any]:
    """Return what changes what is said of each batch."""
    return lambda path, answer: {**answer, **fields} if "/v1/batches" in path else answer


UNREADABLE: dict[str, Callable[[str, Any], Any]] = {
    "an id that no text column takes": _batches(id="batch_\ud800"),
    "an id that leads elsewhere": _batches(id="../../v1/models"),
    "a state that no text column takes": _batches(status="\x00\udfff"),
    "a reason that no text column takes": _batches(
        status="failed", errors={"data": [{"code": "\ud800", "message": "\x00" * 9_000}]}
    ),
    "a file that has no address": _batches(status="completed", output_file_id="\ud800?x=#"),
    "counts without end": _batches(request_counts={"completed": HUGE, "failed": -HUGE}),
    "a status that no number column takes": _answers(
        lambda line: line["response"].update(status_code=HUGE)
    ),
    "questions that were never asked": _answers(
        lambda line: line.update(custom_id=f"{HUGE}-" + "\ud800" * 32 + "-1")
    ),
    "a shard without end": _answers(
        lambda line: line.update(custom_id="9" * 5_000 + "-" + "0" * 32 + "-1")
    ),
}


@pytest.mark.both_databases
@pytest.mark.parametrize("said", UNREADABLE)
async def test_what_nobody_can_read_of_one_provider_keeps_no_other_waiting(
    client: httpx.AsyncClient, running: Runtime, provider: Provider, tmp_path: Path, said: str
) -> None:
    with serving(tmp_path / "other.db") as bad:
        handle = bad.handle

        def unreadable(method: str, path: str, body: bytes, query: str) -> tuple[int, Any]:
            status, answer = handle(method, path, body, query)
            return status, UNREADABLE[said](path, answer) if status == 200 else answer

        bad.handle = unreadable  # type: ignore[method-assign]
        install(running, {"bad": later(bad), "good": later(provider)}, [0.5, 0.5])
        first = await create(client, cascade={"judges": ["bad"]})
        batch, verdicts = await finish(
            client, running, await create(client, cascade={"judges": ["good"]})
        )
        assert batch["status"] == "completed"
        assert {one["status"] for one in verdicts} <= {"accepted", "abstained"}
        files = await all_rows(running, ProviderFile)
        assert {one.judge for one in files} == {"bad", "good"}
        for path in (f"/v1/batches/{first}", "/v1/batches"):
            assert (await client.get(path)).status_code == 200
        asked = {path for _, path in bad.requests}
        assert not any(".." in path for path in asked)


async def test_a_provider_that_hangs_keeps_no_other_waiting(
    client: httpx.AsyncClient,
    running: Runtime,
    provider: Provider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.batches.provider.loop._LOOK_SECONDS", 0.05)
    with serving(tmp_path / "other.db") as slow:
        install(running, {"slow": later(slow), "good": later(provider)}, [0.5, 0.5])
        await create(client, cascade={"judges": ["slow"]})
        gate, advance = asyncio.Event(), Courier.advance

        async def hang(courier: Courier, file: ProviderFile) -> bool:
            if file.judge == "slow":
                await gate.wait()
            return await advance(courier, file)

        monkeypatch.setattr(Courier, "advance", hang)
        async with asyncio.timeout(60):
            batch, _ = await finish(
                client, running, await create(client, cascade={"judges": ["good"]})
            )
        assert batch["status"] == "completed"
        assert slow.requests == []
        gate.set()
