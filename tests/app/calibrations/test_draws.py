"""Which labels count, by how their pairs came to be labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from app.calibrations.inputs import fairly_drawn
from app.datasets.records import Vote
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


def test_a_correction_keeps_the_probability_of_the_draw() -> None:
    ranked, audited = {"queue": "q", "label_probability": 0.2}, {"queue": "r", "selected": "audit"}
    votes = {1: [Vote("ann", "a", {})], 2: [Vote("ann", "a", {})], 3: [Vote(None, "a", {})]}
    kept = fairly_drawn(votes, {(1, "ann"): [ranked], (2, "ann"): [audited]})
    assert {seq: said[0].details for seq, said in kept.items()} == {1: ranked, 3: {}}
    again = fairly_drawn({2: [Vote("ann", "b", ranked)]}, {(2, "ann"): [audited]})
    assert again[2][0].details == ranked


def test_a_later_draw_does_not_change_how_probable_the_first_was() -> None:
    """A person labels a pair, and again where a later queue draws some pairs rather than others."""
    evenly, ranked = {"queue": "q"}, {"queue": "r", "label_probability": 0.2}
    rarely = {"queue": "s", "label_probability": 0.5}
    again = Vote("ann", "b", {**ranked, "seconds": 2.0})
    for before, drawn in ({}, {}), (evenly, evenly), (rarely, rarely):
        kept = fairly_drawn({1: [again]}, {(1, "ann"): [before]})
        assert kept[1][0].details == {"seconds": 2.0, **drawn}
    of_the_later = fairly_drawn({1: [again]}, {(1, "ann"): [evenly]}, {"r"})
    assert of_the_later[1][0].details == again.details
