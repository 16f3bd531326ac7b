"""Requests go before work that can wait."""

from __future__ import annotations

import asyncio
import statistics
import time

import httpx
import pytest
from fastapi import FastAPI

from app.core.runtime import Runtime
from app.core.tasks import Courtesy
from judges.student.model import StudentModel
from tests.app.batches.test_batches import wait_for
from tests.app.rows import labelled_rows, upload

STEP_SECONDS = 0.002


class Steps:
    """Several workers that take steps, and a count of the turns of the loop between them."""

    def __init__(self, courtesy: Courtesy) -> None:
        self._courtesy = courtesy
        self.taken = self.turns = 0
        self.at_turn: list[int] = []

    async def work(self) -> None:
        while True:
            await self._courtesy.pause()
            time.sleep(STEP_SECONDS)  # noqa: ASYNC251 - work that waits for nothing
            self.taken += 1
            self.at_turn.append(self.turns)

    async def turn(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.turns += 1


async def steps_in(seconds: float, courtesy: Courtesy) -> Steps:
    steps = Steps(courtesy)
    tasks = [asyncio.create_task(steps.work()) for _ in range(4)]
    tasks.append(asyncio.create_task(steps.turn()))
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return steps


async def test_one_step_a_turn_while_a_request_is_answered() -> None:
    courtesy = Courtesy()
    with courtesy.request():
        steps = await steps_in(0.3, courtesy)
    # the first step of each worker comes before its first pause
    later = steps.at_turn[8:]
    assert steps.taken > 8
    assert len(set(later)) == len(later)
    assert steps.turns > steps.taken


async def test_work_goes_on_without_a_pause_when_no_one_asks() -> None:
    steps = await steps_in(0.3, Courtesy())
    assert steps.turns < steps.taken


async def test_a_request_counts_until_it_is_answered_and_for_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    courtesy = Courtesy()
    with courtesy.request() as answered:
        seen = [courtesy.is_asked]
        answered()
        seen.append(courtesy.is_asked)
    assert seen == [True, False]
    with courtesy.request():
        now = asyncio.get_running_loop().time()
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now + 1.1)
        seen = [courtesy.is_asked]
        with courtesy.request():
            seen.append(courtesy.is_asked)
        seen.append(courtesy.is_asked)
    assert seen == [False, True, False]


async def test_a_batch_does_little_while_a_request_is_answered(
    service: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: Runtime = service.state.runtime
    asked = 0
    predict = StudentModel.predict

    def counted(*args: object) -> object:
        nonlocal asked
        asked += 1
        return predict(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(StudentModel, "predict", counted)
    await upload(client, "rivers", labelled_rows(480))
    made = await client.post(
        "/v1/batches", json={"dataset": "rivers", "cascade": {"judges": ["student"]}}
    )
    batch = made.json()["id"]
    beside = []
    for number in range(5):
        before = asked
        pair = {"prompt": f"{number}?", "response_a": "Yes.", "response_b": "No."}
        assert (await client.post("/v1/judgments", json={"pairs": [pair]})).status_code == 200
        beside.append(asked - before - 1)
    assert (await client.get(f"/v1/batches/{batch}")).json()["status"] == "in_progress"
    # a turn of the loop had room for hundreds before, and a request takes many turns
    assert statistics.median(beside) < 60
    ended = await wait_for(client, batch)
    assert ended["request_counts"]["completed"] == 480
    assert not running.courtesy.is_asked
