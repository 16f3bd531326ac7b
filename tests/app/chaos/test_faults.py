"""A dear judge whose endpoint misbehaves in every known way: typed failures, never a wrong score."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from app.core.settings import Settings
from app.main import create_app
from tests.app.rows import Row, upload
from tests.conftest import client_of
from tests.judges.model_server import ModelServer, expected_p_first

BETTER, WORSE = "good good good answer", "plain answer"
FAULTS = {
    "429": "rate_limited",
    "500": "server_error",
    "hang": "timeout",
    "close": "connection",
    "garbage": "unparseable",
    "nan logprob": "unparseable",
    "no choices": "unparseable",
    "empty logprobs": "unparseable",
    "404": "unavailable",
}
# answered, but as another judge would
MANNERS = {"other model": "model_differs"}
ORDERS = 2
EACH = 2
ALL = ""  # every text holds it


@pytest.fixture
async def client(
    settings: Settings, server: ModelServer, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    config = tmp_path / "tribunal.toml"
    config.write_text(f"""
[judges.live]
kind = "openai"
base_url = "{server.base_url}"
model = "judge"
annotators = 1
examples = 0
attempts = 2
timeout_s = 2
concurrency = 16
price_input = 1.0
price_output = 1.0
""")
    app = create_app(settings.model_copy(update={"config": config, "shard_size": 20}))
    async with app.router.lifespan_context(app), client_of(app) as opened:
        yield opened


def rows(name: str, marks: list[str], *, is_sure: bool) -> list[Row]:
    """Rows whose second judge is always right; the first is sure and errs on a third, or unsure."""
    made = []
    for number, mark in enumerate(marks):
        truth = "a" if number % 2 else "b"
        cheap = (0.05 if number % 3 == 0 else 0.95) if is_sure else 0.45
        answers = {"a": (BETTER, WORSE), "b": (WORSE, BETTER)}[truth]
        made.append({
            "id": f"{name} {number}", "prompt": f"{name} {number} <{mark}>?",
            "response_a": answers[0], "response_b": answers[1],
            "human": [{"annotator": "anna", "label": truth}],
            "judges": {"cheap": {"p_a": cheap if truth == "a" else 1 - cheap, "cost": 1e-6}},
        })  # fmt: skip
    return made


def true_p_a(row: Row) -> float:
    """What the endpoint says of a pair where nothing is wrong with it."""
    a, b = row["response_a"], row["response_b"]
    return (expected_p_first(a, b) + 1 - expected_p_first(b, a)) / 2


async def certify(client: httpx.AsyncClient) -> str:
    """Certify cheap -> live; the cheap judge answers a quarter and errs on a third of that."""
    labelled = rows("sure", ["-"] * 30, is_sure=True) + rows("label", ["-"] * 90, is_sure=False)
    await upload(client, "labels", labelled)
    body = {"dataset": "labels", "cascade": {"judges": ["cheap", "live"]}, "target_agreement": 0.8}
    created = await client.post("/v1/calibrations", json=body)
    assert created.status_code == 202, created.text
    certificate = await ended(client, created.headers["location"], ("pending", "running"))
    assert certificate["status"] == "certified", certificate["advice"]
    assert certificate["thresholds"][0]["threshold"] is not None, "the cheap judge answers too"
    return str(certificate["id"])


async def ended(client: httpx.AsyncClient, path: str, unfinished: tuple[str, ...]) -> Row:
    for _ in range(1_200):
        body: Row = (await client.get(path)).json()
        if body["status"] not in unfinished:
            return body
        await asyncio.sleep(0.05)
    raise AssertionError(f"still {body}")


async def finished(client: httpx.AsyncClient, batch_id: str) -> tuple[Row, dict[str, Row]]:
    """Return an ended batch and its verdicts by pair."""
    path = f"/v1/batches/{batch_id}"
    batch = await ended(client, path, ("validating", "in_progress", "finalizing"))
    lines = (await client.get(f"{path}/results")).text.splitlines()
    verdicts = {verdict["id"]: verdict for verdict in map(json.loads, lines)}
    assert len(verdicts) == len(lines)
    return batch, verdicts


async def new_batch(client: httpx.AsyncClient, dataset: str, calibration: str) -> str:
    """Start a batch and return its id."""
    body = {"dataset": dataset, "calibration": calibration}
    created = await client.post("/v1/batches", json=body)
    assert created.status_code == 202, created.text
    return str(created.json()["id"])


Recovery = Callable[[httpx.AsyncClient, str, str], Awaitable[str]]


async def _by_a_new_batch(client: httpx.AsyncClient, batch_id: str, calibration: str) -> str:
    return await new_batch(client, "pairs", calibration)


async def _by_a_retry(client: httpx.AsyncClient, batch_id: str, calibration: str) -> str:
    response = await client.post(f"/v1/batches/{batch_id}/retry")
    assert response.is_success, response.text
    return batch_id


def live_tier(verdict: Row) -> Row:
    """Return what the live judge said or why it did not."""
    tier: Row = verdict["tiers"][-1]
    assert tier["judge"] == "live"
    return tier


@pytest.mark.parametrize("recover", [_by_a_new_batch, _by_a_retry])
async def test_every_fault_ends_typed_and_heals(
    client: httpx.AsyncClient, server: ModelServer, recover: Recovery
) -> None:
    calibration = await certify(client)
    faulty = rows("faulty", [fault for fault in FAULTS for _ in range(EACH)], is_sure=False)
    sound = rows("sound", ["-"] * 30, is_sure=False)
    await upload(client, "pairs", faulty + sound + rows("plain", ["-"] * 20, is_sure=True))
    server.faults.update({f"<{fault}>": fault for fault in FAULTS})
    batch_id = await new_batch(client, "pairs", calibration)
    batch, verdicts = await finished(client, batch_id)
    assert len(verdicts) == len(faulty) + 50
    for row in faulty:
        fault = row["prompt"].partition("<")[2].rstrip(">?")
        tier = live_tier(verdicts[row["id"]])
        assert tier["failure"]["kind"] == FAULTS[fault], (fault, tier)
        assert (tier["p_a"], verdicts[row["id"]]["label"]) == (None, None)
    assert_told_truly(sound, verdicts)
    counts = batch["request_counts"]
    assert counts["accepted"] == 50
    assert counts["completed"] + counts["failed"] == counts["total"] == len(verdicts)
    assert batch["promise"] == "suspended"
    assert f"live failed on {len(faulty)} of {len(faulty) + 30} pairs" in batch["suspended_because"]
    assert {verdict["promise"] for verdict in verdicts.values()} == {"suspended"}
    server.faults.clear()
    calls = len(server.requests)
    batch, verdicts = await finished(client, await recover(client, batch_id, calibration))
    assert len(server.requests) == calls + ORDERS * len(faulty), "what was answered costs nothing"
    assert_told_truly(faulty + sound, verdicts)
    assert (batch["promise"], batch["suspended_because"]) == ("certified", None)
    assert batch["request_counts"]["accepted"] == len(verdicts) == len(faulty) + 50


def assert_told_truly(pairs: list[Row], verdicts: dict[str, Row]) -> None:
    """The live judge's answer is the endpoint's own, and the verdict is right."""
    for row in pairs:
        verdict = verdicts[row["id"]]
        assert live_tier(verdict)["p_a"] == pytest.approx(true_p_a(row), abs=1e-9)
        assert verdict["label"] == row["human"][0]["label"]


@pytest.mark.parametrize("fault", ["500", "close", "401"])
async def test_a_batch_is_suspended_while_the_dear_judge_is_down(
    client: httpx.AsyncClient, server: ModelServer, fault: str
) -> None:
    """The cheap judge's verdicts are given, and promise nothing."""
    calibration = await certify(client)
    await upload(
        client,
        "pairs",
        rows("pair", ["-"] * 40, is_sure=False) + rows("plain", ["-"] * 40, is_sure=True),
    )
    server.faults[ALL] = fault
    batch, verdicts = await finished(client, await new_batch(client, "pairs", calibration))
    assert batch["status"] == "completed"
    assert batch["promise"] == "suspended"
    assert "live failed on 40 of 40 pairs" in batch["suspended_because"]
    assert "ask again" in batch["suspended_because"]
    given = [verdict for verdict in verdicts.values() if verdict["label"] is not None]
    assert {verdict["judge"] for verdict in given} == {"cheap"}
    assert len(given) == 40, "no pair is answered by a judge that was not sure of it"


@pytest.mark.parametrize(("fault", "flag"), MANNERS.items())
async def test_answers_in_another_manner_are_flagged_and_suspend(
    client: httpx.AsyncClient, server: ModelServer, fault: str, flag: str
) -> None:
    calibration = await certify(client)
    odd, sound = rows("odd", ["odd"] * 5, is_sure=False), rows("sound", ["-"] * 30, is_sure=False)
    await upload(client, "pairs", odd + sound)
    server.faults["<odd>"] = fault
    batch, verdicts = await finished(client, await new_batch(client, "pairs", calibration))
    assert batch["promise"] == "suspended"
    assert flag in batch["suspended_because"]
    for row in odd:
        tier = live_tier(verdicts[row["id"]])
        assert any(one.startswith(flag) for one in tier["flags"])
        assert verdicts[row["id"]]["label"] == row["human"][0]["label"]
    assert_told_truly(sound, verdicts)


@pytest.mark.both_databases
async def test_a_running_batch_is_suspended_as_soon_as_the_dear_judge_is_down(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    calibration = await certify(client)
    await upload(client, "pairs", rows("pair", ["-"] * 80, is_sure=False))
    server.faults[ALL] = "500"
    server.pause_seconds = 0.05
    batch_id = await new_batch(client, "pairs", calibration)
    promises = set()
    for _ in range(1_200):
        batch: Row = (await client.get(f"/v1/batches/{batch_id}")).json()
        if batch["status"] == "completed":
            break
        if batch["request_counts"]["completed"]:
            promises.add(batch["promise"])
        await asyncio.sleep(0.05)
    assert promises == {"suspended"}


async def test_an_answer_without_logprobs_is_asked_for_again(
    client: httpx.AsyncClient, server: ModelServer
) -> None:
    calibration = await certify(client)
    odd, sound = rows("odd", ["odd"] * 5, is_sure=False), rows("sound", ["-"] * 30, is_sure=False)
    await upload(client, "pairs", odd + sound)
    server.faults["<odd>"] = "empty logprobs"
    await finished(client, await new_batch(client, "pairs", calibration))
    server.faults.clear()
    batch, verdicts = await finished(client, await new_batch(client, "pairs", calibration))
    assert_told_truly(odd + sound, verdicts)
    assert batch["promise"] == "certified"
