from __future__ import annotations

import asyncio
from typing import Never

import pytest

from judges.cascade import work_off


@pytest.mark.parametrize("turns", range(8))
async def test_who_is_stopped_hires_nobody_any_more(turns: int) -> None:
    begun: list[int] = []

    async def wait(item: int) -> None:
        begun.append(item)
        await asyncio.sleep(60)

    work = asyncio.create_task(work_off(range(20), wait, 16))
    for _ in range(turns):
        await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    stopped_at = len(begun)
    await asyncio.sleep(0)
    assert len(begun) == stopped_at <= 16


@pytest.mark.parametrize("turns", range(4))
async def test_an_error_ends_the_work(turns: int) -> None:
    async def break_off(_: int) -> Never:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise ValueError("broken")

    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        await work_off(range(20), break_off, 16)


async def test_hands_are_as_many_as_are_busy_and_at_most_the_limit() -> None:
    at_work, most, done = 0, 0, []

    async def do(item: int) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.001)
        at_work -= 1
        done.append(item)

    await work_off(range(200), do, 16)
    assert (most, sorted(done)) == (16, list(range(200)))


async def test_work_that_never_waits_is_done_by_one_hand_in_order() -> None:
    done: list[int] = []

    async def do(item: int) -> None:
        done.append(item)

    await work_off(range(1_000), do, 16)
    assert done == list(range(1_000))
