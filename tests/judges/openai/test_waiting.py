"""How long judges wait, and how many calls they have in flight, over real HTTP."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from judges.openai.calls import AdaptiveSlots
from judges.openai.waits import wait_seconds
from judges.types import FailureKind
from tests.judges.openai.case_server import (
    Asked,
    CaseServer,
    Sent,
    answer,
    judge_of,
    refusal,
    score_of,
    scores_of,
)
from tests.judges.openai.replies_from_the_field import CASES, check

pytestmark = pytest.mark.usefixtures("waits_are_real")


def busy_until(wait_s: float, *, status: int = 429, body: Any = None, **headers: str) -> Any:
    """Refuse until `wait_s` after the first request."""
    started: list[float] = []

    def reply(asked: Asked) -> Sent:
        started.append(time.monotonic())
        if started[-1] - started[0] >= wait_s:
            return answer(asked)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Sent({"error": {"message": "busy"}} if body is None else body, status, named)

    return reply


RETRY_INFO = [
    {
        "error": {
            "code": 429,
            "message": "You exceeded your current quota, please check your plan and billing details.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.6s"}
            ],
        }
    }
]


@pytest.mark.parametrize(
    "told",
    [
        {"body": RETRY_INFO},
        {"body": {"error": {"message": "Rate limit reached. Please try again in 600ms."}}},
        {"body": {"error": {"message": "slow down", "retry_after": 0.6}}},
        {"retry_after": "0.6"},
        {"retry_after_ms": "600"},
        {"retry_after": "0", "body": RETRY_INFO},
        {"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "600ms"},
        {"status": 200, "body": {"error": {"code": 429, "metadata": {"retry_after": 0.6}}}},
    ],
    ids=str,
)
async def test_a_judge_waits_as_long_as_the_server_says_wherever_it_says_it(
    case_server: CaseServer, told: dict[str, Any]
) -> None:
    score = await score_of(case_server, busy_until(0.6, **told), attempts=2, orders="as_posted")
    check(CASES["an ordinary answer"], score)
    assert score.usage.calls == 2


@pytest.mark.parametrize("header", ["Wed, 21 Oct 2015 07:28:00 GMT", "0", "-5", "soon"])
async def test_a_wait_is_never_shorter_than_the_usual_one(
    case_server: CaseServer, header: str
) -> None:
    reply = busy_until(0.6, retry_after=header)
    score = await score_of(case_server, reply, retry_wait_s=0.1, attempts=5, orders="as_posted")
    check(CASES["an ordinary answer"], score)


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({}, {"error": {"message": "Please try again in 1m30.5s."}}, 90.5),
        ({}, {"error": {"message": "Please retry after 6 seconds."}}, 6.0),
        ({}, {"error": {"message": "Try again later"}}, None),
        ({}, {"error": {"message": "Please try again in 7h2m"}}, 7 * 3600 + 120),
        ({}, RETRY_INFO, 0.6),
        ({"retry-after": "2"}, {"error": {"message": "wait 5s"}}, 5.0),
        ({"retry-after": "nan"}, "busy", None),
        ({"retry-after": "12s"}, "busy", 12.0),
        ({"retry-after": "Wed, 99 Foo 99999 99:99:99 GMT"}, "busy", None),
        ({"retry-after": "0001-01-01T00:00:00+23:59"}, "busy", 0.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, "", 360.0),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "6m0s"}, "", None),
        (
            {
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "2027-01-15T08:00:20Z",
            },
            "",
            20.0,
        ),
        ({}, {"retryDelay": [1]}, None),
        ({}, {"error": {"details": [{"retryDelay": {"seconds": "20"}}]}}, 20.0),
        ({}, {"error": "the model is loading", "estimated_time": 20.0}, 20.0),
        ({}, {"error": {"resets_at": 1_800_000_020}}, 20.0),
        ({}, {"error": {"Retry-After-Seconds": 20}}, 20.0),
        (
            {},
            {"error": {"metadata": {"headers": {"X-RateLimit-Reset": "1800000020000"}}}},
            20.0,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1800000020"}, "", 20.0),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "20"}, "", None),
        ({"ratelimit-reset": "20"}, "", 20.0),
        ({"ratelimit": '"default";r=0;t=20'}, "", 20.0),
        ({"ratelimit": "limit=9, remaining=3, reset=20"}, "", None),
        ({"x-ratelimit-reset-after": "20"}, "", 20.0),
        ({"retry-after": "20, 5"}, "", 20.0),
        ({"retry-after": "1800000020"}, "", 20.0),
        ({}, {"message": "Your limit resets in 20 seconds"}, 20.0),
        ({}, {"message": "Please retry your requests after 20 seconds."}, 20.0),
        ({}, {"message": "slow down, retry_after=20"}, 20.0),
        ({}, {"message": "\u8bf7\u572820\u79d2\u540e\u91cd\u8bd5"}, 20.0),
        ({}, {"message": "Limit of 5 requests in 20 seconds; retry 3 times at most"}, None),
        ({}, {"error": {"metadata": {"headers": {"retry_after_ms": 1500}}}}, 1.5),
        ({}, {"error": {"retry_after": "2027-01-15T08:00:20Z"}}, 20.0),
        ({}, {"error": {"reset_timestamp": 1_800_000_020}}, 20.0),
        ({}, {"message": "Limit resets at: 2027-01-15 08:00:20 UTC"}, 20.0),
        ({}, {"message": "Try again at 2027-01-15T09:00:20+01:00"}, 20.0),
        ({}, {"message": "\u8bf7\u7b49\u5f8520\u79d2"}, 20.0),
        ({}, {"message": "\u8bf71\u5206\u949f\u540e\u91cd\u8bd5"}, 60.0),
        ({"x-ratelimit-retry-after": "20"}, "", 20.0),
        # the server's clock is 5 minutes ahead
        (
            {
                "date": "Fri, 15 Jan 2027 08:05:00 GMT",
                "retry-after": "Fri, 15 Jan 2027 08:05:20 GMT",
            },
            "",
            20.0,
        ),
        ({"date": "Fri, 15 Jan 2027 08:05:00 GMT", "x-ratelimit-reset": "1800000320"}, "", 20.0),
        ({"date": "today", "retry-after": "Fri, 15 Jan 2027 08:00:20 GMT"}, "", 20.0),
        ({"x-retry-after-ms": "1500"}, "", 1.5),
        ({"retry-after-seconds": "20"}, "", 20.0),
        (
            {
                "x-ratelimit-remaining-tokens-minute": "0",
                "x-ratelimit-reset-tokens-minute": "11.5",
                "x-ratelimit-remaining-requests-day": "7",
                "x-ratelimit-reset-requests-day": "33000",
            },
            "",
            11.5,
        ),
        ({"x-ratelimit-remaining": "0.0", "x-ratelimit-reset": "20"}, "", 20.0),
        ({"ratelimitbysize-remaining": "0", "ratelimitbysize-reset": "20"}, "", 20.0),
        ({"x-ratelimit-minute-remaining": "0", "x-ratelimit-minute-reset": "1800000020"}, "", 20.0),
        ({"x-ratelimit-minute-remaining": "5", "x-ratelimit-minute-reset": "1800000020"}, "", None),
    ],
)
def test_a_wait_is_found_in_headers_fields_and_words(
    headers: dict[str, str], body: Any, seconds: float | None
) -> None:
    assert wait_seconds(headers, body, now=1_800_000_000.0) == seconds


# one slot


def one_slot(seconds: float) -> Any:
    """A server that answers one request after another and lets the others wait."""
    lock = threading.Lock()

    def reply(asked: Asked) -> Sent:
        with lock:
            time.sleep(seconds)
        return answer(asked)

    return reply


async def test_a_server_with_one_slot_judges_every_pair(case_server: CaseServer) -> None:
    # a busy machine stops for a quarter of a second: the time-out is longer
    case_server.reply = one_slot(0.06)
    judge = judge_of(case_server, timeout_s=0.72)  # 12 in a row
    scores = await scores_of(judge, 18)
    await judge.aclose()
    assert [score.failure for score in scores] == [None] * 18
    assert case_server.most_in_flight <= 12


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_with_one_slot_that_refuses_a_second_request_judges_every_pair(
    case_server: CaseServer, status: int
) -> None:
    lock = threading.Lock()

    def reply(asked: Asked) -> Sent:
        if not lock.acquire(blocking=False):
            return refusal(status, "no slot available")
        try:
            time.sleep(0.02)
            return answer(asked)
        finally:
            lock.release()

    case_server.reply = reply
    judge = judge_of(case_server, retry_wait_s=0.05)
    scores = await scores_of(judge, 40)
    await judge.aclose()
    assert [score.failure for score in scores] == [None] * 40


async def test_time_outs_are_complaints(case_server: CaseServer) -> None:
    slots = AdaptiveSlots(16)
    judge = judge_of(case_server, timeout_s=0.05, attempts=1, orders="as_posted")
    judge._server.slots = slots
    case_server.reply = one_slot(0.2)
    assert {score.failure.kind for score in await scores_of(judge, 4) if score.failure} == {
        FailureKind.TIMEOUT
    }
    assert slots.allowed == 8
    await judge.aclose()


def test_as_many_as_fit_one_after_another_into_half_the_time_out_are_allowed() -> None:
    slots = AdaptiveSlots(64, first=4)
    slots.answered_after(0.5, timeout_s=6.0)
    assert slots.allowed == 6
    slots.answered_after(0.01, timeout_s=6.0)
    assert slots.allowed == 64


async def test_answers_that_queued_and_free_slots_allow_no_more_requests() -> None:
    slots = AdaptiveSlots(64, first=2)
    async with slots.slot(), slots.slot():
        slots.answered_after(20.0, timeout_s=60.0)
        slots.answered_after(50.0, timeout_s=60.0)
        assert slots.allowed == 3
    slots.answered_after(20.0, timeout_s=60.0)
    assert slots.allowed == 3
