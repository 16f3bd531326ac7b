"""Stores what providers answered for a batch that ended before its answers came.

The answers were paid for: their scores are stored, so that no later batch pays again, and their cost
is added to that of the batch. A pair that lacks some answers gets no score; the cost of the others
counts all the same.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import queries
from app.batches.provider.lines import LINES, ShardDesk, forget, kept_scores
from app.batches.totals import added, shard_counts
from app.batches.work import Item, work_of
from app.core.errors import TribunalError
from app.core.models import Batch, ProviderFile, Shard
from app.core.runtime import Runtime
from app.scores.store import Payer, ScoreKey, score_key, store_scores, stored_scores
from judges.errors import AnswerLater
from judges.openai.judge import OpenAIJudge
from judges.openai.later import Desk, Found, Question, answers_may_wait
from judges.types import Score

_log = logging.getLogger(__name__)


async def overdue(session: AsyncSession, long_ago: datetime) -> Sequence[tuple[int, int]]:
    """Return batch and number of the shards of batches that ended `long_ago` and have answers left.

    Every file of the batch must have ended.
    """
    has_lines = exists().where(LINES.c.batch_seq == Shard.batch_seq, LINES.c.shard == Shard.number)
    is_away = exists().where(
        ProviderFile.batch_seq == Shard.batch_seq, ProviderFile.state != "ended"
    )
    query = (
        select(Shard.batch_seq, Shard.number)
        .join(Batch, Batch.seq == Shard.batch_seq)
        .where(
            Batch.status.not_in(queries.UNFINISHED),
            Batch.completed_at < long_ago,
            Shard.lines_seen.is_not(None),
            has_lines,
            ~is_away,
        )
        .order_by(Shard.batch_seq, Shard.number)
    )
    return [(row.batch_seq, row.number) for row in await session.execute(query)]


class _AnswersOnly:
    """A desk that asks nothing, and notes which answers were used."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.looked_for: list[str] = []

    def find(self, key: str) -> Found | None:
        """Return an answer; a question without one counts as waiting."""
        self.looked_for.append(key)
        found = self._desk.find(key)
        return found if found is not None and found.state == "answered" else Found("waiting")

    def leave(self, question: Question) -> None:
        """Ask nothing."""


@dataclass(slots=True)
class _Kept:
    """Scores with their keys, costs by judge, and the questions that have led to scores."""

    scores: list[tuple[ScoreKey, Score]] = field(default_factory=list)
    used: set[str] = field(default_factory=set)


async def salvage(running: Runtime, batch_seq: int, number: int) -> None:
    """Store the scores of a shard whose answers came, and count the cost of all its answers."""
    async with running.db.read() as session:
        shard = await queries.shard(session, batch_seq, number)
        kept = await _scores(running, session, shard)
    async with running.db.write() as session:
        batch = await queries.locked(session, batch_seq)
        shard = await queries.shard(session, batch_seq, number)
        rest = await _cost_of_rest(running, session, shard, kept)
        if batch.status in queries.UNFINISHED or rest is None:
            return  # it was taken up again, or another process was quicker
        payer = Payer(batch_seq, number)
        await store_scores(session, kept.scores, running.now(), payer)
        counts = _counts(kept.scores, rest)
        batch.totals = added(batch.totals, counts)
        shard.counts = added(shard.counts, counts)
        await forget(session, shard)
    _log.info("%d scores of shard %d were kept, whose batch had ended", len(kept.scores), number)


async def _scores(running: Runtime, session: AsyncSession, shard: Shard) -> _Kept:
    kept = _Kept()
    try:
        work = await work_of(session, running.registry, shard.batch_seq)
    except TribunalError as error:
        _log.warning("answers of batch %d make no scores: %s", shard.batch_seq, error)
        return kept
    desk = await ShardDesk.open(session, shard, work.authority)
    if desk is None:
        return kept
    items = await work.items(session, shard)
    judges = {tier.judge.spec.name: tier.judge for tier in work.authority.tiers}
    for judge in judges.values():
        if isinstance(judge, OpenAIJudge):
            await _scores_of(session, shard, judge, items, _AnswersOnly(desk), kept)
    return kept


async def _scores_of(  # noqa: PLR0913 - whose, of what, from where and to where
    session: AsyncSession,
    shard: Shard,
    judge: OpenAIJudge,
    items: Sequence[Item],
    desk: _AnswersOnly,
    kept: _Kept,
) -> None:
    spec, payer = judge.spec, Payer(shard.batch_seq, shard.number)
    keys = {
        pair.id: score_key(spec, key.content_hash or "", key.swapped_hash or "")
        for key, pair, _ in items
    }
    hashes = list({key.content_hash for key in keys.values()})
    stored = await stored_scores(session, spec.fingerprint, hashes)
    counted = kept_scores(shard)
    for _, pair, _ in items:
        desk.looked_for.clear()
        with answers_may_wait(desk):
            try:
                score = await judge.score(pair)
            except AnswerLater:
                continue
        kept.used.update(desk.looked_for)
        known = stored.get(keys[pair.id].content_hash)
        is_counted = known is not None and known.payer == payer
        if not is_counted and (pair.id, spec.fingerprint) not in counted:
            kept.scores.append((keys[pair.id], score))


async def _cost_of_rest(
    running: Runtime, session: AsyncSession, shard: Shard, kept: _Kept
) -> dict[str, list[float | None]] | None:
    """Return the costs of the answers that led to no score, by judge; None without a line."""
    query = select(LINES.c.question, LINES.c.judge, LINES.c.status, LINES.c.answer).where(
        LINES.c.batch_seq == shard.batch_seq, LINES.c.shard == shard.number
    )
    rows = (await session.execute(query)).all()
    costs: defaultdict[str, list[float | None]] = defaultdict(list)
    for row in rows:
        judge = running.registry.judges.get(row.judge)
        if row.status == 200 and row.question not in kept.used:
            usd = judge.batched_usd(row.answer) if isinstance(judge, OpenAIJudge) else None
            costs[row.judge].append(usd)
    return dict(costs) if rows else None


def _counts(
    scores: Sequence[tuple[ScoreKey, Score]], rest: dict[str, list[float | None]]
) -> dict[str, Any]:
    """Return what a shard adds to its batch: scores without verdicts, and costs without scores."""
    counts = shard_counts((), [(score.judge, score.cost_usd) for _, score in scores])
    for judge, costs in rest.items():
        without_scores = shard_counts((), [(judge, cost) for cost in costs])
        without_scores["tiers"][judge]["obtained"] = 0
        counts = added(counts, without_scores)
    return counts
