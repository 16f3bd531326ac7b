from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.core.runtime import now
from tests.app.hand_made import ROWS, certify, sliced_certificate, upload

EST = {"value", "low", "high", "confidence_level", "n"}


@pytest.fixture
async def hand(client: httpx.AsyncClient) -> httpx.AsyncClient:
    await upload(client, ROWS)
    return client


async def report(client: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    answer = await client.get("/v1/reports/agreement", params={"dataset": "hand", **asked})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def judge(made: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in made["judges"] if one["judge"] == name)


def estimates(figures: dict[str, Any]) -> dict[str, Any]:
    return {
        name: (value["value"], value["n"])
        for name, value in figures.items()
        if isinstance(value, dict) and set(value) == EST
    }


@pytest.mark.both_databases
async def test_human_agreement_by_hand(hand: httpx.AsyncClient) -> None:
    made = await report(hand)
    human = made["human"]
    assert made["pairs"] == 8
    assert (human["annotators"], human["labels"]) == (3, 15)
    found = estimates(human)
    assert found["percent_agreement"] == (pytest.approx(0.7), 10)
    assert found["fleiss_kappa"] == (pytest.approx((13 / 18 - 70 / 196) / (126 / 196)), 6)
    assert found["krippendorff_alpha"] == (pytest.approx(1 - (4 / 14) / (126 / 182)), 6)
    couples = {tuple(one["annotators"]): one for one in human["annotator_pairs"]}
    first = couples["ann1", "ann2"]
    assert first["n"] == 5
    assert first["cohens_kappa"]["value"] == pytest.approx((0.8 - 0.36) / 0.64)
    assert couples["ann1", "ann3"]["cohens_kappa"]["value"] == pytest.approx(1 / 3)


@pytest.mark.both_databases
async def test_a_judge_of_two_orders_by_hand(hand: httpx.AsyncClient) -> None:
    dear = judge(await report(hand), "dear")
    expected = {
        "agreement": (pytest.approx(3 / 4), 4),
        "agreement_three_way": (pytest.approx(5 / 6), 6),
        "agreement_consistent": (pytest.approx(2 / 3), 3),
        "accuracy_mean_of_orders": (pytest.approx(7 / 14), 14),
        "cohens_kappa": (pytest.approx(0.5), 4),
        "cohens_kappa_three_way": (pytest.approx(0.75), 6),
        "fleiss_kappa_with_human": (pytest.approx((7 / 11 - 172 / 484) / (312 / 484)), 11),
        "position_consistency": (pytest.approx(5 / 6), 6),
    }
    assert {name: estimates(dear)[name] for name in expected} == expected
    assert (dear["n"], dear["coverage"], dear["failures"]) == (7, 7 / 8, 1)
    assert dear["expected_calibration_error"] == pytest.approx(0.25)
    assert dear["brier_score"] == pytest.approx(0.25)
    assert dear["auroc"] == pytest.approx(0.5)
    assert dear["auprc"] == pytest.approx(0.75)
    assert dear["confusion"] == {
        "a": {"a": 2, "b": 1, "tie": 0, "failed": 0},
        "b": {"a": 0, "b": 1, "tie": 0, "failed": 1},
        "tie": {"a": 0, "b": 0, "tie": 2, "failed": 0},
    }


async def test_a_judge_of_bare_probabilities_has_no_orders(hand: httpx.AsyncClient) -> None:
    cheap = judge(await report(hand), "cheap")
    for name in (
        "agreement_consistent",
        "accuracy_mean_of_orders",
        "fleiss_kappa_with_human",
        "position_consistency",
    ):
        assert cheap[name]["value"] is None, name
    # decided and preferred: p1 right, p3 right, p5 wrong, p6 right; p7 is no preference: .5, wrong
    assert estimates(cheap)["agreement"] == (pytest.approx(3 / 4), 4)
    confidence = [0.8, 0.6, 0.9, 0.8, 0.5]
    correct = [1, 1, 0, 1, 0]
    brier = sum((c - y) ** 2 for c, y in zip(confidence, correct, strict=True)) / 5
    assert cheap["brier_score"] == pytest.approx(brier)


async def test_a_flag_stands_for_two_orders_that_disagree(client: httpx.AsyncClient) -> None:
    said = [{"label": "a"}, {"label": "a", "inconsistent": True}, {"label": "b"}, None]
    rows = [{**row, "judges": {"flags": one}} for row, one in zip(ROWS[:4], said, strict=True)]
    await upload(client, rows)
    flags = judge(await report(client), "flags")
    assert estimates(flags)["position_consistency"] == (pytest.approx(2 / 3), 3)
    assert estimates(flags)["agreement_consistent"] == (1.0, 2)
    assert flags["failures"] == 1


async def test_two_judges_are_compared_on_what_both_decided(hand: httpx.AsyncClient) -> None:
    made = await report(hand, include="judge_pairs")
    [pair] = made["judge_pairs"]
    assert pair["judges"] == ["cheap", "dear"]
    # p1 a a, p3 b b, p5 b b, p8 b b; elsewhere one of them has no preference or failed
    assert (pair["agreement"]["value"], pair["agreement"]["n"]) == (1.0, 4)
    assert pair["cohens_kappa"]["value"] == pytest.approx(1.0)
    assert (await report(hand))["judge_pairs"] is None


@pytest.mark.both_databases
async def test_the_cascade_is_tested_on_pairs_that_are_new_to_it(
    hand: httpx.AsyncClient, service: FastAPI
) -> None:
    certificate = await certify(service, "hand")
    made = await report(hand, calibration=certificate)
    cascade = made["cascade"]
    # out: p1 itself, p2 of its group, p8 of its prompt; answered: p3 dear, p5 p6 cheap, p7 dear
    assert cascade["excluded_calibration_pairs"] == 3
    assert estimates(cascade)["coverage"] == (pytest.approx(4 / 5), 5)
    assert estimates(cascade)["agreement"] == (pytest.approx(3 / 4), 4)
    assert cascade["composition"] == pytest.approx({"cheap": 2 / 5, "dear": 2 / 5})
    assert cascade["cost_per_pair"] == pytest.approx(3.5 / 5)
    assert cascade["relative_cost"] == pytest.approx(3.5 / 5)
    assert (cascade["abstained"], cascade["missing"]) == (1, 0)
    assert estimates(made["abstention"])["human_agreement_answered"] == (pytest.approx(3 / 5), 5)
    assert estimates(made["abstention"])["human_agreement_abstained"] == (1.0, 1)
    assert made["abstention"]["p_value"] is None
    assert made["rests_on"]["calibration"] == certificate


async def test_a_score_that_is_not_stored_is_missing(
    client: httpx.AsyncClient, service: FastAPI
) -> None:
    row = {**ROWS[2], "id": "p9", "group": "g9", "judges": {"cheap": {"p_a": 0.6, "cost": 0.1}}}
    await upload(client, [*ROWS, row])
    certificate = await certify(service, "hand")
    cascade = (await report(client, calibration=certificate))["cascade"]
    assert (cascade["pairs"], cascade["missing"], cascade["answered"]) == (6, 1, 4)
    assert cascade["coverage"]["value"] == pytest.approx(4 / 6)
    assert cascade["cost_per_pair"] is None
    assert cascade["relative_cost"] is None


async def test_a_price_that_is_not_known_leaves_no_cost(
    client: httpx.AsyncClient, service: FastAPI
) -> None:
    free = [
        {**row, "judges": {**row["judges"], "cheap": {"p_a": row["judges"]["cheap"]["p_a"]}}}
        for row in ROWS
    ]
    await upload(client, free)
    certificate = await certify(service, "hand")
    cascade = (await report(client, calibration=certificate))["cascade"]
    assert cascade["cost_per_pair"] is None
    assert cascade["coverage"]["value"] == pytest.approx(4 / 5)


async def test_slices_have_their_own_thresholds(hand: httpx.AsyncClient, service: FastAPI) -> None:
    changes = sliced_certificate(t1=(0.75, 0.9), t2=(None, None))
    certificate = await certify(service, "hand", **changes)
    cascade = (await report(hand, calibration=certificate))["cascade"]
    assert (cascade["answered"], cascade["abstained"]) == (1, 4)


@pytest.mark.both_databases
async def test_groups_repeat_the_report_for_every_slice(
    hand: httpx.AsyncClient, service: FastAPI
) -> None:
    certificate = await certify(service, "hand")
    made = await report(hand, group_by="metadata.task", calibration=certificate)
    parts = {part["group"]: part for part in made["groups"]}
    assert {name: part["pairs"] for name, part in parts.items()} == {"t1": 3, "t2": 5}
    assert sum(part["human"]["labels"] for part in parts.values()) == 15
    assert judge(parts["t2"], "dear")["agreement"]["value"] == pytest.approx(1 / 2)
    assert parts["t1"]["cascade"]["coverage"]["n"] == 1
    assert parts["t2"]["cascade"]["coverage"]["n"] == 4


async def test_a_part_is_reported_alone(hand: httpx.AsyncClient) -> None:
    sides = [await report(hand, part=f"{side}:0.5:1") for side in ("calibration", "test")]
    assert sum(made["pairs"] for made in sides) == 8
    assert all(0 < made["pairs"] < 8 for made in sides)


async def test_judges_may_be_named(hand: httpx.AsyncClient) -> None:
    every = await report(hand)
    assert [one["judge"] for one in every["judges"]] == ["cheap", "dear"]
    for asked in ("dear,cheap", ["dear", "cheap"]):
        made = await report(hand, judges=asked)
        assert [one["judge"] for one in made["judges"]] == ["dear", "cheap"]


async def test_the_same_inputs_give_the_same_report(hand: httpx.AsyncClient) -> None:
    one, other = [await report(hand) for _ in range(2)]
    assert one == other
    listed = (await hand.get("/v1/reports")).json()
    assert [row["id"] for row in listed["data"]] == [one["id"]]
    assert (await hand.get(f"/v1/reports/{one['id']}")).json() == one
    assert (await report(hand, seed=1))["id"] != one["id"]


@pytest.mark.both_databases
async def test_new_labels_make_a_new_report(hand: httpx.AsyncClient) -> None:
    before = await report(hand)
    label = {"dataset": "hand", "pair": "p8", "annotator": "ann1", "label": "b"}
    answer = await hand.post("/v1/labels", json={"labels": [label]})
    assert answer.status_code == 201
    after = await report(hand)
    assert after["id"] != before["id"]
    assert after["rests_on"]["label_set_hash"] != before["rests_on"]["label_set_hash"]
    assert after["human"]["labels"] == 16


async def test_nothing_to_report_is_null(client: httpx.AsyncClient) -> None:
    await upload(client, [{"prompt": "q", "response_a": "one", "response_b": "two"}])
    made = await report(client)
    assert made["judges"] == []
    assert made["cascade"] is None
    assert made["abstention"] is None
    assert made["groups"] == []
    assert {value for value, _ in estimates(made["human"]).values()} == {None}


async def test_what_cannot_be_honoured_is_named(hand: httpx.AsyncClient) -> None:
    for asked, field in (
        ({"judges": "nobody"}, "judges"),
        ({"group_by": "nothing"}, "group_by"),
        ({"part": "left:0.5:0"}, "part"),
        ({"include": "everything"}, "include"),
        ({"unknown": "1"}, "unknown"),
        ({"dataset": ""}, "dataset"),
        ({"calibration": "nul\x00"}, "calibration"),
    ):
        answer = await hand.get("/v1/reports/agreement", params={"dataset": "hand", **asked})
        assert answer.status_code == 422, asked
        assert field in [error["loc"][1] for error in answer.json()["errors"]], asked


async def test_what_is_not_there_is_not_found(hand: httpx.AsyncClient) -> None:
    missing = await hand.get("/v1/reports/agreement", params={"dataset": "none"})
    assert missing.status_code == 404
    assert (await hand.get("/v1/reports/rep_none")).status_code == 404


async def test_a_revoked_certificate_is_refused(hand: httpx.AsyncClient, service: FastAPI) -> None:
    certificate = await certify(service, "hand", revoked_at=now())
    asked = {"dataset": "hand", "calibration": certificate}
    answer = await hand.get("/v1/reports/agreement", params=asked)
    assert answer.status_code == 409


@pytest.mark.both_databases
async def test_new_scores_make_a_new_report(hand: httpx.AsyncClient) -> None:
    # the embedded judge was not asked about the dataset: it is reported only where it is named
    assert [one["judge"] for one in (await report(hand))["judges"]] == ["cheap", "dear"]
    seen = [await report(hand, judges="student")]
    for row in ROWS[2:4]:
        texts = ("id", "prompt", "response_a", "response_b")
        pair = {name: row[name] for name in texts}
        answer = await hand.post("/v1/judgments", json={"pairs": [pair]})
        assert answer.status_code == 200, answer.text
        seen.append(await report(hand, judges="student"))
    assert [judge(made, "student")["n"] for made in seen] == [0, 1, 2]
    assert len({made["id"] for made in seen}) == 3
    assert [one["judge"] for one in (await report(hand))["judges"]] == ["cheap", "dear", "student"]
