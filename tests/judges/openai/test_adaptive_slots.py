"""Requests in flight: halved when a server is busy, one more with every round of answers."""

from __future__ import annotations

import asyncio

import pytest

from judges.openai.calls import AdaptiveSlots


async def most_in_flight(slots: AdaptiveSlots, requests: int) -> int:
    in_flight = most = 0

    async def request() -> None:
        nonlocal in_flight, most
        async with slots.slot():
            in_flight += 1
            most = max(most, in_flight)
            await asyncio.sleep(0)
            in_flight -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(requests):
            group.create_task(request())
    return most


async def test_no_more_than_allowed_are_in_flight() -> None:
    assert await most_in_flight(AdaptiveSlots(4), 40) == 4


async def test_a_busy_server_is_asked_half_as_much() -> None:
    slots = AdaptiveSlots(16)
    async with slots.slot() as since:
        slots.busy(since)
    assert slots.allowed == 8
    assert await most_in_flight(slots, 40) == 8


async def test_one_burst_of_complaints_counts_once() -> None:
    slots = AdaptiveSlots(16)
    async with slots.slot() as first, slots.slot() as second:
        slots.busy(first)
        slots.busy(second)
    assert slots.allowed == 8


async def test_it_never_falls_below_one_and_comes_back() -> None:
    slots = AdaptiveSlots(8)
    for _ in range(10):
        async with slots.slot() as since:
            slots.busy(since)
    assert slots.allowed == 1
    for _ in range(60):
        slots.answered()
    assert slots.allowed == 8


async def test_whoever_stops_waiting_leaves_no_slot_taken() -> None:
    slots = AdaptiveSlots(1)
    async with slots.slot():
        waiting = asyncio.create_task(most_in_flight(slots, 1))
        given = asyncio.create_task(most_in_flight(slots, 1))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    # the slot goes to `given` in the very moment in which it is cancelled
    given.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given
    assert await most_in_flight(slots, 3) == 1
