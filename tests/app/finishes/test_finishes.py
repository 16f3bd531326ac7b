"""A dataset gets a verdict on every row: judges where they are sure, people elsewhere."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import IntegrityError

from app.calibrations.schemas import JudgeOrder
from app.core.errors import Conflict
from app.core.models import CalibrationRow, Finish
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.finishes import queries, service
from app.finishes.schemas import FinishIn
from app.main import create_app
from tests.app.rows import labelled_rows, upload
from tests.conftest import client_of

Json = dict[str, Any]
JUDGES = {"judges": ["cheap", "dear"]}


def rows_of(n: int, labelled: int, *, failing: int = 0) -> list[Json]:
    """Return rows of which the first have labels, and a few others no scores at all."""
    rows = labelled_rows(n)
    for number, row in enumerate(rows):
        if number >= labelled:
            row["human"] = []
        if labelled <= number < labelled + failing:
            row["judges"] = {}
    return rows


async def finish(client: httpx.AsyncClient, **asked: Any) -> Json:
    body = {"dataset": "rivers", "cascade": JUDGES, "max_error": 0.05, **asked}
    answer = await client.post("/v1/finishes", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/finishes/{answer.json()['id']}"
    return await settled(client, answer.json()["id"])


async def settled(client: httpx.AsyncClient, finish_id: str) -> Json:
    """Return a finish when it waits for people or has ended."""
    while True:
        found: Json = (await client.get(f"/v1/finishes/{finish_id}")).json()
        if found["status"] not in ("calibrating", "judging"):
            return found
        await asyncio.sleep(0.01)


async def label_all(
    client: httpx.AsyncClient, queue: str, who: str = "ann", most: int = 1000
) -> int:
    """Answer what a person is given; say how many answers that were."""
    done = 0
    while done < most:
        n = min(100, most - done)
        body = {"annotator": who, "n": n}
        items = (await client.post(f"/v1/queues/{queue}/claim", json=body)).json()["items"]
        if not items:
            return done
        answers = [{"item": one["item"], "label": "left"} for one in items]
        body = {"annotator": who, "answers": answers}
        assert (await client.post(f"/v1/queues/{queue}/answers", json=body)).is_success
        done += len(items)
    return done


async def all_rows(client: httpx.AsyncClient, finish_id: str) -> list[Json]:
    found: list[Json] = []
    after: Json = {}
    while True:
        path = f"/v1/finishes/{finish_id}/rows"
        page = (await client.get(path, params={"limit": 150, **after})).json()
        found += page["data"]
        if not page["has_more"]:
            return found
        after = {"after": page["last_id"]}


def given(rows: list[Json]) -> dict[Any, int]:
    by = [row["given_by"] for row in rows]
    return {name: by.count(name) for name in ("judge", "people", None)}


@pytest.mark.both_databases
async def test_every_row_gets_a_verdict_under_one_certificate(client: httpx.AsyncClient) -> None:
    rows = rows_of(400, 300, failing=2)
    rows[0]["human"].append({"annotator": "bob", "label": "tie"})  # no majority: asked again
    battle = {"id": "battle", "model_a": "x", "model_b": "y", "judges": {"cheap": {"p_a": 0.6}}}
    await upload(client, "rivers", [*rows, battle])
    found = await finish(client)
    assert found["status"] == "labelling"
    assert found["promise"] == "certified"
    assert "0.05 of all pairs" in found["claim"]
    queue = (await client.get(f"/v1/queues/{found['queue']}")).json()
    assert (queue["purpose"], queue["waiting"]) == ("finish", found["waiting"])
    names = ("judged", "labelled", "waiting", "unfinishable")
    counts = [found[name] for name in names]
    assert sum(counts) == found["pairs"] == 401
    assert counts[1] == 299
    assert 3 < found["waiting"] < 100
    assert found["unfinishable"] == 1
    listed = await all_rows(client, found["id"])
    assert given(listed) == {"judge": counts[0], "people": 299, None: counts[2] + 1}
    # what judges failed on waits for people, as what they abstain on does
    assert {row["id"] for row in listed if row["given_by"] is None} >= {"p0", "p300", "p301"}
    body = {"annotator": "ann", "n": 1}
    (first,) = (await client.post(f"/v1/queues/{found['queue']}/claim", json=body)).json()["items"]
    assert await label_all(client, found["queue"], most=3) == 3
    half = await settled(client, found["id"])
    assert (half["status"], half["labelled"]) == ("labelling", 302)
    await label_all(client, found["queue"])
    ended = await settled(client, found["id"])
    assert (ended["status"], ended["waiting"]) == ("completed", 0)
    assert ended["ended_at"] is not None
    assert ended["judged"] == found["judged"]
    listed = await all_rows(client, found["id"])
    assert given(listed) == {"judge": ended["judged"], "people": 400 - ended["judged"], None: 1}
    assert {row["promise"] for row in listed if row["given_by"] == "judge"} == {"certified"}
    assert all(row["label"] for row in listed if row["given_by"])
    nowhere = await client.get(f"/v1/finishes/{found['id']}/rows", params={"after": "p9999"})
    assert nowhere.status_code == 404
    assert nowhere.json()["detail"] == "after: there is no 'p9999' in this list"
    # an answer that is taken back opens it again
    undone = {"annotator": "ann", "item": first["item"]}
    assert (await client.post(f"/v1/queues/{found['queue']}/undo", json=undone)).is_success
    (listing,) = (await client.get("/v1/finishes")).json()["data"]
    assert (listing["id"], listing["waiting"]) == (found["id"], 1)
    assert (await settled(client, found["id"]))["status"] == "labelling"


async def test_an_unlabelled_dataset_begins_with_a_uniform_sample(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    await upload(client, "rivers", rows_of(60, 0))
    refused = await client.post(
        "/v1/finishes", json={"dataset": "rivers", "cascade": JUDGES, "max_error": 0.4}
    )
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["loc"] == ["body", "labels"]
    # whoever labels these may have chosen easy ones: they certify nothing
    chosen = [
        {"dataset": "rivers", "pair": f"p{n}", "annotator": "eve", "label": "a"} for n in (1, 2)
    ]
    assert (await client.post("/v1/labels", json={"labels": chosen})).status_code == 201
    found = await finish(client, labels=40, max_error=0.4)
    assert (found["status"], found["calibration"]) == ("sampling", None)
    queue = (await client.get(f"/v1/queues/{found['queue']}")).json()
    assert (queue["purpose"], queue["pairs"]) == ("calibration", 40)
    early = await client.get(f"/v1/finishes/{found['id']}/rows")
    assert early.status_code == 409
    # the next start waits for the same people
    await service.resume(running)
    assert (await settled(client, found["id"]))["status"] == "sampling"
    before = await kept(running, found["id"])
    await label_all(client, found["queue"])
    # who has read it before goes on with nothing
    await service._see_people(running, before)
    # answers by side are right half of the time: judges that agree with them are rare
    found = await settled(client, found["id"])
    assert found["status"] in ("labelling", "completed", "not_certifiable")
    made = (await client.get(f"/v1/calibrations/{found['calibration']}")).json()
    assert made["calibration"]["labelled"] == 40
    if found["status"] == "not_certifiable":
        assert "Label more pairs" in found["error"]


async def test_judges_that_fail_more_than_before_stop_it_until_somebody_decides(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "rivers", rows_of(400, 300, failing=60))
    found = await finish(client)
    assert (found["status"], found["promise"]) == ("suspended", "suspended")
    assert "failed on" in found["error"]
    again = await client.post(f"/v1/finishes/{found['id']}/retry")
    assert again.status_code == 409, again.text  # records do not change
    handed = await client.post(f"/v1/finishes/{found['id']}/retry", json={"people": True})
    assert handed.json()["status"] == "labelling"
    await label_all(client, handed.json()["queue"])
    ended = await settled(client, found["id"])
    assert ended["status"] == "completed"
    assert ended["judged"] + ended["labelled"] == 400
    assert ended["promise"] == "suspended"
    repeated = await client.post(f"/v1/finishes/{found['id']}/retry")
    assert repeated.status_code == 409


async def kept(running: Runtime, finish_id: str) -> Finish:
    async with running.db.read() as session:
        return await service.require(session, finish_id)


async def test_each_step_looks_at_what_became_of_the_one_before(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    await upload(client, "rivers", rows_of(400, 300))
    found = await finish(client)
    row = await kept(running, found["id"])
    async with running.db.read() as session:
        _, certificate, batch, _ = await queries.parts(session, row)
    assert certificate is not None
    assert batch is not None
    with pytest.raises(Conflict, match="its certificate was deleted"):
        await service._judge(running, row, None, batch)
    # rows as they are when another process is quicker, or when somebody stops the batch
    certificate.status = "running"
    assert await service._certify(running, row, certificate) is False
    batch.status, batch.error = "cancelled", None
    why = await service._why_unpromised(running, batch)
    assert why is not None
    assert f"{batch.id} ended as cancelled: not all was judged; judge again what failed" in why
    row.status = "judging"
    await service._hand_to_people(running, row, batch)
    assert len((await client.get("/v1/queues")).json()["data"]) == 1
    # what suspends the certificate suspends the promise of what was judged by it
    async with running.db.write() as session:
        held = await session.get_one(CalibrationRow, certificate.seq)
        held.suspended_because = "a monitor raised its alarm"
    assert (await settled(client, found["id"]))["promise"] == "suspended"


async def test_too_few_labels_end_it_with_advice(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", rows_of(60, 20))
    found = await finish(client, max_error=0.01)
    assert found["status"] == "not_certifiable"
    assert "Label more pairs" in found["error"]
    assert found["waiting"] == 0


async def test_it_is_taken_up_by_the_next_start(settings: Settings, monkeypatch: Any) -> None:
    """A process that dies after each step loses nothing; two that take one judge nothing twice."""

    async def dies(running: Runtime, finish_id: str) -> None:
        """Take no step: the process is gone before."""

    first = create_app(settings)
    with monkeypatch.context() as patched:
        patched.setattr(service, "_drive", dies)
        async with first.router.lifespan_context(first), client_of(first) as client:
            await upload(client, "rivers", rows_of(400, 300))
            body = {"dataset": "rivers", "cascade": JUDGES, "max_error": 0.05}
            made = (await client.post("/v1/finishes", json=body)).json()
            assert made["status"] == "calibrating"
    for step in ("calibrating", "judging"):
        app = create_app(settings)
        with monkeypatch.context() as patched:
            patched.setattr(service, "_drive", dies)
            async with app.router.lifespan_context(app):
                running = app.state.runtime
                async with running.db.read() as session:
                    finish_row = await service.require(session, made["id"])
                assert finish_row.status == step
                async with asyncio.TaskGroup() as group:
                    steps = (service._stepped(running, finish_row) for _ in range(2))
                    both = [group.create_task(one) for one in steps]
                assert sorted(one.result() for one in both) == [False, True]
                if step == "calibrating":
                    assert await service._stepped(running, finish_row)
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        found = await settled(client, made["id"])
        assert found["status"] == "labelling"
        batches = (await client.get("/v1/batches")).json()["data"]
        assert [one["id"] for one in batches] == [found["batch"]]
        made_ones = (await client.get("/v1/calibrations")).json()["data"]
        assert [one["id"] for one in made_ones] == [found["calibration"]]


async def test_a_finish_that_is_not_stored_leaves_no_queue(
    client: httpx.AsyncClient, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await upload(client, "rivers", rows_of(60, 20))
    first = await finish(client, max_error=0.01)
    monkeypatch.setattr(service, "new_id", lambda _: first["id"])
    asked = FinishIn(dataset="rivers", cascade=JudgeOrder(**JUDGES), max_error=0.4, labels=30)
    with pytest.raises(IntegrityError):
        await service.create(running, asked)
    assert (await client.get("/v1/queues")).json()["data"] == []
