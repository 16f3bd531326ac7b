"""Labelling with forms alone, the pages of queues, and what a key that only labels may see."""

from __future__ import annotations

import httpx
from fastapi import FastAPI

from app.core.auth import Scope
from tests.app.core.test_auth import bearer, make_key
from tests.app.pages.markup import Page, check
from tests.app.pages.test_pairs import judged
from tests.app.pages.test_signin import OWN, sign_in
from tests.app.rows import labelled_rows, upload
from tests.conftest import client_of

NASTY = "<script>alert(1)</script> / queue"


def _fields(page: Page, marked: str) -> dict[str, str]:
    """Return the hidden fields of the page's form that has this attribute."""
    names = ("csrf", "annotator", "item", "say")
    form = next(one for one in page.all("form") if marked in one.attributes)
    at = page.elements.index(form)
    found = {}
    for one in page.elements[at + 1 :]:
        if one.tag == "form":
            break
        if one.tag == "input" and one.attributes.get("name") in names:
            found[str(one.attributes["name"])] = str(one.attributes["value"])
    return found


async def _go(client: httpx.AsyncClient, address: str, form: dict[str, str]) -> Page:
    """Send a form, and follow to the next page."""
    answer = await client.post(address, data=form)
    assert answer.status_code == 303, answer.text
    return check(await client.get(answer.headers["location"]))


async def test_a_queue_is_made_by_a_form(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(3))
    shown = check(await client.get("/label"))
    form = {"csrf": shown.token, "dataset": "rivers", "name": NASTY, "guidelines": ""}
    for labels, fault in (("0", "labels"), ("many", "labels")):
        refused = await client.post("/label", data={**form, "labels": labels})
        assert refused.status_code == 422
        assert fault in check(refused).text_of("p")
        # what was typed is still there
        assert "pairs to people" in refused.text
        assert f'value="{labels}"' in refused.text
    page = await _go(client, "/label", {**form, "labels": "2"})
    assert "2 pairs wait" in page.text_of("p")
    again = await client.post("/label", data={**form, "labels": "2"})
    assert again.status_code == 422
    assert len((await client.get("/v1/queues")).json()["data"]) == 1


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
    assert "Criterion: overall" in page.text_of("p")
    # the difference between two ties is said, and who labels is counted, not what a page claims
    assert "neither is better, and both are good" in page.text_of("p")
    progress = check(await client.get(f"/queues/{made.json()['id']}"))
    assert "1person labelling now, with 1 pair in hand" in progress.text_of("li")
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
    assert "2 done, 0 left" in page.text_of("span")
    [offer] = [one for one in page.all("form") if "data-again" in one.attributes]
    assert "hidden" not in offer.attributes
    queue = (await client.get(f"/v1/queues/{made.json()['id']}")).json()
    assert [queue[name] for name in ("votes", "done", "skipped")] == [2, 2, 1]
    shown = check(await client.get(f"/queues/{made.json()['id']}"))
    assert NASTY in shown.text_of("h1")
    assert "ann" in shown.text_of("th")
    assert "2 of 3" in check(await client.get("/label")).text_of("td")
    page = await _go(client, address, {**_fields(page, "data-again"), "again": "1"})
    page = await _go(client, address, {**_fields(page, "data-pair"), "say": "tie"})
    [offer] = [one for one in page.all("form") if "data-again" in one.attributes]
    assert "hidden" in offer.attributes
    assert (await client.get(f"/v1/queues/{made.json()['id']}")).json()["done"] == 3


async def test_what_cannot_be_stored_is_said_on_the_page(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(2))
    await client.post("/v1/queues", json={"name": "q", "dataset": "rivers", "allow_tie": False})
    ann = {"annotator": "ann"}
    page = check(await client.get("/label/q", params=ann))
    page = await _go(client, "/label/q", _fields(page, "data-begin"))
    assert "Tie" not in page.text_of("button")
    form = {**_fields(page, "data-pair"), "say": "left"}
    # bob has claimed the other pair alone, and is not asked about this one
    late = {**form, "annotator": "bob"}
    for wrong, status in (
        ({"annotator": ""}, 422),
        ({"annotator": "x" * 3_000}, 422),
        ({"say": "maybe"}, 422),
        ({"say": "tie"}, 422),
        ({"item": "none"}, 404),
        ({"csrf": "x"}, 403),
        (late, 409),
    ):
        answer = await client.post("/label/q", data={**form, **wrong})
        assert answer.status_code == status, wrong
        check(answer)
    assert (await client.get("/label/none", params=ann)).status_code == 404
    assert (await client.get("/label/q?annotator=" + "x" * 3_000)).status_code == 422
    assert (await client.get("/v1/queues/q")).json()["votes"] == 0


async def test_an_audit_that_overrides_its_verdict_needs_a_comment(
    client: httpx.AsyncClient,
) -> None:
    await judged(client, "rivers", 120)
    [certificate] = (await client.get("/v1/calibrations")).json()["data"]
    asked = {"dataset": "rivers", "purpose": "audit", "calibration": certificate["id"]}
    made = await client.post("/v1/queues", json={**asked, "name": "audit", "labels": 14})
    assert made.status_code == 201, made.text
    stored = (await client.get("/v1/judgments?limit=1000")).json()["data"]
    verdicts = {one["id"]: one["label"] for one in stored}
    rows = (await client.get("/v1/datasets/rivers/pairs?limit=1000")).json()["data"]
    preferred = {
        row["prompt"]: row[f"response_{verdicts[row['id']]}"]
        for row in rows
        if verdicts.get(row["id"])
    }
    ann = {"annotator": "ann"}
    claimed = await client.post("/v1/queues/audit/claim", json={**ann, "n": 14})
    items = {one["item"]: one for one in claimed.json()["items"]}
    said = [{"item": item, "label": "left"} for item in items]
    # a tie prefers nothing, so it overrides nothing
    said[0]["label"] = "tie"
    answered = await client.post("/v1/queues/audit/answers", json={**ann, "answers": said})
    wanted = [one["item"] for one in answered.json()["answers"] if one.get("comment_wanted")]
    assert wanted == [
        one["item"]
        for one in said[1:]
        if items[one["item"]]["left"] != preferred[items[one["item"]]["prompt"]]
    ]
    assert 0 < len(wanted) < 13
    for _ in wanted:
        page = check(await client.get("/label/audit", params=ann))
        assert "The verdict that you audit prefers the other" in page.text_of("p")
        form = _fields(page, "data-why")
        assert form["item"] in wanted
        page = await _go(client, "/label/audit", {**form, "comment": "It names the river."})
    assert "Say why" not in page.text_of("h2")
    queue = (await client.get("/v1/queues/audit")).json()
    assert (queue["votes"], queue["done"]) == (14, 14)


async def test_a_key_that_labels_opens_labelling_alone(service: FastAPI) -> None:
    _, admin = await make_key(service)
    only = frozenset({Scope.LABEL})
    _, key = await make_key(service, "ann", scopes=only, annotator="ann")
    _, reads = await make_key(service, "reads", scopes=frozenset({Scope.READ}))
    async with client_of(service) as client:
        client.headers.update(bearer(admin))
        await upload(client, "rivers", labelled_rows(3))
        await client.post("/v1/queues", json={"name": "q", "dataset": "rivers"})
        client.headers.pop("authorization")
        assert (await sign_in(client, key)).headers["location"] == "/"
        assert (await client.get("/")).headers["location"] == "/label"
        listed = check(await client.get("/label"))
        assert "/label/q" in listed.links
        assert not {"/datasets", "/queues/q", "/v1/queues"} & listed.links
        assert (await client.get("/queues/q")).status_code == 403
        # its own annotator needs no name, and nobody else can be named
        page = check(await client.get("/label/q"))
        page = await _go(client, "/label/q", _fields(page, "data-begin"))
        form = {**_fields(page, "data-pair"), "say": "left"}
        assert form["annotator"] == "ann"
        assert (await client.get("/label/q?annotator=bob")).status_code == 403
        for other in ("/v1/queues/q/claim", "/v1/queues/q/undo", "/v1/queues/q/answers"):
            body = {"annotator": "bob", "item": form["item"]}
            if other.endswith("claim"):
                del body["item"]
            if other.endswith("answers"):
                body = {"annotator": "bob", "answers": [{"item": form["item"], "label": "tie"}]}  # type: ignore[dict-item]
            assert (await client.post(other, json=body, headers=OWN)).status_code == 403, other
        assert (await client.post("/label/q", data={**form, "annotator": "bob"})).status_code == 403
        await _go(client, "/label/q", form)
        claimed = await client.post("/v1/queues/q/claim", json={}, headers=OWN)
        assert (claimed.status_code, claimed.json()["answered"]) == (200, 1)
        # a key that only reads sees how it goes
        client.cookies.clear()
        await sign_in(client, reads)
        assert "/queues/q" in check(await client.get("/label")).links
        assert (await client.get("/label/q")).headers["location"] == "/queues/q"
        assert "Label" not in check(await client.get("/queues/q")).text_of("main").split()
        assert (await client.post("/label/q", data=form)).status_code == 403
