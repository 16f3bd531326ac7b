"""A name that nothing has: the answer says which one may have been meant, or what there is."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from app.core.names import hint
from tests.app.imports.uploads import upload
from tests.app.rows import labelled_rows


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("rivrs", ["lakes", "Rivers"], "; did you mean 'Rivers'?"),
        ("x", ["lakes", "rivers"], "; there is 'lakes', 'rivers' (look)"),
        ("x", list("abcdefg"), "; there is 'a', 'b', 'c', 'd', 'e' and 2 more (look)"),
        ("x", [], "; there is none yet (look)"),
    ],
)
def test_the_nearest_name_else_those_there_are(name: str, known: list[str], said: str) -> None:
    assert hint(name, known, see="look") == said


@pytest.fixture
async def rivers(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A service with the dataset `data` and the embedded judge."""
    assert (await upload(client, labelled_rows(3), "data")).status_code == 201
    return client


_CASCADE = {"dataset": "data", "cascade": {"judges": ["studnt"]}}
_PAIR = {"prompt": "?", "response_a": "x", "response_b": "y"}


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("GET", "datasets/dta", None, "did you mean 'data'?"),
        ("GET", "datasets/else", None, "there is 'data' (GET /v1/datasets)"),
        ("POST", "labels", {"labels": [
            {"dataset": "dat", "pair": "p", "annotator": None, "label": "a"}
        ]}, "did you mean 'data'?"),
        ("POST", "calibrations", {"dataset": "data", "cascade": "defalt"}, "'default'?"),
        ("POST", "calibrations", _CASCADE, "did you mean 'student'?"),
        ("POST", "calibrations", {"dataset": "data", "cascade": {"judges": ["zzz"]}},
         "'student' (tribunal doctor)"),
        ("POST", "leaderboards", {"dataset": "data", "source": "judge:studnt"}, "'student'?"),
        ("POST", "judgments", {"pairs": [_PAIR], "cascade": {"judges": ["studnt"]}}, "'student'?"),
        ("GET", "reports/agreement?dataset=data&judges=studnt", None, "did you mean 'student'?"),
        ("GET", "calibrations/cal_no", None, "there is none yet (tribunal certify)"),
    ],
)  # fmt: skip
async def test_an_unknown_name_comes_back_with_the_one_that_may_be_meant(
    rivers: httpx.AsyncClient, method: str, path: str, body: Any, said: str
) -> None:
    response = await rivers.request(method, f"/v1/{path}", json=body)
    assert response.status_code in (404, 422)
    assert said in response.json()["detail"]


@pytest.mark.both_databases
async def test_an_id_with_a_slip_is_known_and_a_made_up_one_is_not(
    rivers: httpx.AsyncClient,
) -> None:
    asked = {"dataset": "data", "cascade": "default"}
    made = (await rivers.post("/v1/calibrations", json=asked)).json()["id"]
    slip = (await rivers.get(f"/v1/calibrations/{made[:-1]}")).json()["detail"]
    assert f"did you mean {made!r}?" in slip
    other = (await rivers.get("/v1/calibrations/cal_0123456789abcdef")).json()["detail"]
    assert f"there is {made!r} (GET /v1/calibrations)" in other


_PLACES: dict[str, dict[str, Any]] = {
    "id": {"id": "@"},
    "model_a": {"model_a": "@"},
    "group": {"group": "@"},
    "criterion": {"criterion": "@"},
    "human.0.annotator": {"human": [{"annotator": "@", "label": "a"}]},
    "human.0.criterion": {"human": [{"annotator": "n", "label": "a", "criterion": "@"}]},
    "judges": {"judges": {"@": {"p_a": 0.5}}},
}


@pytest.mark.parametrize("character", ["\u200e", "\u061c", "\u202e", "\u2066", "\u2028", "\u2029"])
async def test_marks_that_turn_or_break_a_line_are_in_no_new_name(
    client: httpx.AsyncClient, character: str
) -> None:
    name = f"ab{character}c"
    faulty = {
        field: json.loads(json.dumps(row).replace("@", json.dumps(name)[1:-1]))
        for field, row in _PLACES.items()
    }
    answer = await upload(client, [{**_PAIR, **row} for row in [{}, *faulty.values()]], "turned")
    reasons = [one["reason"] for one in answer.json()["rejected"]]
    assert answer.json()["pairs"] == 1
    for field, reason in zip(faulty, reasons, strict=True):
        assert reason.startswith(field)
        assert f"(U+{ord(character):04X})" in reason
        assert character not in reason
    named = await upload(client, labelled_rows(1), name)
    assert (named.status_code, "U+" in named.json()["detail"]) == (422, True)
    # a text may hold anything
    kept = await upload(client, [{**_PAIR, "prompt": name, "metadata": {"n": name}}], "texts")
    assert kept.status_code == 201


@pytest.mark.both_databases
async def test_what_was_named_before_there_were_rules_is_found(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = "old\u200ename"
    with monkeypatch.context() as before:
        before.setattr("app.formats.base.fault_of", lambda name: None)
        before.setattr("app.api.datasets.fault_of", lambda name: None)
        assert (await upload(client, [{**labelled_rows(1)[0], "id": old}], old)).status_code == 201
    assert (await client.get(f"/v1/datasets/{old}")).json()["name"] == old
    said = {"dataset": old, "pair": old, "annotator": "n", "label": "a"}
    assert (await client.post("/v1/labels", json={"labels": [said]})).status_code == 201
    made = await client.post("/v1/leaderboards", json={"dataset": old, "method": "win_rate"})
    assert made.status_code == 201
