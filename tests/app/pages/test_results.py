"""Pages of one certificate, leaderboard, report and batch show what their JSON says."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from app.pages import charts, frame, results
from app.pages.words import percent
from tests.app.pages.markup import check
from tests.app.pages.test_pairs import finished, judged
from tests.app.rows import certify, labelled_rows, upload

NASTY = "<script>alert(1)</script>"


async def test_every_result_has_a_page(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await judged(client, NASTY, 120)
    [certificate] = (await client.get("/v1/calibrations")).json()["data"]
    [batch] = (await client.get("/v1/batches")).json()["data"]
    board = (await client.post("/v1/leaderboards", json={"dataset": NASTY})).json()
    asked = {"dataset": NASTY, "calibration": certificate["id"], "judges": "cheap,dear"}
    report = (await client.get("/v1/reports/agreement", params=asked)).json()
    for kind, body in (
        ("calibrations", certificate),
        ("batches", batch),
        ("leaderboards", board),
        ("reports", report),
    ):
        address = f"/{kind}/{body['id']}"
        page = check(await client.get(address))
        assert f"/v1{address}" in page.links
        assert NASTY in page.text_of("main")
        missing = await client.get(f"/{kind}/none")
        assert missing.status_code == 404
        assert "none" in check(missing).text_of("main")
    page = check(await client.get(f"/calibrations/{certificate['id']}"))
    assert certificate["claim"] in page.text_of("p")
    assert percent(certificate["calibration"]["agreement_lower_bound"]) in [
        one.text for one in page.all("b")
    ]
    assert "Agreement and coverage" in page.text_of("svg")
    assert "cheap answers where" in page.text_of("li")
    of_pairs = f"/pairs/{frame.part(NASTY)}/p"
    assert len([one for one in page.links if one.startswith(of_pairs)]) == 20
    dataset = check(await client.get(f"/datasets/{frame.part(NASTY)}"))
    assert {f"/leaderboards/{board['id']}", f"/reports/{report['id']}"} <= dataset.links
    assert "No monitor audits" in page.text_of("p")
    # the curve of many pairs waits for a click
    monkeypatch.setattr(results, "_DRAWN_AT_ONCE", 1)
    large = check(await client.get(f"/calibrations/{certificate['id']}"))
    triggers = [
        [
            one.attributes["data-hx-trigger"]
            for one in shown.all("div")
            if "data-hx-trigger" in one.attributes
        ]
        for shown in (page, large)
    ]
    assert triggers == [["load"], ["click"]]
    # a cascade that was measured on no pair has no figure to be drawn over time
    asked["judges"] = "dear"
    await client.get("/v1/reports/agreement", params=asked)
    again = check(await client.get(f"/reports/{report['id']}"))
    drawn = [one.text for one in again.all("b")]
    assert "dear" in drawn
    assert certificate["id"] not in drawn
    monitor = await client.post("/v1/monitors", json={"calibration": certificate["id"]})
    watched = check(await client.get(f"/calibrations/{certificate['id']}"))
    assert f"/monitors/{monitor.json()['id']}" in watched.links
    ended = check(await client.get(f"/batches/{batch['id']}"))
    assert "Cancel" not in ended.text_of("button")
    assert "right" in check(await client.get(f"/leaderboards/{board['id']}")).text_of("th")


@pytest.mark.both_databases
async def test_rows_without_an_answer_are_listed_with_why(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = labelled_rows(120, dear=0.85)
    for row in (failing := rows[3:110:20]):
        row["judges"] = {"cheap": {"p_a": None}}
    await upload(client, "rivers", rows)
    certificate = await certify(client, "rivers", target_agreement=0.85)
    assert certificate["status"] == "certified"
    for _ in range(2):
        batch = await batch_over(client, "rivers", certificate["id"])
    counts = batch["request_counts"]
    assert counts["failed"] == len(failing)
    assert counts["abstained"] > 1

    async def listed(**query: Any) -> list[dict[str, Any]]:
        query = {"batch": batch["id"], "limit": 1000, **query}
        answer = await client.get("/v1/judgments", params=query)
        assert answer.status_code == 200, answer.text
        data: list[dict[str, Any]] = answer.json()["data"]
        return data

    failed = await listed(status="failed", order="asc")
    assert {one["id"]: one["position"] for one in failed} == {
        row["id"]: 3 + 20 * number for number, row in enumerate(failing)
    }
    everything = await listed()
    assert len(everything) == 120
    numbers = [int(one["verdict_id"]) for one in everything]
    assert numbers == sorted(numbers, reverse=True)
    assert [one["verdict_id"] for one in await listed(limit=7, after=str(numbers[4]))] == [
        str(one) for one in numbers[5:12]
    ]
    assert (await client.get("/v1/judgments?batch=none")).status_code == 404
    # the page: what failed first, page by page, then where nobody was sure
    monkeypatch.setattr(frame.paging, "__defaults__", (4,))
    address = f"/batches/{batch['id']}"
    page = check(await client.get(address))
    assert {f"/pairs/rivers/{one['id']}" for one in failed[:4]} <= page.links
    assert f"/pairs/rivers/{failed[4]['id']}" not in page.links
    assert "cheap failed, says the record" in page.text_of("td")
    assert "dear has no record of this pair" in page.text_of("td")
    [more] = [one for one in page.links if "after=" in one]
    assert f"/pairs/rivers/{failed[4]['id']}" in check(await client.get(more)).links
    unsure = check(await client.get(f"{address}?rows=abstained"))
    threshold = certificate["thresholds"][1]["threshold"]
    assert f"sure, and answers from {threshold:.1%}" in unsure.text_of("td")
    [same] = [one for one in unsure.links if one.startswith("/v1/judgments?")]
    assert (await client.get(same)).json()["data"][0]["status"] == "abstained"


async def batch_over(client: httpx.AsyncClient, dataset: str, certificate: str) -> dict[str, Any]:
    """Judge a dataset and return the batch when it has ended."""
    return await finished(client, {"dataset": dataset, "calibration": certificate})


@pytest.mark.parametrize("options", [{"target_agreement": 0.9999}, {"menu": [0.6, 0.65]}])
async def test_a_certificate_that_promises_nothing_or_much_has_a_page(
    client: httpx.AsyncClient, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    await upload(client, "rivers", labelled_rows(120))
    body = await certify(client, "rivers", **{"target_agreement": 0.7, **options})
    page = check(await client.get(f"/calibrations/{body['id']}"))
    assert ("Revoke this certificate" in page.text_of("button")) == (body["status"] == "certified")
    sliders = [one for one in page.all("input") if one.attributes["type"] == "range"]
    panels = [one for one in page.all("div") if "data-node" in one.attributes]
    dots = {one.attributes.get("data-dot") for one in page.all("circle")} - {None}
    if "menu" not in options:
        assert not sliders
        assert "What this does not mean" not in page.text_of("h2")
        assert body["refusal"]["tried"] in page.text_of("p")
        assert body["refusal"]["would_help"] in page.text_of("p")
    else:
        assert sliders[0].attributes["max"] == str(len(panels) - 1)
        assert dots == {one.attributes["data-node"] for one in panels}
        shown = [one for one in panels if "hidden" not in one.attributes]
        assert percent(body["calibration"]["coverage"]) in shown[0].text
    if "menu" not in options:
        return
    # what other targets would give, each with the labels that it needs; every target takes a while
    monkeypatch.setattr(results, "TARGETS", (0.65, 0.7))
    plan = check(await client.post(f"/calibrations/{body['id']}/plan", data={"csrf": page.token}))
    texts = [one.text for one in plan.all("div") if "data-node" in one.attributes]
    assert ["labelled pairs needed" in one for one in texts] == [True, True]
    assert "target 65" in texts[0]
    # of a menu of one a plan says what the certificate does
    assert percent(body["certificates"][1]["calibration"]["coverage"]) in texts[0]


async def test_a_promise_on_a_whole_dataset_is_told_on_every_page(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "rivers", labelled_rows(200))
    made = await certify(client, "rivers", scope="dataset", max_error=0.2)
    assert made["status"] == "certified"
    await client.post("/v1/queues", json={"name": "asked", "dataset": "rivers", "labels": 3})
    told = "At most 20 % of all pairs get a wrong verdict, ties left out"
    assert told in check(await client.get(f"/calibrations/{made['id']}")).text_of("h1")
    overview = check(await client.get("/"))
    assert told in overview.text_of("h3")
    assert "3labels waiting for people" in " ".join(overview.text_of("main").split())
    for address in ("/calibrations", "/datasets/rivers", "/judges"):
        assert "20 % error" in check(await client.get(address)).text_of("main"), address


@pytest.mark.parametrize(
    ("ties", "headline", "sentence"),
    [
        ("exclude", "ties left out", "pairs that people call a tie are left out"),
        (
            "half",
            "ties counted as half wrong",
            "a pair that people call a tie counts as half wrong",
        ),
    ],
)
async def test_the_headline_of_a_promise_says_how_ties_count(
    client: httpx.AsyncClient, ties: str, headline: str, sentence: str
) -> None:
    await upload(client, "rivers", labelled_rows(120))
    made = await certify(client, "rivers", target_agreement=0.7, ties=ties)
    assert made["status"] == "certified"
    page = check(await client.get(f"/calibrations/{made['id']}"))
    assert headline in page.text_of("h1")
    [lead] = [one for one in page.all("p") if one.attributes.get("class") == "lead"]
    assert f"confidence; {sentence}." in lead.text
    assert headline in check(await client.get("/")).text_of("h3")


def test_a_judge_without_a_share_has_no_colour_in_the_key() -> None:
    parts = '{% import "parts.html" as parts %}{{ parts.key([("small", 0.0), ("large", share)], 1 - share) }}'
    template = frame.environment().from_string(parts)
    some = template.render(share=0.75)
    assert "small none" in some
    assert "0.0" not in some
    assert re.findall(r"swatch ([a-z0-9-]+)", some) == ["share-1", "rest"]
    assert "nobody 25.0" in some
    assert "nobody" not in template.render(share=1.0)


async def test_a_certificate_is_revoked_by_its_form_alone(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(100))
    address = f"/calibrations/{(await certify(client, 'rivers', target_agreement=0.6))['id']}"
    page = check(await client.get(address))
    assert (await client.post(f"{address}/revoke", data={})).status_code == 403
    done = await client.post(f"{address}/revoke", data={"csrf": page.token})
    assert (done.status_code, done.headers["location"]) == (303, address)
    after = check(await client.get(address))
    assert "was revoked" in after.text_of("main")
    assert "Revoke" not in after.text_of("button")


def test_charts_without_points() -> None:
    nothing = {"coverage": None, "agreement": None, "bound": None, "title": "nothing"}
    assert charts.frontier([nothing], 0.9, None) == ""
    assert "<circle" not in charts.risk_coverage([])
    assert charts.extent_of([]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("seen", "ticks"),
    [
        ((0.94, 0.91), ["85 %", "87.5 %", "90 %", "92.5 %", "95 %"]),
        ((0.78, 0.7), ["65 %", "70 %", "75 %", "80 %"]),
    ],
)
def test_axes_have_round_numbers(seen: tuple[float, float], ticks: list[str]) -> None:
    node = {"coverage": 0.8, "agreement": seen[0], "bound": seen[1], "title": "one"}
    drawn = charts.frontier([node], 0.9 if seen[1] > 0.9 else 0.7, 0)
    assert re.findall(r'class="tick end">([^<]*)<', drawn) == ticks


def test_evidence_of_any_size_has_few_ticks() -> None:
    history = [{"audits": n, "e_value": 10.0 ** (n / 10)} for n in range(1, 401)]
    drawn = charts.evidence(history, 20.0)
    assert 4 <= drawn.count('class="grid"') <= 8
    assert "10⁶" in drawn


def test_names_in_charts_are_escaped() -> None:
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    for drawn in (
        charts.whisker(estimate, (0.0, 1.0), NASTY),
        charts.annotators([[0.9, 0.8]], 0.7, NASTY),
        charts.shares([(NASTY, 0.4)], "Who answers"),
    ):
        assert "<script" not in drawn
        assert "&lt;script" in drawn


async def test_a_monitor_has_a_page_with_its_evidence_and_its_alarm(
    client: httpx.AsyncClient,
) -> None:
    await judged(client, NASTY, 200)
    [certificate] = (await client.get("/v1/calibrations")).json()["data"]
    asked = {"calibration": certificate["id"], "audit_rate": 1.0, "on_alarm": "suspend"}
    made = (await client.post("/v1/monitors", json=asked)).json()
    address = f"/monitors/{made['id']}"
    assert "nothing is known" in check(await client.get(address)).text_of("p")
    rows = labelled_rows(60, seed=9)
    for number, row in enumerate(rows):
        row |= {"id": f"new{number}", "prompt": f"New {number}"}
        row.pop("human")
    await client.post("/v1/judgments", json={"pairs": rows, "calibration": certificate["id"]})
    stored = (await client.get("/v1/judgments?limit=1000")).json()["data"]
    said = {one["judgment"]: one["label"] for one in stored}
    audits = (await client.get(f"/v1{address}/audits?limit=1000")).json()["data"]
    answers = [
        {"judgment": one["judgment"], "label": "ab"[said[one["judgment"]] == "a"], "annotator": "n"}
        for one in audits
        if one["status"] == "accepted"
    ]
    first = {"answers": answers[:1]}
    assert (await client.post(f"/v1{address}/audits", json=first)).status_code == 201
    page = check(await client.get(address))
    assert "1 verdict was checked" in page.text_of("p")
    # what people have answered leads to its pair, what waits for them does not
    assert [one[:21] for one in page.links if one.startswith("/pairs/")] == [
        "/pairs/audits%20of%20"
    ]
    rest = {"answers": answers[1:]}
    assert (await client.post(f"/v1{address}/audits", json=rest)).status_code == 201
    page = check(await client.get(address))
    assert "The certificate is suspended" in page.text_of("div")
    assert "alarm at" in page.text_of("svg")
    assert {f"/v1{address}", f"/queues/{made['queue']}"} <= page.links
    assert "disagree" in page.text_of("td")
    assert address in check(await client.get("/monitors")).links
    assert address in check(await client.get("/")).links
    assert (await client.post(f"{address}/end", data={})).status_code == 403
    done = await client.post(f"{address}/end", data={"csrf": page.token})
    assert done.status_code == 303
    assert "End this monitor" not in check(await client.get(address)).text_of("button")
    assert (await client.get("/monitors/none")).status_code == 404
