from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import numpy as np
import pytest

from tests.app import rows
from tests.app.hand_made import ROWS, upload

pytestmark = pytest.mark.both_databases

Body = dict[str, Any]
HALF = {"fraction": 0.5, "seed": 0}


async def got(client: httpx.AsyncClient, path: str, **query: Any) -> Body:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    body: Body = answer.json()
    return body


async def two_reports(client: httpx.AsyncClient) -> tuple[Body, Body]:
    await upload(client, ROWS)
    before = await got(client, "/v1/reports/agreement", dataset="hand")
    label = {"dataset": "hand", "pair": "p8", "annotator": "ann1", "label": "a"}
    assert (await client.post("/v1/labels", json={"labels": [label]})).status_code == 201
    return before, await got(client, "/v1/reports/agreement", dataset="hand")


async def test_history_says_what_a_figure_rests_on_and_what_changed(
    client: httpx.AsyncClient,
) -> None:
    before, after = await two_reports(client)
    found = await got(client, "/v1/reports/history", dataset="hand", judge="dear")
    [series] = found["series"]
    assert (series["of"], series["name"]) == ("judge", "dear")
    one, other = series["points"]
    assert [one["report"], other["report"]] == [before["id"], after["id"]]
    assert (one["changed"], other["changed"]) == ([], ["label_set_hash"])
    assert [point["agreement"]["n"] for point in (one, other)] == [4, 5]
    assert other["rests_on"]["label_set_hash"] == after["rests_on"]["label_set_hash"]
    assert set(other["rests_on"]["fingerprints"]) == {"dear"}
    every = await got(client, "/v1/reports/history", dataset="hand")
    assert [one["name"] for one in every["series"]] == ["cheap", "dear"]


async def test_two_reports_are_compared_figure_by_figure(client: httpx.AsyncClient) -> None:
    before, after = await two_reports(client)
    path = f"/v1/reports/{before['id']}/compare"
    found = await got(client, path, **{"with": after["id"]})
    assert set(found["changed"]) == {"label_set_hash"}
    dear = next(one for one in found["judges"] if one["judge"] == "dear")["agreement"]
    # the new label contradicts dear: 3 of 4 become 3 of 5
    assert dear["difference"]["value"] == pytest.approx(3 / 5 - 3 / 4)
    one, other = dear["before"], dear["after"]
    low = dear["difference"]["value"] - np.hypot(
        other["value"] - other["low"], one["high"] - one["value"]
    )
    assert dear["difference"]["low"] == pytest.approx(low)
    assert found["cascade"] is None
    missing = await client.get(path, params={"with": "rep_none"})
    assert missing.status_code == 404
    assert (await client.get(path)).status_code == 422


async def finished_batch(client: httpx.AsyncClient, calibration: str) -> str:
    asked = {"dataset": "rivers", "calibration": calibration}
    created = await client.post("/v1/batches", json={**asked, "part": {**HALF, "side": "test"}})
    assert created.status_code == 202, created.text
    path = created.headers["location"]
    for _ in range(600):
        if (await client.get(path)).json()["status"] == "completed":
            return str(created.json()["id"])
        await asyncio.sleep(0.05)
    raise AssertionError("the batch does not end")


async def kept(client: httpx.AsyncClient) -> Body:
    for _ in range(600):
        for report in (await got(client, "/v1/reports"))["data"]:
            if report["object"] == "batch_report":
                found: Body = report
                return found
        await asyncio.sleep(0.05)
    raise AssertionError("no report was kept")


async def test_a_finished_batch_keeps_its_agreement_and_coverage(
    client: httpx.AsyncClient,
) -> None:
    labelled = rows.labelled_rows(240)
    await rows.upload(client, "rivers", labelled)
    part = {**HALF, "side": "calibration"}
    certificate = await rows.certify(client, "rivers", target_agreement=0.8, part=part)
    assert certificate["status"] == "certified"
    batch = await finished_batch(client, certificate["id"])
    report = await kept(client)
    truth = {row["id"]: row["human"][0]["label"] for row in labelled}
    lines = (await client.get(f"/v1/batches/{batch}/results")).text.splitlines()
    verdicts = [json.loads(line) for line in lines]
    given = [one for one in verdicts if one["status"] == "accepted"]
    hits = sum(truth[one["id"]] == one["label"] for one in given)
    cascade = report["cascade"]
    assert cascade["excluded_calibration_pairs"] == 0
    assert (report["batch"], report["pairs"], report["failed"]) == (batch, len(verdicts), 0)
    assert cascade["agreement"]["value"] == pytest.approx(hits / len(given))
    assert cascade["agreement"]["n"] == len(given)
    assert cascade["coverage"]["value"] == pytest.approx(len(given) / len(verdicts))
    assert cascade["coverage"]["low"] < cascade["coverage"]["value"]
    by_judge = {name: share * len(verdicts) for name, share in cascade["composition"].items()}
    assert by_judge["cheap"] == pytest.approx(sum(one["judge"] == "cheap" for one in given))
    cost = np.mean([one["cost_usd"] for one in verdicts])
    assert cascade["cost"]["per_pair"]["value"] == pytest.approx(cost)
    assert report["rests_on"]["calibration"] == certificate["id"]
    assert report["rests_on"]["fingerprints"] == certificate["fingerprints"]
    assert await got(client, f"/v1/reports/batches/{batch}") == report


async def test_new_labels_give_a_batch_a_new_report_and_its_certificate_a_history(
    client: httpx.AsyncClient,
) -> None:
    labelled = rows.labelled_rows(240)
    await rows.upload(client, "rivers", labelled)
    part = {**HALF, "side": "calibration"}
    certificate = await rows.certify(client, "rivers", target_agreement=0.8, part=part)
    batch = await finished_batch(client, certificate["id"])
    before = await kept(client)
    lines = (await client.get(f"/v1/batches/{batch}/results")).text.splitlines()
    given = next(one for one in map(json.loads, lines) if one["status"] == "accepted")
    against = {"a": "b", "b": "a"}[given["label"]]
    labels = [
        {"dataset": "rivers", "pair": given["id"], "annotator": name, "label": against}
        for name in ("anna", "bea")
    ]
    assert (await client.post("/v1/labels", json={"labels": labels})).status_code == 201
    after = await got(client, f"/v1/reports/batches/{batch}")
    assert after["id"] != before["id"]
    assert after["cascade"]["agreement"]["value"] < before["cascade"]["agreement"]["value"]
    found = await got(
        client, "/v1/reports/history", dataset="rivers", calibration=certificate["id"]
    )
    [series] = found["series"]
    assert [point["batch"] for point in series["points"]] == [batch, batch]
    assert series["points"][1]["changed"] == ["label_set_hash"]
    compared = await got(client, f"/v1/reports/{before['id']}/compare", **{"with": after["id"]})
    assert compared["cascade"]["agreement"]["difference"]["value"] < 0


async def test_a_batch_that_is_not_there_has_no_report(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/reports/batches/batch_none")).status_code == 404
