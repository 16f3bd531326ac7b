"""A candidate judges a share of the traffic; what promoting it would change is told."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import select

from app.core.models import Shadow
from app.core.runtime import Runtime
from app.shadows import asking, service
from app.shadows.asking import ask_some
from app.shadows.report import Compared, compare
from judges.base import JudgeSpec
from tests.app.paid_judge import PaidJudge, install
from tests.app.rows import certify, labelled_rows, upload

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service itself asks no candidate while a test does."""
    monkeypatch.setattr(asking, "_PAUSE_SECONDS", 3_600.0)


async def certified(client: httpx.AsyncClient) -> str:
    await upload(client, "rivers", labelled_rows(300))
    found: str = (await certify(client, "rivers", target_agreement=0.85))["id"]
    return found


async def shadowed(client: httpx.AsyncClient, calibration: str, **asked: Any) -> Json:
    body = {"calibration": calibration, "share": 1.0, **asked}
    made = await client.post("/v1/shadows", json=body)
    assert made.status_code == 201, made.text
    found: Json = made.json()
    return found


async def look(client: httpx.AsyncClient, shadow: Json) -> Json:
    found: Json = (await client.get(f"/v1/shadows/{shadow['id']}")).json()
    return found


async def judge(client: httpx.AsyncClient, calibration: str, first: int, n: int) -> list[Json]:
    rows = labelled_rows(n, seed=first)
    for number, row in enumerate(rows):
        row["id"], row["prompt"] = f"new{first + number}", f"New question {first + number}"
        row.pop("human")
    body = {"pairs": rows, "calibration": calibration}
    answer = await client.post("/v1/judgments", json=body)
    assert answer.status_code == 200, answer.text
    found: list[Json] = answer.json()["verdicts"]
    return found


class Exchanged(PaidJudge):
    """A judge of the same name on another model."""

    @property
    def spec(self) -> JudgeSpec:
        return replace(super().spec, scored_by={"name": "another model"})


class Unpriced(PaidJudge):
    """A judge behind a server of which nobody has said what it costs."""

    @property
    def spec(self) -> JudgeSpec:
        return replace(super().spec, price_input=None, price_output=None)


async def ask_all(running: Runtime) -> None:
    while shadows := await asking._with_waiting_pairs(running):
        for shadow in shadows:
            await ask_some(running, shadow)


@pytest.mark.both_databases
async def test_a_candidate_judges_and_decides_nothing(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    candidate = PaidJudge("new")
    install(running, candidate)
    calibration = await certified(client)
    before = await judge(client, calibration, 0, 60)
    shadow = await shadowed(client, calibration, judge="new")
    watch = {"calibration": calibration, "audit_rate": 1.0, "abstained_rate": 1.0}
    monitor = (await client.post("/v1/monitors", json=watch)).json()
    after = await judge(client, calibration, 0, 60)
    assert [{**one, "cached": None} for one in after] == [{**one, "cached": None} for one in before]
    # what the certificate was made from says nothing of new pairs
    known = [{**row, "human": []} for row in labelled_rows(300)[:5]]
    body = {"pairs": known, "calibration": calibration}
    assert (await client.post("/v1/judgments", json=body)).is_success
    # no answer waits for a candidate
    assert not candidate.asked
    waiting = await look(client, shadow)
    assert (waiting["drawn"], waiting["pairs"], waiting["waiting"]) == (60, 0, 60)
    await ask_all(running)
    # the same traffic again finds stored scores: they cost nothing
    await judge(client, calibration, 0, 60)
    await ask_all(running)
    found = await look(client, shadow)
    assert (found["pairs"], found["failed"], found["waiting"]) == (120, 0, 0)
    assert found["spent_usd"] == pytest.approx(0.6)
    assert candidate.asked.total() == 60
    answered = sum(one["status"] == "accepted" for one in before) / 60
    assert found["coverage"]["value"] == 1.0
    assert found["coverage_change"]["value"] == pytest.approx(1 - answered)
    present = np.mean([
        sum({"cheap": 0.001, "dear": 0.02}[tier["judge"]] for tier in one["tiers"])
        for one in before
    ])  # fmt: skip
    assert found["cost_change"]["value"] == pytest.approx(0.01 - present)
    assert found["labelled"] == 0
    assert found["enough"] is False
    audits = (await client.get(f"/v1/monitors/{monitor['id']}/audits?limit=1000")).json()["data"]
    said = [{"judgment": one["judgment"], "label": "a", "annotator": "ann"} for one in audits]
    path = f"/v1/monitors/{monitor['id']}/audits"
    assert (await client.post(path, json={"answers": said})).is_success
    found = await look(client, shadow)
    assert found["labelled"] == len(audits) > 50
    assert found["agreement_change"]["low"] < found["agreement_change"]["high"]
    assert found["labels_needed"] > found["labelled"]
    ended = (await client.post(f"/v1/shadows/{shadow['id']}/end")).json()
    assert (ended["status"], ended["pairs"]) == ("ended", 120)
    await judge(client, calibration, 500, 5)
    assert (await look(client, shadow))["drawn"] == 120
    (listed,) = (await client.get("/v1/shadows")).json()["data"]
    assert listed["id"] == shadow["id"]


async def test_a_share_of_a_batch_is_judged_within_a_budget_and_failures_stay_apart(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    calibration = await certified(client)
    install(
        running, away := PaidJudge("away", is_away=True), dear := PaidJudge("dearer", price=1.0)
    )
    failing = await shadowed(client, calibration, judge="away", share=0.3)
    costly = await shadowed(client, calibration, cascade={"judges": ["dearer"]}, budget_usd=20)
    fresh = labelled_rows(200, seed=5)
    for row in fresh:
        row["prompt"] = f"Another {row['id']}"
    await upload(client, "fresh", fresh)
    batch = await client.post("/v1/batches", json={"dataset": "fresh", "calibration": calibration})
    ended = await client.get(f"{batch.headers['location']}/events")
    assert "completed" in ended.text
    await ask_all(running)
    found = await look(client, failing)
    assert 60 - 26 < found["drawn"] < 60 + 26
    assert (found["failed"], found["spent_usd"]) == (found["drawn"], 0.0)
    assert found["coverage"]["value"] == 0.0
    assert away.asked.total() == found["drawn"]
    body = (await client.get(batch.headers["location"])).json()
    assert (body["promise"], body["request_counts"]["failed"]) == ("certified", 0)
    assert {one["judge"] for one in body["progress"]["tiers"]} == {"cheap", "dear"}
    found = await look(client, costly)
    assert (found["status"], found["spent_usd"]) == ("spent", 32.0)  # sixteen at a time
    assert dear.asked.total() == 32
    # people labelled the rows of the dataset
    assert found["labelled"] == 32


async def all_judged(client: httpx.AsyncClient, shadow: Json) -> None:
    async with asyncio.timeout(60):
        while True:
            if not (await look(client, shadow))["waiting"]:
                return
            await asyncio.sleep(0.01)


async def test_a_candidate_that_hangs_keeps_no_other_waiting(
    client: httpx.AsyncClient, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration = await certified(client)
    hung = PaidJudge("hung", gate=asyncio.Event())
    install(running, hung, PaidJudge("quick"))
    first, second = [await shadowed(client, calibration, judge=one) for one in ("hung", "quick")]
    await judge(client, calibration, 0, 5)
    monkeypatch.setattr(asking, "_PAUSE_SECONDS", 0.001)
    running.start(asking.ask_forever(running), "asking")
    await all_judged(client, second)
    async with asyncio.timeout(60):  # the quick one may end before the other is asked about all
        while hung.asked.total() < 5:  # noqa: ASYNC110 - the judge tells nobody
            await asyncio.sleep(0.01)
    assert (await look(client, first))["waiting"] == 5
    # what is drawn while it hangs waits for it, and it is asked about nothing twice
    await judge(client, calibration, 20, 2)
    hung.gate.set()  # type: ignore[union-attr]
    await all_judged(client, first)
    assert hung.asked.total() == 7


async def test_what_cannot_be_a_candidate_is_refused(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    calibration = await certified(client)
    body = {"calibration": calibration}
    for more, status, field in (
        ({}, 422, None),
        ({"judge": "student", "cascade": "default"}, 422, None),
        ({"judge": "nobody"}, 422, None),
        ({"judge": "student", "share": 0}, 422, "share"),
        ({"candidate": "cal_none"}, 404, None),
        ({"candidate": calibration}, 422, "cascade"),
    ):
        refused = await client.post("/v1/shadows", json={**body, **more})
        assert refused.status_code == status, refused.text
        assert field is None or field in refused.json()["errors"][0]["loc"]
    shadow = await shadowed(client, calibration, judge="student")
    await judge(client, calibration, 0, 3)
    install(running, PaidJudge("other"), Unpriced("free"))
    refused = await client.post("/v1/shadows", json={**body, "judge": "free", "budget_usd": 5})
    assert refused.status_code == 422
    assert refused.json()["detail"] == "budget_usd: the judge 'free' has no price"
    await ask_all(running)
    found = await look(client, shadow)
    assert (found["status"], found["waiting"]) == ("ended", 0)
    assert "student" in found["error"]
    shadow = await shadowed(client, calibration, judge="other")
    await judge(client, calibration, 10, 3)
    install(running, Exchanged("other"))
    await ask_all(running)
    found = await look(client, shadow)
    assert (found["status"], found["pairs"]) == ("ended", 0)
    assert found["error"] == "its judges are configured otherwise now"
    assert (await client.post(f"/v1/calibrations/{calibration}/revoke")).is_success
    refused = await client.post("/v1/shadows", json={**body, "judge": "other"})
    assert refused.status_code == 409
    assert "is not in use: it gives no promised verdict" in refused.json()["detail"]


async def test_two_processes_ask_a_candidate_about_a_pair_once(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    calibration = await certified(client)
    candidate = PaidJudge("new", pause=0.05)
    install(running, candidate)
    await shadowed(client, calibration, judge="new")
    await judge(client, calibration, 0, 5)
    [shadow] = await asking._with_waiting_pairs(running)
    async with asyncio.TaskGroup() as group:
        both = [group.create_task(ask_some(running, shadow)) for _ in range(2)]
    assert sorted(one.result() for one in both) == [0, 5]
    assert candidate.asked.total() == 5


def test_notes_say_what_the_figures_leave_out() -> None:
    def pair(number: int, labels: tuple[Any, Any], losses: tuple[Any, Any]) -> Compared:
        weight = None if losses == (None, None) else 1.0
        return Compared(f"q{number}", True, labels, (None, 0.03), losses, weight)

    answered = [pair(n, ("a", "a"), (0.0, 0.0)) for n in range(3)]
    gained = [pair(n, (None, "a"), (None, None)) for n in range(3, 6)]
    notes = service._notes([*answered, *gained], compare([*answered, *gained]))
    assert "no label is on a pair on which the present cascade abstains" in notes[0]
    assert notes[-1] == "what some judge costs is unknown: set price_input and price_output"
    looked = [*answered, pair(9, (None, "a"), (None, 0.0))]
    assert not any("no label is on" in one for one in service._notes(looked, compare(looked)))


def world(n: int, rng: np.random.Generator) -> list[Compared]:
    """Return pairs: the present cascade is right on .8 of .7, the candidate on .866 of .9.

    Where the present one abstains people are asked less often, and the candidate is right on .6.
    """
    pairs = []
    for number in range(n):
        answers = rng.uniform(size=2) < (0.7, 0.9)
        right = rng.uniform(size=2) < (0.8, 0.98 if answers[0] else 0.6)
        labels = tuple(
            None if not has else ("a" if is_right else "b")
            for has, is_right in zip(answers, right, strict=True)
        )
        rate = 0.9 if answers[0] else 0.3
        losses = tuple(None if label is None else float(label != "a") for label in labels)
        is_asked = rng.uniform() < rate
        pairs.append(
            Compared(
                f"q{number}", True, (labels[0], labels[1]), (0.01, 0.03),
                (losses[0], losses[1]) if is_asked else (None, None), 1 / rate if is_asked else None,
            )
        )  # fmt: skip
    return pairs


def test_changes_are_covered_by_their_intervals() -> None:
    rng, held = np.random.default_rng(0), {"coverage_change": 0, "agreement_change": 0}
    truth = {"coverage_change": 0.2, "agreement_change": 0.066}
    for _ in range(100):
        found = compare(world(300, rng))
        for name in held:
            one = getattr(found, name)
            held[name] += one.low <= truth[name] <= one.high
    assert min(held.values()) >= 89
    assert found.cost_change.value == pytest.approx(0.02)
    assert not found.is_enough(0.01)
    assert found.is_enough(0.2)
    needed = found.labels_needed(0.02)
    assert needed is not None
    assert needed > found.labelled
    assert compare([]).is_enough(0.5) is False


async def test_many_pairs_are_compared_beside_the_event_loop(
    client: httpx.AsyncClient, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration = await certified(client)
    install(running, PaidJudge("quick"))
    shadow = await shadowed(client, calibration, judge="quick")
    await judge(client, calibration, 0, 5)
    async with running.db.read() as session:
        [stored] = await session.scalars(select(Shadow))
    assert await ask_some(running, stored) == 5
    threads = []

    def noted(*args: Any, **options: Any) -> Any:
        threads.append(threading.current_thread())
        return compare(*args, **options)

    monkeypatch.setattr(service, "compare", noted)
    monkeypatch.setattr("app.core.pools._FEW", 3)
    assert (await look(client, shadow))["pairs"] == 5
    assert threading.main_thread() not in threads
    assert len(threads) == 1
