"""Verdicts under a certificate whose judges are heard together: posted, in batches, replayed."""

from __future__ import annotations

import math
from typing import Any

import httpx
import numpy as np
import pytest

from calibration.certify import Heard
from tests.app.batches.test_batches import results_of, wait_for
from tests.app.rows import certify, labelled_rows, upload

Json = dict[str, Any]
JUDGES = ("cheap", "dear")


def fresh_rows(n: int) -> list[Json]:
    """Pairs that the certificate does not know, some with a judge that failed or has no say."""
    rows = labelled_rows(n, seed=7, dear=0.85)
    for number, row in enumerate(rows):
        row["id"], row["prompt"] = f"new{number}", f"A new question, number {number}?"
        del row["human"], row["metadata"]
    rows[3]["judges"]["cheap"] = {"p_a": 0.5}
    rows[5]["judges"]["cheap"] = {"p_a": None, "failure": {"kind": "refusal", "detail": "no"}}
    return rows


def limits(certificate: Json) -> np.ndarray:
    found = [tier["threshold"] for tier in certificate["thresholds"]]
    return np.array([math.inf if one is None else one for one in found])


def library(certificate: Json, rows: list[Json]) -> list[tuple[str, str | None]]:
    """What the library decides from the certificate's own numbers."""
    p_a = [[row["judges"][name]["p_a"] for name in JUDGES] for row in rows]
    weights = certificate["weights"]
    heard = Heard(
        certificate["columns"],
        2,
        None if weights is None else np.array([[w["log_odds"], w["sign"]] for w in weights]),
    )
    said = heard.decisions(np.array(p_a, dtype=float), None, limits(certificate))
    names = {1: "a", 0: "b", -1: None}
    return [("abstained" if one < 0 else "accepted", names[one]) for one in said.label.tolist()]


def outcomes(verdicts: list[Json]) -> list[tuple[str, str | None]]:
    return [(one["status"], one["label"]) for one in verdicts]


@pytest.fixture(params=["auto", "learned_stack"])
async def certificate(client: httpx.AsyncClient, request: pytest.FixtureRequest) -> Json:
    await upload(client, "rivers", labelled_rows(500, dear=0.85))
    made = await certify(client, "rivers", target_agreement=0.85, method=request.param)
    assert made["status"] == "certified"
    assert made["columns"] == {"auto": "stacked", "learned_stack": "learned"}[request.param]
    assert made["clip"] == 1e-4
    return made


async def test_posted_pairs_batches_and_the_library_agree(
    client: httpx.AsyncClient, certificate: Json
) -> None:
    rows = fresh_rows(120)
    posted = await client.post(
        "/v1/judgments", json={"pairs": rows, "calibration": certificate["id"]}
    )
    assert posted.status_code == 200, posted.text
    verdicts = posted.json()["verdicts"]
    assert outcomes(verdicts) == library(certificate, rows)
    assert {"accepted", "abstained"} <= {one["status"] for one in verdicts}
    await upload(client, "cases", rows)
    asked = {"dataset": "cases", "calibration": certificate["id"]}
    batch = await wait_for(client, (await client.post("/v1/batches", json=asked)).json()["id"])
    assert batch["status"] == "completed"
    of_batch = {one["id"]: one for one in await results_of(client, batch["id"])}
    assert outcomes([of_batch[row["id"]] for row in rows]) == outcomes(verdicts)


async def test_a_tier_shows_the_judges_own_probability_and_what_all_say_so_far(
    client: httpx.AsyncClient, certificate: Json
) -> None:
    if certificate["columns"] == "learned":
        pytest.skip("a learned stack has one tier")
    rows = fresh_rows(60)
    asked = {"pairs": rows, "calibration": certificate["id"]}
    verdicts = (await client.post("/v1/judgments", json=asked)).json()["verdicts"]
    for row, verdict in zip(rows, verdicts, strict=True):
        total = 0.0
        for tier in verdict["tiers"]:
            p_a = row["judges"][tier["judge"]]["p_a"]
            assert tier["p_a"] == p_a
            total += 0.0 if p_a is None else math.log(p_a / (1 - p_a))
            sure = 1 / (1 + math.exp(-abs(total)))
            assert tier["confidence"] == (pytest.approx(sure, abs=1e-9) if total else None)
        if verdict["status"] == "accepted":
            assert verdict["confidence"] == verdict["tiers"][-1]["confidence"]


async def test_a_judge_whose_own_tier_is_closed_is_asked_where_its_answer_counts(
    client: httpx.AsyncClient, certificate: Json
) -> None:
    if certificate["columns"] != "learned":
        pytest.skip("both tiers of the stack are open")
    asked = {"pairs": fresh_rows(20), "calibration": certificate["id"]}
    verdicts = (await client.post("/v1/judgments", json=asked)).json()["verdicts"]
    assert certificate["thresholds"][0]["threshold"] is None
    assert {len(verdict["tiers"]) for verdict in verdicts} == {2}
    failures = certificate["calibration"]["failures"]
    assert failures["cheap"]["asked"] == failures["dear"]["asked"] > 0


async def test_swapped_responses_get_the_mirrored_verdict(
    client: httpx.AsyncClient, certificate: Json
) -> None:
    rows = fresh_rows(40)
    swapped = []
    for row in rows:
        own = {k: v for k, v in row["judges"].items() if v["p_a"] is not None}
        judges = {k: {**v, "p_a": round(1 - v["p_a"], 12)} for k, v in own.items()}
        swapped.append({
            **row, "id": row["id"] + "s", "judges": {**row["judges"], **judges},
            "response_a": row["response_b"], "response_b": row["response_a"],
        })  # fmt: skip
    answers = [
        (await client.post("/v1/judgments", json={"pairs": p, "calibration": certificate["id"]}))
        for p in (rows, swapped)
    ]
    one, other = (answer.json()["verdicts"] for answer in answers)
    mirrored = {"a": "b", "b": "a", None: None}
    assert [(v["status"], mirrored[v["label"]]) for v in one] == outcomes(other)
    assert [v["confidence"] for v in one] == [v["confidence"] for v in other]


async def test_a_replay_gives_the_same_verdicts(
    client: httpx.AsyncClient, certificate: Json
) -> None:
    rows = fresh_rows(120)
    await upload(client, "cases", rows)
    asked = {"dataset": "cases", "source": "cascade", "calibration": certificate["id"]}
    board = await client.post("/v1/leaderboards", json=asked)
    assert board.status_code == 201, board.text
    answered = [one for one in library(certificate, rows) if one[0] == "accepted"]
    left = next(row for row in board.json()["rows"] if row["model"] == "left")
    assert (left["wins"], left["losses"]) == (
        sum(label == "a" for _, label in answered),
        sum(label == "b" for _, label in answered),
    )


async def test_ties_as_verdicts_are_certified_on_raw_confidences(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "rivers", labelled_rows(300))
    made = await certify(client, "rivers", target_agreement=0.75, ties="class")
    assert (made["columns"], made["clip"]) == ("raw", None)


async def test_a_declared_shift_is_in_the_certificate_and_in_its_claim(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "rivers", labelled_rows(600))
    made = await certify(client, "rivers", target_agreement=0.75, max_shift=1.3)
    assert made["max_shift"] == 1.3
    assert made["shift_margin"] >= 1.3
    assert "1.3 times as frequent" in made["claim"] or made["shift_margin"] > 1.3
