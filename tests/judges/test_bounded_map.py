from __future__ import annotations

import asyncio
from typing import Never

import pytest

from judges.cascade import bounded_map


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancelled_map_starts_no_more_calls(turns: int) -> None:
    started: list[int] = []

    async def wait(item: int) -> None:
        started.append(item)
        await asyncio.sleep(60)

    work = asyncio.create_task(bounded_map(range(20), wait, 16))
    for _ in range(turns):
        await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    stopped_at = len(started)
    await asyncio.sleep(0)
    assert len(started) == stopped_at <= 16


@pytest.mark.parametrize("turns", range(4))
async def test_an_error_ends_the_work(turns: int) -> None:
    async def break_off(_: int) -> Never:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise ValueError("broken")

    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        await bounded_map(range(20), break_off, 16)


async def test_calls_in_flight_reach_the_limit_and_no_more() -> None:
    at_work, most, done = 0, 0, []

    async def do(item: int) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.001)
        at_work -= 1
        done.append(item)

    await bounded_map(range(200), do, 16)
    assert (most, sorted(done)) == (16, list(range(200)))


async def test_calls_that_never_wait_are_made_one_after_another() -> None:
    done: list[int] = []

    async def do(item: int) -> None:
        done.append(item)

    await bounded_map(range(1_000), do, 16)
    assert done == list(range(1_000))
