from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import delete, func, select

from app.batches.files import service as files
from app.core.errors import Conflict
from app.core.models import FilePiece, RejectedLine, StoredFile
from app.core.runtime import Runtime
from tests.app.batches.files.lines import line, lines, send, sent, start
from tests.app.rows import labelled_rows

ROWS = labelled_rows(4)


@pytest.mark.both_databases
async def test_requests_become_a_dataset_named_by_the_file(client: httpx.AsyncClient) -> None:
    file = await sent(client, line({**ROWS[0], "metadata": {"task": "x"}}, "first"))
    dataset = (await client.get(f"/v1/datasets/{file['id']}")).json()
    assert (dataset["id"], dataset["dialect"]) == (file["dataset"], "openai_batch")
    assert (dataset["labels"], dataset["recorded_judges"]) == (1, ["cheap", "dear"])
    pair = (await client.get(f"/v1/datasets/{file['id']}/pairs")).json()["data"][0]
    assert pair["id"] == "first"
    assert pair["prompt"] == ROWS[0]["prompt"]
    assert pair["metadata"] == {"task": "x"}


async def test_an_id_of_the_row_itself_stays_in_its_metadata(client: httpx.AsyncClient) -> None:
    file = await sent(client, line(ROWS[0], "first", body=ROWS[0]) + line(ROWS[1], body=ROWS[1]))
    pairs = (await client.get(f"/v1/datasets/{file['id']}/pairs")).json()["data"]
    assert [pair["id"] for pair in pairs] == ["first", "p1"]
    assert [pair["metadata"].get("id") for pair in pairs] == ["p0", None]


@pytest.mark.both_databases
async def test_the_content_comes_back_as_it_was_sent(client: httpx.AsyncClient) -> None:
    noise = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(400_000))
    content = line({**ROWS[0], "response_a": noise}) + b"\xff not UTF-8\r\n\r\n"
    assert len(content) > 2 * 2**20, "several pieces"
    for sent_content in (content, gzip.compress(content)):
        file = await sent(client, sent_content)
        assert (file["bytes"], file["requests"]) == (len(sent_content), 1)
        assert (await client.get(f"/v1/files/{file['id']}/content")).content == sent_content


async def test_half_a_download_is_none(client: httpx.AsyncClient, service: FastAPI) -> None:
    file = await sent(client, lines(ROWS))
    running: Runtime = service.state.runtime
    async with running.db.write() as session:
        found = await files.find(session, file["id"])
        await session.execute(delete(FilePiece))
    with pytest.raises(Conflict, match="deleted while it was read"):
        [piece async for piece in files.content_of(running, found)]


@pytest.mark.both_databases
async def test_a_key_gives_the_first_answer_again(client: httpx.AsyncClient) -> None:
    """Whatever the client draws as the boundary between the parts of the form."""
    first = await send(client, lines(ROWS), key="k")
    again = await send(client, lines(ROWS), key="k")
    assert (again.status_code, again.json()) == (200, first.json())
    other = await send(client, lines(ROWS[:2]), key="k")
    assert other.status_code == 409
    assert len((await client.get("/v1/files")).json()["data"]) == 1
    without = await send(client, lines(ROWS))
    assert without.json()["id"] != first.json()["id"]


@pytest.mark.both_databases
async def test_a_deleted_file_takes_its_pairs_along(
    client: httpx.AsyncClient, service: FastAPI
) -> None:
    file = await sent(client, lines(ROWS) + b"bad\n")
    address = f"/v1/files/{file['id']}"
    deleted = await client.delete(address)
    assert deleted.json() == {"id": file["id"], "object": "file", "deleted": True}
    assert (await client.delete(address)).status_code == 404
    assert (await client.get(f"/v1/datasets/{file['id']}")).status_code == 404
    running: Runtime = service.state.runtime
    async with running.db.read() as session:
        for table in (StoredFile, FilePiece, RejectedLine):
            assert await session.scalar(select(func.count()).select_from(table)) == 0


@pytest.mark.both_databases
async def test_a_file_outlives_its_pairs_but_makes_no_batch(client: httpx.AsyncClient) -> None:
    file = await sent(client, lines(ROWS))
    assert (await client.delete(f"/v1/datasets/{file['id']}")).status_code == 204
    found: dict[str, Any] = (await client.get(f"/v1/files/{file['id']}")).json()
    assert (found["bytes"], found["dataset"], found["requests"]) == (file["bytes"], None, None)
    refused = await start(client, file["id"])
    assert refused.status_code == 422
    assert "upload it again" in refused.json()["error"]["message"]


async def test_a_row_of_this_format_can_be_imported_as_a_dataset(client: httpx.AsyncClient) -> None:
    content = lines(ROWS) + line(ROWS[0])
    response = await client.post(
        "/v1/datasets",
        params={"name": "requests"},
        content=content,
        headers={"content-type": "application/x-ndjson"},
    )
    body = response.json()
    assert (body["dialect"], body["pairs"]) == ("openai_batch", 4)
    assert json.dumps(body["rejected"]).count("custom_id: 'p0' stands in line 1 already") == 1
