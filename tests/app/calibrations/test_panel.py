"""Certificates about a panel's opinion, through the service."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from app.calibrations.document import verify
from app.monitors.alarms import loss_of
from tests.app.rows import certify, labelled_rows, upload

PANEL = {"label_rule": "panel", "target_agreement": 0.8}


def voted_rows(n: int, votes: int) -> list[dict[str, Any]]:
    """Rows on which each of some annotators errs on one pair of fourteen."""
    rng = np.random.default_rng(3)
    rows = labelled_rows(n, cheap=0.9, dear=0.97)
    for row in rows:
        said = row["human"][0]["label"]
        other = "b" if said == "a" else "a"
        row["human"] = [
            {"annotator": f"person-{k}", "label": other if rng.uniform() < 0.07 else said}
            for k in range(votes)
        ]
    return rows


async def test_two_votes_make_a_promise_that_names_what_it_assumes(
    client: httpx.AsyncClient,
) -> None:
    rows = voted_rows(300, 2)
    rows[0]["human"] = rows[0]["human"][:1]
    rows[1]["human"][0]["label"] = "tie"
    await upload(client, "rivers", rows)
    made = await certify(client, "rivers", **PANEL)
    assert made["status"] == "certified"
    split = sum(len({one["label"] for one in row["human"]}) == 2 for row in rows[2:])
    assert made["panel"] == {
        "two_votes": 298,
        "split": split,
        "one_vote": 1,
        "tied": 1,
        "three_votes": 0,
        "assumption": "assumed",
    }
    assert made["calibration"]["undecided"] == split
    assert "what most annotators would say" in made["claim"]
    assert "assumed, and not tested" in made["claim"]
    again = (await client.get(f"/v1/calibrations/{made['id']}")).json()
    assert again["panel"] == made["panel"]
    document = (await client.get(f"/v1/calibrations/{made['id']}/export")).json()
    assert not [fault for fault in verify(document, ()).faults if fault.field != "signature"]
    document["evidence"]["pairs"]["first_votes"][1] = [0.0] * 300
    assert verify(document, ()).faults[0].field == "evidence.pairs.first_votes"
    answer = await client.post("/v1/monitors", json={"calibration": made["id"]})
    assert answer.json()["errors"][0]["loc"] == ["body", "votes_per_pair"]
    watched = {"calibration": made["id"], "votes_per_pair": 2}
    assert (await client.post("/v1/monitors", json=watched)).status_code == 201
    plan = {"dataset": "rivers", "cascade": {"judges": ["cheap", "dear"]}, "label_rule": "panel"}
    frontier = (await client.post("/v1/plans", json=plan)).json()["frontier"]
    assert frontier[0]["status"] == "certified"
    plain = await certify(client, "rivers", target_agreement=0.8)
    assert plain["panel"] is None


async def test_third_votes_do_without_the_assumption(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", voted_rows(500, 3))
    made = await certify(client, "rivers", **PANEL | {"target_agreement": 0.7})
    assert made["panel"]["assumption"] == "tested"
    assert made["panel"]["three_votes"] == 500


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"ties": "half"}, "ties"),
        ({"method": "sequential"}, "method"),
        ({"target_agreement": 0.5}, "target_agreement"),
        ({"menu": [0.4]}, "menu"),
    ],
)
async def test_what_a_panel_cannot_promise_is_named(
    client: httpx.AsyncClient, asked: dict[str, Any], named: str
) -> None:
    body = {"dataset": "rivers", **PANEL, **asked}
    answer = await client.post("/v1/calibrations", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", named]


async def test_labels_with_one_vote_each_are_told_so(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(40))
    body = {"dataset": "rivers", "cascade": {"judges": ["cheap", "dear"]}, **PANEL}
    answer = await client.post("/v1/calibrations", json=body)
    assert answer.status_code == 422
    assert "40 with one vote" in answer.json()["errors"][0]["msg"]


def test_an_audit_counts_where_two_votes_agree() -> None:
    rules = {"label_rule": "panel", "ties": "exclude"}
    said = [["a"], ["a", "b", "b"], ["b", "b"], ["a", "a", "b"], ["tie", "tie"], []]
    assert [loss_of("a", one, rules) for one in said] == [None, None, 1.0, 0.0, None, None]
