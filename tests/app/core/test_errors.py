"""A refusal names what is wrong in the words of its sender: fields, headers, methods."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from app.core.http.problems import problem
from tests.app.problems import assert_answered
from tests.app.rows import labelled_rows, upload

PAIR = {"prompt": "p", "response_a": "a", "response_b": "b"}


@pytest.mark.parametrize("sent", ["application/x-www-form-urlencoded", "text/plain", None])
@pytest.mark.parametrize("path", ["judgments", "calibrations", "labels"])
async def test_a_body_that_does_not_say_that_it_is_json_names_the_header(
    client: httpx.AsyncClient, sent: str | None, path: str
) -> None:
    headers = {"content-type": sent} if sent else {}
    content = json.dumps({"pairs": [PAIR]})
    response = await client.post(f"/v1/{path}", content=content, headers=headers)
    assert_answered(response)
    assert response.status_code == 415
    problem = response.json()
    assert problem["detail"].startswith("Content-Type: ")
    assert "application/json" in problem["detail"]
    assert sent is None or sent in problem["detail"]
    assert [error["loc"] for error in problem["errors"]] == [["header", "content-type"]]


WRONG: dict[str, tuple[str, Any, list[Any], str]] = {
    "no judge": ("cascade", {"judges": []}, ["cascade", "judges"], "at least 1 item"),
    "no judges": ("cascade", {}, ["cascade", "judges"], "required"),
    "a judge without a name": ("cascade", {"judges": ["x", ""]}, ["cascade", "judges", 1], "1 char"),
    "one field too many": ("cascade", {"judges": ["x"], "y": 1}, ["cascade", "y"], "not permitted"),
    "no name": ("cascade", "", ["cascade"], "at least 1 character"),
    "a part without a side": ("part", {"fraction": 0.5}, ["part", "side"], "required"),
    "a part that is a list": ("part", [], ["part"], "should be an object"),
}  # fmt: skip


@pytest.mark.parametrize("path", ["calibrations", "plans", "batches"])
@pytest.mark.parametrize("name", WRONG)
async def test_only_fields_that_the_sender_wrote_are_named(
    client: httpx.AsyncClient, path: str, name: str
) -> None:
    field, value, loc, said = WRONG[name]
    response = await client.post(f"/v1/{path}", json={"dataset": "d", field: value})
    assert_answered(response)
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert error["loc"] == ["body", *loc]
    assert said in error["msg"]
    assert response.json()["detail"] == f"{'.'.join(map(str, loc))}: {error['msg']}"


async def test_a_value_of_no_type_of_a_choice_is_told_both(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/calibrations", json={"dataset": "d", "cascade": 5})
    assert [error["loc"] for error in response.json()["errors"]] == [["body", "cascade"]] * 2
    assert "JudgeOrder" not in response.text
    assert "constrained" not in response.text


async def test_a_body_that_is_no_json_says_where(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    response = await client.post("/v1/plans", content=b'{"dataset": }', headers=headers)
    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == ["body"]
    assert "character 13" in response.json()["detail"]


_NOTHING_THERE = "there is no dataset 'no'; there is none yet (tribunal import FILE)"


@pytest.mark.parametrize(
    ("method", "path", "body", "loc"),
    [
        ("POST", "calibrations", {"dataset": "no"}, ["body", "dataset"]),
        ("POST", "plans", {"dataset": "no"}, ["body", "dataset"]),
        ("POST", "batches", {"dataset": "no"}, ["body", "dataset"]),
        ("POST", "leaderboards", {"dataset": "no"}, ["body", "dataset"]),
        ("POST", "labels", {"labels": [
            {"dataset": "no", "pair": "p", "annotator": None, "label": "a"}
        ]}, ["body", "labels", 0, "dataset"]),
        ("GET", "reports/agreement?dataset=no", None, ["query", "dataset"]),
        ("GET", "judgments?dataset=no", None, ["query", "dataset"]),
        ("GET", "labels?dataset=no", None, ["query", "dataset"]),
        ("GET", "datasets/no", None, ["path", "ref"]),
        ("GET", "datasets/no/pairs", None, ["path", "ref"]),
        ("DELETE", "datasets/no", None, ["path", "ref"]),
    ],
)  # fmt: skip
async def test_a_dataset_that_is_not_there_is_404_with_the_field_that_named_it(
    client: httpx.AsyncClient, method: str, path: str, body: Any, loc: list[Any]
) -> None:
    response = await client.request(method, f"/v1/{path}", json=body)
    assert_answered(response)
    assert response.status_code == 404
    assert response.json()["errors"] == [{"loc": loc, "msg": _NOTHING_THERE}]


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/judgments", {"GET", "POST"}),
        ("/v1/datasets", {"GET", "POST"}),
        ("/v1/datasets/any", {"GET", "DELETE"}),
        ("/v1/batches/any/cancel", {"POST"}),
        ("/healthz", {"GET"}),
    ],
)
async def test_405_names_every_method_of_the_address(
    client: httpx.AsyncClient, path: str, methods: set[str]
) -> None:
    response = await client.put(path)
    assert_answered(response)
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == methods


async def test_a_dataset_is_reached_by_any_name_that_an_import_takes(
    client: httpx.AsyncClient,
) -> None:
    names = {"a/b c": "a%2Fb%20c", "x/pairs": "x%2fpairs", "x": "x", "100%2F": "100%252F",
             "?#&/é": "%3F%23%26%2F%C3%A9"}  # fmt: skip
    for number, name in enumerate(names):
        await upload(client, name, labelled_rows(3, seed=number))
    for name, spelt in names.items():
        found = await client.get(f"/v1/datasets/{spelt}")
        assert (found.status_code, found.json()["name"]) == (200, name)
        pairs = await client.get(f"/v1/datasets/{spelt}/pairs", params={"limit": 2})
        assert (pairs.status_code, pairs.json()["has_more"]) == (200, True)
    assert (await client.get("/v1/datasets/a/b%20c")).status_code == 404
    for spelt in names.values():
        assert (await client.delete(f"/v1/datasets/{spelt}")).status_code == 204
    assert (await client.get("/v1/datasets")).json()["data"] == []


OTHER_FORMS: list[tuple[str, dict[str, Any], str]] = [
    ("calibrations", {"judges": ["cheap"]}, 'write "cascade": {"judges": ["cheap", "dear"]}'),
    ("calibrations", {"cascade": ["a"]}, 'write "default", or {"judges": ["cheap", "dear"]}'),
    ("calibrations", {"cascade": "cheap,dear"}, 'write {"judges": ["cheap", "dear"]} (--judges'),
    ("calibrations", {"cascade": "x", "target-agreement": 0.8}, "write target_agreement"),
    (
        "calibrations", {"cascade": "default", "part": "calibration:0.5:0"},
        'part: Input should be an object; write {"side": "calibration", "fraction": 0.5, "seed": 0}',
    ),
    ("plans", {"cascade": "default", "target_agreements": "0.8,0.9"}, "write [0.8, 0.9]"),
    ("leaderboards", {"control": "length,style"}, 'write ["length", "style"]'),
    ("leaderboards", {"criterion": "tone=1"}, 'write "criteria": {"NAME": 1.0}'),
    ("leaderboards", {"elo_k": 3}, 'write "options": {"k": ...}'),
    ("batches", {"soft_budget": True}, 'write "budget": "soft"'),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "said"), OTHER_FORMS)
async def test_the_words_of_the_command_line_are_answered_with_those_of_a_request(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], said: str
) -> None:
    await upload(client, "rivers", labelled_rows(3))
    refused = await client.post(f"/v1/{path}", json={"dataset": "rivers", **body})
    assert refused.status_code == 422
    assert said in refused.json()["detail"]


async def test_a_query_is_told_how_to_write_what_a_body_calls_otherwise(
    client: httpx.AsyncClient,
) -> None:
    asked = {"dataset": "rivers", "criteria": "wit=3"}
    refused = await client.get("/v1/reports/agreement", params=asked)
    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert error["loc"] == ["query", "criteria"]
    assert error["msg"].endswith("write criterion=NAME=WEIGHT, once for each criterion")


def test_a_refusal_too_large_to_shorten_is_sent_all_the_same() -> None:
    answer = problem(
        409, "x" * 5_000, extra={"rows": [1, 2], "named": {str(n): "y" * 1_000 for n in range(60)}}
    )
    body = json.loads(bytes(answer.body))
    assert (len(body["detail"]), body["rows"]) == (2_003, [])
