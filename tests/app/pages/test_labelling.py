"""Labelling with forms alone, the pages of queues, and what a key that only labels may see."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.core.auth import Scope
from tests.app.core.test_auth import bearer, make_key
from tests.app.pages.markup import Page, check
from tests.app.pages.test_signin import OWN, sign_in
from tests.app.rows import certify, labelled_rows, upload
from tests.conftest import client_of

NASTY = "<script>alert(1)</script> / queue"


def _fields(page: Page, marked: str) -> dict[str, str]:
    """Return the hidden fields of the page's form that has this attribute."""
    names = ("csrf", "annotator", "item", "say", "undo")
    form = next(one for one in page.all("form") if marked in one.attributes)
    at = page.elements.index(form)
    found = {}
    for one in page.elements[at + 1 :]:
        if one.tag == "form":
            break
        if one.tag in ("input", "button") and one.attributes.get("name") in names[:3]:
            found[str(one.attributes["name"])] = str(one.attributes["value"])
    return found


async def _go(client: httpx.AsyncClient, address: str, form: dict[str, str]) -> Page:
    """Send a form, and follow to the next page."""
    answer = await client.post(address, data=form)
    assert answer.status_code == 303, answer.text
    return check(await client.get(answer.headers["location"]))


async def test_pairs_are_labelled_with_forms_alone(client: httpx.AsyncClient) -> None:
    rows = labelled_rows(3)
    rows[0]["prompt"] = "<img src=x onerror=alert(1)> Which?"
    for row in rows:
        row["human"] = []
    await upload(client, "rivers", rows)
    made = await client.post(
        "/v1/queues", json={"name": NASTY, "dataset": "rivers", "guidelines": "Be <b>kind</b>."}
    )
    assert made.status_code == 201, made.text
    listed = check(await client.get("/label"))
    address = next(link for link in listed.links if link.startswith("/label/"))
    asked = check(await client.get(address))
    assert "Who labels?" in asked.text_of("p")
    begun = check(await client.get(address, params={"annotator": " ann "}))
    assert "0 done, 3 left" in begun.text_of("span")
    # looking claims nothing
    assert (await client.get(f"/v1/queues/{made.json()['id']}")).json()["waiting"] == 3
    page = await _go(client, address, _fields(begun, "data-begin"))
    assert "Be <b>kind</b>." in page.text_of("details")
    assert "ann" in page.text_of("span")
    assert "img" not in {one.tag for one in page.elements}
    assert not [word for word in ("left", "right", "model") if word in page.text_of("section")]
    first = {**_fields(page, "data-pair"), "say": "left", "comment": " because "}
    page = await _go(client, address, first)
    assert "1 done, 2 left" in page.text_of("span")
    page = await _go(client, address, {**_fields(page, "data-undo"), "undo": first["item"]})
    assert _fields(page, "data-pair")["item"] == first["item"]
    for said in ("right", "both", "skip"):
        page = await _go(client, address, {**_fields(page, "data-pair"), "say": said})
    assert "Nothing is left" in page.text_of("p")
    queue = (await client.get(f"/v1/queues/{made.json()['id']}")).json()
    assert [queue[name] for name in ("votes", "done", "skipped")] == [2, 2, 1]
    shown = check(await client.get(f"/queues/{made.json()['id']}"))
    assert NASTY in shown.text_of("h1")
    assert "ann" in shown.text_of("th")
    assert "2 of 3" in check(await client.get("/label")).text_of("td")


async def test_an_answer_that_comes_too_late_is_kept_and_said(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(1))
    await client.post("/v1/queues", json={"name": "q", "dataset": "rivers"})
    page = check(await client.get("/label/q", params={"annotator": "ann"}))
    page = await _go(client, "/label/q", _fields(page, "data-begin"))
    form = _fields(page, "data-pair")
    # bob has the pair in another tool, and is quicker
    taken = [{"item": form["item"], "label": "tie"}]
    lent = {"id": form["item"], "annotations": [{"completed_by": "bob", "result": []}]}
    assert lent
    imported = await _answer_as(client, "bob", taken)
    assert imported in (201, 409)
    if imported == 201:
        answer = await client.post("/label/q", data={**form, "say": "left"})
        assert answer.status_code == 409
        assert "kept beside" in check(answer).text_of("main")
    for wrong in ({"annotator": ""}, {"annotator": "x" * 3_000}):
        assert (await client.post("/label/q", data={**form, **wrong})).status_code == 422
    assert (await client.post("/label/q", data={**form, "csrf": "x"})).status_code == 403
    assert (await client.get("/label/none", params={"annotator": "ann"})).status_code == 404


async def _answer_as(client: httpx.AsyncClient, who: str, answers: list[Any]) -> int:
    await client.post("/v1/queues/q/claim", json={"annotator": who})
    body = {"annotator": who, "answers": answers}
    return (await client.post("/v1/queues/q/answers", json=body)).status_code


async def test_an_audit_that_overrides_its_verdict_needs_a_comment(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "rivers", labelled_rows(60))
    certificate = await certify(client, "rivers", target_agreement=0.6)
    batch = {"dataset": "rivers", "calibration": certificate["id"], "window": "1h"}
    assert (await client.post("/v1/batches", json=batch)).status_code == 202
    await _judged(client)
    asked = {"name": "audit", "dataset": "rivers", "purpose": "audit", "calibration": certificate["id"]}
    made = await client.post("/v1/queues", json={**asked, "labels": 4})
    assert made.status_code == 201, made.text
    verdicts = {}
    for one in (await client.get("/v1/verdicts", params={"limit": 1000})).json()["data"]:
        verdicts[one["pair"]] = one
    items = (await client.post("/v1/queues/audit/claim", json={"annotator": "ann", "n": 4})).json()
    said = [{"item": one["item"], "label": "left"} for one in items["items"]]
    body = {"annotator": "ann", "answers": said}
    stored = (await client.post("/v1/queues/audit/answers", json=body)).json()["answers"]
    wanted = [one["item"] for one in stored if one.get("comment_wanted")]
    assert 0 < len(wanted) < 4, "sides are drawn: some of these agree with the verdict"
    page = check(await client.get("/label/audit", params={"annotator": "ann"}))
    assert "Say why" in page.text_of("h2")
