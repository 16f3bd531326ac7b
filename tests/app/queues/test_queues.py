from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
from tests.app.rows import certify, labelled_rows, upload

Json = dict[str, Any]
_SECRETS = ('left": "', "model", "judge", "cheap", "dear")


@dataclass
class Clock:
    moment: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def pass_by(self, **time: float) -> None:
        self.moment += timedelta(**time)


@pytest.fixture
def clock(running: Runtime) -> Clock:
    clock = Clock()
    running.now = clock
    return clock


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


async def _rivers(client: httpx.AsyncClient, n: int = 6, *, human: bool = True) -> None:
    rows = labelled_rows(n)
    for row in rows:
        row["human"] = row["human"] if human else []
    await upload(client, "rivers", rows)


async def _queue(client: httpx.AsyncClient, **options: Any) -> Json:
    body = {"name": "q", "dataset": "rivers", **options}
    answer = await client.post("/v1/queues", json=body)
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


async def _claim(client: httpx.AsyncClient, annotator: str, n: int = 1, where: str = "q/") -> Any:
    answer = await client.post(f"/v1/queues/{where}claim", json={"annotator": annotator, "n": n})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def _answer(
    client: httpx.AsyncClient, annotator: str, *answers: Json, queue: str = "q"
) -> httpx.Response:
    body = {"annotator": annotator, "answers": list(answers)}
    return await client.post(f"/v1/queues/{queue}/answers", json=body)


async def _look(client: httpx.AsyncClient, queue: str = "q") -> Json:
    found: Json = (await client.get(f"/v1/queues/{queue}")).json()
    return found


def _places(queue: Json) -> tuple[int, ...]:
    return tuple(queue[name] for name in ("waiting", "claimed", "done", "skipped"))


async def _human(client: httpx.AsyncClient) -> dict[str, list[Json]]:
    rows = (await client.get("/v1/datasets/rivers/pairs", params={"limit": 1000})).json()["data"]
    return {row["response_a"]: row["human"] for row in rows}


@pytest.mark.both_databases
async def test_who_labels_is_counted_however_many_pairs_are_held(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    await _rivers(client, 12, human=False)
    assert (await _queue(client))["labelling"] == 0
    items = await _claim(client, "ann", 5)
    for label in ("left", "skip"):
        await _answer(client, "ann", {"item": items.pop()["item"], "label": label})
        queue = await _look(client)
        assert (queue["labelling"], queue["claimed"]) == (1, len(items))
    await _claim(client, "bob")
    listed = (await client.get("/v1/queues")).json()["data"]
    assert [one["labelling"] for one in listed] == [2]
    clock.pass_by(days=1)
    assert (await _look(client))["labelling"] == 0


@pytest.mark.both_databases
async def test_no_time_that_an_answer_took_keeps_a_queue_from_being_shown(
    client: httpx.AsyncClient, running: Runtime, database_kind: str
) -> None:
    await _rivers(client, human=False)
    await _queue(client)
    items = await _claim(client, "ann", 2)
    refused = await _answer(
        client, "ann", {"item": items[0]["item"], "label": "left", "seconds": 1e308}
    )
    assert refused.status_code == 422
    assert "seconds" in refused.json()["errors"][0]["loc"]
    await _answer(client, "ann", {"item": items[0]["item"], "label": "left", "seconds": 1e9})
    # as an earlier version has stored it
    async with running.db.write() as session:
        await session.execute(update(QueueVote).values(details={"seconds": 1e308}))
    assert (await _look(client))["annotators"][0]["median_seconds"] == 1e9


@pytest.mark.both_databases
async def test_what_a_person_skipped_is_given_again_on_request(client: httpx.AsyncClient) -> None:
    await _rivers(client, 4, human=False)
    await _queue(client, votes_per_pair=2)

    async def left(annotator: str, **options: Any) -> tuple[list[str], int, int, int]:
        body = {"annotator": annotator, **options}
        found = (await client.post("/v1/queues/q/claim", json=body)).json()
        counts = (found[name] for name in ("waiting", "skipped", "for_others"))
        return [one["item"] for one in found["items"]], *counts

    items, *_ = await left("ann", n=4)
    said = [{"item": item, "label": "skip"} for item in items[:2]]
    await _answer(client, "ann", *said, {"item": items[2], "label": "left"})
    # one is held, so that nothing is counted for others
    assert await left("ann", n=4) == ([items[3]], 0, 2, 0)
    await _answer(client, "ann", {"item": items[3], "label": "tie"})
    assert await left("ann") == ([], 0, 2, 2)
    assert await left("ann", n=4, again=True) == (items[:2], 0, 0, 0)
    await _answer(client, "ann", *({"item": one, "label": "both"} for one in items[:2]))
    assert await left("ann", again=True) == ([], 0, 0, 4)
    # what another person holds now cannot be had again
    await left("bob", n=4)
    await _answer(client, "bob", {"item": items[0], "label": "skip"})
    await _answer(client, "bob", *({"item": one, "label": "left"} for one in items[1:]))
    assert await left("cleo") == ([items[0]], 0, 0, 0)
    assert await left("bob", again=True) == ([], 0, 0, 1)


@pytest.mark.both_databases
async def test_answers_become_labels_with_the_drawn_side_undone(client: httpx.AsyncClient) -> None:
    """The longer of both texts is always said to be better, wherever it stands."""
    await _rivers(client, 12, human=False)
    created = await _queue(client, guidelines="Which river?")
    assert _places(created) == (12, 0, 0, 0)
    items = await _claim(client, "ann", 12)
    assert _places(await _look(client)) == (0, 12, 0, 0)
    assert len({item["item"] for item in items}) == 12
    sides = ["left" if len(item["left"]) > len(item["right"]) else "right" for item in items]
    assert set(sides) == {"left", "right"}
    said = [
        {"item": item["item"], "label": side, "seconds": 2.5, "comment": "long"}
        for item, side in zip(items, sides, strict=True)
    ]
    stored = await _answer(client, "ann", *said)
    assert stored.status_code == 201
    assert {one["status"] for one in stored.json()["answers"]} == {"stored"}
    human = await _human(client)
    assert {vote["label"] for votes in human.values() for vote in votes} == {"b"}
    [vote] = next(iter(human.values()))
    assert (vote["annotator"], vote["seconds"], vote["comment"]) == ("ann", 2.5, "long")
    assert (await client.get("/v1/datasets/rivers")).json()["labels"] == 12
    again = await _answer(client, "ann", *said)
    assert {one["status"] for one in again.json()["answers"]} == {"unchanged"}
    done = await _look(client)
    assert (_places(done), done["status"], done["votes"]) == ((0, 0, 12, 0), "done", 12)
    assert await _claim(client, "bob") == []


async def test_nothing_that_is_handed_out_names_a_model_or_a_judge(
    client: httpx.AsyncClient,
) -> None:
    await _rivers(client)
    await _queue(client)
    [item] = await _claim(client, "ann")
    assert set(item) == {
        "item", "queue", "prompt", "left", "right", "criterion", "allow_tie", "guidelines",
        "lease_expires_at",
    }  # fmt: skip
    for form in ("label_studio", "argilla"):
        text = (await client.get("/v1/queues/q/export", params={"format": form})).text
        assert "cheap" not in text
        assert "model_a" not in text


@pytest.mark.both_databases
async def test_labels_that_were_there_before_are_no_votes(client: httpx.AsyncClient) -> None:
    await _rivers(client)
    await _queue(client, votes_per_pair=2)
    for who in ("anna", "bob"):
        for item in await _claim(client, who, 6):
            assert (await _answer(client, who, {"item": item["item"], "label": "both"})).is_success
    assert _places(await _look(client)) == (0, 0, 6, 0)
    human = await _human(client)
    # the label that anna had given before is replaced by her answer
    assert [[vote["label"] for vote in votes] for votes in human.values()] == [["tie", "tie"]] * 6
    assert all(vote["both"] for votes in human.values() for vote in votes)


@pytest.mark.both_databases
async def test_a_pair_is_one_persons_until_the_lease_expires(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    await _rivers(client, 1)
    await _queue(client)
    [mine] = await _claim(client, "ann")
    assert await _claim(client, "bob") == []
    # what is claimed already is given again, with a new lease
    clock.pass_by(minutes=10)
    [again] = await _claim(client, "ann")
    assert again["item"] == mine["item"]
    assert again["lease_expires_at"] > mine["lease_expires_at"]
    assert (again["left"], again["right"]) == (mine["left"], mine["right"])
    clock.pass_by(minutes=16)
    [his] = await _claim(client, "bob")
    assert his["item"] == mine["item"]
    assert (await _answer(client, "bob", {"item": his["item"], "label": "left"})).is_success
    late = await _answer(client, "ann", {"item": mine["item"], "label": "right"})
    assert late.status_code == 409
    assert late.json()["errors"][0]["loc"] == ["body", "answers", 0, "item"]
    found = await _look(client)
    assert (found["votes"], found["spare"], found["done"]) == (1, 1, 1)
    assert [vote["annotator"] for vote in next(iter((await _human(client)).values()))] == [
        "anna", "bob"
    ]  # fmt: skip


async def test_a_late_answer_counts_where_the_pair_still_lacks_votes(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    await _rivers(client, 1)
    await _queue(client)
    [mine] = await _claim(client, "ann")
    clock.pass_by(days=1)
    assert (
        await _answer(client, "ann", {"item": mine["item"], "label": "left"})
    ).status_code == 201
    assert (await _look(client))["done"] == 1


async def test_of_several_answers_those_that_can_count_are_stored(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    await _rivers(client, 3)
    await _queue(client)
    items = [item["item"] for item in await _claim(client, "ann", 3)]
    clock.pass_by(days=1)
    await _claim(client, "bob", 1)
    await _answer(client, "bob", {"item": items[0], "label": "left"})
    answer = await _answer(client, "ann", *[{"item": item, "label": "left"} for item in items])
    assert answer.status_code == 409
    assert answer.json()["stored"] == items[1:]
    assert (await _look(client))["votes"] == 3


async def test_an_item_that_was_never_claimed_cannot_be_answered(client: httpx.AsyncClient) -> None:
    await _rivers(client, 1)
    await _queue(client)
    [mine] = await _claim(client, "ann")
    assert (
        await _answer(client, "bob", {"item": mine["item"], "label": "left"})
    ).status_code == 409
    unknown = await _answer(client, "ann", {"item": "item_0", "label": "left"})
    assert unknown.status_code == 404
    assert (await _look(client))["votes"] == 0


@pytest.mark.both_databases
async def test_skipped_pairs_go_to_others_and_an_undone_skip_comes_back(
    client: httpx.AsyncClient,
) -> None:
    await _rivers(client, 2)
    await _queue(client)
    first, second = await _claim(client, "ann", 2)
    assert (await _answer(client, "ann", {"item": first["item"], "label": "skip"})).is_success
    assert _places(await _look(client)) == (0, 1, 0, 1)
    assert [item["item"] for item in await _claim(client, "ann", 2)] == [second["item"]]
    [his] = await _claim(client, "bob", 2)
    assert his["item"] == first["item"]
    undone = await client.post(
        "/v1/queues/q/undo", json={"annotator": "ann", "item": first["item"]}
    )
    assert undone.json()["left"] == first["left"]


@pytest.mark.both_databases
async def test_an_undone_answer_leaves_no_label_and_what_it_replaced_stands_again(
    client: httpx.AsyncClient,
) -> None:
    await _rivers(client, 1)
    await _queue(client)
    before = await _human(client)
    [item] = await _claim(client, "anna")
    said = {"item": item["item"], "label": "tie"}
    await _answer(client, "anna", said)
    assert [vote["label"] for [vote] in (await _human(client)).values()] == ["tie"]
    undone = await client.post(
        "/v1/queues/q/undo", json={"annotator": "anna", "item": said["item"]}
    )
    assert undone.status_code == 200
    assert await _human(client) == before
    assert _places(await _look(client)) == (0, 1, 0, 0)
    assert (await _answer(client, "anna", said)).status_code == 201
    assert (await _look(client))["votes"] == 1
    nothing = await client.post(
        "/v1/queues/q/undo", json={"annotator": "bob", "item": said["item"]}
    )
    assert nothing.status_code == 404


async def test_another_answer_of_the_same_person_replaces_the_first(
    client: httpx.AsyncClient,
) -> None:
    await _rivers(client, 1, human=False)
    await _queue(client)
    [item] = await _claim(client, "ann")
    for label in ("left", "right"):
        answer = await _answer(client, "ann", {"item": item["item"], "label": label})
    assert answer.json()["answers"][0]["status"] == "replaced"
    [[vote]] = (await _human(client)).values()
    assert (
        vote["label"]
        == {"left": "a", "right": "b"}["right" if vote["first_shown"] == "a" else "left"]
    )
    assert (await _look(client))["votes"] == 1


async def test_a_queue_that_takes_no_ties_refuses_them(client: httpx.AsyncClient) -> None:
    await _rivers(client, 1)
    await _queue(client, allow_tie=False)
    [item] = await _claim(client, "ann")
    answer = await _answer(client, "ann", {"item": item["item"], "label": "both"})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (
        422, ["body", "answers", 0, "label"],
    )  # fmt: skip


async def test_disagreements_go_to_a_third(client: httpx.AsyncClient) -> None:
    await _rivers(client, 4, human=False)
    await _queue(client, votes_per_pair=2, adjudicate=True)
    for who in ("ann", "bob"):
        for number, item in enumerate(await _claim(client, who, 4)):
            longer = len(item["left"]) > len(item["right"])
            says_longer = who == "ann" or number > 0
            label = "left" if longer == says_longer else "right"
            await _answer(client, who, {"item": item["item"], "label": label})
    found = await _look(client)
    assert (found["people"]["disagreed"], found["done"]) == (1, 3)
    assert found["people"]["percent_agreement"]["value"] == 0.75
    [third] = await _claim(client, "cleo", 4)
    assert await _claim(client, "ann", 4) == []
    await _answer(client, "cleo", {"item": third["item"], "label": "left"})
    assert (await _look(client))["status"] == "done"


async def test_a_claim_of_all_queues_is_served_by_purpose(client: httpx.AsyncClient) -> None:
    await _rivers(client, 2)
    for purpose in ("asked", "ranking", "calibration"):
        await _queue(client, name=purpose, purpose=purpose)
    items = await _claim(client, "ann", 6, where="")
    names = {
        queue["id"]: queue["name"] for queue in (await client.get("/v1/queues")).json()["data"]
    }
    assert [names[item["queue"]] for item in items] == (
        ["calibration"] * 2 + ["ranking"] * 2 + ["asked"] * 2
    )


async def test_audits_and_finishes_hold_the_verdicts_of_their_kind(
    client: httpx.AsyncClient,
) -> None:
    await _rivers(client, 300)
    certificate = await certify(client, "rivers", target_agreement=0.95)
    batch = await client.post(
        "/v1/batches", json={"dataset": "rivers", "calibration": certificate["id"]}
    )
    await client.get(f"{batch.headers['location']}/events")
    found = (await client.get(batch.headers["location"])).json()
    counts = found["request_counts"]
    for purpose, status in (("audit", "accepted"), ("finish", "abstained")):
        made = await _queue(
            client, name=purpose, purpose=purpose, calibration=certificate["id"], labels=1000
        )
        assert made["pairs"] == counts[status] > 0
    # pairs that are named, and those of other purposes, are queued whatever their verdicts are
    named: Json = {"purpose": "audit", "pairs": ["p0", "p1"]}
    for name, more in (("named", named), ("asked", {"purpose": "asked", "labels": 2})):
        made = await _queue(client, name=name, calibration=certificate["id"], **more)
        assert made["pairs"] == 2
    refused = await client.post(
        "/v1/queues", json={"name": "x", "dataset": "rivers", "purpose": "audit"}
    )
    assert refused.status_code == 422


async def test_weak_annotators_are_named(client: httpx.AsyncClient) -> None:
    await _rivers(client, 60, human=False)
    await _queue(client, votes_per_pair=3)
    for who in ("ann", "bob", "lazy"):
        items = await _claim(client, who, 60)
        # the sides are drawn: as many lefts as rights are answered, or chance makes ann one-sided
        left = [item for item in items if len(item["left"]) > len(item["right"])]
        right = [item for item in items if len(item["left"]) <= len(item["right"])]
        seconds, even = (1.0, len(items)) if who == "lazy" else (20.0, min(len(left), len(right)))
        answers = [
            {"item": item["item"], "label": "left" if who == "lazy" else label, "seconds": seconds}
            for label, side in (("left", left), ("right", right))
            for item in side[:even]
        ]
        assert (await _answer(client, who, *answers)).status_code == 201
    people = {one["annotator"]: one for one in (await _look(client))["annotators"]}
    assert people["ann"]["weak"] == people["bob"]["weak"] == []
    assert len(people["lazy"]["weak"]) == 3
    assert people["lazy"]["agreement"]["high"] < 0.8


@pytest.mark.both_databases
async def test_votes_are_counted_by_the_database(client: httpx.AsyncClient) -> None:
    """A list reads as many rows for many votes as for few, and says what the votes say."""
    await _rivers(client, 60, human=False)
    rows = []
    for size, name in ((12, "q"), (60, "larger")):
        await _queue(client, name=name, votes_per_pair=2, labels=size)
        for who in ("ann", "bob"):
            items = await _claim(client, who, size, f"{name}/")
            answers = [
                {"item": item["item"], "label": "left", "seconds": number % 3 + 0.5,
                 "comment": f'\0"seconds": 99 {number}'}
                for number, item in enumerate(items)
            ]  # fmt: skip
            answers[0]["label"] = "tie" if who == "bob" else "left"
            answers[1]["label"] = "skip" if who == "bob" else "left"
            assert (await _answer(client, who, *answers, queue=name)).status_code == 201
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
    made = await _queue(client, purpose="ranking", labels=60)
    assert made["pairs"] == 60
    for item in await _claim(client, "ann", 60):
        await _answer(client, "ann", {"item": item["item"], "label": "left"})
    found = [vote for votes in (await _human(client)).values() for vote in votes]
    assert len(found) == 60
    assert all(0 < vote["label_probability"] <= 1 for vote in found)


@pytest.mark.both_databases
@pytest.mark.parametrize("tool", ["label_studio", "argilla"])
async def test_answers_given_in_another_tool_come_back(
    client: httpx.AsyncClient, tool: str
) -> None:
    await _rivers(client, 20, human=False)
    await _queue(client)
    tasks = (await client.get("/v1/queues/q/export", params={"format": tool})).json()
    assert len(tasks) == 20
    filled = [_longer_wins(tool, task) for task in tasks]
    answer = await client.post("/v1/queues/q/import", json=filled)
    assert answer.json() | {"warnings": []} == {
        "stored": 20, "unchanged": 0, "replaced": 0, "spare": 0, "rejected": [], "warnings": [],
    }  # fmt: skip
    human = await _human(client)
    assert {vote["label"] for votes in human.values() for vote in votes} == {"b"}
    again = (await client.post("/v1/queues/q/import", json=filled)).json()
    assert (again["unchanged"], again["stored"]) == (20, 0)
    other = [_longer_wins(tool, task, "second") for task in tasks]
    assert (await client.post("/v1/queues/q/import", json=other)).json()["spare"] == 20
    assert (await _look(client))["status"] == "done"
    bad = await client.post("/v1/queues/q/import", json=[{"data": {"left": "x", "right": "y"}}, 3])
    assert [one["line"] for one in bad.json()["rejected"]] == [1, 2]


def _longer_wins(tool: str, task: Json, who: str = "ann") -> Json:
    if tool == "label_studio":
        is_left = len(task["data"]["left"]) > len(task["data"]["right"])
        value = {"selected": "left" if is_left else "right"}
        result = {"from_name": "pw", "to_name": "left", "type": "pairwise", "value": value}
        annotation = {"completed_by": {"email": who}, "result": [result], "lead_time": 3.5}
        return {**task, "annotations": [annotation]}
    fields = task["fields"]
    first = len(fields["response1"]) > len(fields["response2"])
    ranks = [("response1", 1 if first else 2), ("response2", 2 if first else 1)]
    ranked = [{"value": name, "rank": rank} for name, rank in ranks]
    answer = {"user_id": who, "status": "submitted", "value": ranked}
    return {**task, "responses": {"ranking": [answer]}}


async def test_of_an_imported_file_each_answer_that_cannot_count_is_named(
    client: httpx.AsyncClient,
) -> None:
    await _rivers(client, 6, human=False)
    await _queue(client)
    exported = await client.get("/v1/queues/q/export", params={"format": "label_studio"})
    tasks = {task["data"]["item"]: _longer_wins("label_studio", task) for task in exported.json()}
    held = (await _claim(client, "ann"))[0]["item"]
    spare = (await _claim(client, "bob"))[0]["item"]
    await _answer(client, "bob", {"item": spare, "label": "left"})
    free = [task for item, task in tasks.items() if item not in (held, spare)]
    unknown, nobody, endless, _ = free
    unknown["data"]["item"] = "item_0"
    del nobody["annotations"][0]["completed_by"]
    endless["annotations"][0]["lead_time"] = "TIME"
    listed = [tasks[held], tasks[spare], unknown, nobody, endless]
    rows = [json.dumps(task).replace('"TIME"', "1e999") for task in listed]
    # another person answers an item alone that the queue does not have
    stranger = _longer_wins("label_studio", unknown, "zoe")
    rows += ["{broken", json.dumps(stranger)]
    found = (
        await client.post(
            "/v1/queues/q/import",
            content="\n".join(rows),
            headers={"content-type": "application/x-ndjson"},
        )
    ).json()
    assert (found["stored"], found["spare"]) == (2, 1)
    said = {one["line"]: one["reason"] for one in found["rejected"]}
    assert sorted(said) == [3, 4, 6, 7]
    assert said[3] == said[7] == "the queue has no item 'item_0'"
    assert said[4] == "an answer names no annotator"
    # the answer counts by what stood on the left in the other tool
    human = await _human(client)
    votes = [vote for votes in human.values() for vote in votes if vote["annotator"] == "ann"]
    assert {vote["label"] for vote in votes} == {"b"}


async def test_what_was_skipped_may_be_skipped_again_and_what_was_answered_may_not(
    client: httpx.AsyncClient,
) -> None:
    await _rivers(client, 2)
    await _queue(client)
    first, second = (one["item"] for one in await _claim(client, "ann", 2))
    for _ in range(2):
        skipped = await _answer(client, "ann", {"item": first, "label": "skip"})
        assert skipped.json()["answers"] == [{"item": first, "status": "skipped"}]
    await _answer(client, "ann", {"item": second, "label": "left"})
    refused = await _answer(client, "ann", {"item": second, "label": "skip"})
    assert refused.status_code == 409
    assert "is answered already: undo that first" in refused.text
    assert _places(await _look(client)) == (0, 0, 1, 1)


async def test_only_pairs_without_a_label_on_the_same_criterion_may_be_asked_for(
    client: httpx.AsyncClient,
) -> None:
    await _rivers(client, 4)
    body = {"name": "q", "dataset": "rivers", "unlabelled": True}
    refused = await client.post("/v1/queues", json=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["msg"] == "no pair with texts is left to be labelled"
    assert (await _queue(client, unlabelled=True, criterion="style"))["pairs"] == 4
    for item in await _claim(client, "ann", 1):
        await _answer(client, "ann", {"item": item["item"], "label": "left"})
    rest = await _queue(client, name="rest", unlabelled=True, criterion="style")
    assert rest["pairs"] == 3


async def test_bad_requests_name_the_field(client: httpx.AsyncClient) -> None:
    await _rivers(client, 2)
    await _queue(client)
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
    await _rivers(client, 2)
    await _queue(client)
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
        await _queue(client, name=name, purpose="ranking", pairs=ids, labels=labels)
        for item in await _claim(client, "ann", 100, where=f"{name}/"):
            said = {"item": item["item"], "label": "left"}
            await _answer(client, "ann", said, queue=name)
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
    await _rivers(client, 4, human=False)
    await _queue(client, votes_per_pair=2)
    counts, again = [], []
    steps = [("ann", 0, "left"), ("ann", 1, "left"), ("ann", 1, "right"), ("bob", 0, "tie"),
             ("bob", 1, "skip"), ("bob", 1, "left")]  # fmt: skip
    items = {name: await _claim(client, name, 4) for name in ("ann", "bob")}
    for name, at, label in steps:
        with statements(running) as sent:
            found = await _answer(client, name, {"item": items[name][at]["item"], "label": label})
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
    await _rivers(client, 1, human=False)
    items = {}
    for name in ("q", "r"):
        await _queue(client, name=name)
        [items[name]] = await _claim(client, "ann", where=f"{name}/")
        said = {"item": items[name]["item"], "label": "tie"}
        assert (await _answer(client, "ann", said, queue=name)).status_code == 201
    for name in undone:
        body = {"annotator": "ann", "item": items[name]["item"]}
        assert (await client.post(f"/v1/queues/{name}/undo", json=body)).status_code == 200
    [votes] = (await _human(client)).values()
    assert len(votes) == left
    assert (await client.get("/v1/datasets/rivers")).json()["labels"] == left


async def test_a_claim_holds_no_more_texts_than_a_page(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    rows = labelled_rows(6)
    for row in rows:
        row["response_a"] = "x" * 1_000 + row["id"]
    await upload(client, "rivers", rows)
    await _queue(client)
    running.settings = running.settings.model_copy(update={"max_page_bytes": 3_500})
    claimed = await _claim(client, "ann", 6)
    assert len(claimed) == 2
    assert _places(await _look(client)) == (4, 2, 0, 0)
    running.settings = running.settings.model_copy(update={"max_page_bytes": 1_024})
    assert len(await _claim(client, "bob", 6)) == 1


async def test_an_answer_reads_no_history_however_often_it_was_changed(
    client: httpx.AsyncClient,
) -> None:
    await _rivers(client, human=False)
    await _queue(client)
    [item] = await _claim(client, "ann")

    async def read(times: int) -> int:
        answers = [{"item": item["item"], "label": ("left", "right")[n % 2]} for n in range(times)]
        loaded: list[Label] = []

        def note(label: Label, _: Any) -> None:
            loaded.append(label)

        event.listen(Label, "load", note)
        answer = await _answer(client, "ann", *answers)
        event.remove(Label, "load", note)
        assert answer.status_code == 201
        return len(loaded)

    few, many = [await read(times) for times in (20, 80)]
    assert many < 5 * few


async def test_a_file_of_many_persons_counts_labels_once_and_lets_others_write(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    await _rivers(client, 30, human=False)
    await _queue(client, votes_per_pair=100)
    tasks = (await client.get("/v1/queues/q/export")).json()

    def said_by(who: str, task: Json) -> Json:
        chosen = {
            "type": "pairwise",
            "from_name": "x",
            "to_name": "y",
            "value": {"selected": "left"},
        }
        return {**task, "annotations": [{"completed_by": {"email": who}, "result": [chosen]}]}

    async def recounted(persons: int) -> int:
        rows = [said_by(f"{persons} {n}", tasks[n % 30]) for n in range(persons)]
        with statements(running) as sent:
            answer = await client.post("/v1/queues/q/import", json=rows)
        assert answer.json()["stored"] == persons, answer.text
        return sum("count(distinct" in one.lower() for one in sent)

    few, many = [await recounted(persons) for persons in (10, 250)]
    # once for each part of a hundred persons
    assert (few, many) == (1, 3)
    assert (await client.get("/v1/datasets/rivers")).json()["labels"] == 260
    assert len({one["annotator"] for one in (await _look(client))["annotators"]}) == 260


async def test_many_persons_are_compared_beside_the_event_loop(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _rivers(client, human=False)
    await _queue(client, votes_per_pair=5)
    for who in ("ann", "bob", "eve"):
        [item] = await _claim(client, who)
        await _answer(client, who, {"item": item["item"], "label": "left"})
    threads = []
    compared = agreement.quality_of_tallies

    def noted(*args: Any) -> Any:
        threads.append(threading.current_thread())
        return compared(*args)

    monkeypatch.setattr(progress, "quality_of_tallies", noted)
    monkeypatch.setattr("app.core.pools._FEW", 3)
    assert len((await _look(client))["annotators"]) == 3
    assert threading.main_thread() not in threads
    assert len(threads) == 1


async def test_a_claim_of_all_queues_asks_as_little_of_many_as_of_few(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    await _rivers(client, human=False)

    async def claimed(queues: int, who: str) -> tuple[int, int]:
        for number in range(queues):
            await _queue(client, name=f"{who} {number}")
        with statements(running) as sent:
            answer = await client.post("/v1/queues/claim", json={"annotator": who, "n": 1})
        assert len(answer.json()["items"]) == 1
        return sum("queue_items" in one for one in sent), answer.json()["waiting"]

    few, many = [await claimed(queues, who) for queues, who in ((2, "ann"), (20, "bob"))]
    assert many[0] == few[0]
    assert (few[1], many[1]) == (11, 6 * 22 - 2)
