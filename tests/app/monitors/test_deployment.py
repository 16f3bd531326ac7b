"""Monitors on simulated traffic of known risk: false alarms, delays, and the slice that is named.

Millions of audits would keep a database busy for a day. So the traffic goes through what the
service itself calls, without the database: the draw of audits (`choose`), the loss of an answer
(`loss_of`), and the update (`observe_in_slices`). The first test holds a monitor of the running
service against that: the same audits are drawn, and the same answers give the same state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import select

from app.core.models import Monitor
from app.core.runtime import Runtime
from app.monitors.alarms import loss_of
from app.monitors.sampling import Candidate, Where, choose
from app.monitors.schemas import AuditAnswersIn
from app.monitors.service import answer
from calibration.arrays import FloatArray, IntArray
from calibration.monitor import (
    Drift,
    SlicedMonitor,
    detectable_risk,
    detection_delay,
    observe_in_slices,
    start_monitor,
    start_sliced_monitor,
)
from judges.types import Message, Pair
from tests.app.rows import certify, labelled_rows, upload
from tests.calibration.simulation import allowed_share
from tests.data_sets import rows as rows_of

Json = dict[str, Any]
# audits by their number, as their answers come: what is there at one look
Looks = Iterator[IntArray]
Names = list[str | None]
TARGET, RULES = 0.15, {"label_rule": "majority", "ties": "exclude"}
OTHER = {"a": "b", "b": "a"}
EVERY = 50
WHERE = Where(1, datetime(2026, 1, 1, tzinfo=UTC), 1)
SLICES = ["code", "law", "maths", "poems"]


def in_order(n: int, rng: np.random.Generator) -> Looks:
    for start in range(0, n, EVERY):
        yield np.arange(start, min(start + EVERY, n))


def late(n: int, rng: np.random.Generator) -> Looks:
    """Answers take as long as 200 audits in the mean, and some very much longer."""
    arrival = np.arange(n) + rng.exponential(200.0, n)
    for start in range(0, n, EVERY):
        yield np.sort(np.argsort(arrival)[start : start + EVERY])


def in_another_order(n: int, rng: np.random.Generator) -> Looks:
    order = rng.permutation(n)
    for part in in_order(n, rng):
        yield np.sort(order[part])


def never(n: int, rng: np.random.Generator) -> Looks:
    """Four of ten answers never come."""
    for part in in_order(n, rng):
        yield part[rng.uniform(size=part.size) < 0.6]


SCHEDULES: dict[str, Callable[[int, np.random.Generator], Looks]] = {
    "in order": in_order,
    "late": late,
    "in another order": in_another_order,
    "four of ten never": never,
}


@cache
def traffic(n: int) -> tuple[Candidate, ...]:
    """Accepted verdicts of one batch, each on its own prompt."""
    return tuple(_candidate(number) for number in range(n))


def _candidate(number: int) -> Candidate:
    pair = Pair(str(number), (Message("user", f"Question {number}"),), ("Yes.",), ("No.",))
    verdict: Any = {
        "status": "accepted", "label": "ab"[number % 2],
        "promise": "certified", "calibration_pair": False,
    }  # fmt: skip
    metadata = {"task": SLICES[number % len(SLICES)]}
    return Candidate(pair, pair.content_hash, metadata, verdict, number, number)


@cache
def drawn(n: int, run: int) -> list[Candidate]:
    """Return what the monitor of one run audits, of n verdicts."""
    monitor = Monitor(secret=f"{run}", options={"audit_rate": 0.1, "abstained_rate": 0.0})
    return [one.candidate for one in choose(monitor, WHERE, traffic(n))]


def answered(audits: list[Candidate], risk: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return the loss of each audit, whose verdict people disagree with at this risk."""
    losses = []
    for one, is_wrong in zip(audits, rng.uniform(size=len(audits)) < risk, strict=True):
        verdict = str(one.verdict["label"])
        losses.append(loss_of(verdict, [OTHER[verdict] if is_wrong else verdict], RULES))
    return np.array(losses, dtype=np.float64)


def followed(
    state: SlicedMonitor, losses: FloatArray, looks: Looks, names: Names | None = None
) -> Iterator[SlicedMonitor]:
    """Yield a monitor after every look."""
    numbers = numbered([None] * losses.size if names is None else names)
    for look in looks:
        of = [None] * look.size if names is None else [names[at] for at in look]
        state = observe_in_slices(state, losses[look], of, numbers=numbers[look])
        yield state


def numbered(names: Names) -> IntArray:
    """Return the number of each audit in the order of drawing: of all, and of its slice."""
    seen: Counter[str | None] = Counter()
    numbers = []
    for at, name in enumerate(names, 1):
        seen[name] += 1
        numbers.append((at, seen[name]))
    return np.array(numbers)


def at_the_end(states: Iterator[SlicedMonitor]) -> SlicedMonitor:
    """Return a monitor as it is found alarmed, or after the last look."""
    state = next(states)
    while not state.is_alarmed and (later := next(states, None)) is not None:
        state = later
    return state


async def test_a_monitor_in_the_database_comes_to_the_state_that_is_simulated(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    await upload(client, "rivers", labelled_rows(400, cheap=0.95))
    made = await certify(client, "rivers", target_agreement=1 - TARGET)
    rows = [
        {**row, "id": f"n{at}", "prompt": f"New {at}", "human": []}
        for at, row in enumerate(labelled_rows(140, seed=1, cheap=0.95))
    ]
    await upload(client, "new", rows)
    asked = {"calibration": made["id"], "audit_rate": 0.25, "slices": "metadata.task"}
    monitors = [(await client.post("/v1/monitors", json=asked)).json() for _ in range(2)]
    batch = await client.post("/v1/batches", json={"dataset": "new", "calibration": made["id"]})
    await client.get(f"{batch.headers['location']}/events")
    verdicts = (await client.get("/v1/judgments?limit=1000")).json()["data"]
    known = {one["id"]: one for one in verdicts}
    candidates = [_stored(row, known[row["id"]]) for row in rows]
    for run, (monitor, looks) in enumerate(zip(monitors, (late, never), strict=True)):
        kept = await _kept(running, monitor)
        chosen = {
            str(one.candidate.verdict["verdict_id"]): one.candidate  # type: ignore[typeddict-item]
            for one in choose(kept, WHERE, candidates)
        }
        path = f"/v1/monitors/{monitor['id']}/audits?limit=1000&order=asc"
        shown = [one["judgment"] for one in (await client.get(path)).json()["data"]]
        assert sorted(shown) == sorted(chosen)
        audits = [chosen[one] for one in shown]
        is_moved = run == 1
        risk = np.full(len(audits), 0.7 if is_moved else 0.05)
        losses = answered(audits, risk, np.random.default_rng(run))
        order = [*looks(len(audits), np.random.default_rng(run))]
        names: Names = [one.metadata["task"] for one in audits]
        state = start_sliced_monitor(TARGET, ["lakes", "rivers"])
        states = list(followed(state, losses, iter(order), names))
        for look in order:
            said = [_said(audits[at], losses[at]) for at in look.tolist()]
            await answer(running, monitor["id"], AuditAnswersIn.model_validate({"answers": said}))
        found = await _kept(running, monitor)
        assert found.state == states[-1].to_dict()
        alarmed = next((one for one in states if one.is_alarmed), None)
        assert (alarmed is not None) is (found.status == "alarm") is is_moved
        assert alarmed is None or found.alarm["slice"] == alarmed.moved  # type: ignore[index]


def _stored(row: Json, verdict: Any) -> Candidate:
    pair = Pair(
        row["id"], (Message("user", row["prompt"]),), (row["response_a"],), (row["response_b"],)
    )
    return Candidate(pair, pair.content_hash, row["metadata"], verdict)


async def _kept(running: Runtime, monitor: Json) -> Monitor:
    async with running.db.read() as session:
        return (await session.scalars(select(Monitor).where(Monitor.id == monitor["id"]))).one()


def _said(audit: Candidate, loss: float) -> Json:
    verdict: Any = audit.verdict
    label = OTHER[verdict["label"]] if loss else verdict["label"]
    return {"judgment": verdict["verdict_id"], "label": label, "annotator": "ann"}


def false_alarms(schedule: str, runs: int, verdicts: int) -> float:
    """Return the share of runs with an alarm where the risk is the target."""
    alarms = 0
    for run in range(runs):
        rng, audits = np.random.default_rng([1, run]), drawn(verdicts, run)
        losses = answered(audits, np.full(len(audits), TARGET), rng)
        looks = SCHEDULES[schedule](len(audits), rng)
        alarms += at_the_end(followed(start_sliced_monitor(TARGET, []), losses, looks)).is_alarmed
    return alarms / runs


def delays(schedule: str, runs: int, verdicts: int, drift: Drift) -> FloatArray:
    """Return after how many answers the alarm came, those to audits from before the change not counted.

    It is inf where no alarm came. Runs whose alarm came sooner are left out.
    """
    found = []
    for run in range(runs):
        rng, audits = np.random.default_rng([2, run]), drawn(verdicts, run)
        is_before = np.arange(len(audits)) < drift.at
        losses = answered(audits, np.where(is_before, drift.risk_before, drift.risk_after), rng)
        looks = list(SCHEDULES[schedule](len(audits), rng))
        before = sum(int((look < drift.at).sum()) for look in looks)
        state = at_the_end(followed(start_sliced_monitor(TARGET, []), losses, iter(looks)))
        at = state.whole.alarm_at
        if at is None or at > before:
            found.append(np.inf if at is None else at - before)
    return np.array(found)


def told_beforehand(drift: Drift, horizon: int) -> float:
    """Return the median delay that a plan would have said."""
    rng = np.random.default_rng(3)
    told = detection_delay(start_monitor(TARGET), drift, rng, runs=500, horizon=horizon)
    assert told.median is not None
    return told.median


def named(runs: int, verdicts: int) -> tuple[int, int]:
    """Count the alarms where the risk of one slice of four rises, and those that name it."""
    alarms = hits = 0
    for run in range(runs):
        rng, audits = np.random.default_rng([4, run]), drawn(verdicts, run)
        names: Names = [one.metadata["task"] for one in audits]
        moved = SLICES[run % len(SLICES)]
        risk = np.array([0.4 if name == moved else 0.1 for name in names])
        looks = in_order(len(audits), rng)
        state = start_sliced_monitor(TARGET, SLICES)
        state = at_the_end(followed(state, answered(audits, risk, rng), looks, names))
        alarms += state.is_alarmed
        hits += state.is_alarmed and state.moved == moved
    return alarms, hits


def test_few_alarms_without_drift_and_none_too_late_with_it() -> None:
    runs, drift = 30, Drift(0.1, 0.45, 0)
    assert false_alarms("late", runs, 800) <= allowed_share(0.05, runs)
    assert np.median(delays("late", runs, 800, drift)) <= 1.2 * told_beforehand(drift, 200)


def test_the_slice_that_moved_is_named() -> None:
    alarms, hits = named(10, 3_000)
    assert alarms >= 5
    assert hits >= 0.9 * alarms


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_false_alarms_of_five_hundred_deployments(schedule: str) -> None:
    share = false_alarms(schedule, 500, 20_000)
    print(f"no drift, answers {schedule}: {share:.4f} of 500 deployments alarm")  # noqa: T201
    assert share <= allowed_share(0.05, 500)


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 500])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_delay_of_deployments_whose_risk_rises(schedule: str, at: int) -> None:
    drift = Drift(0.1, 0.2, at)
    found, told = delays(schedule, 200, 20_000, drift), told_beforehand(drift, 4_000)
    median = float(np.median(found))
    print(f".10 to .20 at audit {at}, answers {schedule}: {median} audits, told {told}")  # noqa: T201
    assert median <= 1.2 * told


@pytest.mark.slow
def test_the_slice_that_moved_is_named_in_nine_of_ten_alarms() -> None:
    alarms, hits = named(200, 20_000)
    print(f"{alarms} of 200 deployments alarm, {hits} name the slice that moved")  # noqa: T201
    assert alarms >= 190
    assert hits >= 0.9 * alarms


@pytest.mark.slow
def test_a_monitor_tells_how_much_drift_it_could_have_seen() -> None:
    """The risk that it tells raises the alarm in half of the deployments."""
    rng, audits = np.random.default_rng(5), drawn(20_000, 0)
    calm = answered(audits, np.full(len(audits), 0.1), rng)
    looks = in_order(len(audits), rng)
    risk = detectable_risk(
        at_the_end(followed(start_sliced_monitor(TARGET, []), calm, looks)).whole
    )
    assert risk is not None
    alarms = 0
    for run in range(200):
        rng = np.random.default_rng([6, run])
        losses = answered(audits, np.full(len(audits), risk), rng)
        looks = in_order(len(audits), rng)
        alarms += at_the_end(followed(start_sliced_monitor(TARGET, []), losses, looks)).is_alarmed
    print(f"told {risk:.3f} after {len(audits)} audits: {alarms} of 200 alarm")  # noqa: T201
    assert alarms >= 90


async def test_a_judge_certified_on_natural_pairs_alarms_on_adversarial_ones(
    client: httpx.AsyncClient,
) -> None:
    """LLMBar: 100 pairs that people asked for, and 319 whose worse response looks better."""
    parts: dict[str, list[Json]] = {"Natural": [], "Adversarial": []}
    judge = "ChatGPT/Vanilla"
    for row in rows_of("llmbar"):
        name = next((one for one in parts if f"/{one}" in row["subset"]), None)
        if name is not None:
            parts[name].append({**row, "judges": {judge: row["judges"][judge]}})
    for name, rows in parts.items():
        await upload(client, name, rows)
    asked = {"dataset": "Natural", "cascade": {"judges": [judge]}}
    made = await client.post("/v1/calibrations", json={**asked, "target_agreement": 0.75})
    calibration = made.json()["id"]
    assert made.json()["status"] == "certified"
    watch = {"calibration": calibration, "audit_rate": 0.2, "on_alarm": "suspend"}
    monitor = (await client.post("/v1/monitors", json=watch)).json()
    body = {"dataset": "Adversarial", "calibration": calibration}
    batch = await client.post("/v1/batches", json=body)
    await client.get(f"{batch.headers['location']}/events")
    people = {row["id"]: row["human"][0]["label"].lower() for row in parts["Adversarial"]}
    verdicts = (await client.get("/v1/judgments?limit=1000")).json()["data"]
    said = {one["verdict_id"]: people[one["id"]] for one in verdicts}
    path = f"/v1/monitors/{monitor['id']}/audits"
    drawn_ones = (await client.get(f"{path}?limit=1000")).json()["data"]
    answers = [
        {"judgment": one["judgment"], "label": said[one["judgment"]], "annotator": "ann"}
        for one in drawn_ones
    ]
    found = (await client.post(path, json={"answers": answers})).json()["monitor"]
    assert (found["status"], found["alarm"]["action"]) == ("alarm", "suspend")
    assert found["risk"]["low"] > 0.25
