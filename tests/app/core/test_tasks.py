"""Work that can wait, calls that share a round, and work that cancellation does not cut off."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.core.runtime import Runtime
from app.core.tasks import Coalescer, Courtesy, shielded
from judges.student.model import StudentModel
from tests.app.batches.test_batches import wait_for
from tests.app.rows import labelled_rows, upload


class Rounds:
    """Doubles numbers, each round held until it may go on; refuses 13."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.may_go_on = asyncio.Event()

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.seen.append(list(numbers))
        await self.may_go_on.wait()
        if 13 in numbers:
            raise ValueError(f"13 among {len(numbers)}")
        return [2 * number for number in numbers]


async def _joined(coalescer: Coalescer, work: Rounds, *numbers: int) -> list[asyncio.Task[int]]:
    """Let callers join one after the other, each before the next comes."""
    tasks = []
    for number in numbers:
        tasks.append(asyncio.create_task(coalescer.call("key", number, work)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return tasks


async def test_callers_who_come_during_a_round_share_the_next() -> None:
    work = Rounds()
    tasks = await _joined(Coalescer(), work, 1, 2, 3)
    work.may_go_on.set()
    assert [await task for task in tasks] == [2, 4, 6]
    assert work.seen == [[1], [2, 3]]


async def test_a_caller_after_the_last_round_begins_another() -> None:
    coalescer, work = Coalescer(), Rounds()
    work.may_go_on.set()
    assert [await coalescer.call("key", number, work) for number in (1, 2)] == [2, 4]
    assert work.seen == [[1], [2]]


async def test_one_callers_fault_is_no_other_callers() -> None:
    work = Rounds()
    first, bad, good = await _joined(Coalescer(), work, 1, 13, 3)
    work.may_go_on.set()
    assert (await first, await good) == (2, 6)
    with pytest.raises(ValueError, match="13 among 1"):
        await bad
    assert work.seen[1] == [13, 3]


async def test_a_caller_who_is_told_to_stop_takes_nobody_along() -> None:
    work = Rounds()
    first, waiting, other = await _joined(Coalescer(), work, 1, 2, 3)
    first.cancel()
    waiting.cancel()
    await asyncio.wait([first, waiting])
    work.may_go_on.set()
    assert await other == 6
    assert work.seen == [[1], [3]]


async def test_callers_with_different_keys_do_not_wait_for_each_other() -> None:
    coalescer, slow, fast = Coalescer(), Rounds(), Rounds()
    fast.may_go_on.set()
    (waiting,) = await _joined(coalescer, slow, 1)
    assert await coalescer.call("another key", 2, fast) == 4
    slow.may_go_on.set()
    assert await waiting == 2


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


async def fail_after(moment: asyncio.Event) -> None:
    await moment.wait()
    raise LookupError("too late")


async def stopped(**options: Any) -> list[dict[str, Any]]:
    """Stop a caller whose work fails then, and return what asyncio says nobody has seen."""
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    moment = asyncio.Event()
    caller = asyncio.create_task(shielded(fail_after(moment), **options))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done(), "its work is not at its end"
    moment.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    del caller
    await asyncio.sleep(0)
    return unseen


async def test_an_error_after_the_stop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert await stopped() == []
    assert "too late" in caplog.text


async def test_an_expected_error_after_the_stop_is_no_news(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, logger="app"):
        assert await stopped(expected=LookupError) == []
    assert "too late" not in caplog.text


async def test_an_error_before_the_stop_is_the_caller_s() -> None:
    moment = asyncio.Event()
    moment.set()
    with pytest.raises(LookupError):
        await shielded(fail_after(moment), expected=LookupError)


async def test_a_round_that_is_stopped_stops_its_callers() -> None:
    async def work(items: Sequence[int]) -> Sequence[int]:
        raise asyncio.CancelledError

    coalescer = Coalescer()
    asked = [asyncio.create_task(coalescer.call("key", n, work)) for n in range(2)]
    await asyncio.wait(asked, timeout=5)
    assert all(one.cancelled() for one in asked)


async def test_background_work_that_fails_is_logged(
    running: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise ValueError("no more")

    with caplog.at_level("ERROR"):
        await asyncio.wait([running.start(fail(), "counting")])
    assert "background work counting failed" in caplog.text
