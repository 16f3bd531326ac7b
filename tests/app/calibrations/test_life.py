"""The life of a certificate: it expires, and is superseded by one that says what changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.core.runtime import Runtime
from tests.app.calibrations.test_travel import exported, faults
from tests.app.rows import certify, labelled_rows, upload

MOMENT = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def clock(running: Runtime) -> list[datetime]:
    """The service's own clock: each look takes a moment from it, but the last one stays."""
    moments = [MOMENT]
    running.now = lambda: moments.pop(0) if len(moments) > 1 else moments[0]
    return moments


async def judge(client: httpx.AsyncClient, calibration: str) -> httpx.Response:
    pairs = [{**row, "human": []} for row in labelled_rows(125)[120:]]
    return await client.post("/v1/judgments", json={"pairs": pairs, "calibration": calibration})


async def finished(client: httpx.AsyncClient, batch: str) -> dict[str, Any]:
    async with client.stream("GET", f"/v1/batches/{batch}/events") as events:
        async for _ in events.aiter_lines():
            pass
    found: dict[str, Any] = (await client.get(f"/v1/batches/{batch}")).json()
    return found


@pytest.mark.both_databases
async def test_after_its_end_nothing_is_begun_under_it(
    client: httpx.AsyncClient, running: Runtime, clock: list[datetime]
) -> None:
    await upload(client, "rivers", labelled_rows(120))
    await upload(client, "new", [{**row, "human": []} for row in labelled_rows(150)[120:]])
    made = await certify(client, "rivers", target_agreement=0.75, expires_in=14 * 86_400)
    assert made["expires_at"] == "2026-05-15T00:00:00.000000Z"
    verdict = (await judge(client, made["id"])).json()["verdicts"][0]
    assert (verdict["promise"], verdict["calibration"]) == ("certified", made["id"])
    asked = {"dataset": "new", "calibration": made["id"]}
    batch = (await client.post("/v1/batches", json=asked)).json()
    assert (await finished(client, batch["id"]))["promise"] == "certified"

    # one that is begun before the end and finished after it
    clock.append(MOMENT + timedelta(weeks=2))
    overtaken = (await client.post("/v1/batches", json=asked)).json()
    ended = await finished(client, overtaken["id"])
    assert ended["promise"] == "suspended"
    assert f"{made['id']} expired at" in ended["suspended_because"]
    for path, body in (
        ("/v1/batches", asked),
        ("/v1/batches/estimate", asked),
        ("/v1/monitors", {"calibration": made["id"]}),
    ):
        answer = await client.post(path, json=body)
        assert answer.status_code == 409, path
        assert f"calibration {made['id']} expired at 2026-05-15" in answer.json()["detail"]
    refused = await judge(client, made["id"])
    assert refused.status_code == 409
    assert f"with supersedes {made['id']}" in refused.json()["detail"]
    # what was said before keeps its promise, and says under which certificate it was given
    stored = (await client.get("/v1/judgments", params={"calibration": made["id"]})).json()["data"]
    early = [one for one in stored if one["created_at"] < made["expires_at"]]
    assert len(early) == 5 + 30
    assert {(one["promise"], one["calibration"]) for one in early} == {("certified", made["id"])}
    document = await exported(client, made["id"])
    assert faults(document) == {}
    answer = await client.post("/v1/calibrations/import", json=document)
    assert (answer.status_code, "expired at" in answer.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    "wrong", ["soon", "0d", "P", "PT", "-3d", "999999999w", "1.5d", 0, -5, 10**12, 1.5, True]
)
async def test_a_length_of_time_that_is_none_is_named(
    client: httpx.AsyncClient, wrong: object
) -> None:
    body = {"dataset": "rivers", "cascade": {"judges": ["cheap"]}, "expires_in": wrong}
    answer = await client.post("/v1/calibrations", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "expires_in"]


async def test_a_renewal_names_its_predecessor_and_what_changed(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(150))
    first = await certify(client, "rivers", target_agreement=0.75)
    assert (first["expires_at"], first["supersedes"], first["superseded_by"]) == (None,) * 3
    failed = await certify(client, "rivers", target_agreement=0.999, supersedes=first["id"])
    assert failed["status"] == "not_certifiable"
    # a renewal that certifies nothing renews nothing
    assert (await client.get(f"/v1/calibrations/{first['id']}")).json()["superseded_by"] is None

    await upload(client, "newer", labelled_rows(160, seed=4))
    asked = {"target_agreement": 0.8, "expires_in": "P30D", "supersedes": first["id"]}
    second = await certify(client, "newer", **asked)
    assert second["supersedes"] == first["id"]
    changed = {one["field"]: (one["old"], one["new"]) for one in second["changes"]}
    assert changed["request.target_agreement"] == (0.75, 0.8)
    assert changed["request.dataset"] == ("rivers", "newer")
    assert changed["label_set_hash"] == (first["label_set_hash"], second["label_set_hash"])
    [name] = [name for name in changed if name.startswith("thresholds.")]
    assert changed[name][0] in [one["threshold"] for one in first["thresholds"]]
    assert changed["calibration.pairs"] == (
        first["calibration"]["pairs"],
        second["calibration"]["pairs"],
    )
    assert not any(name.startswith("judges") for name in changed)
    listed = {one["id"]: one for one in (await client.get("/v1/calibrations")).json()["data"]}
    assert listed[first["id"]]["superseded_by"] == second["id"]
    # it still holds: whoever began under it may go on
    assert (await judge(client, first["id"])).status_code == 200
    body = {"dataset": "newer", "cascade": {"judges": ["cheap", "dear"]}}
    again = await client.post("/v1/calibrations", json={**body, "supersedes": first["id"]})
    assert again.status_code == 409
    assert f"superseded by {second['id']} already" in again.json()["detail"]
    unknown = await client.post("/v1/calibrations", json={**body, "supersedes": "cal_x"})
    assert unknown.status_code == 404

    document = await exported(client, second["id"])
    assert document["supersedes"] == first["id"]
    assert document["certificate"]["changes"] == second["changes"]
    assert faults(document) == {}


async def test_how_long_it_lasts_is_no_other_test_of_its_labels(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(120))
    first = await certify(client, "rivers", target_agreement=0.75)
    again = {"expires_in": "90d", "supersedes": first["id"]}
    second = await certify(client, "rivers", target_agreement=0.75, **again)
    assert second["label_set_uses"] == 1
    assert second["changes"] == []
    assert second["claim"] == first["claim"]
