"""Files of requests written for these tests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import httpx

from tests.app.rows import Row


def line(row: Row, custom_id: str | None = None, **changes: Any) -> bytes:
    """Return one request as a line; its body is the row without its id."""
    body = {name: value for name, value in row.items() if name != "id"}
    envelope = {
        "custom_id": row["id"] if custom_id is None else custom_id,
        "method": "POST",
        "url": "/v1/judgments",
        "body": body,
        **changes,
    }
    return json.dumps(envelope).encode("ascii") + b"\n"


def lines(rows: Iterable[Row]) -> bytes:
    """Return a file of requests."""
    return b"".join(line(row) for row in rows)


async def send(
    client: httpx.AsyncClient, content: bytes, *, key: str | None = None, **fields: str
) -> httpx.Response:
    """Upload a file."""
    return await client.post(
        "/v1/files",
        files={"file": ("requests.jsonl", content, "application/jsonl")},
        data={"purpose": "batch", **fields},
        headers={"idempotency-key": key} if key else {},
    )


async def sent(client: httpx.AsyncClient, content: bytes) -> dict[str, Any]:
    """Upload a file that is accepted."""
    response = await send(client, content)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def start(client: httpx.AsyncClient, file_id: str, **changes: Any) -> httpx.Response:
    """Ask for a batch over a file."""
    body = {
        "input_file_id": file_id,
        "endpoint": "/v1/judgments",
        "completion_window": "24h",
        **changes,
    }
    return await client.post("/v1/batches", json=body)


async def envelopes_of(client: httpx.AsyncClient, file_id: str | None) -> list[dict[str, Any]]:
    """Return the lines of a file that came of a batch; none where there is no file."""
    if file_id is None:
        return []
    response = await client.get(f"/v1/files/{file_id}/content")
    assert response.status_code == 200, response.text
    return [json.loads(each) for each in response.text.splitlines()]
