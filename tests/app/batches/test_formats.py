from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.batches.results import FORMS, RESULT_FIELDS, form_for
from app.core.errors import NotAcceptable
from tests.app.batches.test_batches import wait_for
from tests.app.problems import assert_answered
from tests.app.rows import labelled_rows, upload

NDJSON, CSV, PARQUET = (form.media_type for form in FORMS)
WITHOUT_AN_EXTRA: list[tuple[str | None, str]] = [
    (None, NDJSON), ("", NDJSON), ("*/*", NDJSON), ("application/*", NDJSON),
    ("application/ndjson", NDJSON), (NDJSON, NDJSON), ("text/csv", CSV), ("text/*", CSV),
    ("TEXT/CSV; charset=utf-8", CSV), ("text/csv, */*;q=0.1", CSV),
    ("text/csv;q=0.2, application/x-ndjson;q=0.3", NDJSON), ("*/*, application/x-ndjson;q=0", CSV),
    ("image/png, text/csv;q=0.001", CSV), ("text/html,*/*;q=0.8", NDJSON),
]  # fmt: skip


@pytest.fixture
async def results(client: httpx.AsyncClient) -> str:
    """The address of an ended batch's results."""
    await upload(client, "rivers", labelled_rows(60))
    body = {"dataset": "rivers", "cascade": {"judges": ["cheap", "dear"]}}
    created = await client.post("/v1/batches", json=body)
    assert created.status_code == 202, created.text
    await wait_for(client, created.json()["id"])
    return f"/v1/batches/{created.json()['id']}/results"


@pytest.mark.parametrize(("accept", "chosen"), WITHOUT_AN_EXTRA)
def test_the_most_welcome_form_is_chosen(accept: str | None, chosen: str) -> None:
    assert form_for(accept).media_type == chosen


@pytest.mark.parametrize(
    "accept", ["image/png", "application/json", "text/csv;q=0", "*/*;q=0", "csv", ",", "a/b;q=nan"]
)
async def test_a_form_that_is_none_is_406_with_those_there_are(
    client: httpx.AsyncClient, results: str, accept: str
) -> None:
    response = await client.get(results, headers={"accept": accept})
    assert_answered(response)
    assert response.status_code == 406
    assert "text/csv" in response.json()["detail"]


def test_columns_keep_their_order() -> None:
    """A reader may go by position."""
    assert tuple(RESULT_FIELDS) == (
        "id", "status", "label", "confidence", "judge", "tiers", "calibration", "promise",
        "calibration_pair", "cost_usd", "cached", "model_a", "model_b",
    )  # fmt: skip


async def test_csv_holds_every_verdict_in_order(client: httpx.AsyncClient, results: str) -> None:
    lines = (await client.get(results)).text.splitlines()
    response = await client.get(results, headers={"accept": "text/csv"})
    assert response.headers["content-type"].startswith("text/csv")
    assert response.headers["vary"] == "Accept"
    table = list(csv.DictReader(io.StringIO(response.text)))
    verdicts = [json.loads(line) for line in lines]
    assert len(table) == len(verdicts) == 60
    assert set(table[0]) == set(verdicts[0]) == set(RESULT_FIELDS)
    for cells, verdict in zip(table, verdicts, strict=True):
        assert cells["id"] == verdict["id"]
        assert (cells["label"] or None) == verdict["label"]
        assert json.loads(cells["tiers"]) == verdict["tiers"]
        assert json.loads(cells["cached"]) == verdict["cached"]
        assert json.loads(cells["confidence"] or "null") == verdict["confidence"]


def test_parquet_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.batches.results.find_spec", lambda _: None)
    with pytest.raises(NotAcceptable, match=r"tribunal-judge\[arrow\]"):
        form_for(PARQUET)
    assert form_for(f"{PARQUET}, text/csv;q=0.5").media_type == CSV


async def test_parquet_holds_every_verdict_with_its_tiers(
    client: httpx.AsyncClient, results: str
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    lines = (await client.get(results)).text.splitlines()
    response = await client.get(results, headers={"accept": PARQUET})
    assert response.headers["content-type"] == PARQUET
    rows = parquet.read_table(io.BytesIO(response.content)).to_pylist()
    assert rows == [json.loads(line) for line in lines]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.media_type)
async def test_no_verdicts_are_a_table_without_rows(form: Any, tmp_path: Path) -> None:
    if not form.is_at_hand:
        pytest.skip("pyarrow is not installed")

    async def nothing() -> AsyncIterator[dict[str, Any]]:
        none: list[dict[str, Any]] = []
        for verdict in none:
            yield verdict

    written = [piece async for piece in form.write(nothing(), RESULT_FIELDS, tmp_path)]
    assert bool(written) == (form.media_type != NDJSON)


async def test_no_cell_of_the_results_is_a_formula(client: httpx.AsyncClient) -> None:
    rows = [{**row, "id": f"=1+{row['id']}"} for row in labelled_rows(3)]
    await upload(client, "formulas", rows)
    made = await client.post("/v1/batches", json={"dataset": "formulas"})
    await wait_for(client, made.json()["id"])
    path = f"/v1/batches/{made.json()['id']}/results"
    table = csv.DictReader(io.StringIO((await client.get(path, headers={"accept": CSV})).text))
    assert [cells["id"] for cells in table] == [f"'=1+p{number}" for number in range(3)]


ODD_PAIRS: list[dict[str, Any]] = [
    {"id": "plain", "prompt": "Why?", "response_a": 'Rain, "of course".\n', "response_b": ""},
    {"id": "empty", "prompt": "", "response_a": "a", "response_b": "b"},
    {
        "id": "turns", "prompt": ["one", "two"], "responses_a": ["a", "b"],
        "responses_b": ["c", "d"],
    },
    {
        "id": "chat", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
        "response_a": "a", "response_b": "b", "criterion": "style",
    },
    {"id": "odd", "prompt": "lone \ud800", "response_a": "nul \x00", "response_b": "=1+1"},
]  # fmt: skip
TEXTS = (
    "prompt",
    "messages",
    "response_a",
    "response_b",
    "responses_a",
    "responses_b",
    "criterion",
)


@pytest.fixture
async def odd_results(client: httpx.AsyncClient) -> str:
    """The address of the results of pairs in every form."""
    rows = [{**row, "model_a": "left", "model_b": "right"} for row in ODD_PAIRS]
    await upload(client, "odd", rows)
    created = await client.post("/v1/batches", json={"dataset": "odd"})
    await wait_for(client, created.json()["id"])
    return f"/v1/batches/{created.json()['id']}/results"


@pytest.mark.both_databases
async def test_verdicts_carry_models_and_on_request_texts(
    client: httpx.AsyncClient, odd_results: str
) -> None:
    bare = [json.loads(line) for line in (await client.get(odd_results)).text.splitlines()]
    assert {(one["model_a"], one["model_b"]) for one in bare} == {("left", "right")}
    assert not any(name in one for one in bare for name in TEXTS)
    asked = await client.get(odd_results, params={"with": "texts"})
    found = [json.loads(line) for line in asked.text.splitlines()]
    for verdict, row, without in zip(found, ODD_PAIRS, bare, strict=True):
        assert {name: verdict[name] for name in TEXTS if name in verdict} == {
            name: row[name] for name in TEXTS if name in row
        }
        assert {name: value for name, value in verdict.items() if name not in TEXTS} == without
    wrong = await client.get(odd_results, params={"with": "labels"})
    assert wrong.status_code == 422


async def test_tables_of_verdicts_hold_the_texts_too(
    client: httpx.AsyncClient, odd_results: str
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    tables = []
    for accept in (CSV, PARQUET):
        answer = await client.get(odd_results, params={"with": "texts"}, headers={"accept": accept})
        assert answer.status_code == 200
        tables.append(
            list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))
            if accept == CSV
            else parquet.read_table(io.BytesIO(answer.content)).to_pylist()
        )
    for table in tables:
        cells = {row["id"]: {name: row[name] or "" for name in TEXTS} for row in table}
        assert cells["plain"]["response_a"] == ODD_PAIRS[0]["response_a"]
        assert json.loads(cells["empty"]["messages"]) == [{"role": "user", "content": ""}]
        assert [turn["content"] for turn in json.loads(cells["turns"]["messages"])] == [
            "one",
            "two",
        ]
        assert json.loads(cells["turns"]["responses_b"]) == ["c", "d"]
        assert json.loads(cells["chat"]["messages"]) == ODD_PAIRS[3]["messages"]
        assert cells["chat"]["criterion"] == "style"
        assert cells["odd"]["prompt"] == "lone ?"
        assert cells["odd"]["response_a"] == "nul \x00"


async def test_the_form_of_openai_is_as_it_was(client: httpx.AsyncClient, odd_results: str) -> None:
    batch_id = odd_results.split("/")[3]
    output = await client.get(f"/v1/files/{batch_id}_output/content")
    bodies = [json.loads(line)["response"]["body"] for line in output.text.splitlines()]
    assert bodies
    assert not any("model_a" in body or "prompt" in body for body in bodies)
