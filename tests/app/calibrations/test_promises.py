"""What a certificate says that it promises, and on what it may not rest."""

from __future__ import annotations

import itertools
from typing import Any

import httpx
import pytest

from tests.app.batches.test_batches import wait_for
from tests.app.rows import certify, labelled_rows, upload


async def test_a_metadata_field_that_no_pair_has_is_no_slice(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(100))
    body = {
        "dataset": "rivers",
        "cascade": {"judges": ["cheap", "dear"]},
        "slices": "metadata.tasks",
    }
    response = await client.post("/v1/calibrations", json=body)
    assert response.status_code == 422
    assert response.json()["errors"] == [
        {"loc": ["body", "slices"], "msg": "no pair has the metadata field 'metadata.tasks'"}
    ]


@pytest.mark.parametrize("rule", ["joint", "each", "common"])
async def test_slices_hold_as_declared(client: httpx.AsyncClient, rule: str) -> None:
    await upload(client, "rivers", labelled_rows(600))
    certificate = await certify(
        client, "rivers", slices="task", slice_rule=rule, target_agreement=0.8
    )
    assert certificate["status"] == "certified"
    parts = certificate["certificates"]
    assert [part["slice"] for part in parts] == ["lakes", "rivers"]
    is_common = parts[0]["thresholds"] == parts[1]["thresholds"]
    assert is_common == (rule == "common")
    said = {"joint": "hold together", "each": "holds alone", "common": "same thresholds"}
    assert said[rule] in certificate["claim"]


async def test_a_menu_says_that_its_targets_hold_together(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(400))
    certificate = await certify(client, "rivers", target_agreement=0.7, menu=[0.8])
    for part in certificate["certificates"]:
        assert "one of 2 targets declared together: with probability at least 0.9" in part["claim"]


METHODS = [
    "auto", "diagonal", "strongest", "learned", "pareto_testing", "stagewise", "simultaneous",
    "sequential", "average",
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_makes_a_certificate_that_judges(
    client: httpx.AsyncClient, method: str
) -> None:
    await upload(client, "rivers", labelled_rows(500))
    certificate = await certify(client, "rivers", method=method, target_agreement=0.75)
    assert certificate["status"] == "certified"
    assert certificate["method"] == method
    body = {"dataset": "rivers", "calibration": certificate["id"]}
    pair = {**labelled_rows(501)[500], "human": []}
    response = await client.post(
        "/v1/judgments", json={"pairs": [pair], "calibration": body["calibration"]}
    )
    (verdict,) = response.json()["verdicts"]
    assert verdict["calibration"] == certificate["id"]
    # what holds on average holds for the pool, and with no probability
    assert verdict["promise"] == ("none" if method == "average" else "certified")
    batch = (await client.post("/v1/batches", json=body)).json()
    assert batch["promise"] == verdict["promise"]
    assert (method == "average") == ("bounds a mean" in batch["promise_note"])


async def test_simultaneous_bounds_are_told(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(300))
    certificate = await certify(client, "rivers", method="simultaneous", target_agreement=0.75)
    bounds = certificate["calibration"]["bounds"]
    assert len(bounds) == 14
    assert all(0 <= bound["agreement_lower_bound"] <= 1 for bound in bounds)
    paths = (await certify(client, "rivers"))["calibration"]["paths"]
    assert [path["path"] for path in paths] == ["diagonal", "strongest"]


@pytest.mark.both_databases
async def test_labels_are_taken_in_the_order_in_which_they_came(
    client: httpx.AsyncClient,
) -> None:
    """The first half is labelled last: what was certified before it must stay."""
    rows = labelled_rows(400)
    late = [{**row, "human": []} for row in rows[:200]]
    await upload(client, "rivers", [*late, *rows[200:]])
    options = {"method": "sequential", "target_agreement": 0.8, "part": None}
    before = await certify(client, "rivers", **options)
    labels = [{"dataset": "rivers", "pair": row["id"], **row["human"][0]} for row in rows[:200]]
    assert (await client.post("/v1/labels", json={"labels": labels})).status_code == 201
    after = await certify(client, "rivers", **options)
    assert after["calibration"]["pairs"] > before["calibration"]["pairs"]
    thresholds = [
        [tier["threshold"] for tier in certificate["thresholds"]] for certificate in (before, after)
    ]
    assert all(
        old is None or (new is not None and new <= old)
        for old, new in zip(*thresholds, strict=True)
    )


async def test_a_sequence_of_looks_takes_no_pool(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(60))
    body = {
        "dataset": "rivers", "pool": "rivers", "method": "sequential",
        "cascade": {"judges": ["cheap", "dear"]},
    }  # fmt: skip
    answer = await client.post("/v1/calibrations", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "pool"]


async def test_label_probabilities_that_are_equal_by_chance_are_still_declared(
    client: httpx.AsyncClient,
) -> None:
    """Only pairs that were sure to be labelled turned up: counts would certify them for all."""
    rows = [{**row, "metadata": {"label_probability": 1.0}} for row in labelled_rows(300)]
    await upload(client, "rivers", rows)
    options = {"target_agreement": 0.75, "part": None}
    assert (await certify(client, "rivers", **options))["status"] == "certified"
    declared = await certify(client, "rivers", **options, min_label_probability=0.01)
    assert declared["status"] == "not_certifiable"


async def test_who_is_outside_of_the_promise_depends_on_who_people_are(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "rivers", labelled_rows(300))
    by_rule = {
        rule: (await certify(client, "rivers", target_agreement=0.75, label_rule=rule))["claim"]
        for rule in ("majority", "random_annotator")
    }
    assert "Pairs on which people have no preference" in by_rule["majority"]
    assert "Annotators who have no preference" in by_rule["random_annotator"]


async def test_one_prompt_in_several_groups_is_said(client: httpx.AsyncClient) -> None:
    rows = labelled_rows(300)
    for number, row in enumerate(rows):
        row |= {"prompt": f"Question {number // 3}?", "group": f"g{number}"}
    await upload(client, "rivers", rows)
    certificate = await certify(client, "rivers", target_agreement=0.75)
    assert certificate["calibration"]["prompts_in_several_groups"] == 100
    assert "100 prompts occur in several groups" in certificate["claim"]


async def test_a_random_annotator_with_a_preference_is_not_a_random_pair_with_one(
    client: httpx.AsyncClient,
) -> None:
    """People are sure where the judge is right, and mostly call ties where it is wrong."""
    rows = labelled_rows(400, dear=0.9)
    for row, sides in zip(rows, itertools.cycle(["sure", "sure", "torn"]), strict=False):
        right = "a" if row["judges"]["dear"]["p_a"] > 0.5 else "b"
        wrong = "b" if right == "a" else "a"
        labels = [right] * 5 if sides == "sure" else [wrong, *["tie"] * 4]
        row["human"] = [
            {"annotator": f"person {i}", "label": label} for i, label in enumerate(labels)
        ]
    await upload(client, "rivers", rows)
    options = {
        "cascade": {"judges": ["dear"]},
        "label_rule": "random_annotator",
        "method": "strongest",
        "failure_probability": 0.2,
    }
    certificate = await certify(client, "rivers", target_agreement=0.85, **options)
    # of 2 x 5 + 1 x 1 labels that are no ties 10 agree, though of the pairs only two thirds do
    assert certificate["calibration"]["agreement"] == pytest.approx(10 / 11, abs=0.01)
    assert certificate["status"] == "certified"


async def _vote(client: httpx.AsyncClient, annotator: str, labels: dict[str, str]) -> None:
    posted = [
        {"dataset": "rivers", "pair": pair, "annotator": annotator, "label": label}
        for pair, label in labels.items()
    ]
    answer = await client.post("/v1/labels", json={"labels": posted})
    assert answer.status_code == 201, answer.text


async def _sequence(client: httpx.AsyncClient) -> dict[str, Any]:
    options = {"method": "sequential", "target_agreement": 0.8, "part": None}
    found = (await certify(client, "rivers", **options))["calibration"]
    return {name: found[name] for name in ("pairs", "answered", "disagreements", "p_value")}


@pytest.mark.both_databases
async def test_a_later_vote_moves_no_pair_and_changes_nothing_that_was_read(
    client: httpx.AsyncClient,
) -> None:
    """Otherwise each look would read another order of the same pairs, until one passes."""
    rows = labelled_rows(200)
    await upload(client, "rivers", [{**row, "human": []} for row in rows])
    first = {row["id"]: row["human"][0]["label"] for row in rows}
    await _vote(client, "anna", first)
    before = await _sequence(client)
    swapped = {"a": "b", "b": "a"}
    some = {pair: swapped[label] for pair, label in list(first.items())[:90]}
    await _vote(client, "ben", some)  # a second voice on the pairs that came first
    assert await _sequence(client) == before
    await _vote(client, "anna", some)  # a change of mind
    assert await _sequence(client) == before


async def test_labels_of_one_moment_are_not_read_in_the_order_of_the_file(
    client: httpx.AsyncClient,
) -> None:
    """A file sorted by whether the judge was right would certify a judge at chance."""
    rows = labelled_rows(300, cheap=0.55, dear=0.6)

    def is_right(row: dict[str, Any]) -> bool:
        said = "a" if row["judges"]["dear"]["p_a"] > 0.5 else "b"
        return bool(said == row["human"][0]["label"])

    await upload(client, "rivers", sorted(rows, key=is_right, reverse=True))
    options = {"method": "sequential", "target_agreement": 0.8, "part": None}
    certificate = await certify(client, "rivers", **options, cascade={"judges": ["dear"]})
    assert certificate["status"] == "not_certifiable"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "auto_raw"},
        {"slices": "task", "slice_rule": "each"},
        {"ties": "error", "target_agreement": 0.6},
    ],
)
async def test_the_share_answered_names_its_pairs(
    client: httpx.AsyncClient, options: dict[str, Any]
) -> None:
    """Ties do not test a certificate, and are answered more seldom: both shares are told."""
    rows = labelled_rows(240)
    for row in rows[::3]:
        row["human"] = [{"annotator": "anna", "label": "tie"}]
        row["judges"] = {name: {**one, "p_a": 0.55} for name, one in row["judges"].items()}
    await upload(client, "rivers", rows)
    made = await certify(client, "rivers", **{"target_agreement": 0.75, **options})
    assert made["status"] == "certified"
    found, every = made["calibration"], made["calibration"]["all_labelled"]
    told = f"{found['answered']} of the {found['pairs']} pairs ({found['coverage']:.1%}"
    assert told in made["answers"]
    assert found["pairs"] <= (240 if options.get("ties") else 160)
    assert every["pairs"] == 240
    assert "Of all 240 labelled pairs, those left out of the test included" in made["answers"]
    assert f"it answers {every['answered']} (" in made["answers"]
    asked = {"dataset": "rivers", "calibration": made["id"]}
    batch = await client.post("/v1/batches", json=asked)
    judged = await wait_for(client, batch.json()["id"])
    assert judged["request_counts"]["accepted"] == every["answered"]
    target = 100 * made["target_agreement"]
    assert f"at least {target:.0f}% agree with people, with 90% confidence" in made["summary"]


async def test_a_declared_share_is_never_rounded(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(90))
    made = await certify(client, "rivers", target_agreement=0.9996, failure_probability=0.0004)
    assert "at least 99.96% could not be shown with 99.96% confidence" in made["summary"]
    assert "answers" not in made
