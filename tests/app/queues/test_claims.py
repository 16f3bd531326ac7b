from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.core.runtime import Runtime
from tests.app.api.test_limits import statements
from tests.app.queues.asking import claim, give, human_of, look, make_queue, places, rivers
from tests.app.rows import labelled_rows, upload

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


@pytest.mark.both_databases
async def test_who_labels_is_counted_however_many_pairs_are_held(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    await rivers(client, 12, human=False)
    assert (await make_queue(client))["labelling"] == 0
    items = await claim(client, "ann", 5)
    for label in ("left", "skip"):
        await give(client, "ann", {"item": items.pop()["item"], "label": label})
        queue = await look(client)
        assert (queue["labelling"], queue["claimed"]) == (1, len(items))
    await claim(client, "bob")
    listed = (await client.get("/v1/queues")).json()["data"]
    assert [one["labelling"] for one in listed] == [2]
    clock.pass_by(days=1)
    assert (await look(client))["labelling"] == 0


@pytest.mark.both_databases
async def test_what_a_person_skipped_is_given_again_on_request(client: httpx.AsyncClient) -> None:
    await rivers(client, 4, human=False)
    await make_queue(client, votes_per_pair=2)

    async def left(annotator: str, **options: Any) -> tuple[list[str], int, int, int]:
        body = {"annotator": annotator, **options}
        found = (await client.post("/v1/queues/q/claim", json=body)).json()
        counts = (found[name] for name in ("waiting", "skipped", "for_others"))
        return [one["item"] for one in found["items"]], *counts

    items, *_ = await left("ann", n=4)
    said = [{"item": item, "label": "skip"} for item in items[:2]]
    await give(client, "ann", *said, {"item": items[2], "label": "left"})
    # one is held, so that nothing is counted for others
    assert await left("ann", n=4) == ([items[3]], 0, 2, 0)
    await give(client, "ann", {"item": items[3], "label": "tie"})
    assert await left("ann") == ([], 0, 2, 2)
    assert await left("ann", n=4, again=True) == (items[:2], 0, 0, 0)
    await give(client, "ann", *({"item": one, "label": "both"} for one in items[:2]))
    assert await left("ann", again=True) == ([], 0, 0, 4)
    # what another person holds now cannot be had again
    await left("bob", n=4)
    await give(client, "bob", {"item": items[0], "label": "skip"})
    await give(client, "bob", *({"item": one, "label": "left"} for one in items[1:]))
    assert await left("cleo") == ([items[0]], 0, 0, 0)
    assert await left("bob", again=True) == ([], 0, 0, 1)


async def test_nothing_that_is_handed_out_names_a_model_or_a_judge(
    client: httpx.AsyncClient,
) -> None:
    await rivers(client)
    await make_queue(client)
    [item] = await claim(client, "ann")
    assert set(item) == {
        "item", "queue", "prompt", "left", "right", "criterion", "allow_tie", "guidelines",
        "lease_expires_at",
    }  # fmt: skip
    for form in ("label_studio", "argilla"):
        text = (await client.get("/v1/queues/q/export", params={"format": form})).text
        assert "cheap" not in text
        assert "model_a" not in text


@pytest.mark.both_databases
async def test_a_pair_is_one_persons_until_the_lease_expires(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    await rivers(client, 1)
    await make_queue(client)
    [mine] = await claim(client, "ann")
    assert await claim(client, "bob") == []
    # what is claimed already is given again, with a new lease
    clock.pass_by(minutes=10)
    [again] = await claim(client, "ann")
    assert again["item"] == mine["item"]
    assert again["lease_expires_at"] > mine["lease_expires_at"]
    assert (again["left"], again["right"]) == (mine["left"], mine["right"])
    clock.pass_by(minutes=16)
    [his] = await claim(client, "bob")
    assert his["item"] == mine["item"]
    assert (await give(client, "bob", {"item": his["item"], "label": "left"})).is_success
    late = await give(client, "ann", {"item": mine["item"], "label": "right"})
    assert late.status_code == 409
    assert late.json()["errors"][0]["loc"] == ["body", "answers", 0, "item"]
    found = await look(client)
    assert (found["votes"], found["spare"], found["done"]) == (1, 1, 1)
    assert [vote["annotator"] for vote in next(iter((await human_of(client)).values()))] == [
        "anna", "bob"
    ]  # fmt: skip


async def test_a_late_answer_counts_where_the_pair_still_lacks_votes(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    await rivers(client, 1)
    await make_queue(client)
    [mine] = await claim(client, "ann")
    clock.pass_by(days=1)
    assert (await give(client, "ann", {"item": mine["item"], "label": "left"})).status_code == 201
    assert (await look(client))["done"] == 1


async def test_of_several_answers_those_that_can_count_are_stored(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    await rivers(client, 3)
    await make_queue(client)
    items = [item["item"] for item in await claim(client, "ann", 3)]
    clock.pass_by(days=1)
    await claim(client, "bob", 1)
    await give(client, "bob", {"item": items[0], "label": "left"})
    answer = await give(client, "ann", *[{"item": item, "label": "left"} for item in items])
    assert answer.status_code == 409
    assert answer.json()["stored"] == items[1:]
    assert (await look(client))["votes"] == 3


async def test_an_item_that_was_never_claimed_cannot_be_answered(client: httpx.AsyncClient) -> None:
    await rivers(client, 1)
    await make_queue(client)
    [mine] = await claim(client, "ann")
    assert (await give(client, "bob", {"item": mine["item"], "label": "left"})).status_code == 409
    unknown = await give(client, "ann", {"item": "item_0", "label": "left"})
    assert unknown.status_code == 404
    assert (await look(client))["votes"] == 0


@pytest.mark.both_databases
async def test_skipped_pairs_go_to_others_and_an_undone_skip_comes_back(
    client: httpx.AsyncClient,
) -> None:
    await rivers(client, 2)
    await make_queue(client)
    first, second = await claim(client, "ann", 2)
    assert (await give(client, "ann", {"item": first["item"], "label": "skip"})).is_success
    assert places(await look(client)) == (0, 1, 0, 1)
    assert [item["item"] for item in await claim(client, "ann", 2)] == [second["item"]]
    [his] = await claim(client, "bob", 2)
    assert his["item"] == first["item"]
    undone = await client.post(
        "/v1/queues/q/undo", json={"annotator": "ann", "item": first["item"]}
    )
    assert undone.json()["left"] == first["left"]


async def test_disagreements_go_to_a_third(client: httpx.AsyncClient) -> None:
    await rivers(client, 4, human=False)
    await make_queue(client, votes_per_pair=2, adjudicate=True)
    for who in ("ann", "bob"):
        for number, item in enumerate(await claim(client, who, 4)):
            longer = len(item["left"]) > len(item["right"])
            says_longer = who == "ann" or number > 0
            label = "left" if longer == says_longer else "right"
            await give(client, who, {"item": item["item"], "label": label})
    found = await look(client)
    assert (found["people"]["disagreed"], found["done"]) == (1, 3)
    assert found["people"]["percent_agreement"]["value"] == 0.75
    [third] = await claim(client, "cleo", 4)
    assert await claim(client, "ann", 4) == []
    await give(client, "cleo", {"item": third["item"], "label": "left"})
    assert (await look(client))["status"] == "done"


async def test_a_claim_of_all_queues_is_served_by_purpose(client: httpx.AsyncClient) -> None:
    await rivers(client, 2)
    for purpose in ("asked", "ranking", "calibration"):
        await make_queue(client, name=purpose, purpose=purpose)
    items = await claim(client, "ann", 6, where="")
    names = {
        queue["id"]: queue["name"] for queue in (await client.get("/v1/queues")).json()["data"]
    }
    assert [names[item["queue"]] for item in items] == (
        ["calibration"] * 2 + ["ranking"] * 2 + ["asked"] * 2
    )


async def test_what_was_skipped_may_be_skipped_again_and_what_was_answered_may_not(
    client: httpx.AsyncClient,
) -> None:
    await rivers(client, 2)
    await make_queue(client)
    first, second = (one["item"] for one in await claim(client, "ann", 2))
    for _ in range(2):
        skipped = await give(client, "ann", {"item": first, "label": "skip"})
        assert skipped.json()["answers"] == [{"item": first, "status": "skipped"}]
    await give(client, "ann", {"item": second, "label": "left"})
    refused = await give(client, "ann", {"item": second, "label": "skip"})
    assert refused.status_code == 409
    assert "is answered already: undo that first" in refused.text
    assert places(await look(client)) == (0, 0, 1, 1)


async def test_a_claim_holds_no_more_texts_than_a_page(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    rows = labelled_rows(6)
    for row in rows:
        row["response_a"] = "x" * 1_000 + row["id"]
    await upload(client, "rivers", rows)
    await make_queue(client)
    running.settings = running.settings.model_copy(update={"max_page_bytes": 3_500})
    claimed = await claim(client, "ann", 6)
    assert len(claimed) == 2
    assert places(await look(client)) == (4, 2, 0, 0)
    running.settings = running.settings.model_copy(update={"max_page_bytes": 1_024})
    assert len(await claim(client, "bob", 6)) == 1


async def test_a_claim_of_all_queues_asks_as_little_of_many_as_of_few(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    await rivers(client, human=False)

    async def claimed(queues: int, who: str) -> tuple[int, int]:
        for number in range(queues):
            await make_queue(client, name=f"{who} {number}")
        with statements(running) as sent:
            answer = await client.post("/v1/queues/claim", json={"annotator": who, "n": 1})
        assert len(answer.json()["items"]) == 1
        return sum("queue_items" in one for one in sent), answer.json()["waiting"]

    few, many = [await claimed(queues, who) for queues, who in ((2, "ann"), (20, "bob"))]
    assert many[0] == few[0]
    assert (few[1], many[1]) == (11, 6 * 22 - 2)
