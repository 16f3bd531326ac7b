from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.app.pages.markup import check
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


async def test_the_curve_of_a_certificate_passes_through_it_and_goes_on(
    client: httpx.AsyncClient,
) -> None:
    rows = labelled_rows(120, dear=0.85)
    rows[5]["judges"] = {"cheap": {"p_a": None}, "dear": {"p_a": None}}
    await upload(client, "rivers", rows)
    made = await certify(client, "rivers", target_agreement=0.8, method="auto_raw")
    assert made["status"] == "certified"
    curve = (await client.get(f"/v1/calibrations/{made['id']}/curve")).json()
    figures = made["calibration"]
    assert curve["pairs"] == 120
    assert curve["certified"] == {
        "coverage": figures["coverage"],
        "risk": pytest.approx(1 - figures["agreement"]),
        "upper_bound": pytest.approx(1 - figures["agreement_lower_bound"]),
    }
    # by hand: the judge that answers, else the last one, the surest first
    own = {one["judge"]: one["threshold"] for one in made["thresholds"]}
    ranked = sorted((_place(row, own) for row in rows if row["id"] != "p5"), reverse=True)
    for point in curve["points"]:
        n = point["risk"]["n"]
        assert point["coverage"] == pytest.approx(n / 120)
        wrong = sum(not is_right for _, _, is_right in ranked[:n])
        assert point["risk"]["value"] == pytest.approx(wrong / n)
        assert point["risk"]["low"] <= point["risk"]["value"] <= point["risk"]["high"]
    assert curve["points"][-1]["risk"]["n"] == 119
    page = check(await client.get(f"/calibrations/{made['id']}/curve"))
    assert "certified: answers" in page.text_of("title")
    sliced = await certify(client, "rivers", target_agreement=0.7, slices="task")
    assert (await client.get(f"/v1/calibrations/{sliced['id']}/curve")).status_code == 409
    assert "No curve" in check(await client.get(f"/calibrations/{sliced['id']}/curve")).text_of("p")


def _place(row: dict[str, Any], own: dict[str, float | None]) -> tuple[bool, float, bool]:
    said = {judge: one["p_a"] for judge, one in row["judges"].items()}
    for judge, p_a in said.items():
        threshold = own[judge]
        is_answered = threshold is not None and max(p_a, 1 - p_a) >= threshold
        if is_answered or judge == "dear":
            is_right = (p_a > 0.5) == (row["human"][0]["label"] == "a")
            return is_answered, max(p_a, 1 - p_a), is_right
    raise AssertionError(row)
