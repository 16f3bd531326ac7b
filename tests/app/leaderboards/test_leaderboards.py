from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.app.hand_made import ROWS, certify, sliced_certificate, upload


@pytest.fixture
async def hand(client: httpx.AsyncClient) -> httpx.AsyncClient:
    await upload(client, ROWS)
    return client


async def rank(client: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    body = {"dataset": "hand", "source": "human", **asked}
    answer = await client.post("/v1/leaderboards", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def win_rates(made: dict[str, Any]) -> dict[str, float]:
    return {row["model"]: row["win_rate"]["value"] for row in made["rows"]}


@pytest.mark.both_databases
async def test_each_vote_is_a_comparison(hand: httpx.AsyncClient) -> None:
    made = await rank(hand, method="win_rate")
    assert win_rates(made) == pytest.approx({"z": 0.75, "x": 0.5, "y": 0.25})
    assert [(row["model"], row["rank"]) for row in made["rows"]] == [("z", 1), ("x", 2), ("y", 3)]
    z = made["rows"][0]
    assert (z["pairs"], z["wins"], z["losses"], z["ties"]) == (10, 6, 1, 3)
    assert z["distinct_pairs"] == 5
    assert sum(row["distinct_pairs"] for row in made["rows"]) == 2 * made["pairs"]
    assert z["rating"] == z["win_rate"]
    assert set(z["rating"]) == {"value", "low", "high", "confidence_level", "n"}
    assert z["strength"] is None
    assert (made["pairs"], made["comparisons"], made["unlabelled"]) == (7, 15, 1)
    assert made["abstained"] == 0
    assert made["method"] == "win_rate"


@pytest.mark.both_databases
@pytest.mark.parametrize("asked", [{"ties": "exclude"}, {"baseline": "y"}])
async def test_distinct_pairs_are_those_that_count(
    hand: httpx.AsyncClient, asked: dict[str, Any]
) -> None:
    made = await rank(hand, method="win_rate", votes="majority", **asked)
    assert all(row["distinct_pairs"] == row["pairs"] > 0 for row in made["rows"])


async def test_bradley_terry_expects_the_points_that_were_won(hand: httpx.AsyncClient) -> None:
    made = await rank(hand)
    strength = {row["model"]: row["strength"] for row in made["rows"]}
    assert sum(strength.values()) == pytest.approx(1, abs=1e-12)
    points = {"x": 5.0, "y": 2.5, "z": 7.5}
    for model, expected in points.items():
        others = [strength[other] for other in strength if other != model]
        own = strength[model]
        assert 5 * sum(own / (own + other) for other in others) == pytest.approx(expected)
    ratings = [row["rating"]["value"] for row in made["rows"]]
    assert sum(ratings) == pytest.approx(0, abs=1e-9)
    for row in made["rows"]:
        assert 1 <= row["rank_low"] <= row["rank"] <= row["rank_high"] <= 3


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"method": "average_win_rate"}, {"z": 0.75, "x": 0.5, "y": 0.25}),
        ({"method": "counting"}, {"z": 7.5, "x": 5.0, "y": 2.5}),
        ({"method": "win_rate", "baseline": "y"}, {"x": 0.8, "z": 0.7, "y": 0.5}),
        ({"method": "win_rate", "ties": "exclude"}, {"z": 6 / 7, "x": 0.5, "y": 1 / 7}),
        ({"method": "win_rate", "votes": "majority"}, {"z": 0.7, "x": 0.5, "y": 0.5 / 3}),
        ({"method": "win_rate", "votes": "mean_sign"}, {"z": 0.7, "x": 0.5, "y": 0.25}),
    ],
)
async def test_rules_by_hand(
    hand: httpx.AsyncClient, asked: dict[str, Any], expected: dict[str, float]
) -> None:
    made = await rank(hand, **asked)
    assert {row["model"]: row["rating"]["value"] for row in made["rows"]} == pytest.approx(expected)


async def test_pairs_without_a_majority_are_counted(hand: httpx.AsyncClient) -> None:
    made = await rank(hand, votes="majority", method="win_rate")
    assert (made["pairs"], made["undecided"], made["unlabelled"]) == (6, 1, 1)


@pytest.mark.both_databases
async def test_elo_follows_the_order_of_the_file(client: httpx.AsyncClient) -> None:
    battles = [
        {"model_a": "x", "model_b": "y", "human": [{"annotator": "1", "label": label}]}
        for label in ("a", "b")
    ]
    await upload(client, battles, "battles")
    options = {"k": 40, "start": 500, "scale": 400}
    made = await rank(client, dataset="battles", method="elo", options=options)
    ratings = {row["model"]: row["rating"]["value"] for row in made["rows"]}
    lead = 40.0  # of x after its win: 20 up, y 20 down
    back = 40 * (1 / (1 + 10 ** (-lead / 400)))
    assert ratings == pytest.approx({"x": 520 - back, "y": 480 + back})


@pytest.mark.both_databases
async def test_a_judge_is_ranked_by_its_verdicts(hand: httpx.AsyncClient) -> None:
    made = await rank(hand, source="judge:dear", method="win_rate")
    assert win_rates(made) == pytest.approx({"z": 3.5 / 4, "x": 1.5 / 5, "y": 2.0 / 5})
    assert (made["pairs"], made["failed"]) == (7, 1)
    assert "dear" in made["rests_on"]["fingerprints"]


async def test_soft_verdicts_count_as_their_probability(hand: httpx.AsyncClient) -> None:
    hard = win_rates(await rank(hand, source="judge:cheap", method="win_rate"))
    soft = win_rates(await rank(hand, source="judge:cheap", method="win_rate", soft=True))
    # x as a: p1 .8 p2 .6 p5 .1 p6 .2 p8 .3; as b: p7 .5
    assert hard["x"] == pytest.approx((1 + 1 + 0 + 0 + 0 + 0.5) / 6)
    assert soft["x"] == pytest.approx((0.8 + 0.6 + 0.1 + 0.2 + 0.3 + 0.5) / 6)


async def test_soft_verdicts_of_a_cascade_count_as_their_probability(
    hand: httpx.AsyncClient, service: FastAPI
) -> None:
    certificate = await certify(service, "hand")
    asked = {"source": "cascade", "calibration": certificate, "method": "win_rate"}
    hard = win_rates(await rank(hand, **asked))
    soft = win_rates(await rank(hand, **asked, soft=True))
    assert soft.keys() == hard.keys()
    # a probability is less than the 1 that a verdict of it counts
    assert hard["z"] == 1.0 > soft["z"] > 0.5


@pytest.mark.both_databases
async def test_a_cascade_never_counts_an_abstention(
    hand: httpx.AsyncClient, service: FastAPI
) -> None:
    certificate = await certify(service, "hand")
    made = await rank(hand, source="cascade", calibration=certificate, method="win_rate")
    assert win_rates(made) == pytest.approx({"z": 1.0, "x": 0.2, "y": 1 / 3})
    assert (made["pairs"], made["abstained"], made["missing"]) == (6, 2, 0)
    x = next(row for row in made["rows"] if row["model"] == "x")
    assert x["unresolved"] == 1
    assert x["win_rate_bounds"] == pytest.approx({"low": 1 / 6, "high": 2 / 6})
    assert made["rests_on"]["calibration"] == certificate


async def test_a_verdict_that_is_not_known_is_missing(
    client: httpx.AsyncClient, service: FastAPI
) -> None:
    rows = [*ROWS, {**ROWS[1], "id": "p9", "judges": {"cheap": {"p_a": 0.6}}}]
    rows.append({**ROWS[1], "id": "p10", "judges": {"dear": ROWS[0]["judges"]["dear"]}})
    await upload(client, rows)
    certificate = await certify(service, "hand")
    made = await rank(client, source="cascade", calibration=certificate, method="win_rate")
    assert (made["pairs"], made["abstained"], made["missing"]) == (6, 2, 2)


async def test_slices_are_held_against_their_own_thresholds(
    hand: httpx.AsyncClient, service: FastAPI
) -> None:
    changes = sliced_certificate(t1=(0.75, None))
    certificate = await certify(service, "hand", **changes)
    made = await rank(hand, source="cascade", calibration=certificate, method="win_rate")
    # of t1 the cheap judge answers p1 alone, dear never; t2 has no certificate and abstains
    assert (made["pairs"], made["abstained"]) == (1, 7)


@pytest.mark.both_databases
async def test_rows_for_every_slice(hand: httpx.AsyncClient) -> None:
    made = await rank(hand, method="win_rate", group_by="metadata.task")
    assert [part["group"] for part in made["groups"]] == ["t1", "t2"]
    first = {row["model"]: row["win_rate"]["value"] for row in made["groups"][0]["rows"]}
    assert first == pytest.approx({"x": 0.8, "y": 1.5 / 8, "z": 2.5 / 3})


async def test_a_slice_that_cannot_be_ranked_says_why(hand: httpx.AsyncClient) -> None:
    made = await rank(hand, group_by="task", ties="exclude")
    parts = {part["group"]: part for part in made["groups"]}
    assert parts["t1"]["rows"] == []
    assert "{z}" in parts["t1"]["error"]


async def test_a_part_is_ranked_alone(hand: httpx.AsyncClient) -> None:
    sides = [
        await rank(hand, method="win_rate", part={"fraction": 0.5, "seed": 1, "side": side})
        for side in ("calibration", "test")
    ]
    assert sum(made["comparisons"] for made in sides) == 15
    assert all(made["comparisons"] < 15 for made in sides)


async def test_models_that_never_met_are_named(client: httpx.AsyncClient) -> None:
    battles = [
        {"model_a": a, "model_b": b, "human": [{"annotator": "1", "label": "tie"}]}
        for a, b in ("uv", "wq")
    ]
    await upload(client, battles, "islands")
    answer = await client.post("/v1/leaderboards", json={"dataset": "islands", "source": "human"})
    assert answer.status_code == 422
    assert answer.json()["components"] == [["q", "w"], ["u", "v"]]
    assert "{q, w} | {u, v}" in answer.json()["detail"]


JSON = {"content-type": "application/json"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"source": "prediction_powered"}, "judge"),
    ({"source": "prediction_powered", "judge": "nobody"}, "judge"),
    ({"source": "prediction_powered", "judge": "dear", "calibration": "cal_1"}, "judge"),
    ({"source": "prediction_powered", "judge": "dear", "method": "elo"}, "method"),
    ({"source": "prediction_powered", "judge": "dear", "ties": "exclude"}, "ties"),
    ({"source": "prediction_powered", "judge": "dear", "control": ["length"]}, "control"),
    ({"source": "prediction_powered", "judge": "dear", "criteria": {"a": 1, "b": 1}}, "criteria"),
    ({"judge": "dear"}, "judge"),
    ({"certified_only": True}, "certified_only"),
    ({"source": "judge:"}, "source"),
    ({"source": "judge:nobody"}, "source"),
    ({"source": "people"}, "source"),
    ({"source": "cascade"}, "calibration"),
    ({"calibration": "cal_1"}, "calibration"),
    ({"source": "judge:dear", "votes": "each"}, "votes"),
    ({"soft": True}, "soft"),
    ({"control": ["length"], "method": "elo"}, "control"),
    ({"control": ["colour"]}, "control"),
    ({"control": []}, "control"),
    ({"control": ["length"], "criteria": {"style": 1, "overall": 2}}, "control"),
    ({"criteria": {}}, "criteria"),
    ({"criteria": {"overall": 0}}, "criteria"),
    ({"source": "cascade", "calibration": "cal_1", "criteria": {"style": 1}}, "criteria"),
    ({"criteria": {"style": 1, "overall": 2}}, "criteria"),
    ({"criteria": {"style": 1}}, "criteria"),
    ({"options": {"k": 4}}, "options"),
    ({"method": "elo", "options": {"step": 4}}, "options"),
    ({"method": "elo", "options": {"k": 0}}, "options"),
    ({"baseline": "x"}, "baseline"),
    ({"method": "win_rate", "baseline": "w"}, "baseline"),
    ({"method": "win_rate", "ties": "davidson"}, "ties"),
    ({"source": "judge:cheap", "soft": True, "ties": "davidson"}, "ties"),
    ({"group_by": "nothing"}, "group_by"),
    ({"confidence_level": 1}, "confidence_level"),
    ({"method": "best"}, "method"),
    ({"unknown": 1}, "unknown"),
    ({"dataset": "nul\x00"}, "dataset"),
    ({"criteria": {"\ud800": 1}}, "criteria"),
    ({"source": "cascade", "calibration": "\ud800"}, "calibration"),
    ({"part": {"side": "middle"}}, "part"),
]


async def test_what_cannot_be_honoured_is_named(hand: httpx.AsyncClient) -> None:
    for asked, field in REFUSED:
        body = {"dataset": "hand", "source": "human", **asked}
        answer = await hand.post("/v1/leaderboards", content=json.dumps(body), headers=JSON)
        assert answer.status_code == 422, asked
        assert field in [error["loc"][1] for error in answer.json()["errors"]], asked
    assert (await hand.get("/v1/leaderboards")).json()["data"] == []


async def test_an_unknown_dataset_or_certificate_is_not_found(hand: httpx.AsyncClient) -> None:
    for body in (
        {"dataset": "none", "source": "human"},
        {"dataset": "hand", "source": "cascade", "calibration": "cal_none"},
    ):
        assert (await hand.post("/v1/leaderboards", json=body)).status_code == 404


@pytest.mark.both_databases
async def test_leaderboards_are_kept(hand: httpx.AsyncClient) -> None:
    made = [await rank(hand, method=method) for method in ("counting", "bradley_terry")]
    listed = (await hand.get("/v1/leaderboards", params={"limit": 1})).json()
    assert [row["id"] for row in listed["data"]] == [made[1]["id"]]
    assert listed["has_more"] is True
    read = (await hand.get(f"/v1/leaderboards/{made[1]['id']}")).json()
    assert read == made[1]
    assert (await hand.get("/v1/leaderboards/lb_none")).status_code == 404


async def test_the_same_request_gives_the_same_numbers(hand: httpx.AsyncClient) -> None:
    one, other = [await rank(hand) for _ in range(2)]
    assert one["rows"] == other["rows"]
    assert one["rests_on"] == other["rests_on"]
