from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.app.imports.uploads import pairs_of, row, upload


def _rows(*votes: dict[str, Any]) -> list[dict[str, Any]]:
    return [row(0, human=list(votes)), row(1)]


async def _all_labels(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await client.get(
        "/v1/labels", params={"dataset": "set", "history": "true", "order": "asc"}
    )
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


@pytest.mark.both_databases
async def test_the_same_file_again_changes_nothing(client: httpx.AsyncClient) -> None:
    votes: list[dict[str, Any]] = [
        {"annotator": "x", "label": "a"},
        {"annotator": "x", "label": "b"},
        {"annotator": None, "label": "a"},
        {"annotator": None, "label": "a"},
    ]
    first = await upload(client, _rows(*votes))
    before = await _all_labels(client)
    again = await upload(client, _rows(*votes))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert await _all_labels(client) == before


@pytest.mark.both_databases
async def test_other_labels_replace_those_of_the_same_person_and_stay_in_history(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, _rows({"annotator": "x", "label": "a"}, {"annotator": "y", "label": "a"}))
    again = await upload(
        client, _rows({"annotator": "x", "label": "b"}, {"annotator": "z", "label": "tie"})
    )
    assert (again.status_code, again.json()["labels"], again.json()["annotators"]) == (200, 4, 4)
    [first, _] = await pairs_of(client)
    assert [(v["annotator"], v["label"]) for v in first["human"]] == [
        ("y", "a"), ("x", "b"), ("z", "tie"),
    ]  # fmt: skip
    replaced = [label for label in await _all_labels(client) if label["replaced_at"]]
    assert [(label["annotator"], label["label"]) for label in replaced] == [("x", "a")]


@pytest.mark.both_databases
async def test_another_criterion_replaces_nothing(client: httpx.AsyncClient) -> None:
    await upload(client, _rows({"annotator": "x", "label": "a"}))
    again = await upload(client, _rows({"annotator": "x", "label": "b", "criterion": "tone"}))
    assert again.json()["labels"] == 3


@pytest.mark.both_databases
async def test_votes_of_unknown_people_are_only_added(client: httpx.AsyncClient) -> None:
    await upload(client, _rows({"label": "a"}, {"label": "b"}))
    again = await upload(client, _rows({"label": "a"}, {"label": "a"}))
    [first, _] = await pairs_of(client)
    assert again.json()["labels"] == 4
    assert sorted(vote["label"] for vote in first["human"]) == ["a", "a", "b"]


CHANGES: dict[str, list[dict[str, Any]]] = {
    "text": [row(0, response_a="x"), row(1)],
    "model": [row(0, model_a="x"), row(1)],
    "group": [row(0, group="x"), row(1)],
    "metadata": [row(0, metadata={"x": 1}), row(1)],
    "score": [row(0, judges={"j": {"p_a": 0.5}}), row(1)],
    "order": [row(1), row(0)],
    "one row less": [row(0)],
    "one row more": [row(0), row(1), row(2)],
}


@pytest.mark.both_databases
@pytest.mark.parametrize("rows", CHANGES.values(), ids=CHANGES.keys())
async def test_other_content_under_the_same_name_is_a_conflict(
    client: httpx.AsyncClient, rows: list[dict[str, Any]]
) -> None:
    first = await upload(client, [row(0), row(1)])
    again = await upload(client, rows)
    assert (again.status_code, again.json()["dataset"]) == (409, first.json()["id"])
    assert len(await pairs_of(client)) == 2


@pytest.mark.both_databases
async def test_two_uploads_at_once_make_one_dataset(client: httpx.AsyncClient) -> None:
    rows = [row(number) for number in range(50)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(upload(client, rows)) for _ in range(4)]
    answers = [task.result() for task in tasks]
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert answers[0].json()["labels"] == 50


@pytest.mark.both_databases
async def test_a_deleted_dataset_is_gone_with_all_its_rows(client: httpx.AsyncClient) -> None:
    await upload(client, [row(0), row(1)])
    await upload(client, [row(0)], name="other")
    assert (await client.delete("/v1/datasets/set")).status_code == 204
    assert (await client.get("/v1/datasets/set")).status_code == 404
    assert (await client.delete("/v1/datasets/set")).status_code == 404
    assert len((await client.get("/v1/labels")).json()["data"]) == 1
    assert (await upload(client, [row(5)])).status_code == 201


@pytest.mark.both_databases
async def test_lists_go_on_behind_the_last_row_seen(client: httpx.AsyncClient) -> None:
    for name in ("one", "two", "three"):
        await upload(client, [row(number) for number in range(5)], name=name)
    first = (await client.get("/v1/datasets", params={"limit": 2})).json()
    rest = (await client.get("/v1/datasets", params={"after": first["last_id"]})).json()
    assert [each["name"] for each in first["data"] + rest["data"]] == ["three", "two", "one"]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    page = (await client.get("/v1/datasets/one/pairs", params={"limit": 3})).json()
    assert ([r["id"] for r in page["data"]], page["has_more"]) == (["p0", "p1", "p2"], True)
    page = (await client.get("/v1/datasets/one/pairs?after=p2&limit=3")).json()
    assert ([r["id"] for r in page["data"]], page["has_more"]) == (["p3", "p4"], False)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/datasets/nothing", "/v1/datasets/nothing/pairs", "/v1/datasets/a%00b",
        "/v1/datasets?after=a%00b", "/v1/datasets/set/pairs?after=a%00b",
        "/v1/datasets/set/pairs?after=nothing", "/v1/labels?dataset=a%00b",
        "/v1/labels?after=nothing", "/v1/labels?after=lab_%00",
    ],
)  # fmt: skip
async def test_what_is_not_there_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    await upload(client, [row(0)])
    answer = await client.get(path)
    assert answer.status_code == 404, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


OTHER: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a text": ([row(0), row(1, response_b="Plum")], "pair 2 ('p1'): response_b was 'Pear 1' and is 'Plum'"),
    "a model": ([row(0), row(1, model_b="m9")], "pair 2 ('p1'): model_b was 'm2' and is 'm9'"),
    "metadata": (
        [row(0, metadata={"n": 1}), row(1)], "pair 1 ('p0'): metadata was {} and is {'n': 1}",
    ),
    "more pairs": ([row(0), row(1), row(2)], "the number of pairs was 2 and is 3"),
    "a judge": (
        [row(0, judges={"j": {"p_a": 0.5}}), row(1)], "the list of recorded judges was [] and is ['j']",
    ),
}  # fmt: skip


@pytest.mark.parametrize("other", OTHER)
async def test_a_name_that_is_taken_says_what_differs_old_and_new(
    client: httpx.AsyncClient, other: str
) -> None:
    rows, said = OTHER[other]
    assert (await upload(client, [row(0), row(1)])).status_code == 201
    refused = await upload(client, rows)
    assert refused.status_code == 409
    assert said in refused.json()["detail"]


async def test_other_scores_under_a_name_that_is_taken_are_named(client: httpx.AsyncClient) -> None:
    assert (await upload(client, [row(0, judges={"j": {"p_a": 0.5}})])).status_code == 201
    refused = await upload(client, [row(0, judges={"j": {"p_a": 0.6}})])
    assert "the recorded scores was 'as stored' and is 'others'" in refused.json()["detail"]
