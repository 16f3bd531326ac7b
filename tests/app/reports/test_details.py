from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.reports import judge_details
from app.reports.inputs import measure
from tests.app.hand_made import ROWS, certify, upload
from tests.app.reports.worlds import faulty_judges

Figures = dict[str, Any]


@pytest.fixture
async def hand(client: httpx.AsyncClient) -> httpx.AsyncClient:
    await upload(client, ROWS)
    return client


@pytest.fixture
async def world(client: httpx.AsyncClient) -> httpx.AsyncClient:
    await upload(client, faulty_judges(), "world")
    return client


async def report(client: httpx.AsyncClient, dataset: str = "hand", **asked: Any) -> Figures:
    answer = await client.get("/v1/reports/agreement", params={"dataset": dataset, **asked})
    assert answer.status_code == 200, answer.text
    made: Figures = answer.json()
    return made


def judge(made: Figures, name: str) -> Figures:
    return next(one for one in made["judges"] if one["judge"] == name)


def shown(estimate: Figures) -> tuple[Any, int]:
    value = estimate["value"]
    return (None if value is None else pytest.approx(value), estimate["n"])


async def test_difficulty_by_hand(hand: httpx.AsyncClient) -> None:
    made = await report(hand)
    counts = {"unanimous": 4, "single_vote": 1, "split": 1, "no_plurality": 1}
    assert made["human"]["difficulty"] == counts
    dear = judge(made, "dear")
    rows = {row["difficulty"]: row for row in dear["by_difficulty"]}
    assert {name: row["pairs"] for name, row in rows.items()} == counts
    assert shown(rows["unanimous"]["agreement"]) == (1.0, 2)  # p1, p7; p6 failed
    assert shown(rows["unanimous"]["agreement_three_way"]) == (1.0, 3)  # p4, too
    assert shown(rows["single_vote"]["agreement"]) == (0.0, 1)
    assert shown(rows["split"]["agreement"]) == (1.0, 1)
    assert shown(rows["no_plurality"]["agreement"]) == (None, 0)
    assert shown(rows["no_plurality"]["agreement_three_way"]) == (1.0, 1)
    assert shown(dear["fall_with_difficulty"]) == (0.0, 3)
    by_votes = {(row["votes"], row["for_plurality"]): row["agreement"] for row in dear["by_votes"]}
    assert {key: (one["value"], one["n"]) for key, one in by_votes.items()} == {
        (1, 1): (0.0, 1), (2, 2): (1.0, 1), (3, 2): (1.0, 1), (3, 3): (1.0, 1),
    }  # fmt: skip


async def test_people_against_people_by_hand(hand: httpx.AsyncClient) -> None:
    human = (await report(hand))["human"]
    assert human["confusion"] == {
        "a": {"a": 8, "b": 1, "tie": 0},
        "b": {"a": 1, "b": 4, "tie": 2},
        "tie": {"a": 0, "b": 2, "tie": 2},
    }
    assert shown(human["percent_agreement_without_ties"]) == (6 / 7, 7)
    # p1, p2, p3, p6, p7 without ties: agreement 4/5, eleven votes of which 6 for a and 5 for b
    chance = (6 / 11) ** 2 + (5 / 11) ** 2
    assert shown(human["fleiss_kappa_without_ties"]) == ((0.8 - chance) / (1 - chance), 5)
    couple = next(c for c in human["annotator_pairs"] if c["annotators"] == ["ann1", "ann2"])
    assert shown(couple["agreement"]) == (0.8, 5)
    assert shown(couple["agreement_without_ties"]) == (0.75, 4)


async def test_failures_are_counted_by_kind_and_order(hand: httpx.AsyncClient) -> None:
    dear = judge(await report(hand), "dear")
    assert shown(dear["failure_share"]) == (1 / 8, 8)
    assert dear["failure_kinds"] == {"recorded": 1}
    assert shown(dear["half_parsed_share"]) == (1 / 8, 8)
    assert shown(dear["answer_share"]) == (7 / 8, 8)
    assert shown(dear["cost"]) == (1.0, 8)


async def test_leans_by_hand(hand: httpx.AsyncClient) -> None:
    dear = judge(await report(hand, judges="dear", own="dear=x"), "dear")
    # b is longer by one letter: dear takes it for p3 and p5, people for p3 alone
    assert shown(dear["length"]["lean"]) == (0.25, 4)
    assert shown(dear["length"]["judge_chooses_it"]) == (0.5, 4)
    assert shown(dear["length"]["people_choose_it"]) == (0.25, 4)
    assert shown(dear["style"]["lean"]) == (None, 0)
    # own is a of p1 and p5, b of p7: dear takes p1 alone, people p1 and p5
    assert shown(dear["self_preference"]["lean"]) == (-1 / 3, 3)
    assert shown(judge(await report(hand), "dear")["self_preference"]["lean"]) == (None, 0)


async def test_whose_responses_are_whose_must_be_said_properly(hand: httpx.AsyncClient) -> None:
    for own in ("dear", "nobody=x", "dear="):
        answer = await hand.get("/v1/reports/agreement", params={"dataset": "hand", "own": own})
        assert answer.status_code == 422, own
        assert answer.json()["errors"][0]["loc"] == ["query", "own"]


async def test_judges_with_ties_by_hand(hand: httpx.AsyncClient) -> None:
    [pair] = (await report(hand, include="judge_pairs"))["judge_pairs"]
    # p2: cheap a, dear tie; p4: a, tie; p7: tie, a; they agree on p1, p3, p5, p8
    assert shown(pair["agreement_three_way"]) == (4 / 7, 7)
    assert pair["confusion"]["a"] == {"a": 1, "b": 0, "tie": 2}
    assert pair["confusion"]["tie"] == {"a": 1, "b": 0, "tie": 0}


async def test_the_cascade_with_people_by_hand(hand: httpx.AsyncClient, service: FastAPI) -> None:
    certificate = await certify(service, "hand")
    made = await report(hand, calibration=certificate)
    cascade = made["cascade"]
    # p3 dear b, p4 abstained, p5 and p6 cheap b, p7 dear a
    nothing = {"abstained": 0, "missing": 0}
    assert cascade["confusion"] == {
        "a": {"a": 1, "b": 1, "tie": 0, **nothing},
        "b": {"a": 0, "b": 2, "tie": 0, **nothing},
        "tie": {"a": 0, "b": 0, "tie": 0, "abstained": 1, "missing": 0},
    }
    assert shown(cascade["cohens_kappa"]) == (0.5, 4)
    rows = {row["difficulty"]: row for row in cascade["by_difficulty"]}
    assert shown(rows["unanimous"]["coverage"]) == (2 / 3, 3)
    assert shown(rows["single_vote"]["agreement"]) == (0.0, 1)
    cost = cascade["cost"]
    assert shown(cost["per_pair"]) == (0.7, 5)
    assert shown(cost["dearest_per_pair"]) == (1.0, 5)
    assert shown(cost["relative"]) == (0.7, 5)
    assert shown(cost["saved_per_pair"]) == (0.3, 5)
    overlap = made["abstention"]["token_overlap"]
    assert shown(overlap["answered"]) == (2 / 3, 4)  # "first of p3", "second of p3"
    assert shown(made["abstention"]["length_ratio"]["abstained"]) == (11 / 12, 1)


async def test_every_fault_shows_in_its_own_figure_alone(world: httpx.AsyncClient) -> None:
    made = await report(world, "world")
    leans: dict[str, Callable[[Figures], Figures]] = {
        "position": lambda j: j["position"]["lean"],
        "length": lambda j: j["length"]["lean"],
        "style": lambda j: j["style"]["lean"],
        "self_preference": lambda j: j["self_preference"]["lean"],
    }
    faults = {"first": "position", "long": "length", "marked": "style", "vain": "self_preference"}
    for name in ("good", "first", "long", "marked", "vain"):
        for lean, read in leans.items():
            found = read(judge(made, name))
            if lean == "self_preference" and name != "vain":
                assert found["n"] == 0
                continue
            if found["value"] is None:
                assert name == "first"  # it never decides in both orders
                continue
            is_seen = found["low"] > 0.1
            assert is_seen == (faults.get(name) == lean), (name, lean, found)
    assert judge(made, "first")["position"]["to_first"]["value"] == 1.0
    assert shown(judge(made, "mute")["failure_share"]) == (0.25, 240)


async def test_only_a_judge_as_good_as_people_may_replace_one(world: httpx.AsyncClient) -> None:
    made = await report(world, "world")
    good, coin = (judge(made, name)["alternative_annotator"] for name in ("good", "coin"))
    assert (good["outcome"], good["winning_rate"]["value"]) == ("pass", 1.0)
    assert [one["annotator"] for one in good["annotators"]] == ["ann", "bob", "cyd", "dan"]
    assert good["margin"]["low"] > -0.2
    assert (coin["outcome"], coin["winning_rate"]["value"]) == ("fail", 0.0)
    assert coin["margin"]["high"] < -0.2


async def test_too_many_annotators_on_too_many_pairs_are_not_tested(
    hand: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_details, "_MOST_CELLS", 2)
    found = judge(await report(hand), "cheap")["alternative_annotator"]
    assert found["not_tested_because"] == "3 annotators on 5 pairs are too many"


async def test_the_ceiling_is_met_by_the_good_and_missed_by_the_coin(
    world: httpx.AsyncClient,
) -> None:
    made = await report(world, "world")
    for figure in ("ceiling", "ceiling_where_decided"):
        assert judge(made, "good")[figure]["difference"]["low"] > -0.05
        assert judge(made, "coin")[figure]["difference"]["high"] < -0.1
    kappa = {n: judge(made, n)["kappa_ceiling"]["three_way"] for n in ("good", "coin")}
    assert kappa["good"]["difference"]["low"] > 0
    assert kappa["coin"]["judge"]["high"] < kappa["coin"]["people"]["low"]


async def test_confidence_has_bins_and_a_curve_that_add_up(hand: httpx.AsyncClient) -> None:
    cheap = judge(await report(hand), "cheap")
    found = cheap["reliability"]
    # p1 .8 right, p3 .6 right, p5 .9 wrong, p6 .8 right, p7 .5 no preference
    assert shown(found["brier_score"]) == (cheap["brier_score"], 5)
    # bins: p7 alone, p3 alone, p1 and p6, p5 alone; p7 claims nothing that the health card counts
    whole, claimed = found["expected_calibration_error"], found["where_preferring"]
    assert (whole["value"], whole["n"]) == (pytest.approx((0.5 + 0.4 + 0.4 + 0.9) / 5), 5)
    assert (claimed["value"], claimed["n"]) == (pytest.approx((0.4 + 0.4 + 0.9) / 4), 4)
    assert found["expected_calibration_error"]["value"] == pytest.approx(
        cheap["expected_calibration_error"]
    )
    assert sum(one["n"] for one in found["bins"]) == 5
    assert [(one["n"], one["accuracy"]["value"]) for one in found["bins"] if one["n"]] == [
        (1, 0.0), (1, 1.0), (2, 1.0), (1, 0.0),
    ]  # fmt: skip
    curve = cheap["risk_coverage"]
    assert curve["pairs"] == 5
    assert curve["points"][0]["threshold"] > curve["points"][-1]["threshold"]
    last = curve["points"][-1]
    assert (last["coverage"], last["risk"]["value"], last["risk"]["n"]) == (0.8, 0.25, 4)


async def test_slices_have_details_where_they_are_asked_for(world: httpx.AsyncClient) -> None:
    asked = {"judges": "good", "group_by": "half"}
    plain = await report(world, "world", **asked)
    deep = await report(world, "world", **asked, include="group_details")
    assert "reliability" in plain["judges"][0]
    assert all("reliability" not in part["judges"][0] for part in plain["groups"])
    assert [part["judges"][0]["length"]["lean"]["n"] > 0 for part in deep["groups"]] == [True] * 2


def test_texts_are_measured() -> None:
    longer, marked, ratio, overlap, is_same = measure(
        "# Title\n\n- one\n- two **bold**", "One, two, three"
    )
    assert longer == 29 - 15
    assert marked == 4
    assert ratio == pytest.approx(15 / 29)
    assert overlap == pytest.approx(2 * 2 / (4 + 3))
    assert not is_same
    assert measure("", "") == (0.0, 0.0, 1.0, 1.0, True)
    assert measure("word", "")[2:] == (0.0, 0.0, False)
    assert measure("one two", "two one")[2:] == (1.0, 1.0, False)


async def test_verdicts_on_equal_responses_are_counted(
    client: httpx.AsyncClient,
) -> None:
    flips = {"label_original": "a", "label_swapped": "b"}
    keeps = {"label_original": "a", "label_swapped": "a"}
    rows = [
        {**row, "judges": {"one": said}}
        for row, said in zip(ROWS[:4], (flips, keeps, keeps, flips), strict=True)
    ]
    rows[0]["response_b"] = rows[0]["response_a"]
    await upload(client, rows)
    one = judge(await report(client), "one")
    assert (one["n"], one["neither"], one["same_responses"]) == (4, 2, 1)


async def test_ties_and_pairs_without_a_plurality_are_told_apart(hand: httpx.AsyncClient) -> None:
    made = await report(hand)
    # p4 is a tie; the votes on p2 are split
    assert made["human"]["plurality"] == {"a": 3, "b": 2, "tie": 1, "none": 1}
    dear = judge(made, "dear")
    assert dear["confusion"]["tie"] == {"a": 0, "b": 0, "tie": 2, "failed": 0}
    assert dear["no_plurality"] == {"a": 0, "b": 0, "tie": 1, "failed": 0}
