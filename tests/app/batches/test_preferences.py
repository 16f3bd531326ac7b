from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from app.batches.preferences import _summary, left_out_because
from judges.types import Message, Pair
from tests.app.batches.test_batches import wait_for
from tests.app.rows import certify, labelled_rows, upload

PART = {"fraction": 0.5, "seed": 0}


async def _batch(client: httpx.AsyncClient, **request: Any) -> dict[str, Any]:
    created = await client.post("/v1/batches", json={"dataset": "rivers", **request})
    assert created.status_code == 202, created.text
    return await wait_for(client, created.json()["id"])


async def _certified(client: httpx.AsyncClient) -> tuple[dict[str, Any], dict[str, Any]]:
    await upload(client, "rivers", labelled_rows(400))
    certificate = await certify(
        client, "rivers", target_agreement=0.85, part={**PART, "side": "calibration"}
    )
    batch = await _batch(client, calibration=certificate["id"], part={**PART, "side": "test"})
    return certificate, batch


async def test_accepted_verdicts_become_chosen_and_rejected(client: httpx.AsyncClient) -> None:
    certificate, batch = await _certified(client)
    path = f"/v1/batches/{batch['id']}/preferences"
    rows = [json.loads(line) for line in (await client.get(path)).text.splitlines()]
    verdicts = [
        json.loads(line)
        for line in (await client.get(f"/v1/batches/{batch['id']}/results")).text.splitlines()
    ]
    accepted = [verdict for verdict in verdicts if verdict["status"] == "accepted"]
    assert [row["pair"] for row in rows] == [verdict["id"] for verdict in accepted]
    for row, verdict in zip(rows, accepted, strict=True):
        assert ("first" in row["chosen"]) == (verdict["label"] == "a")
        assert ("second" in row["rejected"]) == (verdict["label"] == "a")
        assert row["chosen_model"] == ("left" if verdict["label"] == "a" else "right")
        assert (row["confidence"], row["judge"]) == (verdict["confidence"], verdict["judge"])
    body = (await client.get(f"{path}/card")).json()
    assert (body["rows"], body["promise"]) == (len(rows), "certified")
    assert sum(body["left_out"].values()) == 200 - len(rows)
    assert body["certificate"]["claim"] == certificate["claim"]
    assert body["certificate"]["label_set_hash"] == certificate["label_set_hash"]
    assert body["certificate"]["fingerprints"] == certificate["fingerprints"]
    assert certificate["claim"] in body["summary"]


async def test_the_card_for_people(client: httpx.AsyncClient) -> None:
    certificate, batch = await _certified(client)
    path = f"/v1/batches/{batch['id']}/preferences/card"
    answer = await client.get(path, headers={"accept": "text/markdown"})
    assert answer.headers["content-type"].startswith("text/markdown")
    assert f"| certificate: id | {certificate['id']} |" in answer.text
    assert "| certificate: target_agreement | 0.85 |" in answer.text


async def test_what_is_not_certified_is_refused_unless_asked_for(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "rivers", labelled_rows(60))
    batch = await _batch(client, cascade={"judges": ["cheap", "dear"]})
    path = f"/v1/batches/{batch['id']}/preferences"
    refused = await client.get(path)
    assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (409, ["query", "promise"])
    rows = (await client.get(path, params={"promise": "any"})).text.splitlines()
    assert rows
    assert {json.loads(row)["promise"] for row in rows} == {"none"}
    body = (await client.get(f"{path}/card")).json()
    assert body["certificate"] is None
    assert "without a certificate" in body["summary"]


async def test_a_revoked_certificate_promises_no_preference(client: httpx.AsyncClient) -> None:
    certificate, batch = await _certified(client)
    await client.post(f"/v1/calibrations/{certificate['id']}/revoke")
    path = f"/v1/batches/{batch['id']}/preferences"
    assert (await client.get(path)).status_code == 409
    assert (await client.get(path, params={"promise": "any"})).status_code == 200
    assert "revoked" in (await client.get(f"{path}/card")).json()["summary"]


async def test_no_batch_has_no_preferences(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/batches/batch_x/preferences")).status_code == 404
    assert (await client.get("/v1/batches/batch_x/preferences/card")).status_code == 404


async def test_pairs_that_the_certificate_knows_are_left_out_or_marked(
    client: httpx.AsyncClient,
) -> None:
    certificate, of_others = await _certified(client)
    batch = await _batch(client, calibration=certificate["id"])
    assert batch["calibration_pairs"] == 200
    path = f"/v1/batches/{batch['id']}/preferences"
    results = (await client.get(f"/v1/batches/{batch['id']}/results")).text.splitlines()
    accepted = sum(json.loads(line)["status"] == "accepted" for line in results)
    trusted = [json.loads(line) for line in (await client.get(path)).text.splitlines()]
    card = (await client.get(f"{path}/card")).json()
    known = card["left_out"]["calibration pairs"]
    assert known == accepted - of_others["request_counts"]["accepted"] > 0
    assert card["rows"] == len(trusted) == accepted - known
    assert {(row["promise"], row["calibration_pair"]) for row in trusted} == {("certified", False)}
    assert (card["calibration_pairs"], card["rows_on_calibration_pairs"]) == (200, 0)
    assert f"Left out: {known} on pairs that the certificate knows" in card["summary"]

    asked = {"promise": "any"}
    every = [json.loads(one) for one in (await client.get(path, params=asked)).text.splitlines()]
    card = (await client.get(f"{path}/card", params=asked)).json()
    assert card["rows"] == len(every) == accepted
    assert (card["left_out"]["calibration pairs"], card["rows_on_calibration_pairs"]) == (0, known)
    assert f"{known} of the rows are on pairs that the certificate knows" in card["summary"]
    marked = [row for row in every if row["calibration_pair"]]
    assert len(marked) == known
    assert {row["promise"] for row in marked} == {"none"}
    assert {row["pair"] for row in marked}.isdisjoint(row["pair"] for row in trusted)


@pytest.mark.parametrize(
    ("status", "label", "turns", "why"),
    [
        ("accepted", "a", 1, None),
        ("accepted", "tie", 1, "ties"),
        ("accepted", "a", 2, "answers to several turns"),
        ("abstained", None, 1, "abstained"),
        ("failed", None, 1, "failed"),
    ],
)
def test_what_is_no_preference_is_counted_by_its_reason(
    status: str, label: str | None, turns: int, why: str | None
) -> None:
    pair = Pair("p", (Message("user", "q"),) * turns, ("x",) * turns, ("y",) * turns)
    assert left_out_because({"status": status, "label": label}, pair) == why


@pytest.mark.parametrize(
    ("promise", "certificate", "said"),
    [
        ("none", None, "judged without a certificate"),
        ("none", {"revoked_at": "2026-01-01"}, "the certificate was revoked"),
        ("suspended", {}, "the promise suspended: an alarm"),
        ("none", {}, "certification found none that holds"),
        ("certified", {}, "3 preferences, certified: It holds. The promise is on all"),
    ],
)
def test_the_card_says_what_its_preferences_promise(
    promise: str, certificate: dict[str, Any] | None, said: str
) -> None:
    batch = {"promise": promise, "suspended_because": "an alarm"}
    kept = (
        None if certificate is None else {"revoked_at": None, "claim": "It holds.", **certificate}
    )
    assert said in _summary(batch, kept, 3)
