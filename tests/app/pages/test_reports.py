"""Reports and health cards as pages, one by one, and as files that need nothing else."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from app.pages.words import percent
from app.reports.agreement import by_annotator
from app.reports.health_page import confusion_rows
from app.reports.panel import people_of
from calibration.intervals import Groups
from tests.app.pages.markup import Page, check
from tests.app.reports.test_correlations import scored
from tests.app.reports.worlds import faulty_judges
from tests.app.rows import upload

NASTY = "<b>rivers</b> & co"


@pytest.fixture
async def report(client: httpx.AsyncClient) -> dict[str, Any]:
    """Report on three judges and four people, of whom one says always a."""
    rows = faulty_judges(100)
    for row in rows:
        for vote in row["human"]:
            vote["label"] = "a" if vote["annotator"] == "dan" else vote["label"]
        row["judges"] = {name: row["judges"][name] for name in ("good", "first", "long")}
    body = "\n".join(map(json.dumps, rows))
    headers = {"content-type": "application/x-ndjson"}
    made = await client.post("/v1/datasets", params={"name": NASTY}, content=body, headers=headers)
    assert made.status_code == 201, made.text
    asked = {"dataset": NASTY}
    found: dict[str, Any] = (await client.get("/v1/reports/agreement", params=asked)).json()
    # another report of the same judges, so that there is something to follow over time
    part = {**asked, "part": "test:0.5:0"}
    assert (await client.get("/v1/reports/agreement", params=part)).status_code == 200
    return found


async def test_people_one_by_one_and_who_clicked_through(
    client: httpx.AsyncClient, report: dict[str, Any]
) -> None:
    people = {one["annotator"]: one for one in report["human"]["by_annotator"]}
    assert set(people) == {"ann", "bob", "cyd", "dan"}
    assert [name for name, one in people.items() if one["concerns"]] == ["dan"]
    assert "clicked through" in people["dan"]["concerns"][-1]
    page = check(await client.get(f"/reports/{report['id']}"))
    assert "clicked through" in page.text_of("td")
    assert "The stronger the colour, the more of its row." in page.text_of("caption")
    share = percent(people["ann"]["with_majority"]["value"]).replace("\u00a0", " ")
    assert share in page.text_of("td")
    assert "agreement over time" in page.text_of("title")
    assert "Reliability" in page.text_of("svg")
    assert f"/reports/{report['id']}/judges/first" in page.links


async def test_a_page_says_of_how_many_pairs_judges_and_people_agree(
    client: httpx.AsyncClient, report: dict[str, Any]
) -> None:
    page = check(await client.get(f"/reports/{report['id']}"))
    good, first = (
        next(one for one in report["judges"] if one["judge"] == name) for name in ("good", "first")
    )
    n = good["agreement"]["n"]
    lead = page.text_of("main")
    assert (
        f"good agrees with people on {round(good['agreement']['value'] * n)} of {n} pairs" in lead
    )
    assert first["neither"] == 100  # it takes what it is shown first
    assert "first prefers neither response in 100 of its 100 verdicts." in lead
    assert "couples of votes" in lead
    assert "each counted from either side" in page.text_of("caption")
    open_ = report["human"]["plurality"]["none"]
    assert open_ > 0
    # ties and pairs without a majority are rows of their own; nobody said tie here
    assert first["no_plurality"]["tie"] == first["confusion"]["tie"]["tie"] == open_
    rows = confusion_rows(first)
    assert (rows["tie"]["tie"], rows["no majority"]["tie"]) == (0, open_)
    assert confusion_rows({"confusion": first["confusion"]}) == first["confusion"]
    assert "no majority" in page.text_of("th")
    card = check(await client.get(f"/reports/{report['id']}/judges/first")).text_of("main")
    assert "no majority" in card
    assert "Without data: Agreement with people, " in card
    assert "no data: it takes the name of the model" in card


async def test_a_judge_has_a_card(client: httpx.AsyncClient, report: dict[str, Any]) -> None:
    path = f"/reports/{report['id']}"
    page = check(await client.get(f"{path}/judges/first"))
    card = (await client.get(f"/v1{path}/health", params={"judge": "first"})).json()
    assert card["outcome"] == "fail"
    assert "fail" in page.text_of("span")
    for line in card["lines"]:
        assert line["title"] in page.text_of("th")
    assert "the response shown first" in page.text_of("th")
    assert "the longer response" in page.text_of("th")
    assert "unanimous" in page.text_of("th")
    missing = await client.get(f"{path}/judges/nobody")
    assert missing.status_code == 404
    assert "nobody" in check(missing).text_of("main")


async def test_correlations_are_shown_and_weights_moved(client: httpx.AsyncClient) -> None:
    await upload(client, "scored", scored(5))
    made = (await client.get("/v1/reports/agreement", params={"dataset": "scored"})).json()
    page = check(await client.get(f"/reports/{made['id']}"))
    assert "alpha + beta" in page.text_of("th")
    assert "over criteria" in page.text_of("td")
    form = {"csrf": page.token, "criterion.overall": "1", "criterion.wit": "0"}
    moved = await client.post(f"/reports/{made['id']}/reweight", data=form)
    assert moved.status_code == 303
    shown = check(await client.get(moved.headers["location"]))
    sliders = [one.attributes for one in shown.all("input") if one.attributes["type"] == "range"]
    assert [(one["name"], one["value"]) for one in sliders] == [
        ("criterion.overall", "1.0"), ("criterion.wit", "0.0")
    ]  # fmt: skip
    kept = (await client.get(f"/v1{moved.headers['location']}")).json()
    assert kept["correlations"]["weights"] == {"overall": 1.0, "wit": 0.0}
    wrong = await client.post(
        f"/reports/{made['id']}/reweight", data={**form, "criterion.overall": "0"}
    )
    assert wrong.status_code == 422


def self_contained(text: str) -> Page:
    """Return the page of one file after making sure that nothing of it leads elsewhere."""
    page = Page()
    page.feed(text)
    page.close()
    assert not page.faults
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("style")) == 1
    assert not {one.tag for one in page.elements} & {"a", "script", "link", "form", "img", "button"}
    assert not [one for one in page.elements if {"href", "src", "action"} & set(one.attributes)]
    assert "url(" not in page.all("style")[0].text
    return page


async def test_results_are_exported_as_one_file(
    client: httpx.AsyncClient, report: dict[str, Any]
) -> None:
    board = (await client.post("/v1/leaderboards", json={"dataset": NASTY})).json()
    for path in (f"/reports/{report['id']}", f"/leaderboards/{board['id']}"):
        served = check(await client.get(path))
        assert f"{path}/export" in served.links
        answer = await client.get(f"{path}/export")
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        page = self_contained(answer.text)
        assert NASTY in page.text_of("h1")
        # all that the page shows in tables is in the file
        assert page.text_of("td") == served.text_of("td")
        assert len(page.all("svg")) == len(served.all("svg")) > 0


def test_a_person_alone_has_no_others() -> None:
    assert by_annotator(people_of([], {}), Groups.of([])) == []
