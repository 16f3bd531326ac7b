"""A stock OpenAI client against a real server: upload, batch, poll, download."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.app import processes
from tests.app.batches.files.lines import line, lines
from tests.app.rows import labelled_rows, ndjson

PART = {"fraction": 0.5, "seed": 0, "side": "calibration"}
ENDPOINT = "/v1/judgments"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = processes.free_port()
    with processes.service(tmp_path_factory.mktemp("served"), port, workers=1):
        yield port


@pytest.fixture
def stock(port: int) -> Iterator[openai.OpenAI]:
    address = f"http://127.0.0.1:{port}/v1"
    with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def certificate(port: int) -> str:
    address = f"http://127.0.0.1:{port}/v1"
    rows = ndjson(labelled_rows(400))
    httpx.post(f"{address}/datasets", params={"name": "rivers"}, content=rows).raise_for_status()
    wanted = {"dataset": "rivers", "cascade": {"judges": ["cheap", "dear"]}, "part": PART}
    made = httpx.post(f"{address}/calibrations", json=wanted, timeout=60).raise_for_status()
    certificate_id: str = made.json()["id"]
    return certificate_id


def _upload(stock: openai.OpenAI, content: bytes) -> openai.types.FileObject:
    return stock.files.create(file=("requests.jsonl", content), purpose="batch")


def _start(stock: openai.OpenAI, file_id: str, **metadata: str) -> openai.types.Batch:
    return stock.batches.create(
        input_file_id=file_id,
        endpoint=ENDPOINT,  # type: ignore[arg-type]  # a service has endpoints of its own
        completion_window="24h",
        metadata=metadata,
    )


def _ended(stock: openai.OpenAI, batch_id: str) -> openai.types.Batch:
    found: list[openai.types.Batch] = []

    def has_ended() -> bool:
        found.append(stock.batches.retrieve(batch_id))
        return found[-1].status not in ("validating", "in_progress", "finalizing")

    processes.until(has_ended)
    return found[-1]


def _envelopes(stock: openai.OpenAI, file_id: str) -> list[dict[str, object]]:
    text = stock.files.content(file_id).text
    return [json.loads(each) for each in text.splitlines()]


def test_a_batch_runs_from_upload_to_download(stock: openai.OpenAI, certificate: str) -> None:
    rows = labelled_rows(120, seed=5)
    content = lines(rows) + b'{"custom_id": "bad", "method": "POST"}\n' + b"not JSON\n"
    file = _upload(stock, content)
    assert (file.object, file.status, file.purpose) == ("file", "processed", "batch")
    assert (file.bytes, file.filename) == (len(content), "requests.jsonl")
    assert "line 121: url: is missing" in (file.status_details or "")
    assert stock.files.wait_for_processing(file.id).id == file.id
    assert stock.files.content(file.id).content == content

    batch = _ended(stock, _start(stock, file.id, calibration=certificate, run="seven").id)
    assert (batch.status, batch.endpoint, batch.completion_window) == ("completed", ENDPOINT, "24h")
    assert batch.input_file_id == file.id
    assert batch.metadata == {"calibration": certificate, "run": "seven"}
    assert batch.request_counts is not None
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (122, 120, 2)
    assert batch.expires_at == batch.created_at + 24 * 3600
    for moment in (batch.in_progress_at, batch.finalizing_at, batch.completed_at):
        assert moment is not None
        assert batch.created_at <= moment <= batch.expires_at
    assert (batch.errors, batch.failed_at, batch.expired_at, batch.cancelled_at) == (None,) * 4

    assert batch.output_file_id is not None
    assert batch.error_file_id is not None
    output = _envelopes(stock, batch.output_file_id)
    assert [each["custom_id"] for each in output] == [row["id"] for row in rows]
    assert len({each["id"] for each in output}) == 120
    for each in output:
        assert set(each) == {"id", "custom_id", "response", "error"}
        assert each["error"] is None
        response = each["response"]
        assert isinstance(response, dict)
        assert response["status_code"] == 200
        assert response["body"]["id"] == each["custom_id"]
        assert response["body"]["calibration"] == certificate
        assert response["body"]["promise"] == "certified"
    bad, broken = _envelopes(stock, batch.error_file_id)
    assert (bad["custom_id"], bad["response"]) == ("bad", None)
    assert bad["error"] == {"code": "invalid_line", "message": "url: is missing", "line": 121}
    assert (broken["custom_id"], broken["response"]) == (None, None)
    assert "not JSON" in str(broken["error"])

    described = stock.files.retrieve(batch.output_file_id)
    assert described.purpose == "batch_output"
    assert described.bytes == len(stock.files.content(batch.output_file_id).content)


def test_what_is_not_there_is_the_clients_own_error(stock: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="there is no file 'file_none'") as refused:
        stock.files.retrieve("file_none")
    assert (refused.value.code, refused.value.type) == ("not_found", "invalid_request_error")
    with pytest.raises(openai.NotFoundError, match="there is no file 'file_none'") as refused:
        _start(stock, "file_none", cascade="default")
    assert refused.value.param == "input_file_id"
    with pytest.raises(openai.NotFoundError, match="there is no batch"):
        stock.batches.retrieve("batch_none")
    with pytest.raises(openai.UnprocessableEntityError, match="purpose") as wrong:
        stock.files.create(file=b"{}", purpose="fine-tune")
    assert wrong.value.param == "purpose"


def test_files_and_batches_are_listed_page_by_page(stock: openai.OpenAI) -> None:
    files = [_upload(stock, line(row)).id for row in labelled_rows(3, seed=8)]
    listed = [file.id for file in stock.files.list(purpose="batch", limit=1)]
    assert listed[:3] == files[::-1]
    assert [file.id for file in stock.files.list(order="asc", limit=2)] == listed[::-1]
    assert [file.id for file in stock.files.list(purpose="vision")] == []
    batches = [_start(stock, file, cascade="default").id for file in files]
    assert [batch.id for batch in stock.batches.list(limit=2)][:3] == batches[::-1]


def test_a_cancelled_batch_gives_what_it_has(tmp_path: Path) -> None:
    port = processes.free_port()
    with (
        processes.service(tmp_path, port, workers=0),
        openai.OpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0
        ) as stock,
    ):
        file = _upload(stock, lines(labelled_rows(30)))
        batch = _start(stock, file.id, cascade="default")
        assert batch.status == "in_progress"
        assert batch.output_file_id is None
        cancelled = stock.batches.cancel(batch.id)
        assert cancelled.status == "cancelled"
        assert cancelled.cancelled_at is not None
        assert cancelled.completed_at is None
        with pytest.raises(openai.ConflictError, match="already cancelled"):
            stock.batches.cancel(batch.id)
        assert cancelled.output_file_id is not None
        assert cancelled.error_file_id is not None
        assert _envelopes(stock, cancelled.output_file_id) == []
        errors = _envelopes(stock, cancelled.error_file_id)
        assert [each["custom_id"] for each in errors] == [f"p{n}" for n in range(30)]
        assert {each["error"]["code"] for each in errors} == {"batch_cancelled"}  # type: ignore[index]
        deleted = stock.files.delete(file.id)
        assert (deleted.id, deleted.deleted) == (file.id, True)
        with pytest.raises(openai.NotFoundError):
            stock.files.content(file.id)
        assert len(_envelopes(stock, cancelled.error_file_id)) == 30
