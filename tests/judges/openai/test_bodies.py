"""What judges send, and what they give up where a server refuses it, over real HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from judges.types import FailureKind
from tests.judges.openai.case_server import (
    GOOD,
    PRICES,
    Asked,
    CaseServer,
    Sent,
    answer,
    judge_of,
    ledger,
    refusal,
    score_of,
    scores_of,
    usage_of,
)
from tests.judges.openai.replies_from_the_field import CASES, VOTE, Case, check
from tests.judges.pairs import pair_of

pytestmark = pytest.mark.usefixtures("waits_are_real")

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


async def test_fields_that_a_server_refuses_are_left_out(case_server: CaseServer) -> None:
    score = await score_of(case_server, gpt_5, **OMIT_ALL)
    assert score.failure is None
    assert (score.p_a, score.flags) == (1.0, ("no_logprobs",))
    assert len(case_server.asked) == 2
    sent = case_server.asked[0].body
    assert sent.keys() == {"model", "messages", "max_completion_tokens"}


@pytest.mark.parametrize(
    ("settings", "by"),
    [
        ({**OMIT_ALL, "extra_body": {"max_completion_tokens": 300}},
         "extra_body.max_completion_tokens = 300: raise it"),
        ({"max_tokens": 40}, "max_tokens = 40: raise it"),
        ({"max_tokens": 40, "extra_body": {"max_tokens": 30}}, "extra_body.max_tokens = 30: raise it"),
        ({"omit": frozenset({"max_tokens"})}, "the server: set max_tokens"),
    ],
)  # fmt: skip
async def test_an_answer_that_a_limit_cuts_off_names_the_setting_and_the_tokens(
    case_server: CaseServer, settings: dict[str, Any], by: str
) -> None:
    def cut_off(asked: Asked) -> Sent:
        used = usage_of(completion=300)
        return answer(asked, "", logprobs=False, finish_reason="length", usage=used)

    score = await score_of(case_server, cut_off, **settings)
    assert score.failure is not None
    assert score.failure.kind is FailureKind.UNPARSEABLE
    assert f"cut off after 300 tokens by {by}" in score.failure.detail


async def test_a_refused_field_is_given_up_once_and_every_score_says_so(
    case_server: CaseServer,
) -> None:
    case_server.reply = gpt_5
    judge = judge_of(case_server, orders="as_posted", attempts=1, **PRICES)
    scores = await scores_of(judge, 3)
    health = await judge.health()
    await judge.aclose()
    assert {score.failure for score in scores} == {None}
    given_up = {f"omitted:{name}" for name in ("logprobs", "max_tokens", "temperature")}
    assert all(given_up < set(score.flags) for score in scores)
    assert all("omitted:temperature" in score.manner for score in scores)
    assert "temperature" in health.detail
    known = len(case_server.asked)
    assert known <= 3 + 3 * 3
    assert sum(score.cost_usd or 0 for score in scores) == pytest.approx(ledger(case_server))


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
    case_server: CaseServer, message: Any
) -> None:
    refused = Sent({"detail": message}, 422)

    def reply(asked: Asked) -> Sent:
        return refused if "temperature" in asked.body else answer(asked)

    score = await score_of(case_server, reply)
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
    case_server: CaseServer, message: str
) -> None:
    def reply(asked: Asked) -> Sent:
        refused = "logprobs" in asked.body
        return refusal(400, message) if refused else answer(asked, logprobs=False)

    score = await score_of(case_server, reply, orders="as_posted")
    check(Case(answer, VOTE), score)
    assert "omitted:logprobs" in score.flags
    assert "omitted:temperature" not in score.flags
    assert len(case_server.asked) == 2


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
    case_server: CaseServer, settings: dict[str, Any], message: str, advice: str
) -> None:
    score = await score_of(case_server, lambda _: refusal(400, message), **settings)
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
    case_server: CaseServer, status: int, message: str
) -> None:
    def reply(asked: Asked) -> Sent:
        has_system = asked.body["messages"][0]["role"] == "system"
        return refusal(status, message) if has_system else answer(asked)

    score = await score_of(case_server, reply, attempts=1)
    check(CASES["an ordinary answer"], score)
    assert score.flags == ("system_merged",)
    assert score.manner == "system_merged"
    last = case_server.asked[-1].body["messages"]
    assert [message["role"] for message in last] == ["user"]
    assert "You compare two responses" in last[0]["content"]
    at_once = await score_of(case_server, reply, system_role="user", attempts=1)
    check(CASES["an ordinary answer"], at_once)
    assert at_once.flags == ()


async def test_headers_and_a_query_are_sent_and_their_values_never_told(
    case_server: CaseServer, caplog: pytest.LogCaptureFixture
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
        "base_url": f"{case_server.base_url}?api-version=2024-10-21",
    }
    case_server.reply = azure
    judge = judge_of(case_server, {"AZURE_KEY": "az-secret"}, **settings)
    check(CASES["an ordinary answer"], await judge.score(GOOD))
    failed = await judge.score(pair_of("fail"))
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.UNAVAILABLE
    for text in (repr(failed), repr(judge.spec), repr(judge._settings), caplog.text):
        assert "az-secret" not in text
        assert "team-secret" not in text
    await judge.aclose()
    moved = {**settings, "base_url": case_server.base_url, "query": {"api-version": "2024-10-21"}}
    again = judge_of(case_server, {"AZURE_KEY": "other-key"}, **moved)
    check(CASES["an ordinary answer"], await again.score(GOOD))
    assert again.spec.fingerprint == judge.spec.fingerprint
    await again.aclose()


async def test_a_header_whose_variable_is_not_set_is_said_without_a_request(
    case_server: CaseServer,
) -> None:
    judge = judge_of(case_server, headers={"api-key": "env:AZURE_KEY"})
    score, health = await judge.score(GOOD), await judge.health()
    await judge.aclose()
    assert score.failure is not None
    assert "AZURE_KEY" in score.failure.detail
    assert (health.is_ready, case_server.asked) == (False, [])


async def test_the_fingerprint_has_the_new_settings_only_where_they_change_something(
    case_server: CaseServer,
) -> None:
    def fingerprint(**settings: Any) -> str:
        return judge_of(case_server, **settings).spec.fingerprint

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
