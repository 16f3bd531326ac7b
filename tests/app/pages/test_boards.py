"""Leaderboards as pages: other weights rank again at once, and nothing is stored by looking."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.core.runtime import Runtime
from app.pages import boards
from tests.app.hand_made import upload
from tests.app.leaderboards.test_criteria import rows, values
from tests.app.pages.markup import Page, check


@pytest.fixture
async def board(client: httpx.AsyncClient) -> dict[str, Any]:
    """Rank by two criteria; half of the pairs are of the task "code"."""
    some = [
        {**row, "metadata": {"task": ("code", "poems")[number % 2]}}
        for number, row in enumerate(rows(60))
    ]
    await upload(client, some)
    asked = {"dataset": "hand", "criteria": {"helpful": 1, "style": 1}, "group_by": "task"}
    answer = await client.post("/v1/leaderboards", json=asked)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def first_row(page: Page) -> list[str]:
    table = page.all("tbody")[0]
    return table.text.split()


async def test_sliders_rank_again_and_store_nothing(
    client: httpx.AsyncClient, board: dict[str, Any]
) -> None:
    path = f"/leaderboards/{board['id']}"
    page = check(await client.get(path))
    sliders = [one.attributes for one in page.all("input") if one.attributes["type"] == "range"]
    names = ["criterion.helpful", "criterion.style", "slice.code", "slice.poems"]
    assert [one["name"] for one in sliders] == names
    assert {one["value"] for one in sliders} == {"1.0"}
    asked = {"criterion.helpful": "0", "criterion.style": "4", "slice.code": "0"}
    what = (await client.get(f"/v1{path}/what-if", params=asked)).json()
    assert (what["id"], what["stored"]) == (board["id"], False)
    assert what["criteria"] == {"helpful": 0.0, "style": 4.0}
    assert what["slice_weights"] == {"code": 0.0}
    poems = next(one for one in what["groups"] if one["group"] == "poems")
    assert values(what["rows"]) == values(poems["rows"])
    moved = check(await client.get(path, params=asked))
    assert what["rows"][0]["model"] != board["rows"][0]["model"]
    assert first_row(moved)[0] == what["rows"][0]["rank_text"].split()[0]
    # 30 pairs tell no two models apart
    assert what["rankable"] is False
    assert "No order is proven" in moved.text_of("p")
    assert "weighs nothing" in moved.text_of("li")
    assert len((await client.get("/v1/leaderboards")).json()["data"]) == 1
    # what is shown can be kept
    form = {
        str(one.attributes["name"]): one.attributes["value"]
        for one in moved.all("input")
        if one.attributes["type"] == "hidden"
    }
    assert form.items() >= asked.items()
    kept = await client.post(f"{path}/reweight", data=form)
    assert kept.status_code == 303
    stored = (await client.get(f"/v1{kept.headers['location']}")).json()
    assert values(stored["rows"]) == values(what["rows"])
    assert stored["reweighted_from"] == board["id"]
    compared = check(await client.get(f"{path}/compare", params={"with": stored["id"]}))
    assert "slice_weights" in compared.text_of("tbody")


async def test_ranking_again_without_a_change_says_so_and_keeps_the_date(
    client: httpx.AsyncClient, board: dict[str, Any], running: Runtime
) -> None:
    now, path = running.now, f"/leaderboards/{board['id']}"
    running.now = lambda: now() + timedelta(days=2)

    async def dated(**query: str) -> tuple[str | None, bool]:
        page = check(await client.get(path, params=query))
        said = "Nothing has changed since" in page.text_of("p")
        return page.all("time")[0].attributes["datetime"], said

    then = board["created_at"][:19] + "Z"
    as_stored = {"criterion.helpful": "1", "criterion.style": "1", "group_by": "", "beside": ""}
    assert await dated() == (then, False)
    assert await dated(**as_stored) == (then, True)
    # the same votes in another light
    assert await dated(**as_stored | {"criterion.style": "2"}) == (then, False)
    assert await dated(matrix="true") == (then, False)
    assert (await client.get(f"/v1{path}/what-if?matrix=true")).json()["created_at"] == board[
        "created_at"
    ]
    # other verdicts are of today
    other = (await client.get(f"/v1{path}/what-if?source=judge:grader")).json()
    assert other["created_at"] > board["created_at"]


async def test_a_weight_of_a_slice_is_that_of_its_comparisons(client: httpx.AsyncClient) -> None:
    some = [
        {**row, "metadata": {"task": ("code", "poems")[number % 2]}}
        for number, row in enumerate(rows(60))
    ]
    twice = [{**row, "id": f"again {row['id']}"} for row in some[::2]]
    await upload(client, some)
    asked = {
        "dataset": "hand",
        "criteria": {"helpful": 1},
        "method": "win_rate",
        "group_by": "task",
    }
    weighed = (
        await client.post("/v1/leaderboards", json={**asked, "slice_weights": {"code": 2}})
    ).json()
    await upload(client, [*some, *twice], "doubled")
    doubled = (await client.post("/v1/leaderboards", json={**asked, "dataset": "doubled"})).json()
    assert values(weighed["rows"]) == pytest.approx(values(doubled["rows"]))
    assert weighed["pairs"] == 60


async def test_who_beats_whom_and_people_beside(
    client: httpx.AsyncClient, board: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"dataset": "hand", "criteria": {"helpful": 1, "style": 1}, "source": "judge:grader"}
    by_judge = (await client.post("/v1/leaderboards", json=asked)).json()
    path = f"/leaderboards/{by_judge['id']}"
    unknown = await client.get(f"/v1{path}/what-if", params={"source": "everybody"})
    assert (unknown.status_code, unknown.json()["errors"][0]["loc"]) == (422, ["query", "source"])
    what = (await client.get(f"/v1{path}/what-if", params={"matrix": "true"})).json()
    meetings = what["matrix"]["meetings"]
    assert {(one["first"], one["second"]) for one in meetings} <= {
        (a, b) for i, a in enumerate(what["matrix"]["models"]) for b in what["matrix"]["models"][i:]
    }
    for one in what["rows"]:
        own = [m for m in meetings if one["model"] in (m["first"], m["second"])]
        won = sum(m["wins"] if m["first"] == one["model"] else m["losses"] for m in own)
        assert (won, sum(m["n"] for m in own)) == (one["wins"], one["pairs"])
    page = check(await client.get(path, params={"matrix": "true", "beside": "human"}))
    assert "Was" not in page.text_of("th")
    assert "Keep this ranking as a leaderboard" not in page.text_of("button")
    assert "Who beats whom" in page.text_of("h2")
    assert "Rank by people" in page.text_of("th")
    # votes of people and scores of this judge are the same
    for row in what["rows"]:
        assert page.all("tbody")[0].text.count(row["rank_text"]) >= 2
    # of very many models and slices a page shows the first
    monkeypatch.setattr(boards, "_MOST_MET", 2)
    monkeypatch.setattr(boards, "_MOST_TABLES", 1)
    few = check(await client.get(f"/leaderboards/{board['id']}", params={"matrix": "true"}))
    assert "Shown are the first 2 of" in few.text_of("p")
    assert "3 tables more are in the JSON" in few.text_of("p")


WRONG: list[tuple[dict[str, str], str]] = [
    ({"criterion.truth": "1"}, "truth"), ({"slice.none": "1"}, "none"),
    ({"criterion.helpful": "-1"}, "criterion.helpful"), ({"weight": "1"}, "weight"),
    ({"group_by": "nothing"}, "nothing"), ({"beside": "judge:nobody"}, "nobody"),
    ({"criterion.helpful": "0", "criterion.style": "0"}, "criteria"),
    ({"control": "speed"}, "control"),
]  # fmt: skip


async def test_weights_that_do_not_fit_are_named_and_the_board_stays(
    client: httpx.AsyncClient, board: dict[str, Any]
) -> None:
    path = f"/leaderboards/{board['id']}"
    for query, named in WRONG:
        answer = await client.get(path, params=query)
        assert answer.status_code == 422, query
        page = check(answer)
        [alert] = [one for one in page.all("div") if one.attributes.get("role") == "alert"]
        assert named in alert.text
        assert board["rows"][0]["model"] in page.text_of("tbody")
        if "beside" not in query:
            again = await client.get(f"/v1{path}/what-if", params=query)
            assert again.status_code == 422
            assert named in again.json()["detail"]


async def test_length_is_controlled_for_by_a_switch(client: httpx.AsyncClient) -> None:
    some = rows(60)
    for number, row in enumerate(some):
        row["response_a"] = "a" * (1 + number % 7)
    await upload(client, some)
    made = (
        await client.post("/v1/leaderboards", json={"dataset": "hand", "criteria": {"style": 1}})
    ).json()
    page = check(
        await client.get(f"/leaderboards/{made['id']}", params={"control": ["none", "length"]})
    )
    assert "controlled for length" in page.text_of("p")
    assert "What a difference" in page.text_of("caption")
    assert f"/v1/leaderboards/{made['id']}?format=csv" in page.links
    table = await client.get(f"/v1/leaderboards/{made['id']}?format=csv")
    assert table.headers["content-type"].startswith("text/csv")
