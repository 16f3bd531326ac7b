"""A judge's budget: no call that might pass it, whatever is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from judges.budget import Budget, most_usd
from judges.errors import JudgeConfigurationInvalid
from judges.recorded import RecordedJudge
from judges.registry import Registry
from judges.types import FailureKind, Score, TokenUsage
from tests.judges.model_server import ModelServer
from tests.judges.model_server import running as serving
from tests.judges.openai.test_openai_api import judge_at
from tests.judges.pairs import pair_of


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving(ModelServer()) as opened:
        yield opened


def test_reservations_count_until_they_are_settled() -> None:
    budget = Budget(70.0, 1_000_000.0, 0.0)  # one USD a token
    first = budget.reserve("x", 0)
    assert first == 65.0
    assert budget.reserve("x", 0) is None
    budget.settle(first, TokenUsage())
    second = budget.reserve("x", 0)
    assert second == 65.0
    budget.settle(second, None)
    assert budget.spent == 65.0
    assert budget.reserve("x", 0) is None


def test_a_text_of_many_tokens_a_character_is_covered() -> None:
    """A character may be four tokens where each of its bytes is one."""
    assert Budget(100.0, 1_000_000.0, 0.0).reserve("\U0001f600" * 10, 0) is None


def test_without_a_limit_everything_is_covered() -> None:
    budget = Budget(None, None, None)
    assert budget.reserve("x" * 1000, 10**6) == 0.0


async def test_a_judge_stops_before_its_budget_is_passed(server: ModelServer) -> None:
    async with judge_at(server, price_input=100.0, price_output=100.0, budget_usd=1.0) as judge:

        async def score(number: int) -> Score:
            return await judge.score(pair_of(f"{number}?", pair_id=str(number)))

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(score(number)) for number in range(200)]
        scores = [task.result() for task in tasks]
    assert sum(score.cost_usd or 0.0 for score in scores) <= 1.0
    answered = [score for score in scores if score.failure is None]
    assert 0 < len(answered) < 200
    failures = {score.failure.kind for score in scores if score.failure is not None}
    assert failures == {FailureKind.UNAVAILABLE}
    details = {score.failure.detail for score in scores if score.failure is not None}
    assert details == {"the budget of 1 USD does not cover another call"}


def test_a_budget_needs_prices() -> None:
    table = {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1", "budget_usd": 1.0}
    with pytest.raises(JudgeConfigurationInvalid, match=r"budget_usd: needs price_input"):
        Registry.from_config({"judges": {"x": table}})


def test_a_judge_that_cannot_say_what_it_costs_is_named() -> None:
    with pytest.raises(TypeError, match="the judge 'old' cannot say what a score may cost"):
        most_usd(RecordedJudge("old"), pair_of())
