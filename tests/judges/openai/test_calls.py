"""Retries, connections, and requests in flight, whose number follows what the server can take."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from email.utils import formatdate

import pytest

from judges.openai.calls import AdaptiveSlots, LeastBusy, retry_after_seconds


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


async def test_a_number_that_was_refused_is_tried_again_once_in_a_while() -> None:
    slots = AdaptiveSlots(8, first=4)
    refused = answers = 0
    while answers < 80:
        async with slots.slot() as since:
            if slots.allowed > 1:  # one at a time is all that this server takes
                slots.busy(since)
                refused += 1
            else:
                slots.answered()
                answers += 1
    assert refused <= 2 + 80 / 16


async def test_whoever_stops_waiting_leaves_no_slot_taken() -> None:
    slots = AdaptiveSlots(1)

    async def take() -> None:
        async with slots.slot():
            raise AssertionError("nobody waits for this")

    async with slots.slot():
        waiting, given = asyncio.create_task(take()), asyncio.create_task(take())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    # the slot goes to `given` in the very moment in which it is cancelled
    given.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given
    assert await most_in_flight(slots, 3) == 1


def test_each_request_goes_to_the_member_with_the_fewest() -> None:
    clients = LeastBusy(["first", "second", "third"])
    with clients.member() as one, clients.member() as two, clients.member() as three:
        assert (one, two, three) == ("first", "second", "third")
        with clients.member() as four:
            assert four == "first"
    with clients.member() as again:
        assert again == "first"


def test_requests_that_end_in_any_order_leave_nobody_overloaded() -> None:
    clients = LeastBusy("ab")
    with ExitStack() as long:
        long.enter_context(clients.member())
        for _ in range(5):
            with clients.member() as free:
                assert free == "b"


def test_a_request_that_fails_is_over() -> None:
    clients = LeastBusy("ab")
    with pytest.raises(ValueError, match="no"), clients.member():
        raise ValueError("no")
    with clients.member() as free:
        assert free == "a"


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("2", 2.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        (formatdate(NOW + 7, usegmt=True), 7.0),
        (formatdate(NOW - 7, usegmt=True), 0.0),
        (formatdate(NOW + 7).replace("-0000", ""), 7.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, now=NOW) == seconds
