"""Rows made up for tests: two recorded judges of known quality, one prompt a pair."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np

Row = dict[str, Any]


def labelled_rows(n: int, *, seed: int = 0, cheap: float = 0.75, dear: float = 0.95) -> list[Row]:
    """Return `n` rows whose judges are right with these probabilities, the more sure the likelier.

    The judges' confidences rise with their chance to be right, so that a threshold helps.
    """
    rng = np.random.default_rng(seed)
    return [_row(number, rng, {"cheap": cheap, "dear": dear}) for number in range(n)]


def _row(number: int, rng: np.random.Generator, accuracy: dict[str, float]) -> Row:
    truth = "a" if rng.random() < 0.5 else "b"
    judges = {}
    for name, mean in accuracy.items():
        sure = float(rng.uniform(-1, 1)) * min(mean - 0.5, 1 - mean) + mean
        is_right = rng.random() < sure
        p = sure if is_right == (truth == "a") else 1 - sure
        judges[name] = {"p_a": round(p, 6), "cost": 0.001 if name == "cheap" else 0.02}
    return {
        "id": f"p{number}",
        "prompt": f"Question number {number}: which river is the {number}th longest?",
        "response_a": f"The answer to {number} is the first river.",
        "response_b": f"For {number} one would name the second river, after some thought.",
        "model_a": "left", "model_b": "right",
        "human": [{"annotator": "anna", "label": truth}],
        "judges": judges,
        "metadata": {"task": "rivers" if number % 2 else "lakes"},
    }  # fmt: skip


def ndjson(rows: list[Row]) -> bytes:
    """Return rows as a request body."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def upload(client: httpx.AsyncClient, name: str, rows: list[Row]) -> dict[str, Any]:
    """Import rows and return the dataset."""
    response = await client.post(
        "/v1/datasets",
        params={"name": name},
        content=ndjson(rows),
        headers={"content-type": "application/x-ndjson"},
    )
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


async def certify(client: httpx.AsyncClient, dataset: str, **options: Any) -> dict[str, Any]:
    """Certify cheap -> dear on a dataset and return the certificate."""
    body = {"dataset": dataset, "cascade": {"judges": ["cheap", "dear"]}, **options}
    response = await client.post("/v1/calibrations", json=body)
    assert response.status_code == 201, response.text
    certificate: dict[str, Any] = response.json()
    return certificate
