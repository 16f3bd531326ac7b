"""Judges behind servers that answer as real ones do, over real HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import numpy as np
import pytest

from app.client.blocking import Tribunal
from app.client.errors import ConnectionInvalid
from judges.errors import JudgeConfigurationInvalid
from judges.openai.replies import read_usage
from judges.registry import Registry
from judges.types import FailureKind, TokenUsage
from tests.judges.openai.case_server import (
    GOOD,
    PREFERRED,
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
from tests.judges.openai.replies_from_the_field import CASES, billed, check, cut, first
from tests.judges.pairs import pair_of

pytestmark = pytest.mark.usefixtures("waits_are_real")


@pytest.mark.parametrize("name", CASES)
async def test_a_reply_from_the_field_is_read_right(case_server: CaseServer, name: str) -> None:
    case = CASES[name]
    score = await score_of(case_server, case.reply, **case.settings)
    check(case, score)
    if score.cost_usd is not None:
        assert score.cost_usd == pytest.approx(ledger(case_server))


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].calls])
async def test_a_reply_is_asked_for_again_only_where_that_may_help(
    case_server: CaseServer, name: str
) -> None:
    score = await score_of(case_server, CASES[name].reply, orders="as_posted")
    assert score.usage.calls == len(case_server.asked) == CASES[name].calls


# money


async def test_a_call_that_was_cut_is_counted_or_its_cost_is_unknown(
    case_server: CaseServer,
) -> None:
    score = await score_of(case_server, first(cut), orders="as_posted")
    assert score.failure is None
    assert (score.usage.calls, score.cost_usd) == (2, None)
    assert "no_usage" in score.flags


@pytest.mark.parametrize("reason", ["network_error", "timeout"])
async def test_a_call_that_the_server_stopped_is_counted_or_its_cost_is_unknown(
    case_server: CaseServer, reason: str
) -> None:
    def cut_off(asked: Asked) -> Sent:
        return answer(asked, "", [], finish_reason=reason, usage={})

    score = await score_of(case_server, first(cut_off), orders="as_posted")
    assert score.failure is None
    assert (score.usage.calls, score.cost_usd) == (2, None)


async def test_a_timed_out_call_makes_the_cost_unknown(case_server: CaseServer) -> None:
    def late(asked: Asked) -> Sent:
        time.sleep(0.6 if asked.number == 0 else 0)
        return answer(asked)

    score = await score_of(case_server, late, orders="as_posted", timeout_s=0.3)
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
    case_server: CaseServer, settings: dict[str, Any], tokens: int
) -> None:
    case_server.reply = billed((300, tokens), completion=1, total_tokens=300 + tokens)
    judge = judge_of(case_server, budget_usd=0.2, **PRICES, **settings)
    scores = await scores_of(judge, 20)
    await judge.aclose()
    assert 0.04 <= ledger(case_server) <= 0.2
    assert all("budget" in score.failure.detail for score in scores if score.failure)
    assert sum(score.cost_usd or 0 for score in scores) == pytest.approx(ledger(case_server))


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
    case_server: CaseServer, extra_body: dict[str, Any]
) -> None:
    score = await score_of(case_server, budget_usd=0.04, extra_body=extra_body)
    assert score.failure is not None
    assert "budget" in score.failure.detail
    assert case_server.asked == []
    off = await score_of(case_server, budget_usd=0.04, extra_body={"thinking_budget": 0})
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


# the environment


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


# health agrees with judging


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
    case_server: CaseServer, model: str, models: Any, is_ready: bool
) -> None:
    case_server.models = models
    case_server.reply = lambda _: refusal(400, "messages: missing")
    judge = judge_of(case_server, model=model)
    health = await judge.health()
    await judge.aclose()
    assert health.is_ready is is_ready, health.detail


@pytest.mark.parametrize("status", [400, 402, 404, 410, 501])
async def test_health_asks_where_models_are_not_listed_and_believes_a_refusal(
    case_server: CaseServer, status: int
) -> None:
    case_server.models = refusal(400, "API key not valid")
    case_server.reply = lambda _: refusal(status, "API key not valid")
    judge = judge_of(case_server)
    assert not (await judge.health()).is_ready
    await judge.aclose()


async def test_health_finds_that_the_path_does_not_exist(case_server: CaseServer) -> None:
    case_server.models = Sent({"detail": "Not Found"}, 404)
    case_server.reply = lambda _: Sent({"detail": "Not Found"}, 404)
    judge = judge_of(case_server)
    health, score = await judge.health(), await judge.score(GOOD)
    await judge.aclose()
    assert (health.is_ready, score.failure is None) == (False, False)
    assert case_server.base_url in health.detail


# prompts that were cut


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
    case_server: CaseServer, b: str, read: int, is_cut: bool
) -> None:
    case_server.reply = lambda asked: answer(asked, usage=usage_of(read))
    judge = judge_of(case_server)
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


async def judged_amid_chaos(case_server: CaseServer, pairs: int, seed: int) -> None:
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

    case_server.reply = reply
    judge = judge_of(case_server, concurrency=16, **PRICES)
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
            calls = [billed for text, billed in case_server.billed if text in prompts]
            assert score.usage.calls == len(calls)
            cost = sum(prompt + 10 * completion for prompt, completion in calls) / 1e6
            if score.cost_usd is None:
                unknown += cost
            else:
                assert score.cost_usd == pytest.approx(cost)
                known += cost
            for text in prompts:
                del served[text]
        case_server.billed.clear()
    assert known > unknown
    await judge.aclose()


async def test_no_verdict_is_wrong_amid_all_replies_of_the_field(case_server: CaseServer) -> None:
    await judged_amid_chaos(case_server, 120, seed=1)


@pytest.mark.slow
async def test_no_verdict_of_two_thousand_is_wrong_amid_all_replies(
    case_server: CaseServer,
) -> None:
    await judged_amid_chaos(case_server, 2000, seed=2)
