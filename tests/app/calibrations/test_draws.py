"""Which labels count, by how their pairs came to be labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from app.calibrations.draws import fairly_drawn, in_first_places, without_adjudication
from app.datasets.records import Vote
from app.queues.service import side_on_left
from tests.app.rows import labelled_rows, upload

CASCADE = {"judges": ["cheap", "dear"]}


async def counted(client: httpx.AsyncClient, **asked: Any) -> int:
    body = {"dataset": "rivers", "cascade": CASCADE, **asked}
    made = await client.post("/v1/calibrations", json=body)
    assert made.status_code == 201, made.text
    found: int = made.json()["calibration"]["labelled"]
    return found


async def label_all(client: httpx.AsyncClient, name: str, **options: Any) -> set[str]:
    body = {"name": name, "dataset": "rivers", **options}
    assert (await client.post("/v1/queues", json=body)).status_code == 201
    claim = {"annotator": "anna", "n": 60}
    items = (await client.post(f"/v1/queues/{name}/claim", json=claim)).json()["items"]
    answers = [{"item": one["item"], "label": "left"} for one in items]
    sent = await client.post(
        f"/v1/queues/{name}/answers", json={"annotator": "anna", "answers": answers}
    )
    assert sent.status_code == 201, sent.text
    listed = await client.get("/v1/labels", params={"dataset": "rivers", "limit": 200})
    return {one["pair"] for one in listed.json()["data"] if one.get("queue") is not None}


async def say(client: httpx.AsyncClient, who: str, pairs: Sequence[str]) -> None:
    labels = [{"dataset": "rivers", "pair": one, "annotator": who, "label": "a"} for one in pairs]
    assert (await client.post("/v1/labels", json={"labels": labels})).status_code == 201


async def test_how_a_pair_was_first_asked_for_decides(client: httpx.AsyncClient) -> None:
    rows = [{**row, "human": []} for row in labelled_rows(60)]
    await upload(client, "rivers", rows)
    drawn = await label_all(client, "sample", labels=40)
    assert await counted(client) == 40
    rest = sorted({str(row["id"]) for row in rows} - drawn)
    # an audit by the same person, also of pairs that were drawn before
    await label_all(client, "audit", purpose="audit", pairs=[*sorted(drawn)[:10], *rest[:5]])
    assert await counted(client, seed=1) == 40
    again = {"name": "more", "dataset": "rivers", "unlabelled": True}
    more = (await client.post("/v1/queues", json=again)).json()
    assert more["pairs"] == 20  # pairs of audits can still be drawn
    await say(client, "anna", [*sorted(drawn)[:3], *rest[:2]])  # corrections
    assert await counted(client, seed=2) == 40
    await say(client, "bob", rest[:7])
    assert await counted(client, seed=3) == 47
    assert await counted(client, queues=["sample"]) == 40
    unknown = {"dataset": "rivers", "cascade": CASCADE, "queues": ["sample", "no such"]}
    refused = await client.post("/v1/calibrations", json=unknown)
    assert refused.json()["errors"][0]["loc"] == ["body", "queues"]
    assert "no such" in refused.json()["detail"]
    await label_all(client, "ranks", purpose="ranking", unlabelled=True, labels=6)
    mixed = await client.post("/v1/calibrations", json={"dataset": "rivers", "cascade": CASCADE})
    assert mixed.status_code == 422
    assert mixed.json()["errors"][0]["loc"] == ["body", "queues"]
    assert await counted(client, queues=["ranks"], min_label_probability=0.05) == 6
    plan = {"dataset": "rivers", "cascade": CASCADE, "target_agreements": [0.8]}
    assert (await client.post("/v1/plans", json=plan)).status_code == 422
    planned = await client.post("/v1/plans", json={**plan, "queues": ["sample"]})
    assert planned.status_code == 200, planned.text


async def test_a_pair_that_was_audited_first_has_its_place_in_a_test_that_is_repeated(
    client: httpx.AsyncClient,
) -> None:
    rows = [{**row, "human": []} for row in labelled_rows(60)]
    await upload(client, "rivers", rows)
    names = [str(row["id"]) for row in rows]
    await label_all(client, "audit", purpose="audit", pairs=names[:20])
    await say(client, "anna", names[:3])  # corrections of audits
    await label_all(client, "sample", labels=60)
    await say(client, "bob", names)
    assert await counted(client, method="sequential") == 60


async def test_third_votes_are_of_no_random_annotator(client: httpx.AsyncClient) -> None:
    rows = [{**row, "human": []} for row in labelled_rows(20)]
    await upload(client, "rivers", rows)
    queue = {"name": "two", "dataset": "rivers", "votes_per_pair": 2, "adjudicate": True}
    assert (await client.post("/v1/queues", json={**queue, "allow_tie": False})).status_code == 201
    shown: list[dict[str, str]] = []
    for who, label in (("anna", "a"), ("bob", "b"), ("eve", "a"), ("eve", "b")):
        claim = {"annotator": who, "n": 60}
        items = (await client.post("/v1/queues/two/claim", json=claim)).json()["items"]
        items = items or shown  # a second answer of the same person
        shown = items
        answers = [
            {"item": one["item"], "label": side_of(one["item"], who, label)} for one in items
        ]
        sent = {"annotator": who, "answers": answers}
        assert (await client.post("/v1/queues/two/answers", json=sent)).status_code == 201
    listed = await client.get("/v1/labels", params={"dataset": "rivers", "limit": 200})
    third = [one for one in listed.json()["data"] if one.get("adjudicates")]
    assert [(one["annotator"], one["label"]) for one in third] == [("eve", "b")] * 20
    asked = {"dataset": "rivers", "cascade": CASCADE, "label_rule": "random_annotator"}
    made = (await client.post("/v1/calibrations", json=asked)).json()
    document = (await client.get(f"/v1/calibrations/{made['id']}/export")).json()
    votes = document["evidence"]["pairs"]["votes"]
    assert (votes["a"], votes["b"]) == ([1] * 20, [1] * 20)


async def refused(client: httpx.AsyncClient, field: str, **asked: Any) -> str:
    body = {"dataset": "rivers", "cascade": CASCADE, **asked}
    answer = await client.post("/v1/calibrations", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["loc"] == ["body", field]
    detail: str = answer.json()["detail"]
    return detail


async def test_labels_that_are_no_sample_are_refused(client: httpx.AsyncClient) -> None:
    rows = [{**row, "human": []} for row in labelled_rows(40)]
    await upload(client, "rivers", rows)
    names = sorted(str(row["id"]) for row in rows)
    # pairs that nobody named come in an order that is drawn
    drawn = await label_all(client, "any", purpose="asked", labels=20)
    assert len(drawn) == 20
    assert drawn != {str(row["id"]) for row in rows[:20]}
    assert await counted(client, method="sequential") == 20
    rest = [one for one in names if one not in drawn]
    await label_all(client, "list", purpose="asked", pairs=rest[:5])
    assert await counted(client) == 25
    assert "queue 'list' follows a list" in await refused(client, "method", method="sequential")
    assert await counted(client, method="sequential", queues=["any"]) == 20
    # of two votes on a pair that differ, the second is the first of a queue that wants two
    await say(client, "bob", rest[5:6])
    queue = {"name": "two", "dataset": "rivers", "pairs": rest[5:6], "votes_per_pair": 2}
    assert (await client.post("/v1/queues", json=queue)).status_code == 201
    [item] = (await client.post("/v1/queues/two/claim", json={"annotator": "eve"})).json()["items"]
    said = [{"item": item["item"], "label": side_of(item["item"], "eve", "b")}]
    sent = {"annotator": "eve", "answers": said}
    assert (await client.post("/v1/queues/two/answers", json=sent)).status_code == 201
    assert "queue 'two' waits for more votes" in await refused(client, "label_rule")
    assert await counted(client, label_rule="random_annotator") == 26
    await say(client, "carl", rest[5:6])
    assert await counted(client) == 26


async def test_a_ranking_draws_from_what_has_no_label(client: httpx.AsyncClient) -> None:
    rows = [{**row, "human": []} for row in labelled_rows(30)]
    await upload(client, "rivers", rows)
    names = sorted(str(row["id"]) for row in rows)
    await say(client, "bob", names[:5])
    drawn = await label_all(client, "ranks", purpose="ranking", unlabelled=True, labels=10)
    floor = {"min_label_probability": 0.05}
    assert await counted(client, **floor) == 15
    await say(client, "bob", [one for one in names[5:] if one not in drawn][:1])
    assert "1 pairs that it could have drawn" in await refused(client, "queues", **floor)
    assert await counted(client, queues=["ranks"], **floor) == 10


def side_of(item: str, who: str, label: str) -> str:
    return "left" if side_on_left(0, item, who) == label else "right"


def test_votes_that_others_called_for_are_found_without_their_mark() -> None:
    said = [Vote(who, "a", {"queue": "q"}) for who in ("ann", "bob", "eve")]
    marked = Vote("eve", "a", {"queue": "of another service", "adjudicates": True})
    kept = without_adjudication({1: said, 2: [*said[:1], marked], 3: said[:2]}, {"q": 2})
    assert kept == {1: said[:2], 2: said[:1], 3: said[:2]}
    unknown = [Vote(None, "a", {}), Vote(None, "b", {})]
    placed = in_first_places([said[1], *unknown, said[0]], ["ann", None, "bob", None, "ann"])
    assert placed == [said[0], unknown[0], said[1], unknown[1]]


def test_a_correction_keeps_the_probability_of_the_draw() -> None:
    ranked, audited = {"queue": "q", "label_probability": 0.2}, {"queue": "r", "selected": "audit"}
    votes = {1: [Vote("ann", "a", {})], 2: [Vote("ann", "a", {})], 3: [Vote(None, "a", {})]}
    kept = fairly_drawn(votes, {(1, "ann"): [ranked], (2, "ann"): [audited]})
    assert {seq: said[0].details for seq, said in kept.items()} == {1: ranked, 3: {}}
    again = fairly_drawn({2: [Vote("ann", "b", ranked)]}, {(2, "ann"): [audited]})
    assert again[2][0].details == ranked
    # an audit after a label that nobody drew brings no probability of its own
    later = fairly_drawn(
        {4: [Vote("ann", "b", {**audited, "label_probability": 0.1})]}, {(4, "ann"): [{}]}
    )
    assert later == {4: [Vote("ann", "b", {})]}
