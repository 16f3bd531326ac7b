"""What each judge adds to a stack, and how stacks are shown."""

from __future__ import annotations

import io
from typing import Any

import httpx

from app.cli.tables import boards as board_tables
from app.cli.tables import certificates as tables
from app.cli.tables.layout import Screen
from tests.app.rows import certify, labelled_rows, upload


def told_on_terminal(certificate: dict[str, Any]) -> str:
    shown = io.StringIO()
    tables.certificate(Screen(shown, has_edge=False), certificate)
    return " ".join(shown.getvalue().split())


async def test_a_stack_says_what_each_judge_contributes(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "rivers", labelled_rows(250, cheap=0.85, dear=0.9))
    made = await certify(client, "rivers", target_agreement=0.85)
    assert made["columns"] == "stacked"
    cheap, dear = made["contributes"]
    assert (cheap["judge"], dear["judge"]) == ("cheap", "dear")
    assert cheap["asked"] == 1.0
    assert dear["answers"]
    for one in (cheap, dear):
        assert 0 < one["coverage_without"] <= 1
        assert one["agreement_without"] < made["calibration"]["agreement"]
    raw = await certify(client, "rivers", target_agreement=0.85, method="auto_raw")
    assert raw["contributes"] is None
    told = [told_on_terminal(one) for one in (made, raw)]
    share = f"{100 * dear['coverage_without']:.1f}%"
    assert f"without dear: answers {share}, agreement" in told[0]
    assert f"(it is asked about {100 * dear['asked']:.1f}%)" in told[0]
    assert "without dear" not in told[1]
    # a factor of 1 is no margin, and the claim says so
    for margin, word in ((1.0, "none"), (1.349, "1.34"), (None, " - ")):
        shown = io.StringIO()
        page = (await client.get("/v1/calibrations")).json()
        for one in page["data"]:
            one["shift_margin"] = margin
        board_tables.calibrations(Screen(shown, has_edge=False), page)
        lines = shown.getvalue().splitlines()
        assert "hears" in lines[0]
        assert "shift" in lines[0]
        (line,) = [one for one in lines if made["id"] in one]
        assert "stacked" in line
        assert word in line


async def test_a_plan_names_a_cheaper_certificate_that_answers_as_much(
    client: httpx.AsyncClient,
) -> None:
    """The cheap judge is right as often as the dear one, which a stack would ask about most pairs."""
    await upload(client, "rivers", labelled_rows(300, cheap=0.97, dear=0.97))
    asked = {"dataset": "rivers", "cascade": {"judges": ["cheap", "dear"]}}
    frontier = (
        await client.post("/v1/plans", json={**asked, "target_agreements": [0.75, 0.999]})
    ).json()["frontier"]
    assert frontier[1]["cheapest"] is None
    for row in frontier:
        assert row["method"] == "auto"
        if row["cheapest"] is not None:
            assert row["cheapest"]["method"] == "auto_raw"
            assert row["cheapest"]["coverage"] >= row["coverage"] - 0.01
            assert row["cheapest"]["cost_per_pair"] < row["cost_per_pair"]
