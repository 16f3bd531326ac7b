"""Batches over files: what may be asked, and that both forms show the same batch."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from tests.app.batches.files.lines import envelopes_of, lines, sent, start
from tests.app.batches.test_batches import wait_for
from tests.app.problems import assert_answered
from tests.app.rows import labelled_rows, upload

FIELDS = set(openai.types.Batch.model_fields) - {"model", "usage"}


@pytest.mark.parametrize(
    ("window", "seconds"), [("90m", 5_400), ("24h", 86_400), ("7d", 604_800), ("366d", 31_622_400)]
)
async def test_the_window_says_when_a_batch_expires(
    client: httpx.AsyncClient, window: str, seconds: int
) -> None:
    file = await sent(client, lines(labelled_rows(2)))
    batch = (await start(client, file["id"], completion_window=window)).json()
    assert batch["expires_at"] - batch["created_at"] == seconds
    assert batch["completion_window"] == window


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"completion_window": "0h"}, "completion_window"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "367d"}, "completion_window"),
        ({"completion_window": None}, "completion_window"),
        ({"endpoint": "/v1/chat/completions"}, "endpoint"),
        ({"dataset": "rivers"}, "dataset"),
        ({"part": {"side": "test"}}, "part"),
        ({"calibration": "cal_1"}, "calibration"),
        ({"budget_usd": 1}, "budget_usd"),
        ({"what": 1}, "what"),
        ({"metadata": {"calibration": 5}}, "metadata.calibration"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"metadata": {"x": "y" * 513}}, "metadata.x"),
        ({"metadata": {"calibration": "cal_1", "cascade": "default"}}, "metadata"),
        ({"metadata": {"budget_usd": "much"}}, "metadata.budget_usd"),
        ({"metadata": {"cascade": "none"}}, "cascade"),
        ({"metadata": {"calibraton": "cal_1"}}, "metadata"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_the_name_of_the_field(
    client: httpx.AsyncClient, changes: dict[str, Any], param: str
) -> None:
    file = await sent(client, lines(labelled_rows(2)))
    refused = await start(client, file["id"], **changes)
    assert_answered(refused, changes)
    assert refused.status_code == 422, refused.text
    assert param in refused.json()["detail"]
    assert refused.json()["error"]["param"] == param


async def test_a_field_of_the_other_form_is_refused_from_either_side(
    client: httpx.AsyncClient,
) -> None:
    file = await sent(client, lines(labelled_rows(2)))
    body = {"dataset": file["dataset"], "completion_window": "24h"}
    refused = await client.post("/v1/batches", json=body)
    assert refused.status_code == 422
    assert "dataset: belongs to the other form" in refused.json()["detail"]


async def test_an_unknown_certificate_or_file_is_not_found(client: httpx.AsyncClient) -> None:
    file = await sent(client, lines(labelled_rows(2)))
    unknown = await start(client, file["id"], metadata={"calibration": "cal_none"})
    assert unknown.status_code == 404
    assert (await start(client, "file_\x00")).status_code == 404


async def test_a_repetition_under_one_key_starts_one_batch(client: httpx.AsyncClient) -> None:
    file = await sent(client, lines(labelled_rows(2)))
    body = {"input_file_id": file["id"], "endpoint": "/v1/judgments", "completion_window": "1h"}
    headers = {"idempotency-key": "once"}
    first = await client.post("/v1/batches", json=body, headers=headers)
    again = await client.post("/v1/batches", json=body, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert len((await client.get("/v1/batches")).json()["data"]) == 1


async def test_a_batch_over_a_dataset_has_the_same_fields_and_files(
    client: httpx.AsyncClient,
) -> None:
    await upload(client, "rivers", labelled_rows(60))
    created = (await client.post("/v1/batches", json={"dataset": "rivers"})).json()
    assert created.keys() >= FIELDS
    assert (created["input_file_id"], created["metadata"]) == (None, None)
    assert created["completion_window"] == "168h"
    batch = await wait_for(client, created["id"])
    assert (batch["status"], batch["error_file_id"]) == ("completed", None)
    output = await envelopes_of(client, batch["output_file_id"])
    results = (await client.get(f"/v1/batches/{batch['id']}/results")).text
    assert len(output) == len(results.splitlines()) == 60
    nothing = await client.get(f"/v1/files/{batch['id']}_errors/content")
    assert nothing.status_code == 404
    assert "had no errors" in nothing.json()["error"]["message"]
    assert (await client.delete(f"/v1/files/{batch['output_file_id']}")).status_code == 409
