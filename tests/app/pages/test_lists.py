"""The overview and the lists: with nothing, with one of each, and with many."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from app.batches.totals import added, shard_counts, spent_of, spent_together
from app.core.runtime import Runtime
from judges.types import Pair, Score
from tests.app.pages.markup import check
from tests.app.pages.test_pairs import finished
from tests.app.paid_judge import PaidJudge, install
from tests.app.rows import certify, labelled_rows, upload

LISTS = (
    "/datasets",
    "/calibrations",
    "/batches",
    "/leaderboards",
    "/reports",
    "/judges",
    "/label",
    "/monitors",
    "/shadows",
    "/finishes",
)
NASTY = "<script>alert(1)</script> & \"quoted\" 'single' / ü"


async def test_an_empty_service_shows_three_ways_to_begin(client: httpx.AsyncClient) -> None:
    page = check(await client.get("/"))
    assert len([one for one in page.all("section") if one.attributes.get("class") == "card"]) == 3
    assert "/judges#try" in page.links
    for path in LISTS:
        shown = check(await client.get(path))
        assert path in shown.links
        assert f"/v1{path.replace('/label', '/queues')}" in shown.links


async def test_every_list_shows_what_there_is(client: httpx.AsyncClient) -> None:
    rows = labelled_rows(100)
    await upload(client, NASTY, rows)
    texts = ("id", "prompt", "response_a", "response_b")
    pairs = [{name: row[name] for name in texts} for row in rows]
    assert (await client.post("/v1/judgments", json={"pairs": pairs})).status_code == 200
    certificate = await certify(client, NASTY, target_agreement=0.7)
    board = (await client.post("/v1/leaderboards", json={"dataset": NASTY})).json()
    report = (await client.get("/v1/reports/agreement", params={"dataset": NASTY})).json()
    overview = check(await client.get("/"))
    assert NASTY in overview.text_of("main")
    judges = check(await client.get("/judges"))
    assert f"/reports/{report['id']}/judges/student" in judges.links
    # recorded judges are no less judges, and it is said where they come from
    assert {f"/reports/{report['id']}/judges/cheap", f"/calibrations/{certificate['id']}"} <= (
        judges.links
    )
    assert f"scores recorded in {NASTY}" in judges.text_of("td")
    assert [one.text for one in judges.all("th") if one.text in ("cheap", "dear", "student")] == [
        "student",
        "cheap",
        "dear",
    ]
    for kind, one in (
        ("calibrations", certificate),
        ("leaderboards", board),
        ("reports", report),
    ):
        page = check(await client.get(f"/{kind}"))
        assert f"/{kind}/{one['id']}" in page.links & overview.links
        assert NASTY in page.text_of("main")
    named = "/datasets/%3Cscript%3Ealert%281%29%3C%2Fscript%3E%20%26%20%22quoted%22%20%27single%27%20%2F%20%C3%BC"
    assert named in check(await client.get("/datasets")).links


async def test_a_long_list_has_pages(client: httpx.AsyncClient) -> None:
    for number in range(52):
        await upload(client, f"set {number}", labelled_rows(1, seed=number))
    first = check(await client.get("/datasets"))
    [older] = [link for link in first.links if "after=" in link]
    second = check(await client.get(older))
    assert "set 0" in second.text_of("main")
    assert "set 51" not in second.text_of("main")


async def test_what_is_wrong_with_an_address_is_said_on_a_page(client: httpx.AsyncClient) -> None:
    for after, status in (("nothing", 404), ("x" * 600, 422)):
        answer = await client.get("/datasets", params={"after": after})
        assert answer.status_code == status
        assert "after" in check(answer).text_of("main")


@pytest.mark.parametrize("by", ["default", ""])
async def test_a_pasted_pair_is_judged_by_every_tier(client: httpx.AsyncClient, by: str) -> None:
    page = check(await client.get("/judges"))
    form = {
        "by": by,
        "prompt": "Name three primary colours.",
        "response_a": "Red, yellow and blue. <script>alert(1)</script>",
        "response_b": "Red.",
        "csrf": page.token,
    }
    shown = check(await client.post("/judges", data=form))
    assert "<script>alert(1)</script>" in shown.text_of("textarea")
    assert "student" in shown.text_of("section")


async def test_a_pair_that_cannot_be_judged_keeps_what_was_pasted(
    client: httpx.AsyncClient,
) -> None:
    token = check(await client.get("/judges")).token
    form = {"by": "none", "prompt": "Why?", "response_a": "So.", "response_b": "", "csrf": token}
    answer = await client.post("/judges", data=form)
    assert answer.status_code == 422
    page = check(answer)
    assert "Why?" in page.text_of("textarea")
    assert "none" in page.text_of("div")
    empty = await client.post("/judges", data={**form, "prompt": " "})
    assert "prompt: is empty" in check(empty).text_of("div")


async def test_files_of_pages_are_kept_by_browsers_and_are_small(client: httpx.AsyncClient) -> None:
    import gzip

    page = await client.get("/")
    loaded = [
        one.attributes.get("src") or one.attributes.get("href")
        for one in check(page).elements
        if one.tag in ("script", "link")
    ]
    assert len(loaded) == 4
    sizes = []
    for address in loaded:
        answer = await client.get(str(address))
        assert answer.status_code == 200
        assert "max-age=31536000" in answer.headers["cache-control"]
        sizes.append(len(gzip.compress(answer.content)))
    assert sum(sizes) + len(gzip.compress(page.content)) < 60 * 1024
    assert len((await client.get("/assets/tribunal.js")).content) <= 10 * 1024
    assert (await client.get("/assets/nothing.js")).status_code == 404


class Forgetful(PaidJudge):
    """Does not know what two of its answers cost."""

    async def score(self, pair: Pair) -> Score:
        found = await super().score(pair)
        return replace(found, cost_usd=None) if pair.id in ("p0", "p1") else found


async def test_every_page_says_the_same_of_what_was_spent(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    await upload(client, "rivers", [{**row, "judges": {}} for row in labelled_rows(12)])
    install(running, Forgetful("cheap", 0.00033, confidence=0.9))

    async def shown(batch: dict[str, object], spent: str, lacking: str = "") -> None:
        overview, batches, page = [
            check(await client.get(path)) for path in ("/", "/batches", f"/batches/{batch['id']}")
        ]
        for one in (overview, batches, page):
            assert spent + lacking in one.text_of("td")
        assert spent in page.text_of("b")
        for one in (overview, page):
            assert lacking in one.text_of("li")

    asked = {"dataset": "rivers", "cascade": {"judges": ["cheap"]}}
    batch = await finished(client, asked)
    assert (batch["cost_usd"], batch["unpriced"]) == (None, 2)
    assert "Known from what is stored" not in (await client.get("/judges")).text
    assert batch["known_usd"] == pytest.approx(10 * 0.00033)
    await shown(batch, "at least $0.0033", "2 answers of unknown cost")
    # what is stored already costs nothing more, and the report says of that batch the same
    again = await finished(client, asked)
    assert (again["cost_usd"], again["known_usd"], again["unpriced"]) == (0, 0, 0)
    await shown(again, "$0")
    # a judge that is configured no more is still told of
    install(running, PaidJudge("dear"))
    judges = check(await client.get("/judges"))
    assert "asked before" in judges.text_of("td")
    assert f"/batches/{batch['id']}" in judges.links
    assert "every score was stored before" in check(
        await client.get(f"/batches/{again['id']}")
    ).text_of("li")
    report = (await client.get(f"/v1/reports/batches/{again['id']}")).json()
    assert "$0 in this batch" in check(await client.get(f"/reports/{report['id']}")).text_of("dd")
    report = (await client.get(f"/v1/reports/batches/{batch['id']}")).json()
    told = check(await client.get(f"/reports/{report['id']}")).text_of("dd")
    assert "$0.00033 in this batch; on 10 pairs, as it is unknown on the others" in told


def test_unknown_costs_are_counted_and_taken_back() -> None:
    known, partly = [("j", 0.25), ("k", 0.5)], [("j", None), ("j", 1.0)]
    sums = added(shard_counts((), known), shard_counts((), partly))
    assert sums["cost_usd"] is None
    assert spent_together(sums["tiers"].values()) == {
        "cost_usd": None,
        "known_usd": 1.75,
        "unpriced": 1,
    }
    assert spent_together(spent_of(sums)["tiers"].values())["known_usd"] == 1.75
    less = added(sums, shard_counts((), partly), sign=-1)
    assert spent_together(less["tiers"].values()) == {
        "cost_usd": 0.75,
        "known_usd": 0.75,
        "unpriced": 0,
    }
    # batches of before do not say how many
    old = {
        "tiers": {
            "j": {**dict.fromkeys(("asked", "accepted", "failed", "obtained"), 3), "cost_usd": None}
        }
    }
    assert spent_together(added(old, shard_counts((), known))["tiers"].values()) == {
        "cost_usd": None,
        "known_usd": 0.75,
        "unpriced": None,
    }
