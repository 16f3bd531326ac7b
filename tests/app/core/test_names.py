"""A name that nothing has: the answer says which one may have been meant, or what there is."""

from __future__ import annotations

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
