from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.app.judgments.test_judgments import PAIR, post

pytestmark = pytest.mark.both_databases

TEXTS = [f"answer number {number}" for number in range(4)]


def pair(name: str, text: str) -> dict[str, Any]:
    return {**PAIR, "id": name, "response_b": text}


async def test_requests_at_the_same_time_get_and_store_each_its_own_verdict(
    client: httpx.AsyncClient,
) -> None:
    alone = [(await post(client, {"pairs": [pair(text, text)]})).json() for text in TEXTS]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(post(client, {"pairs": [pair(f"{n}", TEXTS[n % 4])]}))
            for n in range(12)
        ]
    together = [task.result().json()["verdicts"] for task in tasks]
    for number, (verdict,) in enumerate(together):
        (expected,) = alone[number % 4]["verdicts"]
        assert verdict == {**expected, "id": f"{number}", "cached": True}
    listed = (await client.get("/v1/judgments")).json()["data"]
    assert sorted(one["id"] for one in listed) == sorted([*TEXTS, *map(str, range(12))])


async def test_a_request_that_is_refused_spoils_no_other_at_the_same_time(
    client: httpx.AsyncClient,
) -> None:
    await post(client, {"pairs": [PAIR]})
    bodies = [{"pairs": [PAIR]}, {"pairs": [PAIR, PAIR]}, {"pairs": [PAIR], "cascade": "none"}]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(post(client, body)) for body in bodies * 2]
    assert [task.result().status_code for task in tasks] == [200, 422, 422] * 2
