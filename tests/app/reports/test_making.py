from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from app.core.models import Report
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import create_app
from app.reports import service as reports
from tests.app.hand_made import ROWS, upload
from tests.conftest import client_of

pytestmark = pytest.mark.both_databases

AGREEMENT = "/v1/reports/agreement"
ASKED = {"dataset": "hand"}


async def settled(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    for _ in range(600):
        body: dict[str, Any] = (await client.get(path)).json()
        if body["status"] not in ("pending", "running"):
            return body
        await asyncio.sleep(0.05)
    raise AssertionError(body)


async def test_a_report_that_takes_long_is_fetched_later(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"report_wait_s": 0.0}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, ROWS)
        first = await client.get(AGREEMENT, params=ASKED)
        assert first.status_code == 202
        assert first.json()["status"] == "pending"
        assert "judges" not in first.json()
        made = await settled(client, first.headers["location"])
        assert (made["status"], made["pairs"]) == ("completed", 8)
        again = await client.get(AGREEMENT, params=ASKED)
        assert (again.status_code, again.json()) == (200, made)
        health = await client.get("/v1/reports/health", params={**ASKED, "judge": "dear"})
        assert health.status_code == 202
        await settled(client, health.headers["location"].partition("/health")[0])
        card = await client.get(health.headers["location"])
        assert card.json()["judge"] == "dear"


async def test_two_who_ask_at_once_get_one_report(client: httpx.AsyncClient) -> None:
    await upload(client, ROWS)
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(client.get(AGREEMENT, params=ASKED)) for _ in range(3)]
    answers = [task.result() for task in asked]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len((await client.get("/v1/reports")).json()["data"]) == 1


async def _interrupt(app: FastAPI) -> None:
    """Leave every report as a stop in its midst would."""
    running: Runtime = app.state.runtime
    async with running.db.write() as session:
        await session.execute(update(Report).values(status="pending", body={}))


async def test_a_restart_takes_up_what_was_interrupted(settings: Settings) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, ROWS)
        made = (await client.get(AGREEMENT, params=ASKED)).json()
        await _interrupt(app)
    again = create_app(settings)
    async with again.router.lifespan_context(again), client_of(again) as client:
        assert await settled(client, f"/v1/reports/{made['id']}") == made


async def test_labels_that_came_meanwhile_count(settings: Settings) -> None:
    """Also where the report of the present labels is stored already: it stays the one found."""
    label = {"dataset": "hand", "pair": "p8", "annotator": "ann1", "label": "b"}
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, ROWS)
        before = (await client.get(AGREEMENT, params=ASKED)).json()
        await client.post("/v1/labels", json={"labels": [label]})
        after = (await client.get(AGREEMENT, params=ASKED)).json()
        running: Runtime = app.state.runtime
        async with running.db.write() as session:
            await session.execute(
                update(Report).where(Report.id == before["id"]).values(status="running", body={})
            )
    again = create_app(settings)
    async with again.router.lifespan_context(again), client_of(again) as client:
        resumed = await settled(client, f"/v1/reports/{before['id']}")
        assert resumed["human"] == after["human"]
        assert resumed["rests_on"] == after["rests_on"]
        assert (await client.get(AGREEMENT, params=ASKED)).json()["id"] == after["id"]


async def test_a_report_that_failed_is_told_and_tried_again(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await upload(client, ROWS)

    def broken(*_: Any) -> dict[str, Any]:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(reports, "agreement_report", broken)
        answer = await client.get(AGREEMENT, params=ASKED)
    assert answer.status_code == 500
    [failed] = (await client.get("/v1/reports")).json()["data"]
    assert (failed["status"], "log" in failed["error"]) == ("failed", True)
    made = (await client.get(AGREEMENT, params=ASKED)).json()
    assert (made["id"], made["status"], made["error"]) == (failed["id"], "completed", None)


@pytest.mark.parametrize("attempts", [1, 2, 3])
async def test_a_report_that_ends_its_processes_is_set_aside(
    settings: Settings, attempts: int
) -> None:
    settings = settings.model_copy(update={"max_attempts": 3})
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, ROWS)
        made = (await client.get(AGREEMENT, params=ASKED)).json()
        running: Runtime = app.state.runtime
        async with running.db.write() as session:
            left = {"status": "pending", "body": {}, "attempts": attempts}
            await session.execute(update(Report).values(left))
    again = create_app(settings)
    async with again.router.lifespan_context(again), client_of(again) as client:
        found = await settled(client, f"/v1/reports/{made['id']}")
        assert found["status"] == ("completed" if attempts < 3 else "failed")
        if attempts == 3:
            assert "set aside after 3 attempts (TRIBUNAL_MAX_ATTEMPTS)" in found["error"]
            # asking for it again is a new beginning
            assert (await client.get(AGREEMENT, params=ASKED)).json() == made


async def test_a_stop_is_no_attempt_at_a_report(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any) -> None:
        await asyncio.Event().wait()

    settings = settings.model_copy(update={"report_wait_s": 0.0, "max_attempts": 1})
    monkeypatch.setattr(reports, "texts_of", never)
    for start in range(4):
        app = create_app(settings)
        async with app.router.lifespan_context(app), client_of(app) as client:
            if start == 0:
                await upload(client, ROWS)
                asked = await client.get(AGREEMENT, params=ASKED)
            found = (await client.get(asked.headers["location"])).json()
            assert found["status"] == "pending"
            await asyncio.sleep(0.05)
    monkeypatch.undo()
    app = create_app(settings.model_copy(update={"max_attempts": 2}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await settled(client, asked.headers["location"]))["status"] == "completed"
