"""Which prompts a certificate is no promise for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from app.core.models import CalibrationRow
from app.core.runtime import Runtime
from judges.types import prompt_hash
from tests.app.hand_made import ROWS, certify, upload


@pytest.fixture
async def certificate(client: httpx.AsyncClient, service: FastAPI) -> str:
    """A certificate that was made from the pair p1, whose prompt is `shared`."""
    await upload(client, ROWS)
    return await certify(service, "hand")


async def ask(client: httpx.AsyncClient, certificate: str, prompts: list[Any]) -> httpx.Response:
    path = f"/v1/calibrations/{certificate}/known-prompts"
    return await client.post(path, json={"prompts": prompts})


@pytest.mark.both_databases
async def test_prompts_of_its_pairs_are_known(client: httpx.AsyncClient, certificate: str) -> None:
    answer = await ask(client, certificate, ["question p2", " Shared! ", "", "shared"])
    assert answer.json() == {
        "object": "known_prompts",
        "calibration": certificate,
        "known": [False, True, False, True],
    }


@pytest.mark.both_databases
async def test_prompts_that_a_judge_learnt_from_are_known(
    client: httpx.AsyncClient, service: FastAPI, certificate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: Runtime = service.state.runtime
    student = running.registry.judges["student"]
    trained, shown = (frozenset({prompt_hash(text)}) for text in ("trained", "example"))
    spec = replace(student.spec, training_prompts=trained, example_prompts=shown)
    monkeypatch.setattr(student, "_spec", spec)
    assert (await ask(client, certificate, ["trained"])).json()["known"] == [False]
    async with running.db.write() as session:
        body = {"fingerprints": {"student": student.spec.fingerprint}}
        await session.execute(update(CalibrationRow).values(body=body))
    answer = await ask(client, certificate, ["trained", "example", "new"])
    assert answer.json()["known"] == [True, True, False]


async def test_what_cannot_be_answered(
    client: httpx.AsyncClient, service: FastAPI, certificate: str
) -> None:
    assert (await ask(client, "cal_none", ["x"])).status_code == 404
    assert (await ask(client, certificate, [])).status_code == 422
    assert (await ask(client, certificate, ["x"] * 257)).status_code == 422
    assert (await ask(client, certificate, [1])).status_code == 422
    running: Runtime = service.state.runtime
    async with running.db.write() as session:
        await session.execute(update(CalibrationRow).values(status="pending"))
    refused = await ask(client, certificate, ["x"])
    assert (refused.status_code, "still pending" in refused.text) == (409, True)


@pytest.mark.both_databases
async def test_a_batch_counts_pairs_that_a_judge_learnt_from(
    client: httpx.AsyncClient, service: FastAPI, certificate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: Runtime = service.state.runtime
    student = running.registry.judges["student"]
    spec = replace(student.spec, training_prompts=frozenset({prompt_hash("question p5")}))
    monkeypatch.setattr(student, "_spec", spec)
    async with running.db.write() as session:
        body = {
            "fingerprints": {"student": student.spec.fingerprint},
            "thresholds": [{"judge": "student", "threshold": 0.5}],
            "calibration": {"failures": {}},
        }
        request = {"ties": "exclude", "slices": None}
        await session.execute(update(CalibrationRow).values(body=body, request=request))
    made = await client.post("/v1/batches", json={"dataset": "hand", "calibration": certificate})
    assert made.status_code == 202, made.text
    # p1 itself, p2 of its group, p8 of its prompt, and p5
    assert made.json()["calibration_pairs"] == 4
