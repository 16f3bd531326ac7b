from __future__ import annotations

import httpx
import pytest

from tests.app.rows import certify, labelled_rows, upload

CASCADE = {"judges": ["cheap", "dear"]}


async def test_the_frontier_says_what_certificates_would_say(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(300))
    targets = [0.7, 0.8, 0.999]
    response = await client.post(
        "/v1/plans", json={"dataset": "rivers", "cascade": CASCADE, "target_agreements": targets}
    )
    assert response.status_code == 200, response.text
    plan = response.json()
    assert [row["target_agreement"] for row in plan["frontier"]] == targets
    assert [row["status"] for row in plan["frontier"]] == [
        "certified",
        "certified",
        "not_certifiable",
    ]
    assert plan["frontier"][0]["coverage"] >= plan["frontier"][1]["coverage"]
    for row in plan["frontier"]:
        certificate = await certify(client, "rivers", target_agreement=row["target_agreement"])
        assert row["status"] == certificate["status"]
        assert row["labels_needed"] == certificate["advice"]["labels_needed"]
        for name in ("coverage", "agreement", "agreement_lower_bound", "composition",
                     "cost_per_pair", "relative_cost"):  # fmt: skip
            assert row[name] == certificate["calibration"][name]


@pytest.mark.both_databases
async def test_a_plan_of_a_part_takes_the_other_part_for_the_pool(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "rivers", labelled_rows(400))
    part = {"fraction": 0.5, "seed": 0, "side": "calibration"}
    given = {"dataset": "rivers", "cascade": CASCADE, "part": part, "method": "diagonal"}
    response = await client.post("/v1/plans", json={**given, "target_agreements": [0.8]})
    assert response.status_code == 200, response.text
    (row,) = response.json()["frontier"]
    certificate = await certify(
        client, "rivers", part=part, method="diagonal", target_agreement=0.8
    )
    assert certificate["calibration"]["pool"] > 0
    assert row["coverage"] == certificate["calibration"]["coverage"]


async def test_a_plan_calls_no_judge(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(50))
    response = await client.post(
        "/v1/plans", json={"dataset": "rivers", "cascade": {"judges": ["student", "dear"]}}
    )
    assert response.status_code == 422
    assert "stored scores of student" in response.json()["detail"]
    assert "tribunal batch rivers --judges student)" in response.json()["detail"]


async def test_no_batch_is_advised_for_a_judge_that_cannot_be_asked(
    client: httpx.AsyncClient,
) -> None:
    rows = labelled_rows(50)
    for row in rows[1:]:
        del row["judges"]["dear"]
    del rows[0]["human"]
    await upload(client, "rivers", rows)
    judges = ["student", "dear"]
    response = await client.post(
        "/v1/plans", json={"dataset": "rivers", "cascade": {"judges": judges}}
    )
    assert response.status_code == 422
    assert "stored scores of student:" in response.json()["detail"]
    assert "tribunal batch rivers --judges student)" in response.json()["detail"]


async def test_bad_targets_are_named(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(50))
    for targets in ([], [1.2], ["x"]):
        body = {"dataset": "rivers", "cascade": CASCADE, "target_agreements": targets}
        response = await client.post("/v1/plans", json=body)
        assert response.status_code == 422
        assert "target_agreements" in response.text
