"""Rows written for these tests, and ways to upload them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx

from app.formats.columns.declared import Declared
from app.formats.columns.verdicts import Heard
from app.formats.registry import DIALECTS
from app.imports.columns import StagedRow
from app.imports.reading import Reader, stage
from app.imports.staging import Staging
from app.imports.tables import RawRow

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


def staged(
    rows: Iterable[Mapping[str, Any]], dialect: str = "", file: str = "", **declared: Any
) -> tuple[list[dict[str, Any]], Reader]:
    """Read rows as an upload without a service does; return the pairs, and what read them.

    A name makes them the rows of one file of several.
    A pair has its columns, JSON as values, with its votes as `human` and its scores as `judges`.
    """
    staging = Staging.open(Path(":memory:"))
    reader = Reader(DIALECTS.get(dialect), heard=Heard(Declared.read(**declared)))
    raw = (RawRow(n, one, file=file, is_one_of_several=bool(file)) for n, one in enumerate(rows, 1))
    stage(staging, reader, raw)
    found = [_values(row) for chunk in staging.chunks() for row in chunk]
    staging.close()
    return found, reader


def _values(row: StagedRow) -> dict[str, Any]:
    texts = {name: json.loads(row.pair[name] or "null") for name in ("metadata", "content")}
    human = [
        {"annotator": vote.annotator, "label": vote.label, "criterion": vote.criterion}
        | dict(vote.details)
        for vote in row.votes
    ]
    return {**row.pair, **texts, "human": human, "judges": {s["judge"]: s for s in row.recorded}}


def refused(reader: Reader) -> list[str]:
    """Return why rows were not kept, and why the upload cannot be read."""
    return [*(one["reason"] for one in reader.rejected), *reader.heard.faults()]
