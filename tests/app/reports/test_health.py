from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.settings import Settings
from app.main import create_app
from app.reports.health import LINES, health_card, outcome_of
from tests.app.batches.test_batches import wait_for
from tests.app.hand_made import upload
from tests.app.reports.worlds import faulty_judges
from tests.conftest import client_of

Figures = dict[str, Any]
HEALTH = "/v1/reports/health"
ASKED = {"dataset": "world", "judge": "good"}


@pytest.fixture
async def world(client: httpx.AsyncClient) -> httpx.AsyncClient:
    await upload(client, faulty_judges(), "world")
    return client


async def card(client: httpx.AsyncClient, **asked: Any) -> Figures:
    answer = await client.get(HEALTH, params={**ASKED, **asked})
    assert answer.status_code == 200, answer.text
    made: Figures = answer.json()
    return made


def outcomes(made: Figures) -> dict[str, str]:
    return {line["name"]: line["outcome"] for line in made["lines"]}


def estimate(value: float, low: float | None, high: float | None) -> Figures:
    return {"value": value, "low": low, "high": high, "confidence_level": 0.95, "n": 9}


@pytest.mark.parametrize(
    ("low", "high", "sense", "line", "outcome"),
    [
        (0.81, 0.9, "at_least", 0.8, "pass"),
        (0.8, 0.9, "at_least", 0.8, "pass"),
        (0.7, 0.79, "at_least", 0.8, "fail"),
        (0.7, 0.9, "at_least", 0.8, "not_enough_evidence"),
        (0.01, 0.04, "at_most", 0.05, "pass"),
        (0.06, 0.4, "at_most", 0.05, "fail"),
        (0.01, 0.4, "at_most", 0.05, "not_enough_evidence"),
        (-0.05, 0.08, "within", 0.1, "pass"),
        (-0.3, -0.11, "within", 0.1, "fail"),
        (0.11, 0.3, "within", 0.1, "fail"),
        (-0.15, 0.3, "within", 0.1, "not_enough_evidence"),
        (None, None, "at_least", 0.1, "not_enough_evidence"),
    ],
)
def test_a_line_is_passed_by_the_whole_interval(
    low: float | None, high: float | None, sense: Any, line: float, outcome: str
) -> None:
    assert outcome_of(estimate(0.5, low, high), sense, line) == outcome


async def test_each_judge_fails_where_its_fault_is(world: httpx.AsyncClient) -> None:
    good = outcomes(await card(world))
    assert good["agreement"] == good["alternative_annotator"] == good["order_flip_rate"] == "pass"
    assert good["agreement_unanimous"] == "pass"
    assert "fail" not in good.values()
    coin = outcomes(await card(world, judge="coin"))
    assert coin["agreement"] == coin["kappa"] == coin["ceiling_difference"] == "fail"
    assert coin["alternative_annotator"] == "fail"
    faults = {"first": "order_flip_rate", "long": "length_lean", "marked": "style_lean",
              "vain": "self_preference", "mute": "failure_share"}  # fmt: skip
    for name, fault in faults.items():
        made = await card(world, judge=name)
        assert (outcomes(made)[fault], made["outcome"]) == ("fail", "fail"), name
        assert good[fault] != "fail"


async def test_lines_are_moved_and_dropped_without_a_new_report(world: httpx.AsyncClient) -> None:
    plain = await card(world)
    moved = await card(world, **{"line.agreement": "0.999", "line.kappa": "off"})
    assert moved["report"] == plain["report"]
    assert outcomes(moved)["agreement"] == "fail"
    assert moved["outcome"] == "fail"
    assert set(outcomes(plain)) - set(outcomes(moved)) == {"kappa"}
    posted = await world.post(HEALTH, json={**ASKED, "lines": {"agreement": 0.999, "kappa": None}})
    assert posted.json() == moved
    stored = await world.get(
        f"/v1/reports/{plain['report']}/health", params={"judge": "good", "line.kappa": "0.1"}
    )
    assert outcomes(stored.json())["kappa"] == "pass"


async def test_what_cannot_be_a_line_is_named(world: httpx.AsyncClient) -> None:
    for asked, field in (
        ({"line.kapa": "0.5"}, "line.kapa"),
        ({"line.kappa": "much"}, "line.kappa"),
        ({"line.kappa": "nan"}, "line.kappa"),
        ({"line.kappa": "7"}, "line.kappa"),
        ({"kappa": "0.5"}, "kappa"),
        ({"format": "pdf"}, "format"),
        ({"judge": ""}, "judge"),
    ):
        answer = await world.get(HEALTH, params={**ASKED, **asked})
        assert answer.status_code == 422, asked
        assert field in [error["loc"][1] for error in answer.json()["errors"]], asked
    answer = await world.post(HEALTH, json={**ASKED, "lines": {"kapa": 0.5}})
    assert "did you mean kappa?" in answer.json()["detail"]
    missing = await world.get(HEALTH, params={**ASKED, "judge": "nobody"})
    assert missing.status_code == 422


async def test_a_judge_that_the_report_lacks_has_no_card(world: httpx.AsyncClient) -> None:
    report = (await card(world))["report"]
    answer = await world.get(f"/v1/reports/{report}/health", params={"judge": "coin"})
    assert answer.status_code == 404


async def test_the_page_stands_alone_and_says_what_the_card_says(
    world: httpx.AsyncClient,
) -> None:
    made = await card(world)
    accepted = await world.get(HEALTH, params=ASKED, headers={"accept": "text/html"})
    asked = await world.get(HEALTH, params={**ASKED, "format": "html"})
    assert accepted.text == asked.text
    page = asked.text
    assert asked.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in asked.headers["content-security-policy"]
    for outside in ("http://", "https://", "<script", "<link", "@import", "url("):
        assert outside not in page
    assert page.count("<svg") == len(LINES) + 2
    for axis in ("confidence of the judge", "share that agrees with people",
                 "share of pairs answered (coverage)", "share that disagrees with people"):  # fmt: skip
        assert f'text-anchor="middle">{axis}</text>' in page
    assert "On the dashed line" in page
    for line in made["lines"]:
        assert line["title"].replace("'", "&#39;") in page
    assert made["rests_on"]["label_set_hash"] in page


async def test_names_are_text_on_the_page(client: httpx.AsyncClient) -> None:
    name = "<script>alert(1)</script>"
    rows = [{**row, "judges": {name: row["judges"]["good"]}} for row in faulty_judges(20)]
    await upload(client, rows, "world")
    answer = await client.get(HEALTH, params={**ASKED, "judge": name, "format": "html"})
    assert answer.status_code == 200
    assert "<script>" not in answer.text
    assert "&lt;script&gt;" in answer.text


async def test_a_judge_of_next_to_nothing_still_has_a_page(client: httpx.AsyncClient) -> None:
    row = {"prompt": "q", "response_a": "one", "response_b": "two", "judges": {"good": None}}
    await upload(client, [row], "world")
    made = await card(client)
    assert [name for name, found in outcomes(made).items() if found == "fail"] == ["failure_share"]
    assert "agreement" in made["without_data"]
    page = await client.get(HEALTH, params={**ASKED, "format": "html"})
    assert page.status_code == 200
    assert "falls by" not in page.text
    assert "from unanimous to split votes is not known" in page.text


async def test_the_configuration_may_set_lines(tmp_path: Path) -> None:
    config = tmp_path / "tribunal.toml"
    config.write_text("[health]\nagreement = 0.999\nkappa = false\n")
    settings = Settings(database_url=f"sqlite:///{tmp_path}/test.db", config=config)
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        await upload(client, faulty_judges(60), "world")
        made = await card(client)
        assert next(line["line"] for line in made["lines"]) == 0.999
        assert "kappa" not in outcomes(made)
        back = await card(client, **{"line.agreement": "0.5"})
        assert outcomes(back)["agreement"] == "pass"


@pytest.mark.parametrize("table", ["[health]\nkapa = 0.5", "[health]\nkappa = 'x'", "health = 1"])
async def test_a_wrong_line_in_the_configuration_stops_the_start(
    tmp_path: Path, table: str
) -> None:
    config = tmp_path / "tribunal.toml"
    config.write_text(table)
    app = create_app(Settings(database_url=f"sqlite:///{tmp_path}/test.db", config=config))
    with pytest.raises(Exception, match="health"):
        async with app.router.lifespan_context(app):
            await asyncio.sleep(0)


def test_without_lines_nothing_is_passed() -> None:
    lines = dict.fromkeys((line.name for line in LINES), None)
    made = health_card({"judge": "x"}, lines)
    assert (made["outcome"], made["lines"]) == ("not_enough_evidence", [])


async def test_a_judge_that_was_never_asked_is_said_to_be_so(world: httpx.AsyncClient) -> None:
    asked = {"judge": "student", "part": "test:0.5:0"}
    made = await card(world, **asked)
    assert made["not_judged"].startswith("student, as it is configured now, has not judged these")
    assert "`tribunal batch world --judges student --part test:0.5:0`" in made["not_judged"]
    page = (await world.get(HEALTH, params={**ASKED, **asked, "format": "html"})).text
    assert "tribunal batch world --judges student --part test:0.5:0" in page

    batch = {"dataset": "world", "cascade": {"judges": ["student"]}}
    created = await world.post("/v1/batches", json=batch)
    await wait_for(world, created.json()["id"])
    assert (await card(world, **asked))["not_judged"] is None


async def test_a_judge_with_scores_has_no_such_line(world: httpx.AsyncClient) -> None:
    assert (await card(world))["not_judged"] is None
    page = (await world.get(HEALTH, params={**ASKED, "format": "html"})).text
    assert "has not judged" not in page
