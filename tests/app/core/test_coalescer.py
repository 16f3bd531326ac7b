from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from app.core.tasks import Coalescer


class Rounds:
    """Doubles numbers, each round held until it may go on; refuses 13."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.may_go_on = asyncio.Event()

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.seen.append(list(numbers))
        await self.may_go_on.wait()
        if 13 in numbers:
            raise ValueError(f"13 among {len(numbers)}")
        return [2 * number for number in numbers]


async def _joined(coalescer: Coalescer, work: Rounds, *numbers: int) -> list[asyncio.Task[int]]:
    """Let callers join one after the other, each before the next comes."""
    tasks = []
    for number in numbers:
        tasks.append(asyncio.create_task(coalescer.call("key", number, work)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return tasks


async def test_callers_who_come_during_a_round_share_the_next() -> None:
    work = Rounds()
    tasks = await _joined(Coalescer(), work, 1, 2, 3)
    work.may_go_on.set()
    assert [await task for task in tasks] == [2, 4, 6]
    assert work.seen == [[1], [2, 3]]


async def test_a_caller_after_the_last_round_begins_another() -> None:
    coalescer, work = Coalescer(), Rounds()
    work.may_go_on.set()
    assert [await coalescer.call("key", number, work) for number in (1, 2)] == [2, 4]
    assert work.seen == [[1], [2]]


async def test_one_callers_fault_is_no_other_callers() -> None:
    work = Rounds()
    first, bad, good = await _joined(Coalescer(), work, 1, 13, 3)
    work.may_go_on.set()
    assert (await first, await good) == (2, 6)
    with pytest.raises(ValueError, match="13 among 1"):
        await bad
    assert work.seen[1] == [13, 3]


async def test_a_caller_who_is_told_to_stop_takes_nobody_along() -> None:
    work = Rounds()
    first, waiting, other = await _joined(Coalescer(), work, 1, 2, 3)
    first.cancel()
    waiting.cancel()
    await asyncio.wait([first, waiting])
    work.may_go_on.set()
    assert await other == 6
    assert work.seen == [[1], [3]]


async def test_callers_with_different_keys_do_not_wait_for_each_other() -> None:
    coalescer, slow, fast = Coalescer(), Rounds(), Rounds()
    fast.may_go_on.set()
    (waiting,) = await _joined(coalescer, slow, 1)
    assert await coalescer.call("another key", 2, fast) == 4
    slow.may_go_on.set()
    assert await waiting == 2
