from __future__ import annotations

import json

import httpx
import pytest

from app.core.runtime import Runtime
from tests.app.api.test_limits import statements
from tests.app.queues.asking import Json, claim, give, human_of, look, make_queue, rivers


@pytest.mark.both_databases
@pytest.mark.parametrize("tool", ["label_studio", "argilla"])
async def test_answers_given_in_another_tool_come_back(
    client: httpx.AsyncClient, tool: str
) -> None:
    await rivers(client, 20, human=False)
    await make_queue(client)
    tasks = (await client.get("/v1/queues/q/export", params={"format": tool})).json()
    assert len(tasks) == 20
    filled = [_longer_wins(tool, task) for task in tasks]
    answer = await client.post("/v1/queues/q/import", json=filled)
    assert answer.json() | {"warnings": []} == {
        "stored": 20, "unchanged": 0, "replaced": 0, "spare": 0, "rejected": [], "warnings": [],
    }  # fmt: skip
    human = await human_of(client)
    assert {vote["label"] for votes in human.values() for vote in votes} == {"b"}
    again = (await client.post("/v1/queues/q/import", json=filled)).json()
    assert (again["unchanged"], again["stored"]) == (20, 0)
    other = [_longer_wins(tool, task, "second") for task in tasks]
    assert (await client.post("/v1/queues/q/import", json=other)).json()["spare"] == 20
    assert (await look(client))["status"] == "done"
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
    await rivers(client, 6, human=False)
    await make_queue(client)
    exported = await client.get("/v1/queues/q/export", params={"format": "label_studio"})
    tasks = {task["data"]["item"]: _longer_wins("label_studio", task) for task in exported.json()}
    held = (await claim(client, "ann"))[0]["item"]
    spare = (await claim(client, "bob"))[0]["item"]
    await give(client, "bob", {"item": spare, "label": "left"})
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
    human = await human_of(client)
    votes = [vote for votes in human.values() for vote in votes if vote["annotator"] == "ann"]
    assert {vote["label"] for vote in votes} == {"b"}


async def test_a_file_of_many_persons_counts_labels_once_and_lets_others_write(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    await rivers(client, 30, human=False)
    await make_queue(client, votes_per_pair=100)
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
    assert len({one["annotator"] for one in (await look(client))["annotators"]}) == 260
