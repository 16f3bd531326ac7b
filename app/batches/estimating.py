"""What a batch would cost, before it starts: calls, tokens and USD of each judge, with a range.

Stored scores say which pairs need no judge any more, how often a judge passes a pair on, and what a
score has cost. No model server is asked; the judges of this process that cost nothing are. Of a
large batch a random sample of pairs is looked at.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np

from app.batches.assuming import output_in_words, output_of, overspent
from app.batches.creating import chosen_pairs, costs_nothing
from app.batches.schemas import BatchIn
from app.bodies.batches import OutputBody
from app.core.models import CalibrationRow, Dataset
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.judgments.authority import Authority, refuse_expired, resolve_for
from app.judgments.judging import Knowledge, Subject
from app.scores.store import Answered, answered_by
from calibration.binomial import wilson_interval
from judges.base import Judge
from judges.budget import Asks, Sized, is_priced, most_usd
from judges.cascade import TierOutcome, hearing, outcome_of
from judges.openai.judge import OpenAIJudge
from judges.reasons import explaining
from judges.types import Pair, Score

MOST_LOOKED_AT: Final = 2_000
_CHUNK: Final = 250
_MOST_NAMED: Final = 1_000
_LEVEL: Final = 0.95
# known answers from which the share that a judge passes on is taken
_ENOUGH: Final = 20
# bytes of a token: most texts, and the range of languages and tokenisers
_TOKEN_BYTES: Final = (4.0, 6.0, 2.0)
# earlier scores from which the output tokens of a call are taken
_MOST_EARLIER: Final = 1_000


class Spread(NamedTuple):
    """A number that is not known yet, with its range; `value` is None where any is as likely."""

    value: float | None
    low: float
    high: float
    n: int = 0

    def times(self, other: Spread) -> Spread:
        """Return the product; both are at least 0."""
        known = None if self.value is None or other.value is None else self.value * other.value
        n = min(self.n, other.n) if self.n and other.n else max(self.n, other.n)
        return Spread(known, self.low * other.low, self.high * other.high, n)

    def plus(self, other: Spread) -> Spread:
        """Return the sum; its ends add up, since what makes one judge dear may make all dear."""
        known = None if self.value is None or other.value is None else self.value + other.value
        return Spread(known, self.low + other.low, self.high + other.high, max(self.n, other.n))

    def as_json(self) -> dict[str, Any]:
        """Return it as users see it."""
        return {**self._asdict(), "confidence_level": _LEVEL}


NOTHING: Final = Spread(0.0, 0.0, 0.0)
_ANY_SHARE: Final = Spread(None, 0.0, 1.0)


def mean_of(values: Sequence[float]) -> Spread:
    """Return the mean with its normal interval; of one value alone, that value."""
    n, mean = len(values), math.fsum(values) / len(values)
    if n < 2:
        return Spread(mean, mean, mean, n)
    half = _z() * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Spread(mean, max(mean - half, 0.0), mean + half, n)


def share_of(count: int, n: int) -> Spread:
    """Return a share with its score interval."""
    low, high = wilson_interval(count, n, _LEVEL)
    return Spread(count / n, float(low), float(high), n)


def _z() -> float:
    return NormalDist().inv_cdf((1 + _LEVEL) / 2)


@dataclass(slots=True)
class JudgeCounts:
    """What the pairs looked at say of one judge.

    `asked` counts the scores to be obtained, by the earlier judges whose answers are not known
    either. `new` are the pairs of these scores, `stored` the scores that need not be obtained.
    """

    judge: Judge
    scored: int = 0
    accepted: int = 0
    passed_on: int = 0
    asked: Counter[tuple[str, ...]] = field(default_factory=Counter)
    stored: list[Score] = field(default_factory=list)
    new: list[Pair] = field(default_factory=list)


class Walk:
    """Goes the way of each pair up the cascade, as far as stored scores show it."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self.counts = {tier.judge.spec.name: JudgeCounts(tier.judge) for tier in authority.tiers}
        self._seen: set[tuple[str, str]] = set()
        self.looked_at = 0
        self.settled: list[str] = []

    async def take(self, subject: Subject, knowledge: Knowledge) -> None:
        """Go the way of one pair."""
        self.looked_at += 1
        unknown: list[str] = []
        cascade = self._authority.cascade_for(subject.metadata)
        opinion_of = hearing(cascade, self._authority.ties)
        for tier in cascade.tiers:
            if not tier.is_asked:
                continue
            counts = self.counts[tier.judge.spec.name]
            score = await self._known(tier.judge, subject, knowledge, counts)
            if score is None:
                self._ask(counts, subject, unknown)
            elif unknown and cascade.columns != "raw":
                # heard together with answers that are not known yet
                unknown.append(tier.judge.spec.name)
            elif _accepts(outcome_of(tier, score, opinion_of), counts):
                break
        if not unknown:
            self.settled.append(subject.pair.id)

    async def _known(
        self, judge: Judge, subject: Subject, knowledge: Knowledge, counts: JudgeCounts
    ) -> Score | None:
        if costs_nothing(judge):
            return await judge.score(subject.pair)
        score = knowledge.score(judge, subject.pair)
        if score is not None:
            counts.scored += 1
            counts.stored.append(score)
        return score

    def _ask(self, counts: JudgeCounts, subject: Subject, unknown: list[str]) -> None:
        name = counts.judge.spec.name
        content = min(subject.content_hash, subject.swapped_hash)
        # pairs of the same content share a score
        if (name, content) not in self._seen:
            self._seen.add((name, content))
            counts.asked[tuple(unknown)] += 1
            counts.new.append(subject.pair)
        unknown.append(name)


def _accepts(outcome: TierOutcome, counts: JudgeCounts) -> bool:
    counts.accepted += outcome.accepted
    counts.passed_on += not outcome.accepted
    return outcome.accepted


async def estimate(running: Runtime, request: BatchIn) -> dict[str, Any]:
    """Return what a batch over a dataset would ask and cost; nothing is stored.

    Raises:
        Unprocessable: there is no pair to judge, or a judge is unknown.
        Conflict: the certificate does not apply.
    """
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, request.dataset)
        authority = await resolve_for(session, running.registry, request, dataset)
    refuse_expired(authority, running.now())
    is_chosen, scope = await chosen_pairs(running, dataset, request, authority)
    positions = np.flatnonzero(is_chosen)
    if len(positions) > MOST_LOOKED_AT:
        rng = np.random.default_rng(request.seed)
        positions = np.sort(rng.choice(positions, MOST_LOOKED_AT, replace=False))
    walk = Walk(authority)
    for start in range(0, len(positions), _CHUNK):
        await _look(running, dataset, authority, walk, positions[start : start + _CHUNK].tolist())
    certificate = authority.certificate
    earlier = await _earlier(running, walk)
    judges = _judges(walk, _passed_on(certificate), scope.total, earlier)
    cost = _total([one.usd for one in judges])
    is_part = request.part is not None
    return {
        "object": "batch_estimate",
        "dataset": dataset.id,
        "calibration": certificate.id if certificate else None,
        "cascade": request.model_dump(mode="json")["cascade"],
        "part": request.model_dump(mode="json")["part"],
        "pairs": scope.total,
        "looked_at": walk.looked_at,
        "scored_pairs": len(walk.settled),
        "scored_ids": walk.settled[:_MOST_NAMED],
        "judges": [one.as_json() for one in judges],
        "cost_usd": cost,
        "budget_usd": request.budget_usd,
        "warnings": list(
            _warnings(judges, cost, request.budget_usd, 0 if is_part else scope.total)
        ),
    }


async def _look(
    running: Runtime, dataset: Dataset, authority: Authority, walk: Walk, positions: list[int]
) -> None:
    async with running.db.read() as session:
        stored = await datasets.read_pairs(session, dataset, positions=positions)
    subjects = [
        Subject(pair, key.content_hash or "", key.swapped_hash or "", key.metadata)
        for key, pair in stored
    ]
    knowledge = Knowledge(authority, subjects)
    await knowledge.load(running)
    for subject in subjects:
        await walk.take(subject, knowledge)


async def _earlier(running: Runtime, walk: Walk) -> dict[str, Answered]:
    """Return what the judges answered to other pairs of which no answer to these is stored."""
    found = {}
    async with running.db.read() as session:
        for name, counts in walk.counts.items():
            if counts.new and not counts.stored and isinstance(counts.judge, Sized):
                found[name] = await answered_by(session, counts.judge.spec, _MOST_EARLIER)
    return found


def _passed_on(certificate: CalibrationRow | None) -> dict[str, Spread]:
    """Return the share of pairs that each judge passed on in the test of a certificate."""
    if certificate is None:
        return {}
    reached = certificate.body["calibration"]["failures"]
    asked = [(name, one["asked"]) for name, one in reached.items()]
    return {
        name: share_of(min(later, count), count)
        for (name, count), (_, later) in pairwise(asked)
        if count
    }


@dataclass(frozen=True, slots=True)
class JudgeForecast:
    """What one judge would be asked in a batch."""

    counts: JudgeCounts
    pairs: Spread
    calls: Spread | None
    prompt: Spread | None
    completion: Spread | None
    usd: Spread | None
    basis: str
    output: OutputBody | None = None

    @property
    def budget_usd(self) -> float | None:
        """What the settings of the judge let it spend."""
        judge = self.counts.judge
        return judge.budget_usd if isinstance(judge, OpenAIJudge) else None

    def as_json(self) -> dict[str, Any]:
        """Return it as users see it."""
        found = {
            "pairs": self.pairs, "calls": self.calls, "prompt_tokens": self.prompt,
            "completion_tokens": self.completion, "cost_usd": self.usd,
        }  # fmt: skip
        return {
            "judge": self.counts.judge.spec.name,
            "scored": self.counts.scored,
            **{name: None if one is None else one.as_json() for name, one in found.items()},
            "basis": self.basis,
            "output": self.output,
            "budget_usd": self.budget_usd,
        }


def _judges(
    walk: Walk, certified: Mapping[str, Spread], total: int, earlier: Mapping[str, Answered]
) -> list[JudgeForecast]:
    shares = {name: _share_passed_on(one, certified) for name, one in walk.counts.items()}
    return [
        _forecast(one, shares, (walk.looked_at, total), earlier.get(name))
        for name, one in walk.counts.items()
    ]


def _share_passed_on(counts: JudgeCounts, certified: Mapping[str, Spread]) -> Spread:
    n = counts.accepted + counts.passed_on
    if n < _ENOUGH and counts.judge.spec.name in certified:
        return certified[counts.judge.spec.name]
    return share_of(counts.passed_on, n) if n else _ANY_SHARE


def _forecast(
    counts: JudgeCounts,
    shares: Mapping[str, Spread],
    sample: tuple[int, int],
    earlier: Answered | None,
) -> JudgeForecast:
    if costs_nothing(counts.judge):
        return JudgeForecast(counts, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, "free")
    pairs = _scaled(_expected(counts.asked, shares), *sample)
    each = _of_stored(counts.stored) or _of_texts(counts, earlier)
    each = _with_reasons(each, counts.judge)
    calls, prompt, completion, usd = (
        None if one is None else pairs.times(one) if pairs.high else NOTHING for one in each.figures
    )
    return JudgeForecast(counts, pairs, calls, prompt, completion, usd, each.basis, each.output)


def _expected(asked: Mapping[tuple[str, ...], int], shares: Mapping[str, Spread]) -> Spread:
    """Return how many of the pairs looked at reach a judge that has not scored them."""
    sure = Spread(float(asked.get((), 0)), asked.get((), 0), asked.get((), 0))
    for unknown, count in asked.items():
        if unknown:
            reach = Spread(float(count), count, count)
            for name in unknown:
                reach = reach.times(shares[name])
            sure = sure.plus(reach)
    return sure


def _scaled(found: Spread, looked_at: int, total: int) -> Spread:
    """Return what the pairs looked at say of all pairs."""
    if looked_at == total:
        return found
    half = (
        0.0 if found.value is None else _sampling_error(found.value / looked_at, looked_at, total)
    )
    scale = total / looked_at
    value = None if found.value is None else found.value * scale
    low = max(found.low * scale - half, 0.0)
    return Spread(value, low, min(found.high * scale + half, float(total)), looked_at)


def _sampling_error(share: float, looked_at: int, total: int) -> float:
    left = (total - looked_at) / max(total - 1, 1)
    return _z() * total * math.sqrt(share * (1 - share) / looked_at * left)


class _Each(NamedTuple):
    """Calls, prompt and completion tokens and USD of one score, and what they are taken from."""

    figures: tuple[Spread | None, Spread | None, Spread | None, Spread | None]
    basis: str
    output: OutputBody | None = None


def _of_stored(scores: Sequence[Score]) -> _Each | None:
    """Return the means over stored scores, None where none has been counted."""
    used = [one.usage for one in scores if one.usage.calls or one.usage.prompt]
    costs = [one.cost_usd for one in scores if one.cost_usd is not None]
    if not used:
        return None
    return _Each(
        (
            mean_of([float(max(one.calls, 1)) for one in used]),
            mean_of([float(one.prompt) for one in used]),
            mean_of([float(one.completion) for one in used]),
            mean_of(costs) if costs else None,
        ),
        "stored_scores",
    )


def _of_texts(counts: JudgeCounts, earlier: Answered | None) -> _Each:
    """Return the figures from the lengths of the prompts; else the most that a score may cost.

    What a call answers follows from no prompt: earlier answers say it, or it is assumed.
    """
    judge = counts.judge
    if not counts.new:
        return _Each((NOTHING, NOTHING, NOTHING, NOTHING), "stored_scores")
    if not isinstance(judge, Sized):
        most = [most_usd(judge, pair) for pair in counts.new] if is_priced(judge) else []
        usd = Spread(None, 0.0, math.fsum(most) / len(most)) if most else None
        return _Each((None, None, None, usd), "prices" if most else "unknown")
    asks = [judge.asks(pair) for pair in counts.new]
    calls = _average((len(one.prompts), one.fewest, len(one.prompts)) for one in asks)
    prompt = _average(_prompt_tokens(one) for one in asks)
    output = output_of(max(one.max_tokens for one in asks), earlier)
    each = output["tokens_per_call"]
    completion = _average(
        (min(len(one.prompts) * each, _longest(one)), one.fewest, _longest(one)) for one in asks
    )
    usd = _at_prices(judge, prompt, completion)
    if usd is not None and isinstance(judge, OpenAIJudge):
        # what the provider leaves out is asked directly
        share = judge.price_in_batches
        usd = usd.times(Spread(share, share, 1.0))
    return _Each((calls, prompt, completion, usd), "texts", output)


def _warnings(
    judges: Sequence[JudgeForecast],
    cost: Mapping[str, Any] | None,
    budget: float | None,
    total: int,
) -> Iterator[str]:
    """Yield what was assumed, and which budgets may not do.

    Args:
        judges: What each judge would be asked.
        cost: Of all of them.
        budget: Of the batch.
        total: Pairs of a batch over a whole dataset, of which a part can be judged first.
    """
    for one in judges:
        name = one.counts.judge.spec.name
        if one.output is not None and one.pairs.high:
            yield f"{name}: {output_in_words(one.output, total)}"
        if one.usd is not None:
            yield from overspent(
                f"{name}: its budget_usd", one.budget_usd, one.usd.value, one.usd.high
            )
    if cost is not None:
        what = "budget_usd of the batch"
        yield from overspent(what, budget, cost["value"], cost["high"])


def _with_reasons(each: _Each, judge: Judge) -> _Each:
    """Return the figures of one score with those of its reason, if its judge gives reasons.

    The share of verdicts with a reason is known for a sample of the pairs, and else anything.
    """
    calls, prompt, _, _ = each.figures
    told = explaining(judge)
    if told is None or told.reasons is None or calls is None or prompt is None or not calls.low:
        return each
    share = told.reasons.share
    reason = _ANY_SHARE if share is None else Spread(share, share, share)
    usual = None if prompt.value is None or not calls.value else prompt.value / calls.value
    one_prompt = Spread(usual, prompt.low / calls.high, prompt.high / calls.low)
    most = float(told.reasons.tokens)
    tokens = Spread(most, 1.0, most)
    found = (Spread(1.0, 1.0, 1.0), one_prompt, tokens, _at_prices(judge, one_prompt, tokens))
    figures = [
        score if score is None or more is None else score.plus(reason.times(more))
        for score, more in zip(each.figures, found, strict=True)
    ]
    return _Each((figures[0], figures[1], figures[2], figures[3]), each.basis, each.output)


def _prompt_tokens(asks: Asks) -> tuple[float, float, float]:
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in asks.prompts)
    usual, least, most = (size / n_bytes for n_bytes in _TOKEN_BYTES)
    return usual, least * asks.fewest / len(asks.prompts), most


def _longest(asks: Asks) -> int:
    return len(asks.prompts) * asks.max_tokens


def _average(rows: Iterable[tuple[float, float, float]]) -> Spread:
    value, low, high = np.mean(list(rows), axis=0)
    return Spread(float(value), float(low), float(high))


def _at_prices(judge: Judge, prompt: Spread, completion: Spread) -> Spread | None:
    spec = judge.spec
    if spec.price_input is None or spec.price_output is None:
        return None
    first, second = spec.price_input / 1e6, spec.price_output / 1e6
    return prompt.times(Spread(first, first, first)).plus(
        completion.times(Spread(second, second, second))
    )


def _total(usd: Sequence[Spread | None]) -> dict[str, Any] | None:
    total = NOTHING
    for one in usd:
        if one is None:
            return None
        total = total.plus(one)
    return total.as_json()
