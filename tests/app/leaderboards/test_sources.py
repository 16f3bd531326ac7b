"""Leaderboards of certificates and of verdicts corrected by labels: what they count and promise."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from app.core.models import Batch, CalibrationRow, Dataset
from app.core.runtime import Runtime
from tests.app.batches.test_batches import results_of, wait_for
from tests.app.hand_made import ROWS, certify, upload


@pytest.fixture
async def hand(client: httpx.AsyncClient) -> httpx.AsyncClient:
    await upload(client, ROWS)
    return client


async def rank(client: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    answer = await client.post("/v1/leaderboards", json={"dataset": "hand", **asked})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def by_model(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["model"]: row for row in made["rows"]}


async def test_abstentions_stand_beside_every_model(
    hand: httpx.AsyncClient, service: FastAPI
) -> None:
    certificate = await certify(service, "hand")
    made = await rank(hand, source="cascade", calibration=certificate, method="win_rate")
    # p2 (x, y) and p7 (z, x) or p4: two of the eight pairs are abstained
    assert sum(row["abstained"] for row in made["rows"]) == 2 * made["abstained"] == 4
    x = by_model(made)["x"]
    assert x["asked"] == x["pairs"] + x["unresolved"] == 6
    assert x["abstained_share"] == pytest.approx(x["abstained"] / 6)
    assert any("may favour" in text for text in made["warnings"])


async def test_what_everybody_answered_needs_no_warning(hand: httpx.AsyncClient) -> None:
    made = await rank(hand, source="judge:cheap", method="win_rate")
    assert not any("may favour" in text for text in made["warnings"])
    assert all(row["abstained_share"] == 0 for row in made["rows"])


@pytest.mark.both_databases
async def test_a_certificate_that_holds_promises_and_says_what_it_is_worth_now(
    hand: httpx.AsyncClient, service: FastAPI
) -> None:
    certificate = await certify(service, "hand")
    asked = {"source": "cascade", "calibration": certificate, "method": "win_rate"}
    made = await rank(hand, **asked)
    assert made["promise"] == "certified"
    assert made["suspended_because"] is None
    assert made["certificate_now"] == {
        "id": certificate, "status": "certified", "revoked_at": None,
    }  # fmt: skip
    await hand.post(f"/v1/calibrations/{certificate}/revoke")
    later = (await hand.get(f"/v1/leaderboards/{made['id']}")).json()
    assert later["promise"] == "none"
    assert later["certificate_now"]["revoked_at"] is not None
    assert later["rows"] == made["rows"]


@pytest.mark.both_databases
async def test_certified_only_leaves_out_the_pairs_of_the_certificate(
    hand: httpx.AsyncClient, service: FastAPI
) -> None:
    certificate = await certify(service, "hand")
    asked = {"source": "cascade", "calibration": certificate, "method": "win_rate"}
    whole, alone = await rank(hand, **asked), await rank(hand, certified_only=True, **asked)
    # p1 is the certificate's; p2 shares its group and p8 its prompt
    assert (whole["calibration_pair"], alone["calibration_pair"]) == (0, 3)
    assert whole["rests_on"]["known_to_certificate"] == 3
    assert alone["pairs"] < whole["pairs"]
    # of the three, p2 is abstained
    assert whole["rests_on"]["calibration_pairs"] == whole["pairs"] - alone["pairs"] == 2
    assert alone["rests_on"]["calibration_pairs"] == 0
    assert whole["warnings"][0].startswith("2 of these verdicts are on pairs that the certificate")
    assert alone["warnings"][0].startswith("3 pairs that the certificate knows are left out")


async def test_a_board_of_other_pairs_needs_no_such_note(
    hand: httpx.AsyncClient, service: FastAPI
) -> None:
    made = await rank(hand, source="judge:cheap", method="win_rate")
    assert "calibration_pairs" not in made["rests_on"]
    assert not any("certificate knows" in text for text in made["warnings"])


async def set_status(service: FastAPI, certificate: str, status: str) -> None:
    running: Runtime = service.state.runtime
    async with running.db.write() as session:
        found = await session.scalars(
            select(CalibrationRow).where(CalibrationRow.id == certificate)
        )
        found.one().status = status


async def test_what_is_not_certified_says_so(hand: httpx.AsyncClient, service: FastAPI) -> None:
    certificate = await certify(service, "hand")
    await set_status(service, certificate, "not_certifiable")
    asked = {"dataset": "hand", "source": "cascade", "calibration": certificate}
    made = await rank(hand, **asked, method="win_rate")
    assert made["promise"] == "none"
    assert "not_certifiable" in made["warnings"][0]
    refused = await hand.post("/v1/leaderboards", json={**asked, "certified_only": True})
    assert refused.status_code == 409
    assert refused.json()["promise"] == "none"


async def suspend(service: FastAPI, certificate: str) -> None:
    """Store an ended batch of the certificate whose promise was suspended."""
    running: Runtime = service.state.runtime
    async with running.db.write() as session:
        dataset = (await session.scalars(select(Dataset))).one()
        seq = await session.scalar(
            select(CalibrationRow.seq).where(CalibrationRow.id == certificate)
        )
        moment = running.now()
        session.add(
            Batch(
                id="batch_1",
                status="completed",
                dataset_seq=dataset.seq,
                certificate_seq=seq,
                request={"cascade": None, "part": None},
                total=8,
                promise="suspended",
                suspended_because="dear failed too often",
                error=None,
                created_at=moment,
                in_progress_at=moment,
                completed_at=moment,
                cancelled_at=None,
                expires_at=moment,
            )
        )


@pytest.mark.both_databases
async def test_a_suspended_batch_suspends_the_leaderboard(
    hand: httpx.AsyncClient, service: FastAPI
) -> None:
    certificate = await certify(service, "hand")
    await suspend(service, certificate)
    asked = {"dataset": "hand", "source": "cascade", "calibration": certificate}
    made = await rank(hand, **asked, method="win_rate")
    assert made["promise"] == "suspended"
    assert made["suspended_because"] == "batch batch_1: dear failed too often"
    refused = await hand.post("/v1/leaderboards", json={**asked, "certified_only": True})
    assert refused.status_code == 409
    assert refused.json()["suspended_because"] == made["suspended_because"]


async def test_a_judge_that_fails_more_often_than_in_calibration_suspends(
    hand: httpx.AsyncClient, service: FastAPI
) -> None:
    failures = {name: {"asked": 300, "failed": 0, "manners": {}} for name in ("cheap", "dear")}
    for failed, promise in ((0, "certified"), (3, "suspended")):
        rows = [
            {**ROWS[1], "id": f"f{number}", "judges": {
                "cheap": {"p_a": 0.6}, "dear": {"p_a": None if number < failed else 0.99},
            }}
            for number in range(6)
        ]  # fmt: skip
        await upload(hand, rows, f"fails-{failed}")
        certificate = await certify(
            service, f"fails-{failed}", ("f0",), body={"calibration": {"failures": failures}}
        )
        made = await rank(
            hand, dataset=f"fails-{failed}", source="cascade", calibration=certificate,
            method="win_rate",
        )  # fmt: skip
        assert made["promise"] == promise, made["suspended_because"]
        assert (made["suspended_because"] is None) == (failed == 0)


def comparisons(n: int) -> list[dict[str, Any]]:
    """Pairs of x and y, the first half labelled: the judge always says x, people in 3 of 4."""
    return [
        {
            "id": f"p{number}",
            "prompt": f"question {number}",
            "response_a": "one",
            "response_b": "two",
            "model_a": "x",
            "model_b": "y",
            "human": [{"annotator": "1", "label": "b" if number % 4 == 0 else "a"}]
            if number < n // 2
            else [],
            "judges": {"partial": {"p_a": 0.9}},
        }
        for number in range(n)
    ]


@pytest.mark.parametrize("method", ["win_rate", "bradley_terry"])
async def test_labels_correct_a_judge_that_favours_a_model(
    client: httpx.AsyncClient, method: str
) -> None:
    await upload(client, comparisons(400), "hand")
    made = await rank(client, source="prediction_powered", judge="partial", method=method)
    x = by_model(made)["x"]
    assert x["win_rate"]["value"] == pytest.approx(0.75, abs=1e-9)
    assert x["win_rate"]["low"] < 0.75 < x["win_rate"]["high"]
    assert (x["pairs"], x["labelled"], x["rating"]["n"]) == (400, 200, 200)
    assert made["prediction_powered"]["labelled"] == 200
    assert list(made["rests_on"]["fingerprints"]) == ["partial"]
    assert made["rests_on"]["labels"] == 200
    by_judge = await rank(client, source="judge:partial", method="win_rate")
    assert by_model(by_judge)["x"]["win_rate"]["value"] == 1
    if method == "bradley_terry":
        assert x["strength"] == pytest.approx(0.75, abs=1e-6)
    assert x["rank_text"] == "1st"
    # a majority of one vote is that vote
    assert (await rank(client, source="prediction_powered", method=method, votes="majority"))[
        "rows"
    ] == made["rows"]
    path = f"/v1/leaderboards/{made['id']}/what-if"
    refused = await client.get(path, params={"matrix": "true"})
    assert refused.status_code == 422
    assert "have no table of who beat whom" in refused.json()["detail"]
    # the only recorded judge need not be named
    alone = await rank(client, source="prediction_powered", method=method)
    assert alone["rows"] == made["rows"]


async def test_against_a_baseline_the_labels_correct_too(client: httpx.AsyncClient) -> None:
    await upload(client, comparisons(400), "hand")
    made = await rank(client, source="prediction_powered", method="win_rate", baseline="y")
    assert by_model(made)["x"]["rating"]["value"] == pytest.approx(0.75, abs=1e-9)
    assert by_model(made)["y"]["rating"]["value"] == 0.5


async def test_labels_that_chose_the_thresholds_correct_nothing(
    client: httpx.AsyncClient, service: FastAPI
) -> None:
    rows = [
        {**row, "judges": {"cheap": {"p_a": 0.9}, "dear": {"p_a": 0.95}}}
        for row in comparisons(400)
    ]
    await upload(client, rows, "hand")
    used = tuple(f"p{number}" for number in range(40))
    certificate = await certify(service, "hand", used)
    made = await rank(client, source="prediction_powered", calibration=certificate)
    assert made["calibration_pair"] == 40
    assert made["prediction_powered"]["labelled"] == 160
    assert made["prediction_powered"]["predicted"] == 360
    assert made["promise"] == "certified"
    assert made["rests_on"]["certificate_label_set_hash"] == "0" * 64
    assert made["rests_on"]["label_set_hash"] != "0" * 64


async def test_without_labels_there_is_nothing_to_correct_by(client: httpx.AsyncClient) -> None:
    rows = [{**row, "human": []} for row in comparisons(20)]
    await upload(client, rows, "hand")
    body = {"dataset": "hand", "source": "prediction_powered", "judge": "partial"}
    answer = await client.post("/v1/leaderboards", json=body)
    assert answer.status_code == 422
    assert "no pair is labelled" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"metadata": {"label_probability": 2}}, "must lie between 0 and 1 on every pair"),
        ({"metadata": {"label_probability": "often"}}, "must lie between 0 and 1 on every pair"),
        ({"model_a": None}, "no pair that verdicts could be corrected on"),
    ],
)
async def test_what_labels_cannot_correct_is_named(
    client: httpx.AsyncClient, more: dict[str, Any], said: str
) -> None:
    await upload(client, [{**row, **more} for row in comparisons(20)], "hand")
    body = {"dataset": "hand", "source": "prediction_powered", "judge": "partial"}
    answer = await client.post("/v1/leaderboards", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert answer.json()["errors"][0]["loc"] == ["body", "dataset"]


async def test_without_any_verdict_there_is_nothing_to_correct(client: httpx.AsyncClient) -> None:
    rows = [{**row, "judges": {}} for row in comparisons(20)]
    await upload(client, rows, "hand")
    body = {"dataset": "hand", "source": "prediction_powered", "judge": "student"}
    answer = await client.post("/v1/leaderboards", json=body)
    assert answer.status_code == 422
    assert "no verdict is known of any of the 20 pairs. Judge them" in answer.json()["detail"]
    answer = await client.post(
        "/v1/leaderboards", json={"dataset": "hand", "source": "judge:student"}
    )
    assert answer.status_code == 422
    assert (
        "20 pairs that the judge was not asked about. Judge them first: tribunal batch"
        in (answer.json()["detail"])
    )


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ({"judges": {}}, ["has a label", "tribunal label hand FILE (POST /v1/labels)",
                          '--source judge:student ("source": "judge:student")',
                          "tribunal batch hand (POST /v1/batches)"]),
        ({"judges": {"old": {"p_a": 0.6}}}, ["--source judge:old"]),
        ({"judges": {}, "prompt": None, "response_a": None, "response_b": None,
          "human": [{"annotator": "1", "label": "a", "criterion": "style"}]},
         ["They have no texts that a judge could read"]),
    ],
)  # fmt: skip
async def test_a_board_of_pairs_without_labels_says_how_to_judge_them_first(
    client: httpx.AsyncClient, row: dict[str, Any], parts: list[str]
) -> None:
    await upload(client, [{**each, "human": [], **row} for each in ROWS])
    answer = await client.post("/v1/leaderboards", json={"dataset": "hand"})
    assert answer.status_code == 422
    assert [part for part in parts if part not in answer.json()["detail"]] == []


async def test_what_is_left_out_is_noted_and_counted(client: httpx.AsyncClient) -> None:
    rows = [dict(row) for row in ROWS]
    rows[0] |= {"human": []}
    rows[1] |= {"model_b": rows[1]["model_a"]}
    rows[2] |= {"model_b": None}
    await upload(client, rows)
    made = await rank(client, method="win_rate", ties="exclude")
    counts = {
        name: made[name] for name in ("unlabelled", "same_model", "without_models", "ties_left_out")
    }
    assert counts == {
        "unlabelled": 2,
        "same_model": 1,
        "without_models": 1,
        "ties_left_out": counts["ties_left_out"],
    }
    assert counts["ties_left_out"] > 0
    [note] = [one for one in made["notes"] if one.startswith("left out: ")]
    # plain words, not the names of fields or functions
    assert not [one for one in made["notes"] if re.search(r"[a-z]_[a-z]", one)]
    for part in (
        "2 pairs without a label", "1 pair of a model with itself",
        "1 pair without the names of two models", f"{counts['ties_left_out']} ties",
    ):  # fmt: skip
        assert part in note


async def test_names_that_look_like_one_are_noted(client: httpx.AsyncClient) -> None:
    names = {"x": "Alder 1", "y": "alder 1", "z": "Alder  1"}
    rows = [
        {**row, "model_a": names[row["model_a"]], "model_b": names[row["model_b"]]} for row in ROWS
    ]
    await upload(client, rows)
    made = await rank(client, method="win_rate")
    assert len(made["rows"]) == 3
    said = "'Alder  1' and 'Alder 1' and 'alder 1' differ by case or blanks alone"
    assert [note for note in made["notes"] if note.startswith(said)]
    assert set(made["warnings"]) <= set(made["notes"])


async def test_a_board_counts_as_a_batch_does(client: httpx.AsyncClient, service: FastAPI) -> None:
    rows = [{**row, "judges": dict(row["judges"])} for row in ROWS]
    rows[0]["judges"] |= {"cheap": None, "dear": None}  # every judge fails
    rows[1]["judges"] |= {"cheap": {"p_a": 0.5}, "dear": {"p_a": 0.5}}  # no preference
    await upload(client, rows)
    certificate = await certify(service, "hand", body={"calibration": {"failures": {}}})
    posted = await client.post("/v1/batches", json={"dataset": "hand", "calibration": certificate})
    batch = await wait_for(client, posted.json()["id"])
    counts = Counter(one["status"] for one in await results_of(client, batch["id"]))
    board = await rank(client, source="cascade", calibration=certificate, method="win_rate")
    found = {"accepted": board["pairs"], **{name: board[name] for name in ("abstained", "failed")}}
    assert found == dict(counts)
    assert found["failed"] == 1
    judge = await rank(client, source="judge:cheap", method="win_rate")
    assert judge["rests_on"]["no_preference"] == 2
    assert [note for note in judge["notes"] if "they are ties here" in note]
    unanswered = [one for one in board["notes"] if one.startswith("pairs without a verdict")]
    assert unanswered
    assert not re.search(r"[a-z]_[a-z]", unanswered[0])


async def test_pairs_of_one_model_are_named_in_words(client: httpx.AsyncClient) -> None:
    await upload(client, [{**row, "model_b": row["model_a"]} for row in ROWS])
    answer = await client.post("/v1/leaderboards", json={"dataset": "hand"})
    assert answer.status_code == 422
    assert "8 pairs of a model with itself" in answer.json()["detail"]


async def test_unlabelled_abstentions_make_win_rates_bounds(client: httpx.AsyncClient) -> None:
    rows = comparisons(400)
    for number, row in enumerate(rows):
        if number >= 300:
            row["judges"] = {"partial": {"p_a": None}}
    await upload(client, rows, "hand")
    made = await rank(client, source="prediction_powered", method="win_rate")
    x = by_model(made)["x"]
    assert x["win_rate"]["value"] is None
    # three quarters of the 300 answered pairs are won; the 100 others as lost, as won
    assert x["win_rate"]["low"] < 0.75 * 0.75
    assert x["win_rate"]["high"] > 0.75 * 0.75 + 0.25
    assert made["prediction_powered"]["are_abstentions_audited"] is False
    assert (x["failed"], x["unresolved"]) == (100, 100)
    assert (x["wins"], x["losses"], x["ties"]) == (300, 0, 0)
    assert by_model(made)["y"]["losses"] == 300
    body = {"dataset": "hand", "source": "prediction_powered"}
    refused = await client.post("/v1/leaderboards", json=body)
    assert refused.status_code == 422
    assert "abstained" in refused.json()["detail"]


async def test_no_name_of_a_board_is_a_formula_in_csv(client: httpx.AsyncClient) -> None:
    await upload(client, [{**row, "model_a": f"={row['model_a']}"} for row in ROWS])
    made = await rank(client, method="win_rate")
    address = f"/v1/leaderboards/{made['id']}"
    table = (await client.get(address, headers={"accept": "text/csv"})).text
    names = [cells["model"] for cells in csv.DictReader(io.StringIO(table))]
    assert {name for name in names if "=" in name} == {"'=x", "'=y", "'=z"}
    numbers = [cells["rating"] for cells in csv.DictReader(io.StringIO(table))]
    assert not [cell for cell in numbers if cell.startswith("'")]
