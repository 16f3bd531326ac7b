"""Two batches at once over the same pairs: each says which others ask the same judges."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.batches.worker.loop import Worker
from app.core.runtime import Runtime
from app.core.settings import Settings
from tests.app.paid_judge import PaidJudge, install
from tests.app.rows import labelled_rows, upload
from tests.conftest import client_of

pytestmark = pytest.mark.both_databases


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"workers": 0})


@pytest.fixture
async def client(service: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service) as opened:
        await upload(opened, "rivers", labelled_rows(20))
        yield opened


async def start(client: httpx.AsyncClient, *judges: str, **more: Any) -> dict[str, Any]:
    body = {"dataset": "rivers", "cascade": {"judges": list(judges)}, **more}
    created = await client.post("/v1/batches", json=body)
    assert created.status_code == 202, created.text
    batch: dict[str, Any] = created.json()
    return batch


async def test_a_batch_names_those_that_ask_the_same_judge_about_the_same_pairs(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    install(running, PaidJudge("one"), PaidJudge("two"))
    first = await start(client, "one")
    assert first["also_running"] == []
    assert (await start(client, "two"))["also_running"] == []
    both = await start(client, "one", "two")
    assert both["also_running"][0] == first["id"]
    assert len(both["also_running"]) == 2
    while await Worker(running, "here/1/2/token").work():
        pass
    assert (await start(client, "one"))["also_running"] == []


async def test_other_parts_and_judges_that_cost_nothing_are_no_rivals(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    install(running, PaidJudge("one"))
    part = {"fraction": 0.5, "seed": 0, "side": "test"}
    test = await start(client, "one", part=part)
    assert (await start(client, "one", part={**part, "side": "calibration"}))["also_running"] == []
    assert (await start(client, "one", part=part))["also_running"] == [test["id"]]
    await start(client, "cheap", "dear")
    assert (await start(client, "cheap", "dear"))["also_running"] == []
