"""Several criteria with weights that the reader can move."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from app.core.errors import Conflict
from app.core.models import Leaderboard
from app.leaderboards.service import _refuse_other_verdicts
from tests.app.hand_made import ROWS, upload

CRITERIA = {"helpful": 3.0, "style": 1.0}


def rows(n: int = 60) -> list[dict[str, Any]]:
    """Three models; by helpfulness mostly x, by style mostly z."""
    rng = np.random.default_rng(3)
    made = []
    for number in range(n):
        first, second = ("xyz"[code] for code in rng.choice(3, 2, replace=False))
        human = []
        for criterion, order in (("helpful", "xyz"), ("style", "zyx")):
            is_better = order.index(first) < order.index(second)
            label = "ab"[int(is_better == (rng.random() < 0.3))]
            human.append({"annotator": "1", "label": label, "criterion": criterion})
        made.append(
            {
                "id": f"p{number}", "prompt": f"q {number // 2}", "response_a": "a",
                "response_b": "b", "model_a": first, "model_b": second, "human": human,
                "group": f"g{number // 2}",
                "judges": {
                    f"grader/{vote['criterion']}": {"label": vote["label"]} for vote in human
                },
            }
        )  # fmt: skip
    return made


@pytest.fixture
async def judged(client: httpx.AsyncClient) -> httpx.AsyncClient:
    await upload(client, rows())
    return client


async def rank(client: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    body = {"dataset": "hand", "criteria": CRITERIA, **asked}
    answer = await client.post("/v1/leaderboards", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def values(rows: list[dict[str, Any]], name: str = "rating") -> dict[str, float]:
    return {row["model"]: row[name]["value"] for row in rows}


@pytest.mark.parametrize("method", ["bradley_terry", "win_rate", "elo"])
async def test_the_rating_is_the_weighted_mean_over_criteria(
    judged: httpx.AsyncClient, method: str
) -> None:
    made = await rank(judged, method=method)
    parts = {one["criterion"]: one for one in made["by_criterion"]}
    assert {name: one["weight"] for name, one in parts.items()} == {"helpful": 0.75, "style": 0.25}
    for name in ("rating", "win_rate"):
        helpful, style = (values(parts[one]["rows"], name) for one in ("helpful", "style"))
        expected = {model: 0.75 * helpful[model] + 0.25 * style[model] for model in helpful}
        assert values(made["rows"], name) == pytest.approx(expected, abs=1e-12)
    for row in made["rows"]:
        assert row["rating"]["low"] < row["rating"]["value"] < row["rating"]["high"]


@pytest.mark.parametrize("criterion", CRITERIA)
async def test_a_criterion_alone_is_its_own_leaderboard(
    judged: httpx.AsyncClient, criterion: str
) -> None:
    both = await rank(judged, method="win_rate")
    alone = await rank(judged, method="win_rate", criteria={criterion: 1})
    part = next(one for one in both["by_criterion"] if one["criterion"] == criterion)
    assert values(part["rows"]) == values(alone["rows"])


async def test_weights_are_moved_without_the_dataset_being_asked_again(
    judged: httpx.AsyncClient,
) -> None:
    made = await rank(judged)
    path = f"/v1/leaderboards/{made['id']}/reweight"
    answer = await judged.post(path, json={"criteria": {"style": 1}})
    assert answer.status_code == 201, answer.text
    moved = answer.json()
    assert answer.headers["location"] == f"/v1/leaderboards/{moved['id']}"
    assert moved["reweighted_from"] == made["id"]
    style = next(one for one in made["by_criterion"] if one["criterion"] == "style")
    assert values(moved["rows"]) == pytest.approx(values(style["rows"]))
    assert moved["rows"][0]["model"] != made["rows"][0]["model"]
    assert moved["rests_on"] == made["rests_on"]
    assert (await judged.get(f"/v1/leaderboards/{moved['id']}")).json() == moved


@pytest.mark.both_databases
async def test_moved_weights_rest_on_the_labels_of_then(judged: httpx.AsyncClient) -> None:
    made = await rank(judged)
    labels = [
        {"dataset": "hand", "pair": f"p{number}", "annotator": "1", "label": "a",
         "criterion": "style"}
        for number in range(20)
    ]  # fmt: skip
    assert (await judged.post("/v1/labels", json={"labels": labels})).status_code == 201
    same = await judged.post(f"/v1/leaderboards/{made['id']}/reweight", json={"criteria": CRITERIA})
    assert values(same.json()["rows"]) == values(made["rows"])
    now = await rank(judged)
    assert now["rests_on"]["label_set_hash"] != made["rests_on"]["label_set_hash"]
    assert values(now["rows"]) != values(made["rows"])


@pytest.mark.parametrize(
    ("name", "labels", "said"),
    [
        ("label_set_hash", 4, "there were 5 labels and are 4"),
        ("dataset_content_hash", 5, "dataset_content_hash was 'then' and is 'now'"),
    ],
)
def test_weights_are_not_moved_where_what_they_rest_on_is_gone(
    name: str, labels: int, said: str
) -> None:
    earlier = Leaderboard(id="lb_1", body={"rests_on": {name: "then", "labels": 5}})
    now: Any = SimpleNamespace(rests_on={name: "now", "labels": labels})
    with pytest.raises(Conflict, match=said) as refused:
        _refuse_other_verdicts(earlier, now)
    assert refused.value.extra == {"changed": [name]}


async def test_what_if_takes_weights_in_its_query_and_names_them(judged: httpx.AsyncClient) -> None:
    path = f"/v1/leaderboards/{(await rank(judged))['id']}/what-if"
    found = await judged.get(path, params={"criterion.style": "2", "matrix": "true"})
    assert found.status_code == 200, found.text
    assert {one["criterion"]: one["weight"] for one in found.json()["by_criterion"]}["style"] == 1
    # who won against whom is by the criteria that weigh something
    met = found.json()["matrix"]["meetings"]
    alone = await rank(judged, criteria={"style": 1})
    only = (await judged.get(f"/v1/leaderboards/{alone['id']}/what-if?matrix=true")).json()
    assert met == only["matrix"]["meetings"]
    negative = await judged.get(path, params={"criterion.style": "-1"})
    assert negative.json()["errors"][0]["loc"] == ["query", "criterion.style"]
    many = await judged.get(path, params={f"criterion.c{n}": "1" for n in range(21)})
    assert many.status_code == 422
    assert many.json()["errors"][0]["loc"] == ["query", "criteria"]


async def test_a_judge_has_a_name_for_each_criterion(judged: httpx.AsyncClient) -> None:
    people = await rank(judged, method="win_rate")
    by_judge = await rank(judged, method="win_rate", source="judge:grader")
    assert values(by_judge["rows"]) == pytest.approx(values(people["rows"]))
    assert set(by_judge["rests_on"]["fingerprints"]) == {"grader/helpful", "grader/style"}
    moved = await judged.post(
        f"/v1/leaderboards/{by_judge['id']}/reweight", json={"criteria": {"helpful": 1}}
    )
    assert moved.status_code == 201, moved.text


async def test_what_cannot_be_weighed_is_named(judged: httpx.AsyncClient) -> None:
    made = await rank(judged)
    alone = await rank(judged, criteria=None, source="judge:grader/style", method="win_rate")
    for board, weights in ((made, {"truth": 1}), (made, {"style": 0}), (alone, {"style": 1})):
        answer = await judged.post(
            f"/v1/leaderboards/{board['id']}/reweight", json={"criteria": weights}
        )
        assert answer.status_code == 422, weights
        assert answer.json()["errors"][0]["loc"] == ["body", "criteria"]
    missing = await judged.post("/v1/leaderboards/lb_no/reweight", json={"criteria": {"a": 1}})
    assert missing.status_code == 404


async def test_a_model_that_a_criterion_does_not_know_is_named(client: httpx.AsyncClient) -> None:
    some = rows(40)
    for row in some:
        if "z" in (row["model_a"], row["model_b"]):
            row["human"] = row["human"][:1]
    await upload(client, some)
    answer = await client.post("/v1/leaderboards", json={"dataset": "hand", "criteria": CRITERIA})
    assert answer.status_code == 422
    assert "criterion style: no comparison of z" in answer.json()["detail"]


@pytest.mark.both_databases
async def test_slices_are_weighed_too(client: httpx.AsyncClient) -> None:
    some = [{**row, "metadata": {"half": number % 2}} for number, row in enumerate(rows(120))]
    await upload(client, some)
    made = await rank(client, group_by="half", method="win_rate")
    assert [part["group"] for part in made["groups"]] == ["0", "1"]
    for part in made["groups"]:
        assert [one["criterion"] for one in part["by_criterion"]] == list(CRITERIA)


async def test_one_criterion_needs_votes_on_it(client: httpx.AsyncClient) -> None:
    await upload(client, ROWS)
    body = {"dataset": "hand", "criteria": {"overall": 1, "style": 1}}
    answer = await client.post("/v1/leaderboards", json=body)
    assert answer.status_code == 422
    assert "style" in answer.json()["detail"]
