"""What tests ask of queues over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

from tests.app.rows import labelled_rows, upload

Json = dict[str, Any]


async def rivers(client: httpx.AsyncClient, n: int = 6, *, human: bool = True) -> None:
    rows = labelled_rows(n)
    for row in rows:
        row["human"] = row["human"] if human else []
    await upload(client, "rivers", rows)


async def make_queue(client: httpx.AsyncClient, **options: Any) -> Json:
    body = {"name": "q", "dataset": "rivers", **options}
    answer = await client.post("/v1/queues", json=body)
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


async def claim(client: httpx.AsyncClient, annotator: str, n: int = 1, where: str = "q/") -> Any:
    answer = await client.post(f"/v1/queues/{where}claim", json={"annotator": annotator, "n": n})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def give(
    client: httpx.AsyncClient, annotator: str, *answers: Json, queue: str = "q"
) -> httpx.Response:
    body = {"annotator": annotator, "answers": list(answers)}
    return await client.post(f"/v1/queues/{queue}/answers", json=body)


async def look(client: httpx.AsyncClient, queue: str = "q") -> Json:
    found: Json = (await client.get(f"/v1/queues/{queue}")).json()
    return found


def places(queue: Json) -> tuple[int, ...]:
    return tuple(queue[name] for name in ("waiting", "claimed", "done", "skipped"))


async def human_of(client: httpx.AsyncClient) -> dict[str, list[Json]]:
    rows = (await client.get("/v1/datasets/rivers/pairs", params={"limit": 1000})).json()["data"]
    return {row["response_a"]: row["human"] for row in rows}
