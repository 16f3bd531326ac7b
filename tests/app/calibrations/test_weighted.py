"""Certificates for other traffic than the labelled pairs come from, through the service."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from tests.app.rows import certify, labelled_rows, upload

Row = dict[str, Any]


def two_tasks(n: int, hard: float, *, seed: int, prefix: str = "p") -> list[Row]:
    """Rows of an easy task, and of a hard one with long answers on which judges err more."""
    rng = np.random.default_rng(seed)
    easy = labelled_rows(n, seed=seed, cheap=0.85, dear=0.96)
    difficult = labelled_rows(n, seed=seed + 1, cheap=0.6, dear=0.75)
    rows = []
    for number, is_hard in enumerate(rng.uniform(size=n) < hard):
        row = (difficult if is_hard else easy)[number]
        row["id"] = f"{prefix}{number}"
        row["prompt"] = f"{prefix} {row['prompt']}"
        row["metadata"] = {
            "task": "proof" if is_hard else "fact",
            "density_ratio": 2.5 if is_hard else 0.625,
        }
        if is_hard:
            row["response_a"] += " One has to compare the lengths of all tributaries first." * 3
        rows.append(row)
    return rows


def unlabelled(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name != "human"} for row in rows]


@pytest.fixture
async def both(client: httpx.AsyncClient) -> None:
    await upload(client, "labelled", two_tasks(600, 0.2, seed=0))
    await upload(client, "traffic", unlabelled(two_tasks(300, 0.5, seed=9, prefix="t")))


@pytest.mark.usefixtures("both")
async def test_a_certificate_for_other_traffic_says_what_it_rests_on(
    client: httpx.AsyncClient,
) -> None:
    made = await certify(
        client, "labelled", target_agreement=0.8, method="weighted", traffic="traffic"
    )
    assert made["status"] == "certified"
    assert made["method"] == "weighted"
    figures = made["traffic"]
    assert figures["dataset"] == "traffic"
    assert (figures["ratio"], figures["assumed"]) == ("estimated", True)
    assert 250 < figures["effective_pairs"] < 600
    assert figures["max_ratio"] >= 2
    assert "assumed" in made["claim"]
    assert made["calibration"]["set_aside"] == 0
    plain = await certify(client, "labelled", target_agreement=0.8)
    assert plain["traffic"] is None
    assert plain["calibration"]["coverage"] > made["calibration"]["coverage"]
    again = (await client.get(f"/v1/calibrations/{made['id']}")).json()
    assert again["traffic"] == figures


@pytest.mark.usefixtures("both")
async def test_verdicts_under_it_are_those_of_its_thresholds(client: httpx.AsyncClient) -> None:
    made = await certify(
        client,
        "labelled",
        target_agreement=0.8,
        method="weighted",
        traffic="traffic",
        traffic_features=["metadata.task"],
    )
    rows = unlabelled(two_tasks(40, 0.5, seed=20, prefix="new"))
    asked = {"pairs": rows, "calibration": made["id"]}
    answer = await client.post("/v1/judgments", json=asked)
    assert answer.status_code == 200, answer.text
    verdicts = answer.json()["verdicts"]
    assert {one["status"] for one in verdicts} == {"accepted", "abstained"}
    assert {one["promise"] for one in verdicts} == {"certified"}


@pytest.mark.usefixtures("both")
async def test_a_known_ratio_comes_with_the_pairs(client: httpx.AsyncClient) -> None:
    made = await certify(client, "labelled", target_agreement=0.8, method="weighted", max_ratio=2.5)
    assert made["status"] == "certified"
    assert made["traffic"]["ratio"] == "known"
    assert made["traffic"]["assumed"] is False
    assert made["traffic"]["dataset"] is None
    assert made["traffic"]["left_out"] == 0


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"method": "weighted"}, "max_ratio"),
        ({"method": "weighted", "traffic": "nowhere"}, "nowhere"),
        ({"method": "weighted", "traffic": "traffic", "slices": "metadata.task"}, "slices"),
        ({"method": "weighted", "traffic": "traffic", "menu": [0.9]}, "menu"),
        ({"method": "weighted", "traffic": "traffic", "ties": "class"}, "ties"),
        (
            {"method": "weighted", "traffic": "traffic", "traffic_features": ["metadata.tsk"]},
            "metadata.tsk is missing on",
        ),
        ({"traffic": "traffic"}, "traffic"),
        ({"max_ratio": 2.0}, "max_ratio"),
    ],
)
async def test_what_does_not_go_together_is_named(
    client: httpx.AsyncClient, asked: Row, field: str
) -> None:
    body = {"dataset": "labelled", "cascade": {"judges": ["cheap", "dear"]}, **asked}
    answer = await client.post("/v1/calibrations", json=body)
    assert answer.status_code in (404, 422)
    assert field in answer.text


async def test_a_known_ratio_is_needed_on_every_pair(client: httpx.AsyncClient) -> None:
    await upload(client, "plain", labelled_rows(60))
    body = {"dataset": "plain", "cascade": {"judges": ["cheap", "dear"]}}
    asked = {**body, "method": "weighted", "max_ratio": 2.0}
    answer = await client.post("/v1/calibrations", json=asked)
    assert answer.status_code == 422
    assert "metadata.density_ratio" in answer.text


async def test_traffic_needs_scores_of_every_judge(client: httpx.AsyncClient) -> None:
    await upload(client, "labelled", two_tasks(100, 0.2, seed=0))
    rows = unlabelled(two_tasks(50, 0.5, seed=9, prefix="t"))
    for row in rows[20:]:
        del row["judges"]["dear"]
    await upload(client, "traffic", rows)
    body = {"dataset": "labelled", "cascade": {"judges": ["cheap", "dear"]}}
    asked = {**body, "method": "weighted", "traffic": "traffic"}
    answer = await client.post("/v1/calibrations", json=asked)
    assert answer.status_code == 422
    assert "20 of the 50 pairs" in answer.text


@pytest.mark.usefixtures("both")
async def test_plans_know_no_weighted_certificates(client: httpx.AsyncClient) -> None:
    body = {"dataset": "labelled", "cascade": {"judges": ["cheap", "dear"]}, "method": "weighted"}
    answer = await client.post("/v1/plans", json=body)
    assert answer.status_code == 422
    assert "method" in answer.text
