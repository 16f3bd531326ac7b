"""The development data through the import endpoint, and the numbers it must give."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.data_sets import data_dir


async def upload_set(client: httpx.AsyncClient, name: str) -> None:
    """Import one set under the name of its folder."""
    folder = data_dir() / name
    plain, packed = folder / "pairs.jsonl", folder / "pairs.jsonl.gz"
    path = plain if plain.exists() else packed
    headers = {"content-type": "application/x-ndjson"}
    if path == packed:
        headers["content-encoding"] = "gzip"
    answer = await client.post(
        "/v1/datasets", params={"name": name}, content=path.read_bytes(), headers=headers
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["rejected"] == []


def reference(name: str) -> dict[str, dict[str, Any]]:
    """Return the reference numbers of one set by their id."""
    numbers = json.loads((data_dir() / "reference.json").read_text(encoding="utf-8"))["numbers"]
    return {number["id"]: number for number in numbers if number["set"] == name}
