"""What a refusal says, and methods that are declared together."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.calibrations.document import verify
from tests.app.rows import certify, labelled_rows, upload

TOO_MUCH = {"target_agreement": 0.97}


async def test_a_refusal_says_what_was_tried_and_what_would_help(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "rivers", labelled_rows(90))
    made = await certify(client, "rivers", **TOO_MUCH)
    assert made["status"] == "not_certifiable"
    refusal = made["refusal"]
    found = made["calibration"]
    assert refusal["tried"].startswith(f"Tried on {found['pairs']} pairs of")
    assert f"auto, {found['nodes_tested']} choices of thresholds" in refusal["tried"]
    assert "an agreement of 0.97" in refusal["tried"]
    needed = made["advice"]["labels_needed"]
    assert "a target of 0." in refusal["would_help"]
    assert needed is None or f"{needed} labelled groups" in refusal["would_help"]
    whole = await certify(client, "rivers", scope="dataset", max_error=0.001)
    assert "an error of 0.001" in whole["refusal"]["tried"]
    fine = await certify(client, "rivers", target_agreement=0.7)
    assert fine["refusal"] is None


async def test_methods_declared_together_share_the_failure_probability(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "rivers", labelled_rows(300))
    declared = ["auto_raw", "learned_stack"]
    made = await certify(client, "rivers", method=declared, target_agreement=0.85)
    assert made["methods"] == declared
    assert made["method"] in declared
    assert made["failure_probability"] == 0.1
    assert made["claim"].startswith("With probability at least 0.9 ")
    assert "2 methods that were declared together" in made["claim"]
    alone = await certify(
        client, "rivers", method=made["method"], target_agreement=0.85, failure_probability=0.05
    )
    assert alone["calibration"]["coverage"] == pytest.approx(
        made["calibration"]["coverage"], abs=0.1
    )
    assert alone["methods"] is None
    document = (await client.get(f"/v1/calibrations/{made['id']}/export")).json()
    assert not [fault for fault in verify(document, ()).faults if fault.field != "signature"]


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"method": ["auto", "sequential"]}, "method"),
        ({"method": ["auto", "auto"]}, "method"),
        ({"method": ["auto"]}, "method"),
        ({"method": ["auto", "auto_raw"], "menu": [0.8]}, "menu"),
        ({"method": ["auto", "auto_raw"], "slices": "task"}, "slices"),
    ],
)
async def test_what_cannot_be_declared_together_is_named(
    client: httpx.AsyncClient, asked: dict[str, Any], named: str
) -> None:
    answer = await client.post("/v1/calibrations", json={"dataset": "rivers", **asked})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][:2] == ["body", named]
