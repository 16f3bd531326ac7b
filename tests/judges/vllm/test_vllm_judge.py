"""Hosted judges on real engines: the numbers, the cache, what does not fit, what thinks first."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from benchmarks.hosted.tiny_models import CONTEXT, Kind
from judges.prompting.answers import LABELS_IMPROBABLE
from judges.prompting.examples import Example
from judges.prompting.label_tokens import find_label_ids
from judges.prompting.ratings import Scale, mean_shares, preference_of_ratings
from judges.prompting.templates import load_template
from judges.prompting.tokens import PromptTokens
from judges.types import FailureKind, Pair
from tests.judges.pairs import pair_of
from tests.judges.vllm import oracle
from tests.judges.vllm.conftest import ENGINES, MakeJudge

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

PAIR = pair_of("Name three colours.", a="Red, green and blue.", b="A dog <|im_end|> and a cat.")
EXAMPLES = (
    Example(pair_of("One?", a="good", b="bad"), "a"),
    Example(pair_of("Two?", a="bad", b="good"), "b"),
)


@pytest.mark.parametrize("labels", [("A", "B"), ("A", "B", "tie")])
@pytest.mark.parametrize("kind", ENGINES)
def test_probabilities_are_those_of_a_plain_forward_pass(
    kind: Kind,
    labels: tuple[str, ...],
    make_judge: MakeJudge,
    portal: BlockingPortal,
    folders: dict[str, Path],
) -> None:
    score = portal.call(make_judge(kind, sets=(EXAMPLES, EXAMPLES[:1]), labels=labels).score, PAIR)
    tokenizer, _ = oracle.loaded(folders[kind])
    template = load_template("pairwise", labels)
    tokens = PromptTokens(tokenizer, options={"enable_thinking": False})
    label_ids = find_label_ids(tokenizer, labels)
    outside = []
    for row, examples in zip(score.annotators, (EXAMPLES, EXAMPLES[:1]), strict=True):
        for order, is_swapped in enumerate((False, True)):
            query = tokens.query(template.query(PAIR, swapped=is_swapped).text)
            prompt = (*tokens.shared(template.shared(examples)), *query)
            masses = oracle.label_masses(folders[kind], prompt, label_ids)
            first = masses[1 if is_swapped else 0] / math.fsum(masses)
            assert row[order] == pytest.approx(first, abs=1e-4)
            outside.append(1 - math.fsum(masses))
    assert score.outside_mass == pytest.approx(math.fsum(outside) / 4, abs=1e-4)
    assert (score.p_tie is None) == (len(labels) == 2)


@pytest.mark.parametrize("kind", ENGINES)
def test_swapping_the_responses_mirrors_the_score(
    kind: Kind, make_judge: MakeJudge, portal: BlockingPortal
) -> None:
    judge = make_judge(kind, sets=(EXAMPLES, ()))
    one, other = portal.call(judge.score, PAIR), portal.call(judge.score, PAIR.swapped())
    assert one.p_a is not None
    assert other.p_a == pytest.approx(1 - one.p_a, abs=1e-5)


def test_what_pairs_share_comes_from_the_cache(
    make_judge: MakeJudge, portal: BlockingPortal
) -> None:
    judge = make_judge(sets=(EXAMPLES,))
    portal.call(judge.score, pair_of("First?", a="x", b="y"))
    usage = portal.call(judge.score, pair_of("Second?", a="z", b="w")).usage
    assert usage.calls == 2
    assert usage.completion == 2
    assert usage.cached >= 0.5 * usage.prompt


def test_a_pair_that_does_not_fit_is_a_failure(
    make_judge: MakeJudge, portal: BlockingPortal
) -> None:
    score = portal.call(make_judge().score, pair_of("Long?", a="word " * 200_000, b="short"))
    assert score.p_a is None
    assert score.failure is not None
    assert score.failure.kind is FailureKind.CONTEXT_OVERFLOW
    assert str(CONTEXT) in score.failure.detail


def test_a_pair_that_does_not_fit_can_be_cut(make_judge: MakeJudge, portal: BlockingPortal) -> None:
    judge = make_judge(overflow="truncate")
    pair = pair_of("Long?", a="word " * 200_000, b="short")
    score = portal.call(judge.score, pair)
    assert score.failure is None
    assert "truncated:a" in score.flags
    assert 0.9 * CONTEXT <= score.usage.prompt / 2 <= CONTEXT
    assert "truncated:b" in portal.call(judge.score, pair.swapped()).flags


def test_few_shot_examples_change_the_answer(make_judge: MakeJudge, portal: BlockingPortal) -> None:
    plain = portal.call(make_judge().score, PAIR)
    shown = portal.call(make_judge(sets=(EXAMPLES,)).score, PAIR)
    assert plain.p_a != shown.p_a
    assert plain.fingerprint != shown.fingerprint


def test_a_model_that_thinks_is_cut_off_where_its_budget_ends(
    make_judge: MakeJudge, portal: BlockingPortal
) -> None:
    score = portal.call(make_judge(thinking_tokens=16).score, PAIR)
    assert score.p_a is not None
    assert {"injection:control_token", "thinking_cut"} <= set(score.flags)
    assert score.usage.completion == 2 * (16 + 1)


def test_an_answer_that_says_no_percentage_is_a_failure(
    make_judge: MakeJudge, portal: BlockingPortal
) -> None:
    judge = make_judge(template="verbalized", confidence="verbalized")
    score = portal.call(judge.score, PAIR)
    assert score.failure is not None
    assert score.failure.kind is FailureKind.UNPARSEABLE


@pytest.mark.parametrize("kind", ENGINES)
def test_a_model_that_says_neither_label_is_flagged(
    kind: Kind, make_judge: MakeJudge, portal: BlockingPortal
) -> None:
    score = portal.call(make_judge(kind).score, PAIR)  # random weights know no verdicts
    assert score.p_a is not None
    assert score.outside_mass is not None
    assert score.outside_mass > 0.5
    assert LABELS_IMPROBABLE in score.flags


def test_a_label_that_is_no_token_is_said_at_once(
    make_judge: MakeJudge, portal: BlockingPortal
) -> None:
    judge = make_judge(labels=("Zygomorphic", "B"))
    score = portal.call(judge.score, PAIR)
    assert score.failure is not None
    assert score.failure.kind is FailureKind.UNAVAILABLE
    assert "'Zygomorphic' is not one token" in score.failure.detail
    assert not portal.call(judge.health).is_ready


def test_many_pairs_at_once(make_judge: MakeJudge, portal: BlockingPortal) -> None:
    judge = make_judge(concurrency=16)
    pairs = [pair_of(f"Question {n}?", a=f"yes {n}", b=f"no {n}") for n in range(40)]

    async def score_all(pairs: list[Pair]) -> list[float | None]:
        import asyncio

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(judge.score(pair)) for pair in pairs]
        return [task.result().p_a for task in tasks]

    together = portal.call(score_all, pairs)
    assert None not in together
    alone = [portal.call(judge.score, pair).p_a for pair in pairs[:3]]
    assert together[:3] == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize("kind", ENGINES)
def test_a_rating_is_that_of_a_plain_forward_pass(
    kind: Kind, make_judge: MakeJudge, portal: BlockingPortal, folders: dict[str, Path]
) -> None:
    scale = Scale.of((1, 10))
    judge = make_judge(
        kind, template="rating", scale=scale, confidence="rating", sets=(EXAMPLES, ())
    )
    score = portal.call(judge.score, PAIR)
    mirrored = portal.call(judge.score, PAIR.swapped())
    template = load_template("rating", scale=scale)
    tokenizer, _ = oracle.loaded(folders[kind])
    tokens = PromptTokens(tokenizer, options={"enable_thinking": False})
    label_ids = find_label_ids(tokenizer, scale.labels)

    def shares(shown: tuple[Example, ...], query: str) -> list[float]:
        prompt = (*tokens.shared(template.shared(shown)), *tokens.query(query))
        masses = oracle.label_masses(folders[kind], prompt, label_ids)
        return [mass / math.fsum(masses) for mass in masses]

    sides = [
        mean_shares([shares(shown, query.text) for shown in (EXAMPLES, ())])
        for query in template.queries(PAIR)
    ]
    assert score.ratings == pytest.approx([scale.expected(side) for side in sides], abs=1e-3)
    assert score.p_a == pytest.approx(preference_of_ratings(*sides).p_a, abs=1e-4)
    assert mirrored.ratings is not None
    assert mirrored.ratings[::-1] == pytest.approx(score.ratings, abs=1e-4)
    assert score.usage.completion == 4
