from __future__ import annotations

import asyncio

import httpx
import pytest

from app.core.runtime import Runtime
from judges.errors import JudgeUnavailable
from judges.types import Pair, Score
from tests.app.paid_judge import PaidJudge, install
from tests.app.rows import Row, certify, labelled_rows, upload


async def test_failures_are_counted_on_pairs_that_reach_a_judge(client: httpx.AsyncClient) -> None:
    """The dear judge fails only where the cheap one answers: nobody will ever ask it there."""
    rows = labelled_rows(500, cheap=0.93)
    for row in rows:
        p_a = row["judges"]["cheap"]["p_a"]
        if max(p_a, 1 - p_a) > 0.97:
            row["judges"]["dear"] = None
    await upload(client, "rivers", rows)
    certificate = await certify(client, "rivers", target_agreement=0.8, method="diagonal")
    cheap, dear = (certificate["thresholds"][i]["threshold"] for i in range(2))
    assert cheap < 0.97
    assert dear is not None
    failures = certificate["calibration"]["failures"]
    reached = sum(
        max(row["judges"]["cheap"]["p_a"], 1 - row["judges"]["cheap"]["p_a"]) < cheap
        for row in rows
    )
    assert failures["cheap"] == {"asked": 500, "failed": 0, "manners": {}}
    assert failures["dear"] == {"asked": reached, "failed": 0, "manners": {}}


@pytest.mark.both_databases
async def test_failures_are_counted_slice_by_slice(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(600))
    certificate = await certify(
        client, "rivers", target_agreement=0.8, slices="task", method="strongest"
    )
    assert [part["status"] for part in certificate["certificates"]] == ["certified"] * 2
    failures = certificate["calibration"]["failures"]
    assert (failures["cheap"]["asked"], failures["dear"]["asked"]) == (0, 600)


async def test_a_judge_that_answers_in_one_order_now_is_not_the_one_certified(
    client: httpx.AsyncClient,
) -> None:
    def voted(row: Row, *, is_whole: bool) -> Row:
        label = "a" if row["judges"]["dear"]["p_a"] > 0.5 else "b"
        swapped = {"label_swapped": label} if is_whole else {}
        return {**row, "judges": {"dear": {"label_original": label, **swapped}}}

    rows = labelled_rows(400)
    await upload(client, "whole", [voted(row, is_whole=True) for row in rows[:300]])
    certificate = await certify(
        client, "whole", cascade={"judges": ["dear"]}, target_agreement=0.85
    )
    assert certificate["status"] == "certified"
    for is_whole, promise in ((True, "certified"), (False, "suspended")):
        pairs = [voted(row, is_whole=is_whole) for row in rows[300:]]
        for pair in pairs:
            del pair["human"]
        response = await client.post(
            "/v1/judgments", json={"pairs": pairs, "calibration": certificate["id"]}
        )
        assert response.status_code == 200, response.text
        assert {verdict["promise"] for verdict in response.json()["verdicts"]} == {promise}
    assert "single_order" in response.json()["suspended_because"]


async def test_a_judge_that_is_unavailable_is_named_with_its_cause(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    """A certification asks the judge for missing scores; that it raises must not be a riddle."""

    class Stopped(PaidJudge):
        async def score(self, pair: Pair) -> Score:
            raise JudgeUnavailable("the engine has stopped")

    install(running, Stopped("dear"))
    await upload(client, "rivers", [{**row, "judges": {}} for row in labelled_rows(60)])
    body = {"dataset": "rivers", "cascade": {"judges": ["dear"]}}
    made = (await client.post("/v1/calibrations", json=body)).json()
    for _ in range(200):
        found = (await client.get(f"/v1/calibrations/{made['id']}")).json()
        if found["status"] not in ("pending", "running"):
            break
        await asyncio.sleep(0.05)
    assert found["status"] == "failed"
    assert "'dear' failed on all" in found["error"]
    assert "the engine has stopped" in found["error"]
