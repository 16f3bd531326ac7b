"""Rows written for these tests, and ways to upload them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

NDJSON = {"content-type": "application/x-ndjson"}


def row(number: int, **fields: Any) -> dict[str, Any]:
    """Return a small canonical row; two rows share each prompt."""
    return {
        "id": f"p{number}",
        "prompt": f"Name fruit number {number // 2}.",
        "response_a": f"Apple {number}",
        "response_b": f"Pear {number}",
        "model_a": "m1",
        "model_b": "m2",
        "human": [{"annotator": "ann", "label": "a"}],
        **fields,
    }


def ndjson(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return rows as lines."""
    return b"".join(json.dumps(each).encode("ascii") + b"\n" for each in rows)


async def upload(
    client: httpx.AsyncClient,
    rows: Iterable[Mapping[str, Any]] | bytes,
    name: str = "set",
    headers: Mapping[str, str] = NDJSON,
    **params: Any,
) -> httpx.Response:
    """Post rows as a dataset."""
    body = rows if isinstance(rows, bytes) else ndjson(rows)
    return await client.post(
        "/v1/datasets", params={"name": name, **params}, content=body, headers=dict(headers)
    )


async def pairs_of(client: httpx.AsyncClient, name: str = "set") -> list[dict[str, Any]]:
    """Return the first thousand pairs as the service gives them back."""
    answer = await client.get(f"/v1/datasets/{name}/pairs", params={"limit": 1000})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found
