from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.app.rows import certify, labelled_rows, upload

Json = dict[str, Any]


async def _batch(client: httpx.AsyncClient, **options: Any) -> Json:
    made = await client.post("/v1/batches", json={"dataset": "rivers", **options})
    assert made.status_code == 202, made.text
    await client.get(f"{made.headers['location']}/events")
    found: Json = (await client.get(made.headers["location"])).json()
    return found


async def _replay(client: httpx.AsyncClient, **request: Any) -> Json:
    answer = await client.post("/v1/replays", json=request)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def _results(client: httpx.AsyncClient, batch: Json) -> list[Json]:
    return list((await client.get("/v1/judgments", params={"limit": 1000})).json()["data"])


@pytest.mark.both_databases
async def test_a_batch_by_its_own_certificate_changes_nothing(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(300))
    made = await certify(client, "rivers", target_agreement=0.9, seed=1)
    batch = await _batch(client, calibration=made["id"])
    found = await _replay(client, batch=batch["id"])
    counts = batch["request_counts"]
    assert found["verdicts"] == {name: counts[name] for name in ("accepted", "abstained", "failed")}
    assert found["changed"] == {"count": 0, "compared": 300, "pairs": []}
    assert found["missing_scores"] == 0
    assert 0 < found["relative_cost"] < 2


async def test_another_certificate_says_what_changes_pair_by_pair(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "rivers", labelled_rows(300))
    strict = await certify(client, "rivers", target_agreement=0.95)
    loose = await certify(client, "rivers", target_agreement=0.8)
    batch = await _batch(client, calibration=strict["id"])
    found = await _replay(client, batch=batch["id"], calibration=loose["id"])
    assert found["verdicts"]["accepted"] > batch["request_counts"]["accepted"]
    later = await _batch(client, calibration=loose["id"])
    again = await _replay(client, batch=later["id"])
    assert again["verdicts"] == found["verdicts"]
    assert found["changed"]["count"] == len(found["changed"]["pairs"]) > 0
    one = found["changed"]["pairs"][0]
    assert one["before"] != one["after"]


async def test_one_judge_less_other_thresholds_and_fewer_annotators(
    client: httpx.AsyncClient,
) -> None:
    rows = labelled_rows(200)
    for row in rows:
        p = row["judges"]["dear"]["p_a"]
        row["judges"]["dear"] = {"annotators": [[p, p], [0.5, 0.5]], "cost": 0.02}
    await upload(client, "rivers", rows)
    alone = await _replay(client, dataset="rivers", thresholds={"dear": 0.5})
    assert alone["verdicts"] == {"accepted": 200, "abstained": 0, "failed": 0}
    assert alone["relative_cost"] == 1.0
    assert alone["changed"]["compared"] == 0
    half = await _replay(client, dataset="rivers", thresholds={"dear": 0.9})
    first = await _replay(client, dataset="rivers", thresholds={"dear": 0.9}, annotators=1)
    # the second annotator is never sure: without it confidences are higher, at half of the cost
    assert first["verdicts"]["accepted"] > half["verdicts"]["accepted"]
    assert first["cost_usd"] == pytest.approx(half["cost_usd"] / 2)
    never = [{"judge": "cheap", "threshold": None}, {"judge": "dear", "threshold": 0.5}]
    assert (await _replay(client, dataset="rivers", thresholds=never))["verdicts"][
        "accepted"
    ] == 200
    made = await certify(client, "rivers", target_agreement=0.8, method="auto_raw")
    less = await _replay(client, dataset="rivers", calibration=made["id"], judges=["cheap"])
    assert less["changed"]["compared"] == 200
    assert less["changed"]["count"] > 0


async def test_what_cannot_be_replayed_is_refused(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(200))
    made = await certify(client, "rivers", target_agreement=0.8)
    await upload(client, "few", labelled_rows(2))
    plain = await _batch(client, dataset="few")
    asked: list[tuple[Json, int]] = [
        ({"dataset": "rivers"}, 422),
        ({"dataset": "rivers", "batch": "batch_1", "calibration": made["id"]}, 422),
        ({"dataset": "none", "calibration": made["id"]}, 404),
        ({"batch": "batch_1"}, 404),
        ({"batch": plain["id"]}, 422),
        ({"dataset": "rivers", "calibration": made["id"], "judges": ["other"]}, 422),
        ({"dataset": "rivers", "thresholds": {"cheap": 2.0}}, 422),
        ({"dataset": "rivers", "thresholds": {"nobody": 0.5}}, 422),
    ]
    for request, status in asked:
        refused = await client.post("/v1/replays", json=request)
        assert refused.status_code == status, refused.text
