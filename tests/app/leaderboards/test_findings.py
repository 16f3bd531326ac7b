"""Style control, what cannot be ranked, ranks in words, changes between leaderboards, CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from app.leaderboards.outcomes import measure
from app.leaderboards.rows import rank_text
from tests.app.hand_made import ROWS, certify, upload


async def rank(client: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    answer = await client.post("/v1/leaderboards", json={"dataset": "hand", **asked})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def battles(n: int, chance: float, rng: np.random.Generator, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "model_a": "x",
            "model_b": "y",
            "human": [{"annotator": "1", "label": "ab"[int(rng.random() > chance)]}],
            "group": f"g{number}",
            **more,
        }
        for number in range(n)
    ]


def test_ranks_in_words() -> None:
    assert [rank_text(*ranks) for ranks in ((1, 1), (2, 4), (11, 13), (21, 22), (3, 3))] == [
        "1st", "tied for 2nd-4th", "tied for 11th-13th", "tied for 21st-22nd", "3rd",
    ]  # fmt: skip


async def test_noise_beyond_the_spread_is_not_rankable(client: httpx.AsyncClient) -> None:
    await upload(client, battles(60, 0.5, np.random.default_rng(1)))
    made = await rank(client)
    assert made["rankable"] is False
    because = made["not_rankable_because"]
    assert because.startswith("the difference between x and y may be chance alone")
    assert made["ranking_test"]["told_apart"] == 0
    assert {row["rank_text"] for row in made["rows"]} == {"tied for 1st-2nd"}


async def test_few_groups_are_named_and_have_wide_intervals(client: httpx.AsyncClient) -> None:
    rows = battles(30, 0.6, np.random.default_rng(1))
    for number, row in enumerate(rows):
        row["group"] = f"g{number % 2}"
    await upload(client, rows)
    made = await rank(client, method="win_rate")
    assert any("few groups of pairs (2, fewer than 6)" in one for one in made["warnings"])
    for row in made["rows"]:
        assert row["win_rate"]["high"] - row["win_rate"]["low"] > 0.6


async def test_models_that_are_told_apart_are_rankable(client: httpx.AsyncClient) -> None:
    await upload(client, battles(200, 0.8, np.random.default_rng(1)))
    made = await rank(client)
    assert made["rankable"] is True
    assert made["not_rankable_because"] is None
    assert made["ranking_test"]["told_apart"] == made["ranking_test"]["model_pairs"] == 1
    assert [row["rank_text"] for row in made["rows"]] == ["1st", "2nd"]


async def test_a_slice_alone_may_not_be_rankable(client: httpx.AsyncClient) -> None:
    rng = np.random.default_rng(1)
    clear = battles(200, 0.9, rng, metadata={"task": "clear"})
    noise = battles(40, 0.5, rng, metadata={"task": "noise"})
    await upload(client, clear + noise)
    made = await rank(client, group_by="task")
    assert {part["group"]: part["rankable"] for part in made["groups"]} == {
        "clear": True, "noise": False,
    }  # fmt: skip


async def test_sets_of_models_that_never_met_are_warned_of(client: httpx.AsyncClient) -> None:
    rng = np.random.default_rng(1)
    apart = [{**row, "model_a": "u", "model_b": "v"} for row in battles(20, 0.5, rng)]
    await upload(client, battles(30, 0.5, rng) + apart)
    made = await rank(client, method="win_rate")
    assert made["components"] == [["u", "v"], ["x", "y"]]
    assert any("2 sets" in text for text in made["warnings"])


def test_what_responses_look_like() -> None:
    turns = ["# Title\n\n- one\n- **two**\n1. three", "plain __bold__ 2. no item"]
    assert measure(turns) == {
        "length": len(turns[0]) + len(turns[1]), "headings": 1, "list_items": 3, "bold": 2,
    }  # fmt: skip


def long_winded(n: int) -> list[dict[str, Any]]:
    """Models x and y are alike, x writes more, and people take the longer answer."""
    rng = np.random.default_rng(5)
    rows = []
    for number in range(n):
        lengths = rng.integers(50, 300, 2) + np.array([100, 0])
        is_longer = lengths[0] > lengths[1]
        label = "ab"[int(is_longer == (rng.random() < 0.2))]
        rows.append(
            {
                "id": f"p{number}", "prompt": f"q{number}", "model_a": "x", "model_b": "y",
                "response_a": "w" * int(lengths[0]), "response_b": "w" * int(lengths[1]),
                "human": [{"annotator": "1", "label": label}],
            }
        )  # fmt: skip
    return rows


async def test_length_is_controlled_for(client: httpx.AsyncClient) -> None:
    await upload(client, long_winded(600))
    plain = await rank(client)
    equal = await rank(client, control=["length", "style"])
    leads = [
        abs(made["rows"][0]["rating"]["value"] - made["rows"][1]["rating"]["value"])
        for made in (plain, equal)
    ]
    assert leads[0] > 0.6
    assert leads[1] < 0.5 * leads[0]
    length = next(one for one in equal["coefficients"] if one["name"] == "length")
    assert length["estimate"]["low"] > 0
    # nothing here has headings: there is nothing to estimate
    names = [one["name"] for one in equal["coefficients"]]
    assert names == ["length", "headings", "list_items", "bold"]
    assert equal["coefficients"][1]["estimate"]["value"] is None
    assert equal["intervals"] == "sandwich"


async def test_battles_have_no_style(client: httpx.AsyncClient) -> None:
    await upload(client, battles(20, 0.5, np.random.default_rng(1)))
    answer = await client.post("/v1/leaderboards", json={"dataset": "hand", "control": ["style"]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "control"]


async def test_changes_have_intervals_and_say_what_differs(client: httpx.AsyncClient) -> None:
    rng = np.random.default_rng(2)
    await upload(client, battles(300, 0.7, rng), "before")
    await upload(client, battles(300, 0.2, rng), "after")
    boards = [await rank(client, dataset=name) for name in ("before", "after")]
    path = f"/v1/leaderboards/{boards[1]['id']}/compare"
    found = (await client.get(path, params={"with": boards[0]["id"]})).json()
    assert [found[name]["id"] for name in ("earlier", "later")] == [one["id"] for one in boards]
    rows = {row["model"]: row for row in found["rows"]}
    before, after = ({row["model"]: row["rating"] for row in one["rows"]} for one in boards)
    change = rows["x"]["rating_change"]
    assert change["value"] == pytest.approx(after["x"]["value"] - before["x"]["value"])
    assert change["low"] == pytest.approx(after["x"]["low"] - before["x"]["high"])
    assert change["high"] < 0
    assert (rows["x"]["rank_change"], rows["x"]["rank_has_surely_changed"]) == (1, True)
    differs = {one["what"] for one in found["differs"]}
    assert {"dataset", "rests_on.dataset_id", "rests_on.verdicts_hash"} <= differs
    assert found["rests_on_the_same_verdicts"] is False


async def test_equal_leaderboards_differ_in_nothing(client: httpx.AsyncClient) -> None:
    await upload(client, ROWS)
    boards = [await rank(client) for _ in range(2)]
    path = f"/v1/leaderboards/{boards[0]['id']}/compare"
    found = (await client.get(path, params={"with": boards[1]["id"]})).json()
    assert found["differs"] == []
    assert found["rests_on_the_same_verdicts"] is True
    assert all(row["rating_change"]["value"] == 0 for row in found["rows"])


async def test_other_scales_and_other_models_are_not_compared(client: httpx.AsyncClient) -> None:
    await upload(client, ROWS)
    strengths = await rank(client)
    rates = await rank(client, method="win_rate")
    few = await rank(client, method="win_rate", part={"fraction": 0.5, "seed": 1, "side": "test"})

    async def compared(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        path = f"/v1/leaderboards/{one['id']}/compare"
        body: dict[str, Any] = (await client.get(path, params={"with": other["id"]})).json()
        return body

    scales = await compared(strengths, rates)
    assert scales["ratings_comparable"] is False
    assert "method" in scales["not_comparable_because"]
    assert all(row["rating_change"] is None for row in scales["rows"])
    models = await compared(rates, few)
    gone = {row["model"] for row in rates["rows"]} - {row["model"] for row in few["rows"]}
    assert set(models["left"]) == gone
    missing = await client.get(f"/v1/leaderboards/{rates['id']}/compare", params={"with": "lb_no"})
    assert missing.status_code == 404


async def test_with_other_models_a_change_has_no_interval(client: httpx.AsyncClient) -> None:
    rng = np.random.default_rng(2)
    third = [{**row, "model_b": "z"} for row in battles(60, 0.6, rng)]
    await upload(client, battles(60, 0.7, rng), "before")
    await upload(client, battles(60, 0.7, rng) + third, "after")
    earlier, later = [await rank(client, dataset=name) for name in ("before", "after")]
    path = f"/v1/leaderboards/{later['id']}/compare"
    found = (await client.get(path, params={"with": earlier["id"]})).json()
    assert found["entered"] == ["z"]
    assert found["not_comparable_because"].startswith("the models differ")
    assert {row["rating_change"]["low"] for row in found["rows"]} == {None}
    assert not any(row["rank_has_surely_changed"] for row in found["rows"])
    assert None not in {row["win_rate_change"]["low"] for row in found["rows"]}


async def test_style_is_measured_of_the_pairs_that_count(client: httpx.AsyncClient) -> None:
    await upload(client, long_winded(200))
    part = {"fraction": 0.5, "seed": 1, "side": "test"}
    made = await rank(client, control=["length"], part=part)
    assert 0 < made["pairs"] < 200
    # what the ratings would be without it is another board of the same votes
    again = await client.post(f"/v1/leaderboards/{made['id']}/reweight", json={"control": []})
    assert again.status_code == 201, again.text
    assert again.json()["coefficients"] == []
    assert again.json()["rests_on"] == made["rests_on"]


async def test_rows_as_csv(client: httpx.AsyncClient, service: FastAPI) -> None:
    await upload(client, ROWS)
    certificate = await certify(service, "hand")
    made = await rank(
        client, source="cascade", calibration=certificate, method="win_rate", group_by="task"
    )
    answer = await client.get(f"/v1/leaderboards/{made['id']}", headers={"accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    whole = [row for row in rows if row["group"] == ""]
    assert [row["model"] for row in whole] == [row["model"] for row in made["rows"]]
    assert float(whole[0]["rating"]) == made["rows"][0]["rating"]["value"]
    assert [row["abstained"] for row in whole] == [str(row["abstained"]) for row in made["rows"]]
    assert {row["group"] for row in rows} == {"", "t1", "t2"}
    assert {row["promise"] for row in rows} == {"certified"}
