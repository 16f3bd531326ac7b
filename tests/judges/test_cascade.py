"""The cascade: who is asked, who answers, and what becomes of failures, deadlines and swaps."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.preference import TieRule
from judges.base import Judge, JudgeHealth, JudgeSpec, note_failure
from judges.cascade import Cascade, CascadeVerdict, PutOff, Tier, judge_pair, judge_stream
from judges.errors import AnswerLater, JudgeUnavailable
from judges.probability import normalise
from judges.records import score_from_record
from judges.types import FailureKind, JudgeFailure, Pair, Score
from tests.judges.pairs import pair_of

Answer = float | FailureKind | None


class Scripted:
    """Says a fixed probability of a, or fails; what it is asked about is kept."""

    def __init__(self, name: str, answer: Answer, *, pause: float = 0.0, cost: float = 1.0) -> None:
        self.name = name
        self.answer = answer
        self.pause = pause
        self.cost = cost
        self.asked: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0

    @property
    def spec(self) -> JudgeSpec:
        return JudgeSpec(self.name, "scripted", None, {"name": self.name})

    async def score(self, pair: Pair) -> Score:
        self.asked.append(pair.id)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.pause)
        finally:
            self.in_flight -= 1
        is_failed = isinstance(self.answer, FailureKind)
        failure = JudgeFailure(self.answer) if isinstance(self.answer, FailureKind) else None
        p_a = None if is_failed or self.answer is None else float(self.answer)
        fingerprint = self.spec.fingerprint
        return Score(self.name, fingerprint, p_a, failure=failure, cost_usd=self.cost)

    async def health(self) -> JudgeHealth:
        return JudgeHealth(True)

    async def aclose(self) -> None:
        return None


class Unavailable(Scripted):
    async def score(self, pair: Pair) -> Score:
        raise JudgeUnavailable("no engine")


def tiers_of(*answers: Answer, thresholds: tuple[float, ...]) -> list[Tier]:
    return [
        Tier(Scripted(f"j{i}", answer), threshold)
        for i, (answer, threshold) in enumerate(zip(answers, thresholds, strict=True))
    ]


def asked(tiers: list[Tier]) -> list[bool]:
    return [bool(tier.judge.asked) for tier in tiers if isinstance(tier.judge, Scripted)]


async def test_the_first_confident_judge_answers_and_the_dearer_is_not_asked() -> None:
    tiers = tiers_of(0.6, 0.1, 0.9, thresholds=(0.7, 0.9, 0.5))
    verdict = await judge_pair(pair_of(), tiers)
    assert (verdict.status, verdict.label, verdict.judge) == ("accepted", "b", "j1")
    assert verdict.confidence == 0.9
    assert asked(tiers) == [True, True, False]
    assert [(t.judge, t.confidence, t.accepted) for t in verdict.tiers] == [
        ("j0", 0.6, False),
        ("j1", 0.9, True),
    ]
    assert verdict.cost_usd == 2.0
    assert not verdict.cached


async def test_a_confidence_that_meets_its_threshold_is_accepted() -> None:
    # 1 - 0.17 is not 0.83 in floating point
    tiers = [Tier(Scripted("j", 0.17), 0.83)]
    assert (await judge_pair(pair_of(), tiers)).label == "b"


async def test_a_judge_that_may_never_answer_is_never_asked() -> None:
    tiers = tiers_of(0.9, 0.8, thresholds=(math.inf, 0.7))
    verdict = await judge_pair(pair_of(), tiers)
    assert verdict.judge == "j1"
    assert asked(tiers) == [False, True]
    assert [tier.judge for tier in verdict.tiers] == ["j1"]


@pytest.mark.parametrize(
    ("answers", "thresholds", "status"),
    [
        ((0.6, 0.6), (0.9, 0.9), "abstained"),
        ((0.5,), (0.0,), "abstained"),
        ((FailureKind.TIMEOUT, 0.6), (0.5, 0.9), "abstained"),
        ((0.6, FailureKind.TIMEOUT), (0.9, 0.5), "abstained"),
        ((FailureKind.TIMEOUT, FailureKind.REFUSED), (0.0, 0.0), "failed"),
        ((FailureKind.TIMEOUT, 0.9), (0.0, math.inf), "failed"),
        ((0.9, 0.9), (math.inf, math.inf), "abstained"),
        ((FailureKind.TIMEOUT, 0.9), (0.0, 0.8), "accepted"),
    ],
)
async def test_who_abstains_and_who_fails(
    answers: tuple[Answer, ...], thresholds: tuple[float, ...], status: str
) -> None:
    verdict = await judge_pair(pair_of(), tiers_of(*answers, thresholds=thresholds))
    assert verdict.status == status
    assert (verdict.label is None) == (status != "accepted")


async def test_no_preference_escalates_without_a_failure() -> None:
    verdict = await judge_pair(pair_of(), tiers_of(0.5, 0.9, thresholds=(0.0, 0.0)))
    assert verdict.judge == "j1"
    assert (verdict.tiers[0].confidence, verdict.tiers[0].score.failure) == (None, None)


async def test_a_judge_that_is_unavailable_escalates() -> None:
    tiers = [Tier(Unavailable("j0", None)), Tier(Scripted("j1", 0.9))]
    verdict = await judge_pair(pair_of(), tiers)
    assert verdict.judge == "j1"
    failure = verdict.tiers[0].score.failure
    assert failure == JudgeFailure(FailureKind.UNAVAILABLE, "no engine")


@pytest.mark.parametrize(
    ("ties", "label", "confidence"), [("class", "tie", 0.5), ("exclude", "a", 0.6)]
)
async def test_the_tie_rule_decides_what_a_tie_probability_means(
    ties: TieRule, label: str, confidence: float
) -> None:
    judge = Scripted("j", None)
    score = score_from_record("j", {"p_a": 0.3, "p_tie": 0.5})

    def known(_: Judge, pair: Pair) -> Score | None:
        return score

    verdict = await judge_pair(pair_of(), [Tier(judge)], ties=ties, known=known)
    assert (verdict.label, verdict.confidence) == (label, confidence)


async def test_a_stored_score_is_not_asked_for_again() -> None:
    tiers = tiers_of(0.6, 0.9, thresholds=(0.8, 0.8))
    first = await judge_pair(pair_of(), tiers)
    store = {score.judge: score for score in first.fresh}
    assert set(store) == {"j0", "j1"}

    def known(judge: Judge, pair: Pair) -> Score | None:
        return store.get(judge.spec.name)

    again = await judge_pair(pair_of(), tiers, known=known)
    assert again.cached
    assert again.fresh == ()
    assert again.cost_usd == 0.0
    assert (again.label, again.confidence, again.tiers) == (
        first.label,
        first.confidence,
        first.tiers,
    )
    assert [judge.asked for judge in (tiers[0].judge, tiers[1].judge)] == [["p1"], ["p1"]]  # type: ignore[attr-defined]


async def test_the_cost_is_unknown_where_a_judge_does_not_know_its_own() -> None:
    judge = Scripted("j0", 0.6)
    judge.cost = None  # type: ignore[assignment]
    verdict = await judge_pair(pair_of(), [Tier(judge, 0.9), Tier(Scripted("j1", 0.9))])
    assert verdict.cost_usd is None


probabilities = st.one_of(
    st.none(),
    st.tuples(*[st.floats(0, 1)] * 3).filter(lambda mass: sum(mass) > 1e-3),
    st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * 3).filter(lambda mass: sum(mass) > 0),
)


@given(
    st.lists(st.tuples(probabilities, st.sampled_from([0.5, 0.6, 0.83, math.inf])), max_size=4),
    st.sampled_from(["exclude", "error", "half", "class"]),
)
async def test_swapping_the_responses_mirrors_the_verdict(
    judges: list[tuple[tuple[float, float, float] | None, float]], ties: TieRule
) -> None:
    records = {
        f"j{i}": None if mass is None else normalise(*mass)._asdict()
        for i, (mass, _) in enumerate(judges)
    }
    pair = pair_of(recorded={name: score_from_record(name, r) for name, r in records.items()})
    tiers = [Tier(Scripted(f"j{i}", None), limit) for i, (_, limit) in enumerate(judges)]

    def known(judge: Judge, asked_about: Pair) -> Score | None:
        return asked_about.recorded[judge.spec.name]

    verdict = await judge_pair(pair, tiers, ties=ties, known=known)
    swapped = await judge_pair(pair.swapped(), tiers, ties=ties, known=known)
    assert swapped == verdict.mirror
    assert swapped.mirror == verdict


def numbered(n: int) -> Iterator[Pair]:
    return (pair_of(pair_id=str(i)) for i in range(n))


async def collect(
    pairs: AsyncIterable[Pair] | Iterable[Pair], tiers: list[Tier], **options: Any
) -> list[CascadeVerdict]:
    verdicts: list[CascadeVerdict] = []

    async def take(verdict: CascadeVerdict) -> None:
        verdicts.append(verdict)

    if (seconds := options.pop("deadline_seconds", None)) is not None:
        options["deadline"] = asyncio.get_running_loop().time() + seconds
    await judge_stream(pairs, lambda _: tiers, take, **options)
    return verdicts


async def test_a_stream_judges_every_pair_once() -> None:
    tiers = tiers_of(0.6, 0.9, thresholds=(0.8, 0.8))
    verdicts = await collect(numbered(100), tiers, concurrency=7)
    assert sorted(int(verdict.id) for verdict in verdicts) == list(range(100))
    assert all(verdict == verdicts[0]._replace(id=verdict.id) for verdict in verdicts)


async def test_a_stream_reads_from_an_asynchronous_source_no_faster_than_it_is_read() -> None:
    read = seen = 0

    async def source() -> AsyncIterator[Pair]:
        nonlocal read
        for pair in numbered(1000):
            read += 1
            yield pair

    async def take(_: CascadeVerdict) -> None:
        nonlocal seen
        await asyncio.sleep(0)
        seen += 1
        assert read <= seen + 8

    tiers = [Tier(Scripted("j", 0.9))]
    await judge_stream(source(), lambda _: tiers, take, concurrency=8)
    assert seen == 1000


async def test_each_pair_goes_up_its_own_tiers() -> None:
    strict, lax = [Tier(Scripted("j", 0.9), 0.95)], [Tier(Scripted("j", 0.9), 0.8)]
    verdicts: list[CascadeVerdict] = []

    async def take(verdict: CascadeVerdict) -> None:
        verdicts.append(verdict)

    await judge_stream(numbered(4), lambda pair: lax if int(pair.id) % 2 else strict, take)
    assert {verdict.id for verdict in verdicts if verdict.status == "accepted"} == {"1", "3"}


async def test_judges_that_answer_at_once_leave_others_their_turn() -> None:
    class Instant(Scripted):
        async def score(self, pair: Pair) -> Score:
            time.sleep(0.0005)  # noqa: ASYNC251  # work that does not wait for anything
            return Score(self.name, "f", 0.9, cost_usd=0.0)

    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    beside = asyncio.create_task(other())
    await collect(numbered(200), [Tier(Instant("j", None))])
    beside.cancel()
    assert turns >= 5


async def test_pairs_on_their_way_stay_within_the_limit_and_all_tiers_work_at_once() -> None:
    cheap, dear = Scripted("cheap", 0.6, pause=0.001), Scripted("dear", 0.9, pause=0.005)
    tiers = [Tier(cheap, 0.8), Tier(dear, 0.8)]
    busy = 0

    async def watched(pair: Pair) -> Score:
        nonlocal busy
        busy += cheap.in_flight > 0
        return await Scripted.score(dear, pair)

    dear.score = watched  # type: ignore[method-assign]
    await collect(numbered(60), tiers, concurrency=6)
    assert cheap.most_in_flight <= 6
    assert 1 < dear.most_in_flight <= 6
    assert busy > 0


async def test_a_slow_pair_does_not_hold_up_the_others() -> None:
    class OneSlow(Scripted):
        async def score(self, pair: Pair) -> Score:
            self.pause = 0.2 if pair.id == "0" else 0.0
            return await super().score(pair)

    verdicts = await collect(numbered(20), [Tier(OneSlow("j", 0.9))], concurrency=4)
    assert verdicts[-1].id == "0"


async def test_after_the_deadline_pairs_fail_and_finished_scores_are_kept() -> None:
    tiers = [Tier(Scripted("quick", 0.6), 0.8), Tier(Scripted("slow", 0.9, pause=30), 0.8)]
    stream = collect(numbered(10), tiers, concurrency=4, deadline_seconds=0.2)
    verdicts = await asyncio.wait_for(stream, 5)
    assert len(verdicts) == 10
    assert {verdict.status for verdict in verdicts} == {"failed"}
    last = [verdict.tiers[-1].score.failure for verdict in verdicts]
    assert {failure.kind for failure in last if failure} == {FailureKind.DEADLINE}
    kept = [[score.judge for score in verdict.fresh] for verdict in verdicts]
    assert kept.count(["quick"]) == 4
    assert kept.count([]) == 6


async def test_what_judges_before_say_together_is_no_answer_of_one_that_was_cut_off() -> None:
    tiers = (Tier(Scripted("quick", 0.8), 0.9), Tier(Scripted("slow", 0.9, pause=30), 0.6))
    deadline = asyncio.get_running_loop().time() + 0.05
    verdict = await judge_pair(pair_of(), Cascade(tiers, "stacked"), deadline=deadline)
    assert verdict.tiers[1].confidence == 0.8
    assert (verdict.status, verdict.label) == ("failed", None)


async def test_a_failure_that_the_deadline_follows_keeps_its_cause() -> None:
    class Retrying(Scripted):
        async def score(self, pair: Pair) -> Score:
            async def attempt(number: int) -> None:
                note_failure(JudgeFailure(FailureKind.RATE_LIMITED, f"429, {number}"))

            for number in range(3):
                await asyncio.create_task(attempt(number))
            await asyncio.sleep(30)
            raise AssertionError

    [verdict] = await collect(numbered(1), [Tier(Retrying("j", 0.9))], deadline_seconds=0.1)
    failure = verdict.tiers[0].score.failure
    assert failure is not None
    assert failure.kind is FailureKind.DEADLINE
    assert failure.detail == (
        "not answered before the deadline, 3 attempts failed; the last attempt failed: "
        "rate_limited: 429, 2"
    )


async def test_what_is_done_before_the_deadline_counts() -> None:
    verdicts = await collect(numbered(5), [Tier(Scripted("quick", 0.9))], deadline_seconds=30)
    assert {verdict.status for verdict in verdicts} == {"accepted"}


async def test_cancelling_a_stream_cancels_what_is_in_flight() -> None:
    judge = Scripted("j", 0.9, pause=0.01)
    stream = asyncio.create_task(collect(numbered(1000), [Tier(judge)], concurrency=4))
    while not judge.asked:  # noqa: ASYNC110  # the judge tells nobody
        await asyncio.sleep(0)
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream
    assert judge.in_flight == 0
    assert len(judge.asked) <= 8


async def test_an_error_in_the_source_ends_the_stream() -> None:
    def broken() -> Iterator[Pair]:
        yield from numbered(3)
        raise RuntimeError("no more pairs")

    with pytest.raises(ExceptionGroup):
        await collect(broken(), [Tier(Scripted("j", 0.9))])


async def test_a_pair_that_waits_ends_a_stream_that_has_no_place_for_it() -> None:
    class Waiting(Scripted):
        async def score(self, pair: Pair) -> Score:
            raise AnswerLater

    tiers = [Tier(Scripted("first", 0.6), 0.9), Tier(Waiting("later", 0.9), 0.8)]
    with pytest.raises(ExceptionGroup) as caught:
        await collect(numbered(1), tiers)
    [put_off] = caught.value.exceptions
    assert isinstance(put_off, PutOff)
    assert [tier.judge for tier in put_off.so_far.tiers] == ["first"]


async def test_an_empty_stream_ends() -> None:
    assert await collect([], [Tier(Scripted("j", 0.9))]) == []
