"""Pages of what goes on for weeks: shadows and finishes; those of monitors are with the results."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.app.pages.markup import check
from tests.app.rows import certify, labelled_rows, upload

CASCADE = {"judges": ["cheap", "dear"]}


async def test_a_shadow_has_a_page_and_is_ended_by_its_form(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(100))
    certificate = (await certify(client, "rivers", target_agreement=0.7))["id"]
    asked = {"calibration": certificate, "judge": "student", "share": 1.0}
    made = (await client.post("/v1/shadows", json=asked)).json()
    address = f"/shadows/{made['id']}"
    page = check(await client.get(address))
    assert "nothing is known" in page.text_of("p")
    assert {f"/v1{address}", f"/calibrations/{certificate}"} <= page.links
    assert address in check(await client.get("/shadows")).links
    assert (await client.post(f"{address}/end", data={})).status_code == 403
    done = await client.post(f"{address}/end", data={"csrf": page.token})
    assert (done.status_code, done.headers["location"]) == (303, address)
    assert "End this shadow" not in check(await client.get(address)).text_of("button")
    assert (await client.get("/shadows/none")).status_code == 404


async def test_a_finish_has_a_page_with_its_rows(client: httpx.AsyncClient) -> None:
    rows = labelled_rows(160)
    for row in rows[100:]:
        row["human"] = []
    await upload(client, "rivers", rows)
    asked = {"dataset": "rivers", "cascade": CASCADE, "max_error": 0.2}
    made = (await client.post("/v1/finishes", json=asked)).json()
    body: dict[str, Any] = made
    while body["status"] in ("calibrating", "judging"):
        await asyncio.sleep(0.02)
        body = (await client.get(f"/v1/finishes/{made['id']}")).json()
    address = f"/finishes/{made['id']}"
    page = check(await client.get(address))
    assert body["status"] in ("labelling", "completed")
    assert body["claim"] in page.text_of("p")
    assert {f"/v1{address}", f"/calibrations/{body['calibration']}"} <= page.links
    assert "/pairs/rivers/p0" in page.links
    [more] = [one for one in page.links if "after=" in one]
    assert "/pairs/rivers/p50" in check(await client.get(more)).links
    assert address in check(await client.get("/finishes")).links
    assert (await client.post(f"{address}/retry", data={})).status_code == 403
    token = check(await client.get("/judges")).token
    refused = await client.post(f"{address}/retry", data={"csrf": token})
    assert refused.status_code == 409
    assert "nothing to try again" in check(refused).text_of("p")
