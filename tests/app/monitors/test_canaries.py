"""A judge that changes without a word is noticed, and its certificate suspended."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from datetime import timedelta
from itertools import chain, cycle, repeat
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import delete

from app.core.models import Monitor
from app.core.models import Score as StoredScore
from app.core.runtime import Runtime
from app.monitors import alarms, canaries
from app.monitors.alarms import ask_due_canaries
from judges.types import FailureKind, JudgeFailure, Pair, Score
from tests.app.pages.markup import check
from tests.app.paid_judge import PaidJudge, install
from tests.app.rows import upload

Json = dict[str, Any]
GOOD = "It is the better one."


class HostedJudge(PaidJudge):
    """Prefers the good response, a little differently each time; `shift` is what its host changed."""

    def __init__(self, name: str = "hosted", noise: float = 0.02) -> None:
        super().__init__(name)
        self.noise, self.shift, self.rng = noise, 0.0, np.random.default_rng(0)

    def p_a(self, pair: Pair) -> float:
        side = 1.0 if pair.responses_a[0] == GOOD else -1.0
        odds = side * (1.0 + len(pair.user_turns[0]) % 3)
        return 1 / (1 + math.exp(-odds - self.shift - self.noise * float(self.rng.normal())))


@pytest.fixture(autouse=True)
def only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service itself asks no judge while a test does."""
    monkeypatch.setattr(canaries, "LOOK_SECONDS", 3_600.0)


def rows_of(n: int, kind: str = "Question") -> list[Json]:
    """Return rows whose good response people prefer."""
    return [
        {
            "id": f"{kind}{number}",
            "prompt": f"{kind} {number}" + "?" * (number % 7),
            "response_a": GOOD if number % 2 else "No.",
            "response_b": "No." if number % 2 else GOOD,
            "human": [{"annotator": "ann", "label": "a" if number % 2 else "b"}],
        }
        for number in range(n)
    ]


async def watched(client: httpx.AsyncClient, running: Runtime, judge: HostedJudge) -> str:
    """Certify a judge, and return the certificate."""
    install(running, judge)
    await upload(client, "rivers", rows_of(60))
    body = {"dataset": "rivers", "target_agreement": 0.8}
    made = (await client.post("/v1/calibrations", json=body)).json()
    while made["status"] in ("pending", "running"):
        made = (await client.get(f"/v1/calibrations/{made['id']}")).json()
    assert made["status"] == "certified", made
    found: str = made["id"]
    return found


async def monitored(client: httpx.AsyncClient, calibration: str, **options: Any) -> Json:
    body = {"calibration": calibration, **options}
    made = await client.post("/v1/monitors", json=body)
    assert made.status_code == 201, made.text
    found: Json = made.json()
    return found


async def look(client: httpx.AsyncClient, monitor: Json) -> Json:
    found: Json = (await client.get(f"/v1/monitors/{monitor['id']}")).json()
    return found


async def test_a_silent_change_is_seen_within_twenty_canaries(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    judge, rng, moment = HostedJudge(), np.random.default_rng(1), running.now()
    calibration = await watched(client, running, judge)
    running.now = lambda: moment
    monitor = await monitored(client, calibration)
    assert monitor["canaries"]["status"] == "starting"
    assert await ask_due_canaries(running, rng) == 1
    found = (await look(client, monitor))["canaries"]
    assert (found["status"], found["asked"], found["failed"]) == ("asking", 20, 0)
    assert await ask_due_canaries(running, rng) == 0
    for _ in range(30):
        moment += timedelta(hours=1)
        assert await ask_due_canaries(running, rng) == 1
    # a judge that is away says nothing of a change
    judge.is_away, before = True, (await look(client, monitor))["canaries"]["e_value"]
    moment += timedelta(hours=1)
    await ask_due_canaries(running, rng)
    judge.is_away = False
    found = await look(client, monitor)
    assert (found["canaries"]["failed"], found["canaries"]["e_value"]) == (1, before)
    assert (found["status"], found["canaries"]["asked"]) == ("watching", 50)
    judge.shift = 0.3
    for _ in range(20):
        moment += timedelta(hours=1)
        await ask_due_canaries(running, rng)
        found = await look(client, monitor)
        if found["status"] == "alarm":
            break
    assert (found["status"], found["canaries"]["status"]) == ("alarm", "alarm")
    assert found["alarm"]["reason"].startswith("judge changed: hosted")
    assert found["alarm"]["action"] == "suspend"
    certificate = (await client.get(f"/v1/calibrations/{calibration}")).json()
    assert certificate["suspended_because"].startswith("judge changed")
    fresh = [{**row, "human": []} for row in rows_of(3, "New")]
    body = {"pairs": fresh, "calibration": calibration}
    answer = (await client.post("/v1/judgments", json=body)).json()
    assert {one["promise"] for one in answer["verdicts"]} == {"suspended"}
    moment += timedelta(hours=1)
    assert await ask_due_canaries(running, rng) == 0
    metrics = (await client.get("/metrics")).text
    assert "tribunal_monitor_canary_e_value{" in metrics
    page = check(await client.get(f"/monitors/{monitor['id']}"))
    assert "A judge has changed" in page.text_of("p")
    assert "hosted" in page.text_of("th")
    assert f"/monitors/{monitor['id']}" in check(await client.get("/judges")).links
    assert "a judge has changed" in check(await client.get(f"/calibrations/{calibration}")).text_of(
        "td"
    )


async def test_a_change_before_the_monitor_began_is_seen_at_its_start(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    judge = HostedJudge()
    calibration = await watched(client, running, judge)
    judge.shift = 0.5
    monitor = await monitored(client, calibration, on_alarm="revoke")
    await ask_due_canaries(running, np.random.default_rng(0))
    found = await look(client, monitor)
    assert (found["status"], found["alarm"]["action"]) == ("alarm", "revoke")
    assert (await client.get(f"/v1/calibrations/{calibration}")).json()["revoked_at"] is not None


async def test_verdicts_of_a_judge_without_probabilities_are_watched_by_flips(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    judge, rng = HostedJudge(noise=0.0), np.random.default_rng(2)
    judge.p_a = lambda pair: float((pair.responses_a[0] == GOOD) ^ flips)  # type: ignore[method-assign]
    flips = False
    calibration = await watched(client, running, judge)
    monitor = await monitored(client, calibration)
    moment = running.now()
    running.now = lambda: moment
    await ask_due_canaries(running, rng)
    flips = True
    for _ in range(10):
        moment += timedelta(hours=1)
        await ask_due_canaries(running, rng)
    assert (await look(client, monitor))["status"] == "alarm"


async def test_nothing_is_asked_where_no_judge_could_change_or_none_is_wanted(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    judge = HostedJudge()
    calibration = await watched(client, running, judge)
    calls = judge.asked.total()
    monitor = await monitored(client, calibration, canaries=False)
    assert monitor["canaries"]["status"] == "off"
    assert await ask_due_canaries(running, np.random.default_rng(0)) == 0
    ended = await monitored(client, calibration)
    await client.post(f"/v1/monitors/{ended['id']}/end")
    assert await ask_due_canaries(running, np.random.default_rng(0)) == 0
    assert judge.asked.total() == calls


class Failing(HostedJudge):
    """Answers the calls that `answers` says."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: Iterator[bool] = repeat(True)

    async def score(self, pair: Pair) -> Score:
        if next(self.answers):
            return await super().score(pair)
        failure = JudgeFailure(FailureKind.CONNECTION, "nobody is there")
        return Score(self.name, self.spec.fingerprint, None, failure=failure)


async def test_a_judge_that_is_away_at_the_start_is_asked_again_later(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    judge, rng, moment = Failing(), np.random.default_rng(1), running.now()
    calibration = await watched(client, running, judge)
    running.now = lambda: moment
    monitor = await monitored(client, calibration)
    judge.answers = repeat(False)
    await ask_due_canaries(running, rng)
    found = (await look(client, monitor))["canaries"]
    assert (found["status"], found["asked"], found["failed"]) == ("starting", 0, 20)
    # the references are there, and the judge fails now and then while its noise is measured
    judge.answers = chain(repeat(True, 20), cycle((True, False)))
    moment += timedelta(days=1)
    await ask_due_canaries(running, rng)
    found = (await look(client, monitor))["canaries"]
    assert found["status"] == "asking"
    assert found["failed"] == 20 + 40
    assert 0 < found["asked"] <= 20


async def test_scores_that_are_no_longer_stored_are_not_bet_on(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    judge = HostedJudge()
    calibration = await watched(client, running, judge)
    async with running.db.write() as session:
        await session.execute(delete(StoredScore))
    monitor = await monitored(client, calibration)
    await ask_due_canaries(running, np.random.default_rng(1))
    found = (await look(client, monitor))["canaries"]
    assert (found["status"], found["asked"], found["failed"]) == ("asking", 0, 0)


async def test_a_monitor_that_ends_while_its_judge_is_asked_raises_no_alarm(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    judge = HostedJudge()
    calibration = await watched(client, running, judge)
    judge.shift = 0.5
    monitor = await monitored(client, calibration)
    judge.gate = asyncio.Event()
    asking = asyncio.create_task(ask_due_canaries(running, np.random.default_rng(0)))
    while not judge.asked.total() > 60:  # noqa: ASYNC110 - the judge tells nobody
        await asyncio.sleep(0.01)
    await client.post(f"/v1/monitors/{monitor['id']}/end")
    judge.gate.set()
    await asking
    found = await look(client, monitor)
    assert (found["status"], found["alarm"]) == ("ended", None)


async def test_a_judge_that_hangs_keeps_no_other_from_being_watched(
    client: httpx.AsyncClient, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration = await watched(client, running, HostedJudge("hosted"))
    first, second = [await monitored(client, calibration) for _ in range(2)]
    asked, gate = asyncio.Event(), asyncio.Event()

    async def ask(_: Runtime, monitor: Monitor, __: np.random.Generator) -> None:
        if monitor.id == first["id"]:
            await gate.wait()
        if monitor.id == second["id"]:
            asked.set()

    monkeypatch.setattr(alarms, "ask_canaries", ask)
    monkeypatch.setattr(canaries, "LOOK_SECONDS", 0.001)
    running.start(alarms.ask_canaries_forever(running), "asking")
    async with asyncio.timeout(60):
        await asked.wait()
    gate.set()
