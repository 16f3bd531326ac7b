"""Runs a cascade over a bounded set of pairs, stored scores first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app import metrics
from app.identifiers import printable
from app.judgments.authority import Authority
from app.runtime import Runtime
from app.scoring import ScoreKey, is_recorded, pair_key, stored_scores
from judges.base import Judge
from judges.cascade import CascadeVerdict, Tier, TierOutcome, judge_stream
from judges.types import FailureKind, JudgeFailure, Pair, Score

KnownScore = Callable[[Judge, Pair], Awaitable[Score | None]]
# nobody said anything of the pair, now or earlier
_WITHOUT_A_SCORE: Final = (FailureKind.DEADLINE, FailureKind.NOT_RECORDED)


@dataclass(frozen=True, slots=True)
class Subject:
    """A pair to judge, with what decides its slice."""

    pair: Pair
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair, its verdict, and the scores that were newly obtained for it, with their keys."""

    pair: Pair
    verdict: CascadeVerdict
    fresh: list[tuple[ScoreKey, Score]]


async def judge_all(
    running: Runtime,
    authority: Authority,
    subjects: Sequence[Subject],
    *,
    deadline_seconds: float | None = None,
) -> list[Judged]:
    """Return a verdict for every pair, in order; ids must differ. Stores nothing.

    A pair not done by the deadline ends with a typed failure and keeps the scores it has.
    """
    known = await _known_scores(running, authority, [subject.pair for subject in subjects])
    verdicts: dict[str, CascadeVerdict] = {}
    for tiers, pairs in _by_tiers(authority, subjects).items():
        stream = judge_stream(
            pairs,
            tiers,
            ties=authority.ties,
            known=known,
            concurrency=running.settings.pairs_in_flight,
            deadline_seconds=deadline_seconds,
        )
        async for verdict in stream:
            verdicts[verdict.id] = verdict
    return [_judged(authority, subject.pair, verdicts[subject.pair.id]) for subject in subjects]


def _by_tiers(
    authority: Authority, subjects: Sequence[Subject]
) -> dict[tuple[Tier, ...], list[Pair]]:
    groups: dict[tuple[Tier, ...], list[Pair]] = {}
    for subject in subjects:
        groups.setdefault(authority.tiers_for(subject.metadata), []).append(subject.pair)
    return groups


async def _known_scores(
    running: Runtime, authority: Authority, pairs: Sequence[Pair]
) -> KnownScore:
    """Fetch what is stored for these pairs in one transaction, and return how to find it."""
    found: dict[str, dict[str, Score]] = {}
    keys: dict[tuple[str, str], ScoreKey] = {}
    async with running.db.read() as session:
        for tier in authority.tiers:
            spec = tier.judge.spec
            if is_recorded(spec):
                continue
            own = {pair.id: pair_key(spec, pair) for pair in pairs}
            keys.update({(spec.name, pair_id): key for pair_id, key in own.items()})
            hashes = list({key.content_hash for key in own.values()})
            found[spec.name] = await stored_scores(session, spec.fingerprint, hashes)

    async def known(judge: Judge, pair: Pair) -> Score | None:
        key = keys.get((judge.spec.name, pair.id))
        score = found[judge.spec.name].get(key.content_hash) if key else None
        return score.mirrored() if score and key and key.is_mirrored else score

    return known


def _judged(authority: Authority, pair: Pair, verdict: CascadeVerdict) -> Judged:
    live = {
        tier.judge.spec.name: tier.judge.spec
        for tier in authority.tiers
        if not is_recorded(tier.judge.spec)
    }
    fresh = [
        (pair_key(live[score.judge], pair), score) for score in verdict.fresh if score.judge in live
    ]
    return Judged(pair, verdict, fresh)


def show(
    judged: Judged, authority: Authority, promise: str, *, is_settled: bool = True
) -> dict[str, Any]:
    """Return a verdict as users see it, and count it.

    What the verdicts of a batch promise is not settled before the batch has ended.
    """
    verdict = judged.verdict
    counted = promise if is_settled or promise == "none" else "pending"
    metrics.verdicts_total.labels(status=verdict.status, promise=counted).inc()
    return {
        "id": verdict.id,
        "status": verdict.status,
        "label": verdict.label,
        "confidence": verdict.confidence,
        "judge": verdict.judge,
        "tiers": show_tiers(judged),
        "calibration": authority.certificate.id if authority.certificate else None,
        "promise": promise,
        "cost_usd": _cost(judged),
        "cached": _is_cached(judged),
    }


def _is_cached(judged: Judged) -> bool:
    """Whether all that was needed was at hand; a recorded score is, and reading it is no call."""
    is_lacking = any(
        tier.score.failure is not None and tier.score.failure.kind in _WITHOUT_A_SCORE
        for tier in judged.verdict.tiers
    )
    return not judged.fresh and not is_lacking


def show_tiers(judged: Judged) -> list[dict[str, Any]]:
    """Return what each judge that was asked said, as users see it."""
    return [_show_tier(tier) for tier in judged.verdict.tiers]


def _cost(judged: Judged) -> float | None:
    """Money spent on this verdict now: recorded scores were paid for by whoever recorded them."""
    costs = [score.cost_usd for _, score in judged.fresh]
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def _show_tier(tier: TierOutcome) -> dict[str, Any]:
    score = tier.score
    failure = score.failure
    return {
        "judge": tier.judge,
        "p_a": score.p_a,
        "p_tie": score.p_tie,
        "confidence": tier.confidence,
        "accepted": tier.accepted,
        "failure": _show_failure(failure) if failure else None,
        "flags": list(score.flags),
    }


def _show_failure(failure: JudgeFailure) -> dict[str, str]:
    """What a remote server said may hold text that UTF-8 cannot."""
    return {"kind": failure.kind.value, "detail": printable(failure.detail)}
