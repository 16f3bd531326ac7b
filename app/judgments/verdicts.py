"""The body of a verdict as users see it, and what is stored and counted of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.common import Promise
from app.bodies.judgments import FailureBody, OrdersBody, RatingsBody, TierBody, VerdictBody
from app.core import telemetry
from app.core.inert import printable
from app.judgments import queries
from app.judgments.authority import Authority
from app.judgments.judging import Judged
from app.judgments.reasons import reason_body
from app.scores.store import ScoreKey
from judges.cascade import CascadeVerdict, TierOutcome
from judges.reasons import Reason
from judges.types import FailureKind, JudgeFailure, Score

_NOWHERE: Final[Mapping[str, int | str | None]] = dict.fromkeys(
    ("dataset_seq", "pair_seq", "batch_seq", "position", "explained_by")
)
# failures without any call, now or earlier
_WITHOUT_A_SCORE: Final = (FailureKind.DEADLINE, FailureKind.NOT_RECORDED)


def verdict_body(
    judged: Judged | CascadeVerdict,
    authority: Authority,
    promise: Promise,
    *,
    is_known: bool = False,
) -> VerdictBody:
    """Return a verdict as users see it.

    Args:
        judged: A judged pair, or an `unasked` one.
        authority: The thresholds in force.
        promise: What the verdicts of the run promise.
        is_known: Whether the certificate knows the pair, so that it promises nothing about it.
    """
    if isinstance(judged, Judged):
        verdict, cost_usd, is_cached = judged.verdict, _cost(judged), _is_cached(judged)
    else:
        verdict, cost_usd, is_cached = judged, judged.cost_usd, judged.cached
    return {
        "id": verdict.id,
        "status": verdict.status,
        "label": verdict.label,
        "confidence": verdict.confidence,
        "judge": verdict.judge,
        "tiers": [_tier_body(tier) for tier in verdict.tiers],
        "calibration": authority.certificate.id if authority.certificate else None,
        "promise": promise,
        "calibration_pair": is_known,
        "cost_usd": cost_usd,
        "cached": is_cached,
    }


def _cost(judged: Judged) -> float | None:
    """Return what was spent on this verdict now; None if a cost is unknown. Records cost nothing."""
    costs = [score.cost_usd for _, score in judged.obtained]
    if judged.paid_reason is not None:
        costs.append(judged.paid_reason.cost_usd)
    return None if None in costs else sum((cost for cost in costs if cost is not None), start=0.0)


def asking_usd(judged: Judged) -> float | None:
    """Return what it costs to ask the judges of this verdict if no score is stored."""
    costs = [tier.score.cost_usd for tier in judged.verdict.tiers]
    return None if None in costs else sum((cost for cost in costs if cost is not None), start=0.0)


def _is_cached(judged: Judged) -> bool:
    """Return whether every score was stored or recorded already."""
    if judged.obtained or judged.paid_reason is not None:
        return False
    return not any(
        tier.score.failure is not None and tier.score.failure.kind in _WITHOUT_A_SCORE
        for tier in judged.verdict.tiers
    )


def tier_bodies(judged: Judged) -> list[TierBody]:
    """Return the answers of the judges that were asked, as users see them."""
    return [_tier_body(tier) for tier in judged.verdict.tiers]


def _tier_body(tier: TierOutcome) -> TierBody:
    score = tier.score
    failure = score.failure
    return {
        "judge": tier.judge,
        "p_a": score.p_a,
        "p_tie": score.p_tie,
        "confidence": tier.confidence,
        "accepted": tier.accepted,
        "failure": failure_body(failure) if failure else None,
        "flags": list(score.flags),
    }


def with_orders(body: VerdictBody, judged: Judged) -> VerdictBody:
    """Return a verdict with what its judges said in each order, or rated each response.

    Scores hold it, verdicts do not.
    """
    tiers: list[TierBody] = []
    for tier, outcome in zip(body["tiers"], judged.verdict.tiers, strict=True):
        orders, ratings = orders_of(outcome.score), ratings_of(outcome.score)
        if orders is not None:
            tier = {**tier, "orders": orders}
        tiers.append(tier if ratings is None else {**tier, "ratings": ratings})
    return {**body, "tiers": tiers}


def with_reason(body: VerdictBody, judged: Judged) -> VerdictBody:
    """Return a verdict with its reason, if it has one."""
    if judged.explained is None:
        return body
    return {**body, "reason": reason_body(judged.explained.reason, body["label"])}


def orders_of(score: Score) -> OrdersBody | None:
    """Return what a judge said in each order, None where it was not asked in both."""
    if score.ratings is not None:  # it saw each response alone
        return None
    first = [row[0] for row in score.annotators if row[0] is not None]
    second = [row[1] for row in score.annotators if len(row) > 1 and row[1] is not None]
    if not first or not second:
        return None
    return {
        "a_first": round(sum(first) / len(first), 12),
        "a_second": round(sum(second) / len(second), 12),
    }


def ratings_of(score: Score) -> RatingsBody | None:
    """Return how a judge rated each response, None where it compared them."""
    return None if score.ratings is None else {"a": score.ratings[0], "b": score.ratings[1]}


def failure_body(failure: JudgeFailure) -> FailureBody:
    """Return a failure as users see it."""
    # what a remote server said may hold text that UTF-8 cannot encode
    return {"kind": failure.kind.value, "detail": printable(failure.detail)}


def promise_of(authority: Authority, suspended: str | None) -> Promise:
    """Return what a verdict of this run promises."""
    if not authority.is_certified:
        return "none"
    standing = authority.certificate.suspended_because if authority.certificate else None
    return "suspended" if suspended or standing else "certified"


def seq_of(authority: Authority) -> int | None:
    """Return the number of the certificate in force, None without one."""
    return authority.certificate.seq if authority.certificate else None


def verdict_row(
    body: VerdictBody,
    content_hash: str,
    certificate_seq: int | None,
    moment: datetime,
    place: Mapping[str, int | str | None] = _NOWHERE,
) -> dict[str, Any]:
    """Return a verdict as the table holds it.

    `place`: where its pair is in a dataset and a batch, and who explains it.
    """
    return {
        "pair_id": body["id"],
        "content_hash": content_hash,
        "certificate_seq": certificate_seq,
        **place,
        "status": body["status"],
        "promise": body["promise"],
        "body": body,
        "created_at": moment,
    }


async def store_verdicts(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store verdicts, as `verdict_row` returns them."""
    await queries.add(session, rows)


class Settled(NamedTuple):
    """Verdicts whose promise is known: as users see them, and what is stored of them."""

    verdicts: list[VerdictBody]
    suspended_because: str | None
    rows: list[dict[str, Any]]
    fresh: list[tuple[ScoreKey, Score]]
    fresh_reasons: list[tuple[str, Reason]]


def settled_verdicts(
    authority: Authority,
    judged: Sequence[Judged],
    moment: datetime,
    why: str | None = None,
    known: Collection[str] = (),
) -> Settled:
    """Return verdicts with what is promised of them, and count them in the metrics.

    Args:
        authority: By which they were judged.
        judged: The pairs.
        moment: When they were judged.
        why: Why the promise is suspended, None where it is not.
        known: The prompt hashes that the certificate knows: it promises nothing there.
    """
    promise, certificate_seq = promise_of(authority, why), seq_of(authority)
    verdicts = [
        verdict_body(
            one, authority, promise, is_known=bool(known) and one.pair.prompt_hash in known
        )
        for one in judged
    ]
    rows = [
        verdict_row(
            body,
            one.subject.content_hash,
            certificate_seq,
            moment,
            {**_NOWHERE, "explained_by": one.explained_by},
        )
        for one, body in zip(judged, verdicts, strict=True)
    ]
    _count_verdicts(verdicts)
    return Settled(
        verdicts,
        why,
        rows,
        [score for one in judged for score in one.fresh],
        [reason for one in judged for reason in one.fresh_reasons],
    )


def _count_verdicts(shown: Iterable[Mapping[str, Any]]) -> None:
    counted = Counter((verdict["status"], verdict["promise"]) for verdict in shown)
    for (status, promise), count in counted.items():
        telemetry.verdicts_total.labels(status=status, promise=promise).inc(count)


def count_progress(before: Mapping[str, int], after: Mapping[str, int], promise: Promise) -> None:
    """Count in the metrics the verdicts that have come to a shard of a batch, by status.

    What they promise is not settled before the batch has ended.
    """
    named = "none" if promise == "none" else "pending"
    for status, count in after.items():
        # an attempt that starts again may find other answers
        more = max(count - before.get(status, 0), 0)
        telemetry.verdicts_total.labels(status=status, promise=named).inc(more)
