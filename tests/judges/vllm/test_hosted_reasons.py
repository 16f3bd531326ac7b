"""Reasons of hosted models, on a real engine: they go on from the prompt of the verdict."""

from __future__ import annotations

from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from benchmarks.hosted.tiny_models import CONTEXT, Kind
from judges.prompting.examples import Example
from judges.reasons import Reason, ReasonSettings
from judges.types import FailureKind, Pair, Score
from tests.judges.pairs import pair_of
from tests.judges.vllm.conftest import ENGINES, MakeJudge

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

PAIR = pair_of("Name three colours.", a="Red, green and blue.", b="A dog <|im_end|> and a cat.")
EXAMPLES = (Example(pair_of("One?", a="good", b="bad"), "a"),)
REASONS = ReasonSettings(tokens=24, wanted="all")


def explained(portal: BlockingPortal, judge: Any, pair: Pair = PAIR) -> tuple[Score, Reason]:
    score = portal.call(judge.score, pair)
    label = "a" if (score.p_a or 0) > 0.5 else "b"
    return score, portal.call(judge.explain, pair, score, label)


@pytest.mark.parametrize("kind", ENGINES)
def test_scores_are_the_same_with_and_without_reasons(
    kind: Kind, make_judge: MakeJudge, portal: BlockingPortal
) -> None:
    plain, telling = (
        make_judge(kind, sets=(EXAMPLES, ())),
        make_judge(kind, sets=(EXAMPLES, ()), reasons=REASONS),
    )
    before = portal.call(plain.score, PAIR)
    after, reason = explained(portal, telling)
    again = portal.call(telling.score, PAIR)
    assert plain.spec.fingerprint == telling.spec.fingerprint
    assert after.p_a == pytest.approx(before.p_a, abs=1e-6)
    assert again.p_a == pytest.approx(before.p_a, abs=1e-6)
    assert reason.text or reason.failure
    assert reason.usage.completion <= 24


def test_a_reason_computes_little_of_its_prompt_again(
    make_judge: MakeJudge, portal: BlockingPortal
) -> None:
    judge = make_judge(
        sets=(EXAMPLES,), reasons=REASONS, price_input=1.0, price_output=2.0, orders="as_posted"
    )
    score, reason = explained(portal, judge)
    # all but the last block of the verdict's prompt is in the cache
    assert reason.usage.cached >= score.usage.prompt - 64
    assert reason.usage.prompt > score.usage.prompt
    assert reason.cost_usd == pytest.approx(
        (reason.usage.prompt + 2 * reason.usage.completion) / 1e6
    )
    assert (reason.cost_usd or 0.0) <= judge.most_reason_usd(PAIR)
    assert "injection:control_token" in reason.flags


def test_room_for_a_reason_is_not_taken_from_the_verdict(
    make_judge: MakeJudge, portal: BlockingPortal
) -> None:
    full = pair_of("Say much.", a="word " * 2 * CONTEXT, b="x")
    plain, telling = (
        make_judge(overflow="truncate"),
        make_judge(overflow="truncate", reasons=ReasonSettings(tokens=CONTEXT)),
    )
    before = portal.call(plain.score, full)
    score, reason = explained(portal, telling, full)
    assert score.p_a == pytest.approx(before.p_a, abs=1e-6)
    assert "truncated:a" in reason.flags or reason.failure
    if reason.failure is not None:
        assert reason.failure.kind in (FailureKind.CONTEXT_OVERFLOW, FailureKind.UNPARSEABLE)
