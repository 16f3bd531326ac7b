"""Asks judges in order, from cheap to strong, and many pairs at once.

The decision is that of a certificate, one tier at a time (Jung, Brahman, Choi 2025, "Trust or
Escalate"): a judge answers where its confidence reaches its threshold, a failure or no preference
escalates, and a pair that no judge answers is abstained. Where judges are heard together, the
confidence of a tier is that of all answers so far (`calibration.stack`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, NamedTuple, TypeVar

from calibration.cascade import accepts
from calibration.labels import TIE, A, B
from calibration.preference import SILENT, Opinion, TieRule, opinion
from calibration.stack import Columns, Stack
from judges.base import Judge, failures_noted
from judges.errors import AnswerLater, JudgeUnavailable
from judges.probability import swap_label
from judges.types import FailureKind, JudgeFailure, Label, Pair, Score

Status = Literal["accepted", "abstained", "failed"]
Pause = Callable[[], Awaitable[None]]
KnownScore = Callable[[Judge, Pair], Score | None]

_LABELS: Final[dict[int, Label]] = {A: "a", B: "b", TIE: "tie"}
_TOO_LATE: Final = "not answered before the deadline"
DEFAULT_CONCURRENCY: Final = 256


@dataclass(frozen=True, slots=True)
class Tier:
    """A judge and the confidence from which a verdict is accepted at it; +inf: never.

    A judge that never answers is asked only where it `is_heard`: its answer counts at later tiers.
    """

    judge: Judge
    threshold: float = 0.0
    is_heard: bool = False

    @property
    def is_asked(self) -> bool:
        """Whether the judge is asked about pairs that no judge before it answered."""
        return self.is_heard or self.threshold < math.inf


@dataclass(frozen=True, slots=True)
class Cascade:
    """Judges from cheap to strong, and how their answers become a confidence.

    Attributes:
        tiers: The judges and their thresholds.
        columns: "raw": each judge's own confidence; "stacked": that of all judges so far together;
            "learned": that of all judges, weighed.
        weights: For "learned", for each judge the weight of its log-odds and that of its sign.
    """

    tiers: tuple[Tier, ...]
    columns: Columns = "raw"
    weights: tuple[tuple[float, float], ...] | None = None


# tuples are made faster than frozen dataclasses, and batches make very many
class TierOutcome(NamedTuple):
    """What one judge that was asked contributed to a verdict.

    `label` and `confidence` are what its tier says: the judge alone, or all judges so far where
    they are heard together; None where that is no preference.
    """

    judge: str
    score: Score
    label: Label | None
    confidence: float | None
    accepted: bool


class CascadeVerdict(NamedTuple):
    """The cascade's answer to one pair.

    Attributes:
        id: The pair's id.
        status: `accepted`; `abstained` where a judge scored the pair and none was confident
            enough, or none may ever answer; `failed` where every judge asked failed, or the
            deadline came before a judge accepted it.
        label: The verdict, None unless accepted.
        confidence: That of the label at the tier that was accepted.
        judge: The name of the judge that answered.
        tiers: Every judge that was asked, in order.
        cost_usd: What the new scores cost; None where one of them has no known cost.
        fresh: The new scores that are to be stored; a judge that the deadline cut off has none.
        cached: No judge had to be asked.
    """

    id: str
    status: Status
    label: Label | None
    confidence: float | None
    judge: str | None
    tiers: tuple[TierOutcome, ...]
    cost_usd: float | None
    fresh: tuple[Score, ...]
    cached: bool

    @property
    def mirror(self) -> CascadeVerdict:
        """The verdict on the same pair with its two responses swapped."""
        return self._replace(
            label=None if self.label is None else swap_label(self.label),
            tiers=tuple(_mirrored(tier) for tier in self.tiers),
            fresh=tuple(score.mirrored() for score in self.fresh),
        )


class PutOff(Exception):
    """A pair waits for a batch of a judge's provider; `so_far` is what the judges before it said."""

    def __init__(self, so_far: CascadeVerdict) -> None:
        super().__init__(so_far.id)
        self.so_far = so_far


async def judge_pair(
    pair: Pair,
    cascade: Cascade | Sequence[Tier],
    *,
    ties: TieRule = "exclude",
    known: KnownScore | None = None,
    deadline: float | None = None,
) -> CascadeVerdict:
    """Return the cascade's verdict on one pair; a judge's failure never raises.

    Args:
        pair: What to judge.
        cascade: The judges; a bare sequence of tiers hears them one at a time.
        ties: The rule by which the probabilities of one judge become a label and a confidence.
        known: Gives a score that is already stored; it is then not asked for again.
        deadline: Time of the running event loop after which a judge that has not answered counts
            as failed with `DEADLINE` and no further one is asked.

    Raises:
        PutOff: A judge's answer comes with a batch of its provider; only where answers may wait.
    """
    if not isinstance(cascade, Cascade):
        cascade = Cascade(tuple(cascade))
    opinion_of = hearing(cascade, ties)
    outcomes: list[TierOutcome] = []
    asked: list[Score] = []
    for tier in cascade.tiers:
        if not tier.is_asked:
            continue
        score = known(tier.judge, pair) if known is not None else None
        if score is None:
            try:
                score = await _ask(tier.judge, pair, deadline)
            except AnswerLater as later:
                raise PutOff(_verdict(pair.id, tuple(outcomes), tuple(asked))) from later
            asked.append(score)
        outcomes.append(outcome_of(tier, score, opinion_of))
        if outcomes[-1].accepted or _is_cut_off(score):
            break
    return _verdict(pair.id, tuple(outcomes), tuple(asked))


async def judge_stream(  # noqa: PLR0913 - the options of judge_pair and four of the stream's own
    pairs: AsyncIterable[Pair] | Iterable[Pair],
    cascade_of: Callable[[Pair], Cascade | Sequence[Tier]],
    take: Callable[[CascadeVerdict], Awaitable[None]],
    *,
    ties: TieRule = "exclude",
    known: KnownScore | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    deadline: float | None = None,
    pause: Pause | None = None,
    put_off: Callable[[CascadeVerdict], Awaitable[None]] | None = None,
) -> None:
    """Hand a verdict on every pair to `take`, in the order of completion.

    At most `concurrency` pairs are in flight at a time, each at its own tier, so that all judges
    work at once and memory stays bounded however long the stream is: a pair is read when an earlier
    one was taken. Pairs that are not done by the deadline end with a `DEADLINE` failure and keep
    the scores they have. Cancelling cancels what is in flight; an error of `pairs` or of `take`
    ends the stream, in an exception group.

    Args:
        pairs: Read only as fast as verdicts are taken.
        cascade_of: The judges to ask about a pair.
        take: Awaited before another pair takes the place.
        ties: The rule by which probabilities become a label and a confidence.
        known: Gives a score that is already stored.
        concurrency: Pairs in flight.
        deadline: Time of the running event loop, for the whole stream.
        pause: Awaited before each pair; by default others run every few milliseconds.
        put_off: Takes what the judges before have said of a pair that waits for a batch of a
            judge's provider; such a pair gets no verdict now.
    """

    async def judge(pair: Pair) -> None:
        cascade = cascade_of(pair)
        try:
            verdict = await judge_pair(pair, cascade, ties=ties, known=known, deadline=deadline)
        except PutOff as later:
            if put_off is None:
                raise
            await put_off(later.so_far)
            return
        await take(verdict)

    await bounded_map(pairs, judge, concurrency, pause)


async def _ask(judge: Judge, pair: Pair, deadline: float | None) -> Score:
    if deadline is None:
        return await answer(judge, pair)
    if asyncio.get_running_loop().time() >= deadline:
        return _failed(judge, FailureKind.DEADLINE, _TOO_LATE)
    with failures_noted() as noted:
        try:
            async with asyncio.timeout_at(deadline):
                return await answer(judge, pair)
        except TimeoutError:
            return _failed(judge, FailureKind.DEADLINE, _too_late_after(noted))


async def answer(judge: Judge, pair: Pair) -> Score:
    """Return a judge's score of a pair; one that is unavailable, or takes too long, has failed."""
    try:
        return await judge.score(pair)
    except JudgeUnavailable as error:
        return _failed(judge, FailureKind.UNAVAILABLE, str(error))
    except TimeoutError as error:
        return _failed(judge, FailureKind.TIMEOUT, str(error))


def _too_late_after(noted: Sequence[JudgeFailure]) -> str:
    """Return the detail of a deadline; what kept the judge until then is its cause."""
    if not noted:
        return _TOO_LATE
    last, times = noted[-1], f", {len(noted)} attempts failed" * (len(noted) > 1)
    return f"{_TOO_LATE}{times}; the last attempt failed: {last.kind.value}: {last.detail}"


def _failed(judge: Judge, kind: FailureKind, detail: str) -> Score:
    spec = judge.spec
    failure = JudgeFailure(kind, detail)
    return Score(judge=spec.name, fingerprint=spec.fingerprint, p_a=None, failure=failure)


def hearing(cascade: Cascade, ties: TieRule) -> Callable[[Score], Opinion]:
    """Return what tells, answer after answer, the opinion of a tier."""
    if cascade.columns == "raw":
        return lambda score: opinion_of_score(score, ties)
    stack = Stack(weights=cascade.weights)
    return lambda score: stack.add(score.p_a, score.p_tie)


def outcome_of(tier: Tier, score: Score, opinion_of: Callable[[Score], Opinion]) -> TierOutcome:
    """Return what a judge's score contributes at its tier; `opinion_of` has heard those before."""
    label, confidence = _as_said(opinion_of(score))
    # where judges are heard together, those before a judge that was cut off still say something
    may_answer = confidence is not None and not _is_cut_off(score)
    accepted = may_answer and accepts(confidence or 0.0, tier.threshold)
    return TierOutcome(tier.judge.spec.name, score, label, confidence, accepted)


def label_and_confidence(score: Score, ties: TieRule) -> tuple[Label | None, float | None]:
    """Return a score's label and its confidence; None twice for a failure or no preference."""
    return _as_said(opinion_of_score(score, ties))


def opinion_of_score(score: Score, ties: TieRule) -> Opinion:
    """Return what a judge's score says by itself."""
    return SILENT if score.p_a is None else opinion(score.p_a, score.p_tie, ties=ties)


def _as_said(said: Opinion) -> tuple[Label | None, float | None]:
    if math.isnan(said.confidence):
        return None, None
    return _LABELS[said.label], said.confidence


def _verdict(
    pair_id: str, outcomes: tuple[TierOutcome, ...], asked: tuple[Score, ...]
) -> CascadeVerdict:
    last = outcomes[-1] if outcomes else None
    answer = last if last is not None and last.accepted else None
    fresh = asked
    if asked and _is_cut_off(asked[-1]):
        fresh = tuple(score for score in asked if not _is_cut_off(score))
    return CascadeVerdict(
        id=pair_id,
        status=_status(outcomes),
        label=None if answer is None else answer.label,
        confidence=None if answer is None else answer.confidence,
        judge=None if answer is None else answer.judge,
        tiers=outcomes,
        cost_usd=_cost(asked),
        fresh=fresh,
        cached=not asked,
    )


def _cost(asked: Sequence[Score]) -> float | None:
    if len(asked) == 1:
        return asked[0].cost_usd
    costs = [score.cost_usd for score in asked]
    return None if None in costs else math.fsum(cost for cost in costs if cost is not None)


def _status(outcomes: tuple[TierOutcome, ...]) -> Status:
    if not outcomes:
        return "abstained"
    if outcomes[-1].accepted:
        return "accepted"
    has_score = any(outcome.score.failure is None for outcome in outcomes)
    return "abstained" if has_score and not _is_cut_off(outcomes[-1].score) else "failed"


def _is_cut_off(score: Score) -> bool:
    return score.failure is not None and score.failure.kind is FailureKind.DEADLINE


def _mirrored(tier: TierOutcome) -> TierOutcome:
    label = None if tier.label is None else swap_label(tier.label)
    return tier._replace(score=tier.score.mirrored(), label=label)


_T = TypeVar("_T")
# work that never waits must still let other tasks run
_YIELD_AFTER_SECONDS: Final = 0.005


async def bounded_map(
    items: AsyncIterable[_T] | Iterable[_T],
    do: Callable[[_T], Awaitable[None]],
    limit: int,
    pause: Pause | None = None,
) -> None:
    """Call `do` for every item, at most `limit` at a time; an item is read when a worker is free.

    `pause` is awaited before each item; by default others run every few milliseconds. Cancelling
    cancels what is in flight; an error of `items` or of `do` ends the work, in an exception group.
    """
    async with asyncio.TaskGroup() as group:
        _Workers(_reader(items, pause or _Pause().pause), do, group, limit).start(1)


class _Workers(Generic[_T]):
    """As many workers as there is waiting to do.

    Calls that never wait are made by one worker, without a task or a wait an item; each time all
    workers wait, their number doubles, up to the limit.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[_T | None]],
        do: Callable[[_T], Awaitable[None]],
        group: asyncio.TaskGroup,
        limit: int,
    ) -> None:
        self._read, self._do, self._group, self._limit = read, do, group, limit
        self._count = self._busy = 0
        self._is_exhausted = self._will_look = False

    def start(self, count: int) -> None:
        """Start more workers, within the limit."""
        count = min(count, self._limit - self._count)
        self._count += count
        for _ in range(count):
            self._group.create_task(self._work())

    async def _work(self) -> None:
        while (item := await self._read()) is not None:
            self._busy += 1
            if self._busy == self._count < self._limit and not self._will_look:
                self._will_look = True
                # a task of the group ends with it: no worker starts for work that is cancelled
                self._group.create_task(self._look())
            try:
                await self._do(item)
            finally:
                self._busy -= 1
        self._is_exhausted = True

    async def _look(self) -> None:
        """Start workers where all of them wait; this task runs only once they do."""
        self._will_look = False
        if self._busy == self._count and not self._is_exhausted:
            self.start(self._count)


class _Pause:
    """Lets others run every few milliseconds."""

    def __init__(self) -> None:
        self._now = asyncio.get_running_loop().time
        self._paused = self._now()

    async def pause(self) -> None:
        if self._now() - self._paused > _YIELD_AFTER_SECONDS:
            await asyncio.sleep(0)
            self._paused = self._now()


def _reader(
    items: AsyncIterable[_T] | Iterable[_T], pause: Pause
) -> Callable[[], Awaitable[_T | None]]:
    """Return a function that gives each caller the next item, and None at the end."""
    if isinstance(items, AsyncIterable):
        later = aiter(items)
        reading = asyncio.Lock()

        async def read() -> _T | None:
            await pause()
            async with reading:
                return await anext(later, None)

        return read
    at_hand = iter(items)

    async def take_next() -> _T | None:
        await pause()
        return next(at_hand, None)

    return take_next
