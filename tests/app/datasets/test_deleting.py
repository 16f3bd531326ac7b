"""What stands in the way of deleting a dataset, and how work ends whose dataset is gone."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import delete

from app.batches.work import Work, work_of
from app.batches.worker import leases, loop
from app.batches.worker.loop import Worker
from app.core.models import Dataset
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.judgments.judging import judge_subjects
from app.main import create_app
from tests.app.batches.test_batches import wait_for
from tests.app.rows import certify, labelled_rows, upload
from tests.conftest import client_of

pytestmark = pytest.mark.both_databases


async def test_a_dataset_with_an_open_batch_stays_even_by_force(settings: Settings) -> None:
    app: FastAPI = create_app(settings.model_copy(update={"workers": 0}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, "rivers", labelled_rows(60))
        batch = (await client.post("/v1/batches", json={"dataset": "rivers"})).json()["id"]
        for query in ({}, {"force": True}):
            refused = await client.delete("/v1/datasets/rivers", params=query)
            assert refused.status_code == 409
            assert batch in refused.json()["detail"]
            assert refused.json()["batches"] == [batch]
        await client.post(f"/v1/batches/{batch}/cancel")
        assert (await client.delete("/v1/datasets/rivers")).status_code == 204
        assert (await client.get(f"/v1/batches/{batch}")).status_code == 404


async def test_certificates_go_only_by_force_and_all_with_them(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(200))
    await upload(client, "others", labelled_rows(60, seed=5))
    certificate = (await certify(client, "rivers", target_agreement=0.7))["id"]
    request = {"dataset": "others", "calibration": certificate}
    batch = (await client.post("/v1/batches", json=request)).json()["id"]
    await wait_for(client, batch)
    refused = await client.delete("/v1/datasets/rivers")
    assert refused.status_code == 409
    assert certificate in refused.json()["detail"]
    assert refused.json()["calibrations"] == [certificate]
    assert (await client.delete("/v1/datasets/rivers?force=true")).status_code == 204
    for gone in (f"calibrations/{certificate}", f"batches/{batch}", "datasets/rivers"):
        assert (await client.get(f"/v1/{gone}")).status_code == 404
    assert (await client.get("/v1/judgments")).json()["data"] == []
    assert (await client.delete("/v1/datasets/others")).status_code == 204


async def test_a_batch_elsewhere_under_a_certificate_of_the_dataset_is_open_work_too(
    settings: Settings,
) -> None:
    app: FastAPI = create_app(settings.model_copy(update={"workers": 0}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, "rivers", labelled_rows(200))
        await upload(client, "others", labelled_rows(60, seed=5))
        certificate = (await certify(client, "rivers", target_agreement=0.7))["id"]
        request = {"dataset": "others", "calibration": certificate}
        batch = (await client.post("/v1/batches", json=request)).json()["id"]
        refused = await client.delete("/v1/datasets/rivers?force=true")
        assert (refused.status_code, refused.json()["batches"]) == (409, [batch])


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Runtime]:
    """A service with a batch of two shards and nobody who works on them."""
    app: FastAPI = create_app(settings.model_copy(update={"workers": 0}))
    async with app.router.lifespan_context(app):
        async with client_of(app) as client:
            await upload(client, "rivers", labelled_rows(100))
            assert (await client.post("/v1/batches", json={"dataset": "rivers"})).is_success
        yield app.state.runtime


async def vanish(running: Runtime) -> None:
    async with running.db.write() as session:
        await session.execute(delete(Dataset))


@pytest.mark.parametrize("is_judged", [False, True])
async def test_a_shard_whose_dataset_vanished_ends_quietly(
    running: Runtime,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_judged: bool,
) -> None:
    async def vanish_and_read(*given: Any) -> Work:
        await vanish(running)
        return await work_of(*given)

    async def judge_and_vanish(*given: Any, **options: Any) -> None:
        await judge_subjects(*given, **options)
        await vanish(running)

    if is_judged:
        monkeypatch.setattr("app.batches.worker.shard.judge_subjects", judge_and_vanish)
    else:
        monkeypatch.setattr("app.batches.worker.loop.work_of", vanish_and_read)
    with caplog.at_level(logging.INFO):
        assert await Worker(running, "one").work()
        assert not await Worker(running, "one").work()
    assert [r.getMessage() for r in caplog.records if r.name == "app.batches.worker.loop"] == [
        "shard 0 of batch 1 was deleted in the meantime"
    ]
    assert not [r for r in caplog.records if r.exc_info]


async def test_a_dataset_that_vanishes_while_a_shard_is_given_up_stops_no_worker(
    running: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def break_down(*_: object) -> None:
        raise RuntimeError("the judge broke")

    async def is_still_there(*_: object) -> bool:
        await vanish(running)
        return True

    monkeypatch.setattr(loop, "judge_shard", break_down)
    monkeypatch.setattr(leases, "exists", is_still_there)
    assert await Worker(running, "one").work()
    assert [r.getMessage() for r in caplog.records if r.exc_info] == ["shard 0 of batch 1 failed"]
