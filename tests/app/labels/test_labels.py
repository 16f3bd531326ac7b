from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.app.imports.uploads import pairs_of, row, upload

NONE = {"accepted": 0, "replaced": 0, "unchanged": 0, "contradicted": 0}


def counts_of(answer: httpx.Response) -> dict[str, int]:
    """Return what became of posted labels."""
    return {name: answer.json()[name] for name in NONE}


@pytest.fixture
async def dataset(client: httpx.AsyncClient) -> str:
    answer = await upload(client, [row(0), row(1)])
    found: str = answer.json()["id"]
    return found


def _label(pair: str = "p0", **fields: Any) -> dict[str, Any]:
    return {"dataset": "set", "pair": pair, "annotator": "ann", "label": "b", **fields}


async def _post(client: httpx.AsyncClient, *labels: dict[str, Any]) -> httpx.Response:
    return await client.post("/v1/labels", json={"labels": list(labels)})


async def _human(client: httpx.AsyncClient) -> list[tuple[str | None, str]]:
    [first, *_] = await pairs_of(client)
    return [(vote["annotator"], vote["label"]) for vote in first["human"]]


@pytest.mark.both_databases
async def test_a_label_replaces_that_persons_earlier_one_and_history_is_kept(
    client: httpx.AsyncClient, dataset: str
) -> None:
    answer = await _post(client, _label(), _label(annotator="new", dataset=dataset))
    assert (answer.status_code, answer.json()) == (
        201, {"accepted": 2, "replaced": 1, "unchanged": 0, "contradicted": 0,
              "labels": {"a": 0, "b": 2, "tie": 0}, "turned": 0},
    )  # fmt: skip
    assert await _human(client) == [("ann", "b"), ("new", "b")]
    assert (await client.get("/v1/datasets/set")).json()["labels"] == 3
    history = (await client.get("/v1/labels?history=true&order=asc")).json()["data"]
    assert [(each["label"], each["replaced_at"] is None) for each in history] == [
        ("a", False), ("a", True), ("b", True), ("b", True),
    ]  # fmt: skip


@pytest.mark.both_databases
async def test_the_same_label_again_changes_nothing(
    client: httpx.AsyncClient, dataset: str
) -> None:
    before = (await client.get("/v1/labels?history=true")).json()
    answer = await _post(client, _label(label="A"))
    assert counts_of(answer) == {**NONE, "accepted": 1, "unchanged": 1}
    assert (await client.get("/v1/labels?history=true")).json() == before


@pytest.mark.both_databases
async def test_the_last_of_several_labels_in_one_request_stands(
    client: httpx.AsyncClient, dataset: str
) -> None:
    labels = [_label(label=label) for label in ("b", "tie", "tie", "a", "b")]
    answer = await _post(client, *labels)
    assert counts_of(answer) == {"accepted": 5, "replaced": 4, "unchanged": 1, "contradicted": 1}
    assert answer.json()["labels"] == {"a": 1, "b": 2, "tie": 2}
    assert await _human(client) == [("ann", "b")]
    before = (await client.get("/v1/labels?history=true")).json()
    again = await _post(client, *labels)
    assert counts_of(again) == {"accepted": 5, "replaced": 0, "unchanged": 5, "contradicted": 1}
    assert (await client.get("/v1/labels?history=true")).json() == before


@pytest.mark.both_databases
async def test_the_same_label_with_another_comment_is_no_contradiction(
    client: httpx.AsyncClient, dataset: str
) -> None:
    answer = await _post(client, _label(comment="long"), _label(comment="too long"))
    assert counts_of(answer) == {"accepted": 2, "replaced": 2, "unchanged": 0, "contradicted": 0}


@pytest.mark.both_databases
async def test_another_criterion_and_unknown_people_replace_nothing(
    client: httpx.AsyncClient, dataset: str
) -> None:
    unknown = _label(annotator=None)
    answer = await _post(client, _label(criterion="tone"), unknown, unknown)
    assert counts_of(answer) == {**NONE, "accepted": 3}
    assert len(await _human(client)) == 4


@pytest.mark.both_databases
async def test_a_double_vote_of_a_file_is_replaced_by_one_label(client: httpx.AsyncClient) -> None:
    double = [{"annotator": "ann", "label": "a"}, {"annotator": "ann", "label": "b"}]
    answer = await upload(client, [row(0, human=double), row(1)])
    assert answer.json()["warnings"] == [
        "on 1 pairs one person gives labels that differ; all are kept (give every person a name)"
    ]
    assert (await _post(client, _label(label="b"))).json()["replaced"] == 2
    assert await _human(client) == [("ann", "b")]


@pytest.mark.both_databases
async def test_details_are_kept(client: httpx.AsyncClient, dataset: str) -> None:
    given = {"strength": 2.0, "first_shown": "b", "comment": "a\x00\ud800"}
    body = '{"labels": [{"dataset": "set", "pair": "p0", "annotator": "ann", "label": "b",'
    body += ' "strength": 2.0, "first_shown": "b", "comment": "a\\u0000\\ud800"}]}'
    answer = await client.post(
        "/v1/labels", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 201
    [found] = [each for each in (await client.get("/v1/labels")).json()["data"]
               if each["pair"] == "p0"]  # fmt: skip
    assert {name: found[name] for name in given} == given
    assert (found["dataset"], found["object"]) == (dataset, "label")


@pytest.mark.both_databases
async def test_one_bad_label_stores_none_and_is_named(
    client: httpx.AsyncClient, dataset: str
) -> None:
    answer = await _post(
        client, _label(), _label("nothing"), _label(dataset="nowhere"), _label(dataset="a\x00")
    )
    assert answer.status_code == 404
    assert [error["loc"] for error in answer.json()["errors"]] == [
        ["body", "labels", 1, "pair"],
        ["body", "labels", 2, "dataset"],
        ["body", "labels", 3, "dataset"],
    ]
    assert (await _post(client, _label("nothing"))).status_code == 422
    assert await _human(client) == [("ann", "a")]


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"label": "C"}, "label"),
        ({"label": None}, "label"),
        ({"annotator": True}, "annotator"),
        ({"annotator": "a\nb"}, "annotator"),
        ({"pair": ""}, "pair"),
        ({"pair": "x" * 513}, "pair"),
        ({"criterion": None}, "criterion"),
        ({"strength": "much"}, "strength"),
        ({"unknown": 1}, "unknown"),
    ],
)
async def test_a_bad_field_is_named(
    client: httpx.AsyncClient, dataset: str, fields: dict[str, Any], loc: str
) -> None:
    answer = await _post(client, _label(), _label(**fields))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "labels", 1, loc]
    assert await _human(client) == [("ann", "a")]


async def test_a_label_needs_to_say_whose_it_is(client: httpx.AsyncClient, dataset: str) -> None:
    label = _label()
    del label["annotator"]
    answer = await _post(client, label)
    assert answer.json()["errors"][0]["loc"] == ["body", "labels", 0, "annotator"]


async def test_no_labels_are_refused(client: httpx.AsyncClient) -> None:
    assert (await _post(client)).status_code == 422


@pytest.mark.both_databases
async def test_the_list_goes_on_behind_the_last_label_seen(
    client: httpx.AsyncClient, dataset: str
) -> None:
    await upload(client, [row(7)], name="other")
    first = (await client.get("/v1/labels", params={"limit": 2})).json()
    rest = (await client.get("/v1/labels", params={"after": first["last_id"]})).json()
    assert [each["pair"] for each in first["data"] + rest["data"]] == ["p7", "p1", "p0"]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    mine = (await client.get("/v1/labels", params={"dataset": "other"})).json()["data"]
    assert [each["pair"] for each in mine] == ["p7"]


async def test_what_else_is_known_of_a_label_is_kept_and_exported(
    client: httpx.AsyncClient, dataset: str
) -> None:
    further = {"seconds": 12, "page": {"left": "n"}}
    answer = await _post(client, _label(comment="short", details=further))
    assert answer.status_code == 201, answer.text
    [first, *_] = await pairs_of(client)
    wanted = {
        "annotator": "ann",
        "label": "b",
        "criterion": "overall",
        "comment": "short",
        **further,
    }
    assert first["human"] == [wanted]
    [listed, *_] = (await client.get("/v1/labels", params={"dataset": "set"})).json()["data"]
    assert wanted.items() <= listed.items()
    for own in ("label", "annotator", "id", "comment"):
        refused = await _post(client, _label(details={own: "x"}))
        assert refused.status_code == 422
        assert f"'{own}' is a field of the label itself" in refused.text


async def test_labels_can_be_checked_without_being_stored(
    client: httpx.AsyncClient, dataset: str
) -> None:
    good = {"dataset": "set", "pair": "p0", "annotator": "bert", "label": "a"}
    checked = await client.post("/v1/labels/check", json={"labels": [good]})
    assert (checked.status_code, checked.json()) == (200, {
        "checked": 1, "contradicted": 0, "labels": {"a": 1, "b": 0, "tie": 0}, "turned": 0,
        "rows": [{"dataset": dataset, "pair": "p0", "annotator": "bert", "label": "a",
                  "criterion": "overall"}],
    })  # fmt: skip
    refused = await client.post("/v1/labels/check", json={"labels": [good, {**good, "pair": "p9"}]})
    assert (refused.status_code, refused.json()["error_count"]) == (422, 1)
    listed = (await client.get("/v1/labels", params={"dataset": "set"})).json()["data"]
    assert {each["annotator"] for each in listed} == {"ann"}
