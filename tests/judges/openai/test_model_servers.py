"""Judges behind servers that answer as real ones do, over real HTTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest
import stamina

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
