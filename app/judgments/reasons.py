"""Reasons of verdicts: asked for behind the verdict, stored beside the scores, shown on request.

The key of a reason is the pair as posted and the judge's fingerprint: its words name the responses
by their places, so that the mirror image of a pair needs a reason of its own. A verdict names the
fingerprint of the judge that explains it (`explained_by`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import Row, Table, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.judgments import ReasonBody
from app.core import telemetry
from app.core.bulk import is_one_of, merge_rows
from app.core.models import ReasonRow
from app.core.runtime import Runtime
from app.datasets.score_columns import storable, usage_values
from app.judgments.authority import Authority
from app.scores.store import Payer, replacing_failures
from judges.base import Judge
from judges.cascade import CascadeVerdict
from judges.reasons import Reason, Wanted, explaining, failed_reason, wanted_of
from judges.types import FailureKind, JudgeFailure, Pair, TokenUsage

REASONS: Final = "reasons"
#: The verdict, which hears all judges, is for another response than the judge that gives the reason.
VERDICT_DIFFERS: Final = "verdict_differs"
_ROWS: Final = cast(Table, ReasonRow.__table__)
_CHUNK: Final = 5_000
_ON_CONFLICT: Final = replacing_failures(_ROWS)
_TOO_LATE: Final = JudgeFailure(FailureKind.DEADLINE, "no reason before the deadline")


class Explained(NamedTuple):
    """A reason of a verdict; `is_own`: this run, or an earlier attempt at its shard, pays for it.

    `is_fresh`: it is to be stored. `is_counted`: it was paid for before the batch was retried.
    """

    reason: Reason
    is_own: bool
    is_fresh: bool
    is_counted: bool = False


class _Known(NamedTuple):
    """A reason that need not be asked for, the shard that paid for it, and when it was stored."""

    reason: Reason
    payer: Payer | None
    stored_at: datetime | None = None


@dataclass(slots=True)
class Explainer:
    """Asks the judges of a cascade why, for the verdicts that somebody will read a reason of.

    Attributes:
        running: The service.
        authority: The cascade.
        payer: The shard that pays.
        deadline: Time of the running event loop after which no reason is waited for.
    """

    running: Runtime
    authority: Authority
    payer: Payer | None = None
    deadline: float | None = None
    _judges: dict[str, Judge] = field(init=False)
    _known: dict[tuple[str, str], _Known] = field(default_factory=dict)
    _taken: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Note which judges there are."""
        self._judges = {tier.judge.spec.name: tier.judge for tier in self.authority.tiers}

    @property
    def is_needed(self) -> bool:
        """Whether a judge of the cascade gives reasons at all."""
        return any(explaining(judge) for judge in self._judges.values())

    async def load(self, content_hashes: Collection[str]) -> None:
        """Fetch the stored reasons of pairs."""
        if not self.is_needed:
            return
        fingerprints = [j.spec.fingerprint for j in self._judges.values() if explaining(j)]
        async with self.running.db.read() as session:
            for fingerprint in fingerprints:
                for row in await _stored(session, fingerprint, list(content_hashes)):
                    payer = None if row.batch_seq is None else Payer(row.batch_seq, row.shard)
                    known = _Known(_reason(row), payer, row.created_at)
                    self._known[row.content_hash, fingerprint] = known

    async def of(self, pair: Pair, content_hash: str, verdict: CascadeVerdict) -> Explained | None:
        """Return the reason of a verdict, asked for now or stored; None where none is wanted."""
        wanted = wanted_of(verdict, self._judges, content_hash, self.authority.ties)
        if wanted is None:
            return None
        key = (content_hash, wanted.judge.spec.fingerprint)
        known = self._known.get(key)
        if known is not None:
            payer, is_taken = known.payer, key in self._taken
            is_own = payer is not None and payer == self.payer and not is_taken
            is_counted = self.payer is not None and self.payer.has_counted(known.stored_at)
            self._taken.add(key)
            return Explained(known.reason, is_own, is_fresh=False, is_counted=is_counted)
        reason = await self._asked(wanted, pair)
        self._taken.add(key)
        if reason.failure is None:
            self._known[key] = _Known(reason, self.payer)
        return Explained(reason, is_own=True, is_fresh=True)

    async def _asked(self, wanted: Wanted, pair: Pair) -> Reason:
        try:
            async with asyncio.timeout_at(self.deadline):
                return await wanted.judge.explain(pair, wanted.score, wanted.label)
        except TimeoutError:
            # a call that was cut off may have been billed: its cost is unknown
            return failed_reason(wanted.judge, wanted.label, _TOO_LATE)


def most_reason_usd(authority: Authority, pair: Pair) -> float:
    """Return the most that the reason of a verdict on a pair may cost."""
    judges = [explaining(tier.judge) for tier in authority.tiers]
    return max((judge.most_reason_usd(pair) for judge in judges if judge is not None), default=0.0)


async def store(
    session: AsyncSession,
    reasons: Sequence[tuple[str, Reason]],
    moment: datetime,
    payer: Payer | None = None,
) -> None:
    """Store reasons with the content hashes of their pairs, and count them in the metrics."""
    batch_seq, shard = (payer.batch_seq, payer.shard) if payer else (None, None)
    rows = {
        (content_hash, reason.fingerprint): {
            "content_hash": content_hash,
            "fingerprint": reason.fingerprint,
            "judge": reason.judge,
            "label": reason.label,
            "text": None if reason.text is None else storable(reason.text),
            "flags": list(reason.flags),
            "failure": reason.failure.kind.value if reason.failure else None,
            "failure_detail": storable(reason.failure.detail) if reason.failure else None,
            "usage": usage_values(reason.usage),
            "cost_usd": reason.cost_usd,
            "batch_seq": batch_seq,
            "shard": shard,
            "created_at": moment,
        }
        for content_hash, reason in reasons
    }
    # in a fixed order, so that two transactions with the same reasons cannot deadlock
    await merge_rows(session, _ROWS, [rows[key] for key in sorted(rows)], _ON_CONFLICT)
    for _, reason in reasons:
        _count(reason)


def _count(reason: Reason) -> None:
    outcome = reason.failure.kind.value if reason.failure else "ok"
    if reason.contradicts:
        outcome = "contradicts"
    telemetry.reasons_total.labels(judge=reason.judge, outcome=outcome).inc()
    for kind in ("prompt", "cached", "completion"):
        if tokens := getattr(reason.usage, kind):
            telemetry.tokens_total.labels(judge=reason.judge, kind=kind).inc(tokens)
    if reason.cost_usd:
        telemetry.cost_usd_total.labels(judge=reason.judge).inc(reason.cost_usd)


def reason_body(reason: Reason, verdict: str | None = None) -> ReasonBody:
    """Return a reason as users see it.

    Args:
        reason: What a judge said.
        verdict: The label of the verdict that it stands beside, None where it has none. A verdict
            that hears several judges together may prefer another response than this one does.
    """
    differs = verdict is not None and verdict != reason.label
    return {
        "judge": reason.judge,
        "text": None if reason.text is None else storable(reason.text),
        "flags": sorted({*reason.flags, VERDICT_DIFFERS}) if differs else list(reason.flags),
    }


async def reasons_of(
    session: AsyncSession, keys: Collection[tuple[str, str | None]]
) -> dict[tuple[str, str | None], Reason]:
    """Return the reasons of verdicts by content hash and fingerprint of the judge that explains."""
    by_judge: dict[str, list[str]] = {}
    for content_hash, fingerprint in keys:
        if fingerprint is not None:
            by_judge.setdefault(fingerprint, []).append(content_hash)
    return {
        (row.content_hash, fingerprint): _reason(row)
        for fingerprint, hashes in by_judge.items()
        for row in await _stored(session, fingerprint, hashes, with_failures=True)
    }


async def all_of(
    session: AsyncSession, content_hashes: Collection[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return every reason that judges gave for these pairs, by content hash; failures are left out."""
    found: dict[str, list[dict[str, Any]]] = {}
    query = (
        select(_ROWS)
        .where(is_one_of(session, _ROWS.c.content_hash, list(content_hashes)))
        .where(_ROWS.c.failure.is_(None))
        .order_by(_ROWS.c.judge, _ROWS.c.fingerprint)
    )
    for row in await session.execute(query):
        told = {**reason_body(_reason(row)), "label": row.label}
        found.setdefault(row.content_hash, []).append(told)
    return found


async def _stored(
    session: AsyncSession,
    fingerprint: str,
    content_hashes: Sequence[str],
    *,
    with_failures: bool = False,
) -> list[Row[Any]]:
    """Return stored reasons of one judge; failures are asked for again, unless they are wanted."""
    rows: list[Row[Any]] = []
    for start in range(0, len(content_hashes), _CHUNK):
        query = select(_ROWS).where(
            _ROWS.c.fingerprint == fingerprint,
            is_one_of(session, _ROWS.c.content_hash, content_hashes[start : start + _CHUNK]),
        )
        if not with_failures:
            query = query.where(_ROWS.c.failure.is_(None))
        rows += (await session.execute(query)).all()
    return rows


def _reason(row: Any) -> Reason:
    failure = None
    if row.failure is not None:
        failure = JudgeFailure(FailureKind(row.failure), row.failure_detail or "")
    return Reason(
        judge=row.judge,
        fingerprint=row.fingerprint,
        label=row.label,
        text=row.text,
        flags=tuple(row.flags),
        failure=failure,
        usage=TokenUsage(**row.usage),
        cost_usd=row.cost_usd,
    )
