"""Judges behind servers that answer as real ones do, over real HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import stamina

from app.client.blocking import Tribunal
from app.client.errors import ConnectionInvalid
from judges.errors import JudgeConfigurationInvalid
from judges.openai.calls import AdaptiveSlots
from judges.openai.replies import read_usage
from judges.openai.waits import wait_seconds
from judges.registry import Registry
from judges.types import FailureKind, Score, TokenUsage
from tests.judges.openai.case_server import (
    PREFERRED,
    Asked,
    CaseServer,
    Sent,
    answer,
    judge_of,
    refusal,
    serving,
    usage_of,
)
from tests.judges.openai.replies_from_the_field import CASES, VOTE, Case, billed, cut, first
from tests.judges.pairs import pair_of

GOOD = pair_of(a="It is good.", b="It is bad.")
PRICES: dict[str, Any] = {"price_input": 1.0, "price_output": 10.0}


@pytest.fixture(autouse=True)
def waits_are_real() -> Iterator[None]:
    """The waits between attempts are short by the judge's settings."""
    with stamina.set_testing(False):
        yield


@pytest.fixture(scope="module")
def _served() -> Iterator[CaseServer]:
    with serving(CaseServer(answer)) as server:
        yield server


@pytest.fixture
def server(_served: CaseServer) -> CaseServer:
    fresh = CaseServer(answer)
    fresh.base_url = _served.base_url
    vars(_served).update(vars(fresh))
    return _served


async def score_of(server: CaseServer, reply: Any = answer, **settings: Any) -> Score:
    server.reply = reply
    judge = judge_of(server, **{**PRICES, **settings})
    try:
        return await judge.score(GOOD)
    finally:
        await judge.aclose()


def ledger(server: CaseServer) -> float:
    return sum(prompt + 10 * completion for _, (prompt, completion) in server.billed) / 1e6


def check(case: Case, score: Score) -> None:
    """Check a score of the pair whose first response is preferred."""
    if isinstance(case.right, FailureKind):
        assert score.failure is not None, score
        assert score.failure.kind is case.right, score.failure
        assert all(word in score.failure.detail for word in case.words), score.failure
        return
    assert score.failure is None, score.failure
    assert ("no_logprobs" in score.flags) == (case.right == VOTE)
    assert score.p_a == pytest.approx(1.0 if case.right == VOTE else case.right, abs=1e-3)


@pytest.mark.parametrize("name", CASES)
async def test_a_reply_from_the_field_is_read_right(server: CaseServer, name: str) -> None:
    case = CASES[name]
    score = await score_of(server, case.reply, **case.settings)
    check(case, score)
    if score.cost_usd is not None:
        assert score.cost_usd == pytest.approx(ledger(server))


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].calls])
async def test_a_reply_is_asked_for_again_only_where_that_may_help(
    server: CaseServer, name: str
) -> None:
    score = await score_of(server, CASES[name].reply, orders="as_posted")
    assert score.usage.calls == len(server.asked) == CASES[name].calls


# 6. waiting


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
    server: CaseServer, told: dict[str, Any]
) -> None:
    score = await score_of(server, busy_until(0.6, **told), attempts=2, orders="as_posted")
    check(CASES["an ordinary answer"], score)
    assert score.usage.calls == 2


@pytest.mark.parametrize("header", ["Wed, 21 Oct 2015 07:28:00 GMT", "0", "-5", "soon"])
async def test_a_wait_is_never_shorter_than_the_usual_one(server: CaseServer, header: str) -> None:
    reply = busy_until(0.6, retry_after=header)
    score = await score_of(server, reply, retry_wait_s=0.1, attempts=5, orders="as_posted")
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


# 7. one slot


def one_slot(seconds: float) -> Any:
    """A server that answers one request after another and lets the others wait."""
    lock = threading.Lock()

    def reply(asked: Asked) -> Sent:
        with lock:
            time.sleep(seconds)
        return answer(asked)

    return reply


async def scores_of(judge: Any, count: int) -> list[Score]:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(judge.score(pair_of(f"{n}?", "It is good.", "It is bad.")))
            for n in range(count)
        ]
    return [task.result() for task in tasks]


async def test_a_server_with_one_slot_judges_every_pair(server: CaseServer) -> None:
    # a busy machine stops for a quarter of a second: the time-out is longer
    server.reply = one_slot(0.06)
    judge = judge_of(server, timeout_s=0.72)  # 12 in a row
    scores = await scores_of(judge, 18)
    await judge.aclose()
    assert [score.failure for score in scores] == [None] * 18
    assert server.most_in_flight <= 12


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_with_one_slot_that_refuses_a_second_request_judges_every_pair(
    server: CaseServer, status: int
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

    server.reply = reply
    judge = judge_of(server, retry_wait_s=0.05)
    scores = await scores_of(judge, 40)
    await judge.aclose()
    assert [score.failure for score in scores] == [None] * 40


async def test_time_outs_are_complaints(server: CaseServer) -> None:
    slots = AdaptiveSlots(16)
    judge = judge_of(server, timeout_s=0.05, attempts=1, orders="as_posted")
    judge._server.slots = slots
    server.reply = one_slot(0.2)
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


# 8. what is sent


GPT_5 = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
DEFAULT_ONLY = "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
NO_LOGPROBS = (
    "You are not allowed to request 'logprobs': logprobs are not supported with this model."
)


def gpt_5(asked: Asked) -> Sent:
    """A reasoning model: it knows none of the fields that others need."""
    if "max_tokens" in asked.body:
        return refusal(400, GPT_5, param="max_tokens", code="unsupported_parameter")
    if asked.body.get("temperature", 1) != 1:
        return refusal(400, DEFAULT_ONLY, param="temperature", code="unsupported_value")
    if "logprobs" in asked.body:
        return refusal(403, NO_LOGPROBS, param="logprobs")
    if asked.body.get("max_completion_tokens", 9999) < 500:
        return answer(asked, "", logprobs=False, finish_reason="length")
    return answer(asked, logprobs=False)


OMIT_ALL: dict[str, Any] = {
    "omit": frozenset({"max_tokens", "temperature", "logprobs"}),
    "extra_body": {"max_completion_tokens": 2000},
}


async def test_fields_that_a_server_refuses_are_left_out(server: CaseServer) -> None:
    score = await score_of(server, gpt_5, **OMIT_ALL)
    assert score.failure is None
    assert (score.p_a, score.flags) == (1.0, ("no_logprobs",))
    assert len(server.asked) == 2
    sent = server.asked[0].body
    assert sent.keys() == {"model", "messages", "max_completion_tokens"}


async def test_a_refused_field_is_given_up_once_and_every_score_says_so(server: CaseServer) -> None:
    server.reply = gpt_5
    judge = judge_of(server, orders="as_posted", attempts=1, **PRICES)
    scores = await scores_of(judge, 3)
    health = await judge.health()
    await judge.aclose()
    assert {score.failure for score in scores} == {None}
    given_up = {f"omitted:{name}" for name in ("logprobs", "max_tokens", "temperature")}
    assert all(given_up < set(score.flags) for score in scores)
    assert all("omitted:temperature" in score.manner for score in scores)
    assert "temperature" in health.detail
    known = len(server.asked)
    assert known <= 3 + 3 * 3
    assert sum(score.cost_usd or 0 for score in scores) == pytest.approx(ledger(server))


@pytest.mark.parametrize(
    "message",
    [
        "`temperature` is deprecated for this model.",
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        "temperature: this parameter is deprecated for this model",
        "invalid temperature: only 1 is allowed for this model",
        "`temperature` may only be set to 1 when thinking is enabled.",
        "#: extraneous key [temperature] is not permitted",
        "Argument not supported on this model: temperature",
        "gpt-5 models don't support temperature=0. Only temperature=1 is supported.",
        "This model doesn't support the temperature field. Remove temperature and try again.",
        "Model does not support setting temperature",
        "Input validation error: `temperature` must be strictly positive",
        "Invalid params: temperature must be in range (0, +inf)",
        "temperature must be greater than 0",
        "InvalidParameter: Temperature should be in (0.0, 2.0)",
        "`temperature` (=0) has to be a strictly positive float",
        "Invalid value for 'temperature': 0",
        "the parameter temperature is illegal",
        "temperature \u53c2\u6570\u975e\u6cd5\u3002\u53d6\u503c\u8303\u56f4\u662f (0.0, 1.0)",
        "\u8be5\u6a21\u578b\u4e0d\u652f\u6301temperature\u53c2\u6570",
        [{"loc": ["body", "temperature"], "msg": "Input should be greater than 0"}],
    ],
)
async def test_a_refused_temperature_of_0_is_given_up_whatever_the_words(
    server: CaseServer, message: Any
) -> None:
    refused = Sent({"detail": message}, 422)

    def reply(asked: Asked) -> Sent:
        return refused if "temperature" in asked.body else answer(asked)

    score = await score_of(server, reply)
    check(CASES["an ordinary answer"], score)
    assert score.flags == ("omitted:temperature",)


@pytest.mark.parametrize(
    "message",
    [
        "Logprobs is not enabled for models/gemini-2.5-flash",
        "logprobs: Extra inputs are not permitted",
        "top_logprobs is currently not supported",
        "logprobs is not supported when temperature is set",
        "deepseek-reasoner does not support the parameter logprobs",
        "logprobs cannot be used with thinking",
        "Log probabilities are not supported by this model",
        "logprobs: invalid type: boolean `true`, expected u32 at line 1 column 300",
        "logprobs: value is not a valid integer",
        "You must set logits_all=True to use logprobs",
        "logprobs are not yet implemented",
        "this model cannot return logprobs",
        "the parameter logprobs is invalid",
        "\u8be5\u6a21\u578b\u4e0d\u652f\u6301logprobs",
    ],
)
async def test_refused_log_probs_are_given_up_whatever_the_words(
    server: CaseServer, message: str
) -> None:
    def reply(asked: Asked) -> Sent:
        refused = "logprobs" in asked.body
        return refusal(400, message) if refused else answer(asked, logprobs=False)

    score = await score_of(server, reply, orders="as_posted")
    check(Case(answer, VOTE), score)
    assert "omitted:logprobs" in score.flags
    assert "omitted:temperature" not in score.flags
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("settings", "message", "advice"),
    [
        ({"temperature": 0.5}, DEFAULT_ONLY, "set temperature"),
        ({"extra_body": {"temperature": 0}}, DEFAULT_ONLY, "extra_body"),
        ({}, "top_logprobs must be at most 5", "set top_logprobs"),
        ({}, "'The temperature and weather' is not allowed by policy", ""),
        ({}, "Invalid 'top_logprobs': 20 is not supported, at most 5", "set top_logprobs"),
        ({"system_role": "system"}, "System role not supported", "system_role"),
        ({}, "sample logprobs of 20, which is greater than max allowed: 5", "set top_logprobs"),
        ({}, "`top_n_tokens` must be >= 0 and <= 5. Given: 20", "set top_logprobs"),
        ({}, "Invalid 'max_output_tokens': Expected a value >= 16, but got 1", "set max_tokens"),
        ({}, "max_tokens must be >= 16: {'max_tokens': 1, 'temperature': 0}", "set max_tokens"),
    ],
)
async def test_a_field_that_the_settings_name_is_not_given_up_but_named(
    server: CaseServer, settings: dict[str, Any], message: str, advice: str
) -> None:
    score = await score_of(server, lambda _: refusal(400, message), **settings)
    assert score.failure is not None
    assert score.failure.kind is FailureKind.REFUSED
    assert advice in score.failure.detail


SYSTEM_REFUSALS = [
    (400, "System role not supported"),
    (400, "Conversation roles must alternate user/assistant/user/assistant/..."),
    (500, "Jinja Exception: System role not supported"),
    (422, "Template error: Conversation roles must alternate user/assistant/"),
    (400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
    (400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
    (400, "Only user and assistant roles are supported!"),
    (400, "messages.0.role: Input should be 'user' or 'assistant'"),
    (400, "Conversation must start with a user prompt"),
    (422, "The role system is not allowed here"),
    (400, "Please use a valid role: user, model."),
    (422, "unknown variant `system`, expected `user` or `assistant`"),
    (
        500,
        f"While executing CallExpression in source: {'{%- x -%} ' * 60}System role not supported",
    ),
    (400, "Invalid enum value. Expected 'user' | 'assistant', received 'system'"),
    (400, 'messages: first message must use the "user" role'),
    (400, "the role of message with odd index in the messages must be user or function"),
    (400, "Expected the first message to be from the user"),
    (400, "Please ensure that multiturn requests alternate between user and model roles"),
    (400, "developer messages are not supported"),
    (400, "\u4e0d\u652f\u6301 system \u89d2\u8272"),
]


@pytest.mark.parametrize(("status", "message"), SYSTEM_REFUSALS)
async def test_a_refused_system_message_is_merged_into_the_users(
    server: CaseServer, status: int, message: str
) -> None:
    def reply(asked: Asked) -> Sent:
        has_system = asked.body["messages"][0]["role"] == "system"
        return refusal(status, message) if has_system else answer(asked)

    score = await score_of(server, reply, attempts=1)
    check(CASES["an ordinary answer"], score)
    assert score.flags == ("system_merged",)
    assert score.manner == "system_merged"
    last = server.asked[-1].body["messages"]
    assert [message["role"] for message in last] == ["user"]
    assert "You compare two responses" in last[0]["content"]
    at_once = await score_of(server, reply, system_role="user", attempts=1)
    check(CASES["an ordinary answer"], at_once)
    assert at_once.flags == ()


async def test_headers_and_a_query_are_sent_and_their_values_never_told(
    server: CaseServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")

    def azure(asked: Asked) -> Sent:
        key, version = asked.headers.get("api-key"), asked.path.partition("?")[2]
        told = f"access denied for {key} with {asked.headers.get('x-team')}: {asked.path}"
        if asked.path.partition("?")[0] != "/v1/chat/completions" or "fail" in asked.text:
            return refusal(401, told)
        return answer(asked) if version == "api-version=2024-10-21" else refusal(404, told)

    settings: dict[str, Any] = {
        "headers": {"api-key": "env:AZURE_KEY", "x-team": "team-secret"},
        "base_url": f"{server.base_url}?api-version=2024-10-21",
    }
    server.reply = azure
    judge = judge_of(server, {"AZURE_KEY": "az-secret"}, **settings)
    check(CASES["an ordinary answer"], await judge.score(GOOD))
    failed = await judge.score(pair_of("fail"))
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.UNAVAILABLE
    for text in (repr(failed), repr(judge.spec), repr(judge._settings), caplog.text):
        assert "az-secret" not in text
        assert "team-secret" not in text
    await judge.aclose()
    moved = {**settings, "base_url": server.base_url, "query": {"api-version": "2024-10-21"}}
    again = judge_of(server, {"AZURE_KEY": "other-key"}, **moved)
    check(CASES["an ordinary answer"], await again.score(GOOD))
    assert again.spec.fingerprint == judge.spec.fingerprint
    await again.aclose()


async def test_a_header_whose_variable_is_not_set_is_said_without_a_request(
    server: CaseServer,
) -> None:
    judge = judge_of(server, headers={"api-key": "env:AZURE_KEY"})
    score, health = await judge.score(GOOD), await judge.health()
    await judge.aclose()
    assert score.failure is not None
    assert "AZURE_KEY" in score.failure.detail
    assert (health.is_ready, server.asked) == (False, [])


async def test_the_fingerprint_has_the_new_settings_only_where_they_change_something(
    server: CaseServer,
) -> None:
    def fingerprint(**settings: Any) -> str:
        return judge_of(server, **settings).spec.fingerprint

    plain = fingerprint()
    same: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"system_role": "system"},
        {"min_label_mass": 0.1},
        {"headers": {"x": "y"}},
        {"query": {"x": "y"}},
        {"longest_wait_s": 5.0},
    ]
    assert {fingerprint(**settings) for settings in same} == {plain}
    other: list[dict[str, Any]] = [
        {"temperature": 1.0},
        {"system_role": "user"},
        {"min_label_mass": 0.2},
        {"omit": frozenset({"temperature"})},
    ]
    assert len({plain, *(fingerprint(**settings) for settings in other)}) == 5


# 9. money


async def test_a_call_that_was_cut_is_counted_or_its_cost_is_unknown(server: CaseServer) -> None:
    score = await score_of(server, first(cut), orders="as_posted")
    assert score.failure is None
    assert (score.usage.calls, score.cost_usd) == (2, None)
    assert "no_usage" in score.flags


@pytest.mark.parametrize("reason", ["network_error", "timeout"])
async def test_a_call_that_the_server_stopped_is_counted_or_its_cost_is_unknown(
    server: CaseServer, reason: str
) -> None:
    def cut_off(asked: Asked) -> Sent:
        return answer(asked, "", [], finish_reason=reason, usage={})

    score = await score_of(server, first(cut_off), orders="as_posted")
    assert score.failure is None
    assert (score.usage.calls, score.cost_usd) == (2, None)


async def test_a_timed_out_call_makes_the_cost_unknown(server: CaseServer) -> None:
    def late(asked: Asked) -> Sent:
        time.sleep(0.6 if asked.number == 0 else 0)
        return answer(asked)

    score = await score_of(server, late, orders="as_posted", timeout_s=0.3)
    assert score.failure is None
    assert score.cost_usd is None


@pytest.mark.parametrize(
    ("settings", "tokens"),
    [
        ({"extra_body": {"max_tokens": 4000}}, 4000),
        ({"extra_body": {"max_completion_tokens": 4000}, "omit": frozenset({"max_tokens"})}, 4000),
        ({"extra_body": {"n": 50}, "max_tokens": 80}, 4000),
        ({}, 4000),  # more than was asked for
    ],
)
async def test_a_budget_reserves_what_is_really_asked_for(
    server: CaseServer, settings: dict[str, Any], tokens: int
) -> None:
    server.reply = billed((300, tokens), completion=1, total_tokens=300 + tokens)
    judge = judge_of(server, budget_usd=0.2, **PRICES, **settings)
    scores = await scores_of(judge, 20)
    await judge.aclose()
    assert 0.04 <= ledger(server) <= 0.2
    assert all("budget" in score.failure.detail for score in scores if score.failure)
    assert sum(score.cost_usd or 0 for score in scores) == pytest.approx(ledger(server))


@pytest.mark.parametrize(
    "extra_body",
    [
        {"thinking_budget": 4000},
        {"thinking_budget": -1},
        {"thinking": {"type": "enabled", "budget_tokens": 4000}},
        {"reasoning": {"max_tokens": 4000}},
        {"extra_body": {"google": {"thinking_config": {"thinking_budget": 4000}}}},
        {"n_predict": 4000},
        {"options": {"num_predict": 4000}},
    ],
)
async def test_a_budget_that_does_not_cover_what_is_asked_for_besides_pays_for_no_call(
    server: CaseServer, extra_body: dict[str, Any]
) -> None:
    score = await score_of(server, budget_usd=0.04, extra_body=extra_body)
    assert score.failure is not None
    assert "budget" in score.failure.detail
    assert server.asked == []
    off = await score_of(server, budget_usd=0.04, extra_body={"thinking_budget": 0})
    assert off.failure is None


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 9, "completion_tokens": "2"}, None),
        ({"prompt_tokens": 9}, None),
        ({"prompt_tokens": 9, "total_tokens": 11}, TokenUsage(9, 2)),
        ({"input_tokens": 9, "output_tokens": 2}, TokenUsage(9, 2)),
        (
            {"input_tokens": 9, "cache_read_input_tokens": 300, "output_tokens": 2},
            TokenUsage(309, 2),
        ),
        ({**usage_of(9, 2), "prompt_cache_hit_tokens": 4}, TokenUsage(9, 2, 4)),
        ({**usage_of(9, 2), "total_tokens": 5}, TokenUsage(9, 2)),
        ({"prompt_tokens": 9.0, "completion_tokens": 2.0}, TokenUsage(9, 2)),
        ({**usage_of(9, 2), "total_tokens": 11, "reasoning_tokens": 500}, TokenUsage(9, 502)),
        (
            {**usage_of(9, 2), "prompt_tokens_details": {"cached_tokens": 300}},
            TokenUsage(309, 2, 300),
        ),
        (
            {**usage_of(9, 2), "total_tokens": 311, "cache_read_input_tokens": 300},
            TokenUsage(309, 2),
        ),
        ({**usage_of(9, 2), "cache_read_input_tokens": 300}, TokenUsage(309, 2)),
        ({**usage_of(309, 2), "cache_read_input_tokens": 300}, TokenUsage(309, 2)),
        ({**usage_of(0, 0), "total_tokens": 0}, None),
        (usage_of(0, 2), None),
        ({"prompt_tokens": 9, "completion_tokens": -5, "total_tokens": 4}, None),
    ],
)
def test_usage_that_is_known_in_part_is_never_less_than_billed(
    usage: dict[str, Any], counted: TokenUsage | None
) -> None:
    assert read_usage(usage) == counted


# 10. the environment


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:1080/"),
        ("all_proxy", "socks5://user:secret@127.0.0.1:1080"),
        ("HTTPS_PROXY", "http://127.0.0.1:port"),
        ("NO_PROXY", "localhost,fe80::/10"),
        ("no_proxy", "http://[::1"),
        ("SSL_CERT_FILE", "/no/such/certificates.pem"),
        ("SSLKEYLOGFILE", "/no/such/folder/keys.log"),
        ("NO_PROXY", "[::1]"),
        ("no_proxy", "\u00fcn\u00ef.example"),
        ("NO_PROXY", "localhost,[fe80::1%eth0]"),
    ],
)
def test_a_proxy_variable_that_cannot_be_used_is_one_message(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for other in ("all_proxy", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(other, raising=False)
        monkeypatch.delenv(other.upper(), raising=False)
    monkeypatch.setenv(name, value)
    table = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"}
    with pytest.raises(JudgeConfigurationInvalid, match=f"judges.dear: .*{name}") as raised:
        Registry.from_config({"judges": {"dear": table}})
    assert "secret" not in str(raised.value)
    with pytest.raises(ConnectionInvalid, match=name):
        Tribunal("http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PROXY", "http://127.0.0.1:3128"),
        ("HTTPS_PROXY", "127.0.0.1:3128"),
        ("NO_PROXY", "localhost,127.0.0.1,::1,10.0.0.0/8,.example.com"),
        ("NO_PROXY", "*,fe80::/10"),
        ("NO_PROXY", "*.example.com,192.168.0.0/16,http://example.com,fe80::1"),
        ("SSL_CERT_FILE", ""),
    ],
)
async def test_a_proxy_variable_that_can_be_used_is_no_problem(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    table = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"}
    await Registry.from_config({"judges": {"dear": table}}).aclose()


# 11. health agrees with judging


def listed(*names: str, **fields: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, **fields} for name in names]}


@pytest.mark.parametrize(
    ("model", "models", "is_ready"),
    [
        ("llama3.2", listed("llama3.2:latest"), True),
        ("llama3.2:latest", listed("llama3.2"), True),
        ("llama3.2", listed("llama3.2:1b"), False),
        ("gemini-2.5-flash", listed("models/gemini-2.5-flash"), True),
        ("deepseek/deepseek-r1:free", listed("deepseek/deepseek-r1"), True),
        ("anything", listed("/models/a.gguf", owned_by="llamacpp"), True),
        ("judge", [{"id": "judge"}], True),
        ("judge", {"models": [{"name": "judge:latest"}]}, True),
        ("judge", listed("other"), False),
        ("llama", listed("Llama"), True),
        ("claude-4", listed("claude-4-20250929"), True),
        ("gpt-4o", listed("gpt-4o-mini"), False),
        ("claude-4-latest", listed("claude-4-20250929"), True),
        ("claude-4-0", listed("claude-4-20250929"), True),
        ("claude-4-latest", listed("claude-4-mini-20250929"), False),
        ("openai/gpt-9", listed("openai/*"), True),
        ("large-latest", listed("large-2411", aliases=["large-latest"]), True),
        ("judge", listed(), False),
        ("judge", Sent({"error": "Unexpected endpoint or method. (GET /models)"}), False),
        ("judge", Sent(b"<!doctype html>"), False),
        ("judge", Sent({"detail": "Not Found"}, 404), True),
        ("judge", Sent({"error": {"message": "bad key"}}, 401), False),
        ("judge", Sent({"error": {"message": "Missing scopes: api.model.read"}}, 403), True),
        ("judge", {"models": ["judge"]}, True),
        ("judge", {"success": True, "result": [{"name": "judge"}]}, True),
        ("judge", {"endpoints": [{"name": "judge"}]}, True),
        ("judge", {"resources": [{"model_id": "judge"}]}, True),
        ("judge", {"modelSummaries": [{"modelId": "other"}]}, False),
        ("judge", {"data": {"models": [{"id": "judge"}]}}, True),
        ("judge", {"code": 0, "message": "ok", **listed("judge")}, True),
        ("judge", {"code": 0, "message": "ok", **listed("other")}, False),
        ("judge", {**listed("other"), "has_more": True}, True),
        ("judge", {"models": [{"name": "other"}], "nextPageToken": "t"}, True),
        ("judge", {**listed("other"), "has_more": False}, False),
        ("anything", listed("koboldcpp/x", owned_by="koboldcpp"), True),
        ("deployment", listed("gpt-4o", lifecycle_status="generally-available"), True),
        ("a/judge#b/deployment", listed("a/judge"), True),
        ("judge", refusal(400, "api-version is required"), True),
        ("judge", refusal(415, "Unsupported media type"), True),
    ],
)
async def test_health_says_whether_the_judge_can_answer(
    server: CaseServer, model: str, models: Any, is_ready: bool
) -> None:
    server.models = models
    server.reply = lambda _: refusal(400, "messages: missing")
    judge = judge_of(server, model=model)
    health = await judge.health()
    await judge.aclose()
    assert health.is_ready is is_ready, health.detail


@pytest.mark.parametrize("status", [400, 402, 404, 410, 501])
async def test_health_asks_where_models_are_not_listed_and_believes_a_refusal(
    server: CaseServer, status: int
) -> None:
    server.models = refusal(400, "API key not valid")
    server.reply = lambda _: refusal(status, "API key not valid")
    judge = judge_of(server)
    assert not (await judge.health()).is_ready
    await judge.aclose()


async def test_health_finds_that_the_path_does_not_exist(server: CaseServer) -> None:
    server.models = Sent({"detail": "Not Found"}, 404)
    server.reply = lambda _: Sent({"detail": "Not Found"}, 404)
    judge = judge_of(server)
    health, score = await judge.health(), await judge.score(GOOD)
    await judge.aclose()
    assert (health.is_ready, score.failure is None) == (False, False)
    assert server.base_url in health.detail


# 12. prompts that were cut


LONG = " ".join(f"word{n % 97}" for n in range(9000))


@pytest.mark.parametrize(
    ("b", "read", "is_cut"),
    [
        (LONG, 2050, True),
        (LONG, 4096, True),
        (LONG, 12_000, False),
        ("It is bad.", 300, False),
        (LONG, 100, False),  # no server has so short a context: this usage says nothing
        ("字" * 9000, 6000, False),
        ("-" * 60_000, 3000, True),
        ('{"k":1}' * 9000, 4096, True),
        ("字" * 9000, 2051, True),
        ("Русское предложение " * 1500, 5000, False),
        ("r\u00e9sum\u00e9 " * 9000, 9200, False),
    ],
)
async def test_a_prompt_that_was_cut_is_no_basis_for_a_verdict(
    server: CaseServer, b: str, read: int, is_cut: bool
) -> None:
    server.reply = lambda asked: answer(asked, usage=usage_of(read))
    judge = judge_of(server)
    score = await judge.score(pair_of(a="It is good.", b=b))
    await judge.aclose()
    if not is_cut:
        assert score.failure is None
        return
    assert score.failure is not None
    assert score.failure.kind is FailureKind.CONTEXT_OVERFLOW
    assert str(read) in score.failure.detail


# two servers


def of_servers(*tables: dict[str, Any]) -> dict[str, Any]:
    judge = {"kind": "openai", "model": "judge"}
    return {"judges": {f"j{n}": {**judge, **table} for n, table in enumerate(tables)}}


HERE, THERE = {"base_url": "http://127.0.0.1:8001/v1"}, {"base_url": "http://127.0.0.1:8002/v1"}


def test_two_servers_of_one_model_name_need_a_revision() -> None:
    with pytest.raises(JudgeConfigurationInvalid, match=r"judges\.j1\.revision: .*'judge'.*'j0'"):
        Registry.from_config(of_servers(HERE, THERE))
    with pytest.raises(JudgeConfigurationInvalid, match="revision"):
        Registry.from_config(of_servers({**HERE, "query": {"deployment": "x"}}, HERE))


@pytest.mark.parametrize(
    "tables",
    [
        (HERE, HERE),
        (HERE, {"base_url": "http://127.0.0.1:8001/v1/"}),
        ({**HERE, "revision": "x"}, {**THERE, "revision": "x"}),
        ({**HERE, "revision": "x"}, {**THERE, "revision": "y"}),
        ({**HERE, "revision": "x"}, THERE),
        (HERE, {**THERE, "orders": "as_posted"}),
    ],
)
async def test_two_servers_are_fine_where_it_is_said_whether_their_models_differ(
    tables: tuple[dict[str, Any], ...],
) -> None:
    await Registry.from_config(of_servers(*tables)).aclose()


# all at once


async def judged_amid_chaos(server: CaseServer, pairs: int, seed: int) -> None:
    """Judge pairs while every request gets any reply of the field; check each verdict."""
    chance = np.random.default_rng(seed)
    one_at_a_time = threading.Lock()
    served: dict[str, list[str]] = {}
    names = [name for name in CASES if not CASES[name].settings]

    def reply(asked: Asked) -> Sent:
        with one_at_a_time:
            is_odd = chance.random() < 0.3
            name = str(chance.choice(names)) if is_odd else "an ordinary answer"
            served.setdefault(asked.text, []).append(name)
        return CASES[name].reply(asked)

    server.reply = reply
    judge = judge_of(server, concurrency=16, **PRICES)
    known = unknown = 0.0
    for start in range(0, pairs, 200):
        posted = [
            pair_of(f"Question {n}?", *("It is good.", "It is bad.")[:: 1 if n % 2 else -1])
            for n in range(start, min(start + 200, pairs))
        ]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(judge.score(pair)) for pair in posted]
        for pair, score in zip(posted, (task.result() for task in tasks), strict=True):
            prompts = [text for text in served if pair.conversation[0].content in text]
            said = [CASES[name].right for text in prompts for name in served[text]]
            if score.failure is not None:
                assert score.failure.kind in said, score.failure
            else:
                right = score.p_a if pair.responses_a[0] == "It is good." else score.p_b
                assert right is not None
                assert right >= PREFERRED - 0.01, (score, said)
            calls = [billed for text, billed in server.billed if text in prompts]
            assert score.usage.calls == len(calls)
            cost = sum(prompt + 10 * completion for prompt, completion in calls) / 1e6
            if score.cost_usd is None:
                unknown += cost
            else:
                assert score.cost_usd == pytest.approx(cost)
                known += cost
            for text in prompts:
                del served[text]
        server.billed.clear()
    assert known > unknown
    await judge.aclose()


async def test_no_verdict_is_wrong_amid_all_replies_of_the_field(server: CaseServer) -> None:
    await judged_amid_chaos(server, 120, seed=1)


@pytest.mark.slow
async def test_no_verdict_of_two_thousand_is_wrong_amid_all_replies(server: CaseServer) -> None:
    await judged_amid_chaos(server, 2000, seed=2)
