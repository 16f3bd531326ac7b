from __future__ import annotations

import httpx
import pytest

from tests.app.rows import certify, labelled_rows, upload


@pytest.mark.both_databases
async def test_good_judges_are_certified_with_all_that_the_promise_rests_on(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "rivers", labelled_rows(400))
    certificate = await certify(client, "rivers", target_agreement=0.85)
    assert certificate["status"] == "certified"
    assert [tier["judge"] for tier in certificate["thresholds"]] == ["cheap", "dear"]
    found = certificate["calibration"]
    assert found["agreement_lower_bound"] >= 0.85
    assert found["coverage"] > 0.5
    assert found["answered"] <= found["pairs"] <= 400
    assert found["pairs"] + found["set_aside"] == 400
    assert sum(found["composition"].values()) == pytest.approx(found["coverage"])
    assert 0 < found["relative_cost"] <= 1.1
    assert certificate["label_set_uses"] == 1
    assert set(certificate["fingerprints"]) == {"cheap", "dear"}
    assert "0.85" in certificate["claim"]
    assert (await client.get(f"/v1/calibrations/{certificate['id']}")).json() == certificate


async def test_hopeless_judges_are_refused_and_the_refusal_advises(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "guesses", labelled_rows(300, cheap=0.5, dear=0.55))
    certificate = await certify(client, "guesses", target_agreement=0.9)
    assert certificate["status"] == "not_certifiable"
    assert all(tier["threshold"] is None for tier in certificate["thresholds"])
    assert certificate["calibration"]["agreement_lower_bound"] is None
    assert certificate["advice"]["certifiable_agreement"] < 0.9
    assert certificate["advice"]["labels_needed"] is None


@pytest.mark.both_databases
async def test_the_same_labels_used_again_are_counted_and_said(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(300))
    await certify(client, "rivers", target_agreement=0.8)
    later = await certify(client, "rivers", target_agreement=0.85)
    assert later["label_set_uses"] == 2
    assert "menu" in later["claim"], "it says how several tests would hold together"


@pytest.mark.both_databases
async def test_a_part_calibrates_and_the_other_part_is_the_pool(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(400))
    part = {"fraction": 0.5, "seed": 3, "side": "calibration"}
    certificate = await certify(client, "rivers", target_agreement=0.8, part=part)
    assert certificate["calibration"]["pairs"] == 200
    assert certificate["calibration"]["pool"] == 200
    assert certificate["calibration"]["set_aside"] == 0


async def test_the_published_rule_is_never_called_certified(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(300))
    certificate = await certify(client, "rivers", method="published_code")
    assert certificate["status"] == "not_certifiable"
    assert all(tier["threshold"] is None for tier in certificate["thresholds"])
    assert "No promise" in certificate["claim"]


@pytest.mark.both_databases
async def test_slices_have_certificates_of_their_own(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(800))
    certificate = await certify(client, "rivers", target_agreement=0.8, slices="metadata.task")
    assert {part["slice"] for part in certificate["certificates"]} == {"rivers", "lakes"}


async def test_a_menu_declares_several_targets_together(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(500))
    certificate = await certify(client, "rivers", target_agreement=0.8, menu=[0.7, 0.99])
    targets = {part["target_agreement"]: part["status"] for part in certificate["certificates"]}
    assert targets[0.8] == "certified"
    assert targets[0.99] == "not_certifiable"


@pytest.mark.both_databases
async def test_pairs_a_judge_was_trained_on_are_left_out_and_counted(
    client: httpx.AsyncClient,
) -> None:
    from judges.student.model import StudentModel

    trained = len(StudentModel.load().training_prompt_hashes)
    assert trained > 0
    rows = labelled_rows(200)
    await upload(client, "mixed", rows)
    certificate = await certify(client, "mixed", cascade={"judges": ["student", "dear"]})
    assert certificate["calibration"]["seen_in_training"] == 0
    assert certificate["fingerprints"]["student"].startswith("student:")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"target_agreement": 1.5}, "target_agreement"),
        ({"failure_probability": 0}, "failure_probability"),
        ({"method": "magic"}, "method"),
        ({"ties": "maybe"}, "ties"),
        ({"colour": "red"}, "colour"),
        ({"cascade": "no-such"}, "cascade"),
        ({"cascade": {"judges": []}}, "judges"),
        ({"cascade": {"judges": ["cheap", "cheap"]}}, "judges"),
        ({"cascade": {"judges": ["cheap", "nobody"]}}, "nobody"),
        ({"seed": -1}, "seed"),
        ({"part": {"fraction": 2, "side": "test"}}, "fraction"),
        ({"menu": []}, "menu"),
    ],
)
async def test_a_bad_request_names_the_field(
    client: httpx.AsyncClient, change: dict[str, object], named: str
) -> None:
    await upload(client, "small", labelled_rows(40))
    body = {"dataset": "small", "cascade": {"judges": ["cheap", "dear"]}, **change}
    response = await client.post("/v1/calibrations", json=body)
    assert response.status_code == 422
    assert response.headers["content-type"].startswith("application/problem+json")
    assert named in response.text


async def test_an_unknown_dataset_is_404(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/calibrations", json={"dataset": "none"})
    assert response.status_code == 404


async def test_no_labels_at_all_is_refused_without_a_crash(client: httpx.AsyncClient) -> None:
    rows = [{**row, "human": []} for row in labelled_rows(20)]
    await upload(client, "unlabelled", rows)
    body = {"dataset": "unlabelled", "cascade": {"judges": ["cheap", "dear"]}}
    response = await client.post("/v1/calibrations", json=body)
    assert response.status_code == 422
    assert "none of its 20 pairs has a label" in response.json()["detail"]


async def test_ties_of_people_follow_the_declared_rule(client: httpx.AsyncClient) -> None:
    rows = labelled_rows(300)
    for row in rows[:60]:
        row["human"] = [{"annotator": "anna", "label": "tie"}]
    await upload(client, "ties", rows)
    exclude = await certify(client, "ties", target_agreement=0.7)
    error = await certify(client, "ties", target_agreement=0.7, ties="error")
    assert exclude["calibration"]["ties_left_out"] == 60
    assert error["calibration"]["ties_left_out"] == 0
    assert error["calibration"]["pairs"] + error["calibration"]["set_aside"] == 300


@pytest.mark.both_databases
async def test_lists_are_pages(client: httpx.AsyncClient) -> None:
    await upload(client, "rivers", labelled_rows(60))
    ids = [(await certify(client, "rivers", seed=seed))["id"] for seed in range(3)]
    first = (await client.get("/v1/calibrations", params={"limit": 2})).json()
    assert [row["id"] for row in first["data"]] == ids[:0:-1]
    assert first["has_more"]
    rest = (await client.get("/v1/calibrations", params={"after": first["last_id"]})).json()
    assert [row["id"] for row in rest["data"]] == ids[:1]
    assert not rest["has_more"]


async def test_a_revoked_certificate_is_refused(client: httpx.AsyncClient) -> None:
    rows = labelled_rows(200)
    await upload(client, "rivers", rows)
    certificate = await certify(client, "rivers", target_agreement=0.7)
    revoked = await client.post(f"/v1/calibrations/{certificate['id']}/revoke")
    assert revoked.json()["revoked_at"]
    pair = {k: v for k, v in rows[0].items() if k != "human"}
    refused = await client.post(
        "/v1/judgments", json={"pairs": [pair], "calibration": certificate["id"]}
    )
    assert refused.status_code == 409


@pytest.mark.both_databases
async def test_pairs_with_other_labels_than_the_certificate_read_are_counted(
    client: httpx.AsyncClient,
) -> None:
    rows = labelled_rows(200)
    del rows[199]["human"]
    await upload(client, "rivers", rows)
    certificate = await certify(client, "rivers", target_agreement=0.7)
    assert certificate["labels_changed"] == 0
    other = {"a": "b", "b": "a"}
    said = [
        ("p0", "anna", other[rows[0]["human"][0]["label"]]),  # replaced
        ("p1", "bert", "a"), ("p1", "carl", "b"),  # one pair, two further labels
        ("p2", "anna", rows[2]["human"][0]["label"]),  # the same once more
        ("p199", "anna", "a"),  # a pair that the certificate never read
    ]  # fmt: skip
    labels: list[dict[str, str]] = [
        {"dataset": "rivers", "pair": pair, "annotator": annotator, "label": label}
        for pair, annotator, label in said
    ]
    labels.append({**labels[0], "pair": "p3", "criterion": "style"})
    assert (await client.post("/v1/labels", json={"labels": labels})).status_code == 201
    found = (await client.get(f"/v1/calibrations/{certificate['id']}")).json()
    assert found == {**certificate, "labels_changed": 2}
    asked = {
        "dataset": "rivers", "source": "cascade", "calibration": certificate["id"],
        "method": "win_rate",
    }  # fmt: skip
    board = (await client.post("/v1/leaderboards", json=asked)).json()
    assert board["rests_on"]["labels_changed"] == 2
    assert any("given or replaced on 2 pairs that" in text for text in board["warnings"])


@pytest.mark.parametrize("label_rule", ["majority", "random_annotator"])
@pytest.mark.parametrize("ties", ["exclude", "error", "half", "class"])
async def test_every_promise_that_can_be_declared_is_made_and_said(
    client: httpx.AsyncClient, label_rule: str, ties: str
) -> None:
    rows = labelled_rows(300, dear=0.97)
    for number, row in enumerate(rows):
        said = row["human"][0]["label"]
        other = "tie" if number % 9 == 0 else said
        row["human"] += [
            {"annotator": "bert", "label": said},
            {"annotator": "carl", "label": other},
        ]
    await upload(client, "voted", rows)
    certificate = await certify(
        client, "voted", target_agreement=0.7, label_rule=label_rule, ties=ties
    )
    assert certificate["status"] == "certified"
    assert ("majority" in certificate["claim"]) == (label_rule == "majority")
    agreement = certificate["calibration"]["agreement"]
    assert 0.7 <= agreement <= 1


async def test_a_verdict_may_be_a_tie_where_ties_are_a_class(client: httpx.AsyncClient) -> None:
    rows = labelled_rows(200)
    for row in rows[::2]:
        row["human"] = [{"annotator": "anna", "label": "tie"}]
        row["judges"]["dear"] = {"p_a": 0.05, "p_tie": 0.9}
    await upload(client, "ties", rows)
    certificate = await certify(
        client, "ties", target_agreement=0.7, ties="class", cascade={"judges": ["dear"]}
    )
    assert certificate["status"] == "certified"
    pair = {key: value for key, value in rows[0].items() if key != "human"}
    response = await client.post(
        "/v1/judgments", json={"pairs": [pair], "calibration": certificate["id"]}
    )
    verdict = response.json()["verdicts"][0]
    assert verdict["label"] == "tie"
    assert verdict["confidence"] == pytest.approx(0.9)


async def test_unequal_label_probabilities_need_a_declared_bound(
    client: httpx.AsyncClient,
) -> None:
    rows = labelled_rows(300, dear=0.98)
    for number, row in enumerate(rows):
        row["metadata"]["label_probability"] = 0.5 if number % 2 else 0.9
    await upload(client, "drawn", rows)
    body = {"dataset": "drawn", "cascade": {"judges": ["cheap", "dear"]}, "target_agreement": 0.7}
    refused = await client.post("/v1/calibrations", json=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["loc"] == ["body", "min_label_probability"]
    allowed = await certify(client, "drawn", target_agreement=0.7, min_label_probability=0.5)
    assert allowed["status"] == "certified"
