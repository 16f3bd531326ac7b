from __future__ import annotations

import asyncio
import json
from io import StringIO
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.cli.tables import verdicts as verdict_tables
from app.cli.tables.layout import Screen
from app.core.settings import Settings
from app.main import create_app
from tests.app.rows import certify, labelled_rows, upload
from tests.conftest import client_of

pytestmark = pytest.mark.both_databases

PART = {"fraction": 0.5, "seed": 0}


async def wait_for(client: httpx.AsyncClient, batch_id: str) -> dict[str, Any]:
    for _ in range(600):
        batch: dict[str, Any] = (await client.get(f"/v1/batches/{batch_id}")).json()
        if batch["status"] not in ("validating", "in_progress", "finalizing"):
            return batch
        await asyncio.sleep(0.05)
    raise AssertionError(f"still {batch}")


async def results_of(client: httpx.AsyncClient, batch_id: str) -> list[dict[str, Any]]:
    response = await client.get(f"/v1/batches/{batch_id}/results")
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


async def test_a_certified_batch_judges_the_other_half(client: httpx.AsyncClient) -> None:
    rows = labelled_rows(400)
    await upload(client, "rivers", rows)
    certificate = await certify(
        client, "rivers", target_agreement=0.85, part={**PART, "side": "calibration"}
    )
    created = await client.post(
        "/v1/batches",
        json={
            "dataset": "rivers", "calibration": certificate["id"], "part": {**PART, "side": "test"},
        },
    )  # fmt: skip
    assert created.status_code == 202
    assert created.headers["location"] == f"/v1/batches/{created.json()['id']}"
    batch = await wait_for(client, created.json()["id"])
    assert batch["status"] == "completed"
    counts = batch["request_counts"]
    assert counts["total"] == 200
    assert counts["completed"] == counts["accepted"] + counts["abstained"] == 200
    assert counts["failed"] == 0
    assert batch["promise"] == "certified"
    assert batch["calibration_pairs"] == 0
    verdicts = await results_of(client, batch["id"])
    assert len(verdicts) == 200
    order = {row["id"]: number for number, row in enumerate(rows)}
    assert [order[v["id"]] for v in verdicts] == sorted(order[v["id"]] for v in verdicts)
    truth = {row["id"]: row["human"][0]["label"] for row in rows}
    given = [v for v in verdicts if v["status"] == "accepted"]
    assert sum(truth[v["id"]] == v["label"] for v in given) / len(given) > 0.8
    listed = (await client.get("/v1/judgments", params={"dataset": "rivers", "limit": 1000})).json()
    assert len(listed["data"]) == 200


async def test_a_failing_dear_judge_suspends_the_whole_batch(client: httpx.AsyncClient) -> None:
    rows = labelled_rows(300, cheap=0.6)
    await upload(client, "good", rows)
    certificate = await certify(client, "good", target_agreement=0.85)
    assert certificate["status"] == "certified"
    broken = labelled_rows(120, seed=9, cheap=0.6)
    for row in broken[::3]:
        row["judges"]["dear"] = None
    await upload(client, "broken", broken)
    created = await client.post(
        "/v1/batches", json={"dataset": "broken", "calibration": certificate["id"]}
    )
    batch = await wait_for(client, created.json()["id"])
    assert batch["promise"] == "suspended"
    assert "dear" in batch["suspended_because"]
    assert "import its scores" in batch["suspended_because"], "asking again cannot help"
    assert {v["promise"] for v in await results_of(client, batch["id"])} == {"suspended"}


async def test_results_wait_for_the_end_and_cancel_keeps_what_is_done(
    settings: Settings,
) -> None:
    idle = settings.model_copy(update={"workers": 0})
    app = create_app(idle)
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, "rivers", labelled_rows(60))
        created = await client.post("/v1/batches", json={"dataset": "rivers"})
        batch = created.json()
        assert (await client.get(f"/v1/batches/{batch['id']}/results")).status_code == 409
        cancelled = (await client.post(f"/v1/batches/{batch['id']}/cancel")).json()
        assert cancelled["status"] == "cancelled"
        assert (await client.post(f"/v1/batches/{batch['id']}/cancel")).status_code == 409
        assert await results_of(client, batch["id"]) == []


async def test_a_restarted_service_finishes_what_it_left(settings: Settings) -> None:
    idle = settings.model_copy(update={"workers": 0})
    app: FastAPI = create_app(idle)
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, "rivers", labelled_rows(130))
        created = await client.post("/v1/batches", json={"dataset": "rivers"})
        batch_id = created.json()["id"]
    again = create_app(settings)
    async with again.router.lifespan_context(again), client_of(again) as client:
        batch = await wait_for(client, batch_id)
        assert batch["request_counts"]["completed"] == 130
        assert batch["promise"] == "none"
        assert batch["calibration"] is None


async def test_a_second_batch_of_the_same_pairs_calls_no_judge(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(70))
    for is_cached in (False, True):
        created = await client.post("/v1/batches", json={"dataset": "rivers"})
        await wait_for(client, created.json()["id"])
        verdicts = await results_of(client, created.json()["id"])
        assert {v["cached"] for v in verdicts} == {is_cached}


async def test_posted_pairs_become_a_batch_on_request(client: httpx.AsyncClient) -> None:
    pairs = [
        {"id": f"p{i}", "prompt": f"Why {i}?", "response_a": "Because.", "response_b": "\x00"}
        for i in range(5)
    ]
    headers = {"Prefer": "respond-async"}
    created = await client.post("/v1/judgments", json={"pairs": pairs}, headers=headers)
    assert created.status_code == 202
    assert created.headers["preference-applied"] == "respond-async"
    batch = await wait_for(client, created.json()["id"])
    assert created.headers["location"] == f"/v1/batches/{batch['id']}"
    assert batch["request_counts"]["completed"] == 5
    assert [v["id"] for v in await results_of(client, batch["id"])] == [p["id"] for p in pairs]
    twice = await client.post(
        "/v1/judgments", json={"pairs": [pairs[0], pairs[0]]}, headers=headers
    )
    assert twice.status_code == 422


async def test_a_revoked_certificate_promises_nothing_of_what_it_judged(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "rivers", labelled_rows(300))
    certificate = await certify(
        client, "rivers", target_agreement=0.8, part={**PART, "side": "calibration"}
    )
    created = await client.post(
        "/v1/batches",
        json={
            "dataset": "rivers", "calibration": certificate["id"], "part": {**PART, "side": "test"},
        },
    )  # fmt: skip
    ended = await wait_for(client, created.json()["id"])
    address = f"/v1/batches/{ended['id']}"
    listed = {"calibration": certificate["id"]}
    assert ended["promise"] == "certified"
    verdicts = (await client.get("/v1/judgments", params=listed)).json()["data"]
    assert {verdict["promise"] for verdict in verdicts} == {"certified"}
    await client.post(f"/v1/calibrations/{certificate['id']}/revoke")
    assert (await client.get(address)).json()["promise"] == "none"
    verdicts = (await client.get("/v1/judgments", params=listed)).json()["data"]
    assert {verdict["promise"] for verdict in verdicts} == {"none"}
    results = (await client.get(f"{address}/results")).text.splitlines()
    assert {json.loads(line)["promise"] for line in results} == {"none"}


async def test_a_batch_says_which_pairs_its_certificate_knows(client: httpx.AsyncClient) -> None:
    """The promise is for new pairs; one that calibrated was right or wrong already."""
    await upload(client, "rivers", labelled_rows(200))
    certificate = await certify(
        client, "rivers", target_agreement=0.75, part={**PART, "side": "calibration"}
    )
    body = {"dataset": "rivers", "calibration": certificate["id"]}
    batch = (await client.post("/v1/batches", json=body)).json()
    assert batch["calibration_pairs"] == 100
    ended = await wait_for(client, batch["id"])
    assert (ended["status"], ended["calibration_pairs"]) == ("completed", 100)
    assert (ended["promise"], ended["promised_pairs"]) == ("certified", 100)
    assert "on 100 of these 200 pairs: the certificate was made" in ended["promise_note"]
    marked = [verdict["calibration_pair"] for verdict in await results_of(client, batch["id"])]
    assert (sum(marked), len(marked)) == (100, 200)
    other = await client.post("/v1/batches", json={**body, "part": {**PART, "side": "test"}})
    beside = await wait_for(client, other.json()["id"])
    assert (beside["promised_pairs"], beside["promise_note"]) == (100, None)
    held_out = beside["id"]
    part = {**PART, "side": "calibration"}
    own = (await client.post("/v1/batches", json={**body, "part": part})).json()["id"]
    inside = await wait_for(client, own)
    assert inside["promised_pairs"] == 0
    assert "does not apply to any of these 100 pairs" in inside["promise_note"]
    said = StringIO()
    verdict_tables.batch(Screen(said, has_edge=False), inside)
    assert "promise certified for none of 100 pairs" in said.getvalue()
    assert "promise for" not in said.getvalue()
    page = (await client.get(f"/batches/{own}")).text
    assert "does not apply to any of these 100 pairs" in page
    assert 'state good">certified' not in page
    assert not any(one["calibration_pair"] for one in await results_of(client, held_out))
