"""What a refusal says, and methods that are declared together."""

from __future__ import annotations

import re
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
    assert "an agreement of 0.97 with 90% confidence" in refusal["tried"]
    needed = made["advice"]["labels_needed"]
    assert needed is None or f"about {needed} pairs that count" in refusal["would_help"]
    target = suggested(refusal)
    again = await certify(client, "rivers", target_agreement=target)
    assert again["status"] == "certified"
    same = (await client.get(f"/v1/calibrations/{made['id']}")).json()["same_labels"]
    assert same == [{"id": again["id"], "summary": again["summary"]}]
    assert f"at least {100 * target:.0f}% agree" in again["summary"]
    # what is withdrawn, or made from other labels, is not told
    await client.post(f"/v1/calibrations/{again['id']}/revoke")
    await certify(
        client, "rivers", target_agreement=target, part={"side": "calibration", "fraction": 0.7}
    )
    assert (await client.get(f"/v1/calibrations/{made['id']}")).json()["same_labels"] == []
    whole = await certify(client, "rivers", scope="dataset", max_error=0.001)
    assert "an error of 0.001" in whole["refusal"]["tried"]
    fine = await certify(client, "rivers", target_agreement=0.7)
    assert fine["refusal"] is None


def suggested(refusal: dict[str, Any]) -> float:
    """Return the target that a refusal suggests."""
    found = re.search(r"a target of (0\.\d+): asked for in the same way", refusal["would_help"])
    assert found, refusal["would_help"]
    return float(found[1])


ASKED: list[dict[str, Any]] = [
    {},
    {"method": "auto_raw"},
    {"method": ["auto_raw", "learned_stack"]},
    {"method": "sequential"},
    {"ties": "half"},
    {"failure_probability": 0.02},
    {"slices": "metadata.task"},
    {"menu": [0.98]},
    {"max_shift": 1.2},
    {"scope": "dataset", "max_error": 0.005},
]


async def test_what_a_refusal_suggests_is_certified_when_asked_for(
    client: httpx.AsyncClient,
) -> None:
    """A target that these labels only come near to showing would be refused again."""
    checked = 0
    for seed in range(6):
        rows = labelled_rows(60 + 40 * seed, seed=seed, cheap=0.65, dear=0.8)
        await upload(client, f"rivers{seed}", rows)
        for options in ASKED:
            asked = {"target_agreement": 0.97, **options}
            if "scope" in asked:
                del asked["target_agreement"]
            made = await certify(client, f"rivers{seed}", **asked)
            said = made["refusal"]["would_help"] if made["refusal"] else ""
            named = re.search(r"(?:target|error) of (0\.\d+): asked for in the same way", said)
            if named is None:
                continue
            field = "max_error" if "scope" in asked else "target_agreement"
            again = await certify(client, f"rivers{seed}", **{**asked, field: float(named[1])})
            assert again["status"] == "certified", (seed, options)
            figures = again["calibration"]
            assert f"answers {figures['answered']} of the {figures['pairs']} pairs" in said
            assert f"with {100 * (1 - again['failure_probability']):g}% confidence" in said
            checked += 1
    assert checked > 30


def without_answers(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "judges": {name: {"p_a": None} for name in row["judges"]}}


def with_ties(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "human": [{"annotator": "anna", "label": "tie"}]}


def drawn(row: dict[str, Any]) -> dict[str, Any]:
    odd = int(row["id"][1:]) % 2
    return {**row, "metadata": {"label_probability": 0.2 if odd else 0.8}}


async def test_a_refusal_says_nothing_that_its_labels_do_not_show(
    client: httpx.AsyncClient,
) -> None:
    rows = labelled_rows(200)
    await upload(client, "silent", [without_answers(row) for row in rows])
    silent = await certify(client, "silent")
    assert silent["refusal"]["would_help"].startswith("Judges that answer would help")
    assert "no judge answers any of these pairs" in silent["advice"]["text"]
    await upload(client, "rivers", rows)
    ours = await certify(client, "rivers", target_agreement=0.8)
    assert ours["status"] == "certified"
    rule = await certify(client, "rivers", method="published_code")
    assert "no valid test" in rule["refusal"]["tried"]
    assert "not reached" not in rule["advice"]["text"]
    # a judge that is right in 19 of 20 pairs is not when the wrong ones are nine times as frequent
    moved = await certify(client, "rivers", target_agreement=0.9, max_shift=3)
    assert moved["status"] == "not_certifiable"
    plain = await certify(client, "rivers", target_agreement=0.9)
    needed, enough = (one["advice"]["labels_needed"] for one in (moved, plain))
    assert needed is None or needed > 3 * enough
    # bounds that count all pairs alike say nothing of pairs that count unequally
    await upload(client, "drawn", [drawn(row) for row in rows])
    weighed = await certify(client, "drawn", target_agreement=0.97, min_label_probability=0.2)
    assert weighed["advice"]["certifiable_agreement"] is None
    # the same labels and other scores of judges of the same names are another dataset's
    for row in rows:
        row["judges"] = {name: {"p_a": 1 - one["p_a"]} for name, one in row["judges"].items()}
    await upload(client, "wrong", rows)
    wrong = await certify(client, "wrong", target_agreement=0.8)
    shown = (await client.get(f"/v1/calibrations/{wrong['id']}")).json()
    assert (shown["status"], shown["same_labels"]) == ("not_certifiable", [])


@pytest.mark.parametrize("verb", ["calibrations", "plans"])
async def test_labels_that_calibrate_nothing_are_named(
    client: httpx.AsyncClient, verb: str
) -> None:
    rows = labelled_rows(40)
    await upload(client, "tied", [with_ties(row) for row in rows])
    await upload(client, "bare", [{**row, "human": []} for row in rows])
    said = {"tied": "40 ties, which another rule", "bare": "none of its 40 pairs has a label"}
    for name, words in said.items():
        asked = {"dataset": name, "cascade": {"judges": ["cheap", "dear"]}}
        answer = await client.post(f"/v1/{verb}", json=asked)
        assert answer.status_code == 422
        assert words in answer.text
        assert " 0 " not in answer.json()["detail"]


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
