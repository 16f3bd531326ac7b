from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.models import Label, QueueVote
from app.core.runtime import Runtime
from app.queues import progress
from calibration import agreement
from tests.app.api.test_limits import statements
from tests.app.core.test_auth import make_key
from tests.app.queues.asking import Json, claim, give, human_of, look, make_queue, places, rivers
from tests.app.rows import certify, labelled_rows, upload


@contextmanager
def rows_read() -> Iterator[list[Any]]:
    """List the rows that sessions read inside the block."""
    read: list[Any] = []
    execute = AsyncSession.execute

    async def noted(*args: Any, **options: Any) -> Any:
        frozen = (await execute(*args, **options)).freeze()
        read.extend(frozen.data)
        return frozen()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AsyncSession, "execute", noted)
        yield read


@pytest.mark.both_databases
async def test_no_time_that_an_answer_took_keeps_a_queue_from_being_shown(
    client: httpx.AsyncClient, running: Runtime, database_kind: str
) -> None:
    await rivers(client, human=False)
    await make_queue(client)
    items = await claim(client, "ann", 2)
    refused = await give(
        client, "ann", {"item": items[0]["item"], "label": "left", "seconds": 1e308}
    )
    assert refused.status_code == 422
    assert "seconds" in refused.json()["errors"][0]["loc"]
    await give(client, "ann", {"item": items[0]["item"], "label": "left", "seconds": 1e9})
    # as an earlier version has stored it
    async with running.db.write() as session:
        await session.execute(update(QueueVote).values(details={"seconds": 1e308}))
    assert (await look(client))["annotators"][0]["median_seconds"] == 1e9


@pytest.mark.both_databases
async def test_answers_become_labels_with_the_drawn_side_undone(client: httpx.AsyncClient) -> None:
    """The longer of both texts is always said to be better, wherever it stands."""
    await rivers(client, 12, human=False)
    created = await make_queue(client, guidelines="Which river?")
    assert places(created) == (12, 0, 0, 0)
    items = await claim(client, "ann", 12)
    assert places(await look(client)) == (0, 12, 0, 0)
    assert len({item["item"] for item in items}) == 12
    sides = ["left" if len(item["left"]) > len(item["right"]) else "right" for item in items]
    assert set(sides) == {"left", "right"}
    said = [
        {"item": item["item"], "label": side, "seconds": 2.5, "comment": "long"}
        for item, side in zip(items, sides, strict=True)
    ]
    stored = await give(client, "ann", *said)
    assert stored.status_code == 201
    assert {one["status"] for one in stored.json()["answers"]} == {"stored"}
    human = await human_of(client)
    assert {vote["label"] for votes in human.values() for vote in votes} == {"b"}
    [vote] = next(iter(human.values()))
    assert (vote["annotator"], vote["seconds"], vote["comment"]) == ("ann", 2.5, "long")
    assert (await client.get("/v1/datasets/rivers")).json()["labels"] == 12
    again = await give(client, "ann", *said)
    assert {one["status"] for one in again.json()["answers"]} == {"unchanged"}
    done = await look(client)
    assert (places(done), done["status"], done["votes"]) == ((0, 0, 12, 0), "done", 12)
    assert await claim(client, "bob") == []


@pytest.mark.both_databases
async def test_labels_that_were_there_before_are_no_votes(client: httpx.AsyncClient) -> None:
    await rivers(client)
    await make_queue(client, votes_per_pair=2)
    for who in ("anna", "bob"):
        for item in await claim(client, who, 6):
            assert (await give(client, who, {"item": item["item"], "label": "both"})).is_success
    assert places(await look(client)) == (0, 0, 6, 0)
    human = await human_of(client)
    # the label that anna had given before is replaced by her answer
    assert [[vote["label"] for vote in votes] for votes in human.values()] == [["tie", "tie"]] * 6
    assert all(vote["both"] for votes in human.values() for vote in votes)


@pytest.mark.both_databases
async def test_an_undone_answer_leaves_no_label_and_what_it_replaced_stands_again(
    client: httpx.AsyncClient,
) -> None:
    await rivers(client, 1)
    await make_queue(client)
    before = await human_of(client)
    [item] = await claim(client, "anna")
    said = {"item": item["item"], "label": "tie"}
    await give(client, "anna", said)
    assert [vote["label"] for [vote] in (await human_of(client)).values()] == ["tie"]
    undone = await client.post(
        "/v1/queues/q/undo", json={"annotator": "anna", "item": said["item"]}
    )
    assert undone.status_code == 200
    assert await human_of(client) == before
    assert places(await look(client)) == (0, 1, 0, 0)
    assert (await give(client, "anna", said)).status_code == 201
    assert (await look(client))["votes"] == 1
    nothing = await client.post(
        "/v1/queues/q/undo", json={"annotator": "bob", "item": said["item"]}
    )
    assert nothing.status_code == 404


async def test_another_answer_of_the_same_person_replaces_the_first(
    client: httpx.AsyncClient,
) -> None:
    await rivers(client, 1, human=False)
    await make_queue(client)
    [item] = await claim(client, "ann")
    for label in ("left", "right"):
        answer = await give(client, "ann", {"item": item["item"], "label": label})
    assert answer.json()["answers"][0]["status"] == "replaced"
    [[vote]] = (await human_of(client)).values()
    assert (
        vote["label"]
        == {"left": "a", "right": "b"}["right" if vote["first_shown"] == "a" else "left"]
    )
    assert (await look(client))["votes"] == 1


async def test_a_queue_that_takes_no_ties_refuses_them(client: httpx.AsyncClient) -> None:
    await rivers(client, 1)
    await make_queue(client, allow_tie=False)
    [item] = await claim(client, "ann")
    answer = await give(client, "ann", {"item": item["item"], "label": "both"})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (
        422, ["body", "answers", 0, "label"],
    )  # fmt: skip


async def test_audits_and_finishes_hold_the_verdicts_of_their_kind(
    client: httpx.AsyncClient,
) -> None:
    await rivers(client, 300)
    certificate = await certify(client, "rivers", target_agreement=0.95)
    batch = await client.post(
        "/v1/batches", json={"dataset": "rivers", "calibration": certificate["id"]}
    )
    await client.get(f"{batch.headers['location']}/events")
    found = (await client.get(batch.headers["location"])).json()
    counts = found["request_counts"]
    for purpose, status in (("audit", "accepted"), ("finish", "abstained")):
        made = await make_queue(
            client, name=purpose, purpose=purpose, calibration=certificate["id"], labels=1000
        )
        assert made["pairs"] == counts[status] > 0
    # pairs that are named, and those of other purposes, are queued whatever their verdicts are
    named: Json = {"purpose": "audit", "pairs": ["p0", "p1"]}
    for name, more in (("named", named), ("asked", {"purpose": "asked", "labels": 2})):
        made = await make_queue(client, name=name, calibration=certificate["id"], **more)
        assert made["pairs"] == 2
    refused = await client.post(
        "/v1/queues", json={"name": "x", "dataset": "rivers", "purpose": "audit"}
    )
    assert refused.status_code == 422


async def test_weak_annotators_are_named(client: httpx.AsyncClient) -> None:
    await rivers(client, 60, human=False)
    await make_queue(client, votes_per_pair=3)
    for who in ("ann", "bob", "lazy"):
        items = await claim(client, who, 60)
        # the sides are drawn: as many lefts as rights are answered, or chance makes ann one-sided
        left = [item for item in items if len(item["left"]) > len(item["right"])]
        right = [item for item in items if len(item["left"]) <= len(item["right"])]
        seconds, even = (1.0, len(items)) if who == "lazy" else (20.0, min(len(left), len(right)))
        answers = [
            {"item": item["item"], "label": "left" if who == "lazy" else label, "seconds": seconds}
            for label, side in (("left", left), ("right", right))
            for item in side[:even]
        ]
        assert (await give(client, who, *answers)).status_code == 201
    people = {one["annotator"]: one for one in (await look(client))["annotators"]}
    assert people["ann"]["weak"] == people["bob"]["weak"] == []
    assert len(people["lazy"]["weak"]) == 3
    assert people["lazy"]["agreement"]["high"] < 0.8


@pytest.mark.both_databases
async def test_votes_are_counted_by_the_database(client: httpx.AsyncClient) -> None:
    """A list reads as many rows for many votes as for few, and says what the votes say."""
    await rivers(client, 60, human=False)
    rows = []
    for size, name in ((12, "q"), (60, "larger")):
        await make_queue(client, name=name, votes_per_pair=2, labels=size)
        for who in ("ann", "bob"):
            items = await claim(client, who, size, f"{name}/")
            answers = [
                {"item": item["item"], "label": "left", "seconds": number % 3 + 0.5,
                 "comment": f'\0"seconds": 99 {number}'}
                for number, item in enumerate(items)
            ]  # fmt: skip
            answers[0]["label"] = "tie" if who == "bob" else "left"
            answers[1]["label"] = "skip" if who == "bob" else "left"
            assert (await give(client, who, *answers, queue=name)).status_code == 201
        with rows_read() as read:
            found = (await client.get("/v1/queues")).json()["data"][0]
        rows.append(len(read))
        assert (found["name"], found["pairs"], found["votes"]) == (name, size, 2 * size - 1)
        ann, bob = found["annotators"]
        assert (ann["answered"], bob["answered"], bob["skipped"]) == (size, size - 1, 1)
        assert (ann["left"]["value"], bob["left"]["n"]) == (1.0, size - 2)
        assert (ann["median_seconds"], ann["agreement"]["n"]) == (1.5, size - 1)
        assert found["people"]["percent_agreement"]["n"] == size - 1
    # a queue more, and no row for a vote
    assert rows[1] < 2.5 * rows[0]
    assert rows[0] < 40


async def test_labels_of_a_ranking_queue_carry_their_probability(client: httpx.AsyncClient) -> None:
    """Naive use is refused: a certificate needs the declared lower bound."""
    rows = labelled_rows(90)
    for number, row in enumerate(rows):
        row["model_b"] = "close" if number < 30 else "far"
        row["human"] = []
    await upload(client, "rivers", rows)
    made = await make_queue(client, purpose="ranking", labels=60)
    assert made["pairs"] == 60
    for item in await claim(client, "ann", 60):
        await give(client, "ann", {"item": item["item"], "label": "left"})
    found = [vote for votes in (await human_of(client)).values() for vote in votes]
    assert len(found) == 60
    assert all(0 < vote["label_probability"] <= 1 for vote in found)


async def test_only_pairs_without_a_label_on_the_same_criterion_may_be_asked_for(
    client: httpx.AsyncClient,
) -> None:
    await rivers(client, 4)
    body = {"name": "q", "dataset": "rivers", "unlabelled": True}
    refused = await client.post("/v1/queues", json=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["msg"] == "no pair with texts is left to be labelled"
    assert (await make_queue(client, unlabelled=True, criterion="style"))["pairs"] == 4
    for item in await claim(client, "ann", 1):
        await give(client, "ann", {"item": item["item"], "label": "left"})
    rest = await make_queue(client, name="rest", unlabelled=True, criterion="style")
    assert rest["pairs"] == 3


async def test_bad_requests_name_the_field(client: httpx.AsyncClient) -> None:
    await rivers(client, 2)
    await make_queue(client)
    taken = await client.post("/v1/queues", json={"name": "q", "dataset": "rivers"})
    assert taken.status_code == 409
    wrong: list[tuple[Json, str]] = [
        ({"name": "", "dataset": "rivers"}, "name"),
        ({"name": "x", "dataset": "rivers", "pairs": ["p0", "none"]}, "pairs"),
        ({"name": "x", "dataset": "rivers", "votes_per_pair": 0}, "votes_per_pair"),
        ({"name": "x", "dataset": "lakes"}, "dataset"),
        (
            {"name": "x", "dataset": "rivers", "purpose": "ranking", "leaderboard": "l"},
            "leaderboard",
        ),
    ]
    for body, loc in wrong:
        refused = await client.post("/v1/queues", json=body)
        assert refused.status_code in (404, 422), refused.text
        assert loc in refused.json()["errors"][0]["loc"]
    assert (await client.post("/v1/queues/q/claim", json={"n": 1})).status_code == 422
    assert (await client.post("/v1/queues/none/claim", json={"annotator": "a"})).status_code == 404


@pytest.mark.both_databases
async def test_a_key_for_labels_opens_its_own_annotator_alone(
    client: httpx.AsyncClient, service: FastAPI
) -> None:
    await rivers(client, 2)
    await make_queue(client)
    _, key = await make_key(service, "ann", scopes=frozenset({"label"}), annotator="ann")
    headers = {"authorization": f"Bearer {key}"}
    claimed = await client.post("/v1/queues/q/claim", json={}, headers=headers)
    [item] = claimed.json()["items"]
    said = {"answers": [{"item": item["item"], "label": "left"}]}
    stored = await client.post("/v1/queues/q/answers", json=said, headers=headers)
    assert stored.status_code == 201
    undo = {"item": item["item"]}
    assert (await client.post("/v1/queues/q/undo", json=undo, headers=headers)).is_success
    other = await client.post("/v1/queues/claim", json={"annotator": "bob"}, headers=headers)
    assert other.status_code == 403
    for path in ("/v1/queues/q", "/v1/queues", "/v1/queues/q/export"):
        assert (await client.get(path, headers=headers)).status_code == 403


async def test_naive_use_of_labels_of_unequal_probability_is_refused(
    client: httpx.AsyncClient,
) -> None:
    rows = labelled_rows(300)
    for number, row in enumerate(rows):
        row["model_b"], row["human"] = ("close" if number < 200 else "far"), []
    await upload(client, "rivers", rows)
    for name, pairs, labels in (("few", range(200), 50), ("all", range(200, 300), 100)):
        ids = [f"p{number}" for number in pairs]
        await make_queue(client, name=name, purpose="ranking", pairs=ids, labels=labels)
        for item in await claim(client, "ann", 100, where=f"{name}/"):
            said = {"item": item["item"], "label": "left"}
            await give(client, "ann", said, queue=name)
    asked = {"dataset": "rivers", "cascade": {"judges": ["cheap", "dear"]}}
    refused = await client.post("/v1/calibrations", json=asked)
    assert refused.status_code == 422
    assert "label probabilities differ" in refused.json()["detail"]
    asked["min_label_probability"] = 0.25  # type: ignore[assignment]
    assert (await client.post("/v1/calibrations", json=asked)).status_code == 201


@pytest.mark.both_databases
async def test_labels_are_counted_again_for_the_first_answer_of_a_person_alone(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    await rivers(client, 4, human=False)
    await make_queue(client, votes_per_pair=2)
    counts, again = [], []
    steps = [("ann", 0, "left"), ("ann", 1, "left"), ("ann", 1, "right"), ("bob", 0, "tie"),
             ("bob", 1, "skip"), ("bob", 1, "left")]  # fmt: skip
    items = {name: await claim(client, name, 4) for name in ("ann", "bob")}
    for name, at, label in steps:
        with statements(running) as sent:
            found = await give(client, name, {"item": items[name][at]["item"], "label": label})
        assert found.status_code == 201
        again.append(any("distinct" in one.lower() and "labels" in one for one in sent))
        shown = (await client.get("/v1/datasets/rivers")).json()
        counts.append((shown["labels"], shown["annotators"]))
    assert counts == [(1, 1), (2, 1), (2, 1), (3, 2), (3, 2), (4, 2)]
    assert again == [True, False, False, True, False, False]
    taken_back = {"annotator": "bob", "item": items["bob"][1]["item"]}
    await client.post("/v1/queues/q/undo", json=taken_back)
    assert (await client.get("/v1/datasets/rivers")).json()["labels"] == 3


@pytest.mark.parametrize(("undone", "left"), [(["q", "r"], 0), (["r", "q"], 0), (["r"], 1)])
async def test_an_answer_that_was_undone_does_not_come_back_from_another_queue(
    client: httpx.AsyncClient, undone: list[str], left: int
) -> None:
    await rivers(client, 1, human=False)
    items = {}
    for name in ("q", "r"):
        await make_queue(client, name=name)
        [items[name]] = await claim(client, "ann", where=f"{name}/")
        said = {"item": items[name]["item"], "label": "tie"}
        assert (await give(client, "ann", said, queue=name)).status_code == 201
    for name in undone:
        body = {"annotator": "ann", "item": items[name]["item"]}
        assert (await client.post(f"/v1/queues/{name}/undo", json=body)).status_code == 200
    [votes] = (await human_of(client)).values()
    assert len(votes) == left
    assert (await client.get("/v1/datasets/rivers")).json()["labels"] == left


async def test_an_answer_reads_no_history_however_often_it_was_changed(
    client: httpx.AsyncClient,
) -> None:
    await rivers(client, human=False)
    await make_queue(client)
    [item] = await claim(client, "ann")

    async def read(times: int) -> int:
        answers = [{"item": item["item"], "label": ("left", "right")[n % 2]} for n in range(times)]
        loaded: list[Label] = []

        def note(label: Label, _: Any) -> None:
            loaded.append(label)

        event.listen(Label, "load", note)
        answer = await give(client, "ann", *answers)
        event.remove(Label, "load", note)
        assert answer.status_code == 201
        return len(loaded)

    few, many = [await read(times) for times in (20, 80)]
    assert many < 5 * few


async def test_many_persons_are_compared_beside_the_event_loop(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rivers(client, human=False)
    await make_queue(client, votes_per_pair=5)
    for who in ("ann", "bob", "eve"):
        [item] = await claim(client, who)
        await give(client, who, {"item": item["item"], "label": "left"})
    threads = []
    compared = agreement.quality_of_tallies

    def noted(*args: Any) -> Any:
        threads.append(threading.current_thread())
        return compared(*args)

    monkeypatch.setattr(progress, "quality_of_tallies", noted)
    monkeypatch.setattr("app.core.pools._FEW", 3)
    assert len((await look(client))["annotators"]) == 3
    assert threading.main_thread() not in threads
    assert len(threads) == 1
