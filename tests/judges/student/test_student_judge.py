from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given

from judges.cascade import Tier, bounded_map, judge_pair
from judges.student.judge import StudentJudge
from judges.types import Message, Pair
from tests.judges.pairs import pair_of, pairs

JUDGE = StudentJudge()


async def test_the_student_costs_nothing_and_names_what_it_was_trained_on() -> None:
    score = await JUDGE.score(pair_of("What is 2 + 2?", "4", "It is hard to say."))
    assert score.p_a is not None
    assert 0 < score.p_a < 1
    assert (score.cost_usd, score.failure) == (0.0, None)
    assert len(score.annotators) >= 5
    assert len(JUDGE.spec.training_prompts) > 100
    assert JUDGE.spec.is_local
    assert score.fingerprint == JUDGE.spec.fingerprint


@given(pairs())
async def test_the_student_mirrors_bit_for_bit(pair: Pair) -> None:
    score, swapped = await JUDGE.score(pair), await JUDGE.score(pair.swapped())
    assert replace(swapped, seconds=None) == replace(score.mirrored(), seconds=None)
    verdict = await judge_pair(pair, [Tier(JUDGE)])
    mirrored = await judge_pair(pair.swapped(), [Tier(JUDGE)])
    assert (mirrored.mirror.label, mirrored.confidence) == (verdict.label, verdict.confidence)


@pytest.mark.parametrize("text", ["", "same"])
async def test_identical_responses_are_no_preference(text: str) -> None:
    assert (await JUDGE.score(pair_of(a=text, b=text))).p_a == 0.5


async def test_a_pair_without_any_user_turn_is_scored_too() -> None:
    pair = Pair("p", (Message("system", "x"),), ("a",), ("bb",))
    assert (await JUDGE.score(pair)).p_a is not None


async def test_many_pairs_leave_other_tasks_their_turn() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def score(pair: Pair) -> None:
        await JUDGE.score(pair)

    async def pause() -> None:
        await asyncio.sleep(0)

    ticking = asyncio.create_task(other())
    await bounded_map([pair_of() for _ in range(20)], score, 4, pause)
    ticking.cancel()
    assert turns >= 19


def test_the_fingerprint_covers_weights_and_training_prompts() -> None:
    scored_by = StudentJudge().spec.scored_by
    assert set(scored_by) == {"weights", "training_prompts"}
    assert all(len(value) == 64 for value in scored_by.values())
