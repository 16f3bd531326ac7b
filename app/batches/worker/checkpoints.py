"""What a shard has come to, and how it is stored: regularly, and with its completion.

Scores are stored every few seconds, because they were paid for: a worker that dies loses only the
calls under way. With them is stored what the verdicts so far have come to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import queries, service
from app.batches.totals import Tally, done, spent_before, spent_of, with_cut_off
from app.batches.work import Work
from app.batches.worker import leases, spending
from app.bodies.common import Promise
from app.bodies.judgments import VerdictBody
from app.core.models import Shard
from app.core.outages import in_words, outages
from app.core.runtime import Runtime
from app.core.tasks import shielded
from app.judgments.judging import Judged
from app.judgments.reasons import store as store_reasons
from app.judgments.verdicts import count_progress, promise_of
from app.scores.store import Payer, ScoreKey, store_scores
from judges.reasons import Reason
from judges.types import Score

_log = logging.getLogger(__name__)
_ATTEMPTS: Final = 8


@dataclass(slots=True)
class Task:
    """A claimed shard and what is needed to judge it.

    `next_shard` claims the next shard with the completion, if given; `is_last` says afterwards
    whether the batch had no other shard left.
    """

    running: Runtime
    shard: Shard
    work: Work
    next_shard: leases.NextShard | None = None
    is_last: bool = False
    started_at: datetime = field(init=False)
    promise: Promise = field(init=False)

    def __post_init__(self) -> None:
        """Note when the work begins, and what its verdicts promise while the batch runs."""
        self.started_at = self.running.now()
        self.promise = promise_of(self.work.authority, None)

    async def finish(self, session: AsyncSession, counts: dict[str, Any]) -> None:
        """Complete the shard in the caller's transaction, and add its counts to the batch."""
        batch = await queries.locked(session, self.shard.batch_seq)
        held = (await queries.shard(session, self.shard.batch_seq, self.shard.number)).held_usd
        await leases.finish(session, self.shard, counts)
        # what was held for pairs that waited is free again
        batch.reserved_usd = max(batch.reserved_usd - held, 0.0)
        await service.shard_done(session, batch, counts, self.running.now(), self.started_at)
        # before the commit: after it a broken connection could tell nothing
        self.is_last = not batch.open_shards
        if self.next_shard is not None:
            await self.next_shard.claim(session)


async def commit_patiently(task: Task, commit: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the transaction that completes a shard; retry while the database is unreachable.

    Raises:
        LeaseLost: the lease is not in force any more.
    """
    try:
        await _commit(task, commit)
    except Exception:
        if task.next_shard is not None:
            task.next_shard.forget()
        raise


async def _commit(task: Task, commit: Callable[[], Coroutine[Any, Any, None]]) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            await shielded(commit())
            return
        except outages() as error:
            # the connection may have broken after the commit
            if await _is_committed(task):
                return
            if attempt == _ATTEMPTS or isinstance(error, IntegrityError):
                raise
            _log.warning("shard %d cannot be stored yet: %s", task.shard.number, in_words(error))
            await asyncio.sleep(min(0.1 * 2**attempt, 10.0))


async def _is_committed(task: Task) -> bool:
    try:
        async with task.running.db.read() as session:
            return await leases.is_finished(session, task.shard)
    except outages():
        return False


class Checkpoints:
    """Stores regularly what a shard has come to: paid scores, and the counts of its verdicts.

    An attempt that starts again tells its counts once it is as far as the one before, so that those
    of a batch never go back.

    Args:
        task: The shard.

    Attributes:
        calls: Its calls that cost money.
        payer: Whom its scores are stored for.
    """

    def __init__(self, task: Task) -> None:
        since, before = spent_before(task.shard.counts)
        self.payer = Payer(task.shard.batch_seq, task.shard.number, since)
        self._task, self._running = task, task.running
        self.calls = spending.Calls(task.running, task.shard)
        self._settled: set[spending.Call] = set()
        self._unsaved: list[tuple[ScoreKey, Score]] = []
        self._unsaved_reasons: list[tuple[str, Reason]] = []
        self._tally = Tally(before)
        self._told: dict[str, Any] = task.shard.so_far or {}

    def add(self, verdict: VerdictBody, judged: Judged | None = None) -> None:
        """Count a verdict."""
        scores, reasons = (judged.uncounted, judged.uncounted_reasons) if judged else ([], [])
        self._tally.add(verdict, [(score.judge, score.cost_usd) for score in scores], reasons)

    def put_off(self, judged: Judged) -> None:
        """Count what was spent on a pair that has no verdict yet."""
        self._tally.spend([(score.judge, score.cost_usd) for score in judged.uncounted])

    def store(self, judged: Judged) -> None:
        """Take the scores and reasons that were newly obtained."""
        self._unsaved += judged.fresh
        self._unsaved_reasons += judged.fresh_reasons
        self.settle([judged])

    def settle(self, judged: Iterable[Judged]) -> None:
        """Take calls as accounted for by what the next transaction stores.

        A later attempt asks again after a failure, and would forget what that one has cost.
        """
        for one in judged:
            failed = {s.judge for _, s in one.fresh if s.failure is not None and s.cost_usd != 0.0}
            failed |= {reason.judge for _, reason in one.fresh_reasons if reason.failure}
            calls = self.calls.of(one.verdict.id)
            self._settled |= {call for call in calls if call[1] not in failed}

    def settle_all(self) -> None:
        """Take all calls as accounted for: none is under way, and failures are stored, too."""
        self._settled |= self.calls.unsettled - self.calls.cut_off

    @property
    def counts(self) -> dict[str, Any]:
        """What the shard adds to its batch so far."""
        return with_cut_off(self._tally.counts, self.calls.cut_off)

    def spent(self) -> dict[str, Any]:
        """Return the counts of what was spent so far, without verdicts."""
        counts = spent_of(self.counts if self._is_news() else self._told)
        return with_cut_off(counts, self.calls.unsettled)

    def _is_news(self) -> bool:
        return done(self.counts) >= done(self._told)

    @asynccontextmanager
    async def transaction(self, *, is_last: bool = False) -> AsyncIterator[AsyncSession]:
        """Open a transaction that stores the scores; if it fails, they are kept for the next.

        The last one completes the shard. It locks the batch first: calls are struck at its end.
        """
        scores, self._unsaved = self._unsaved, []
        said, self._unsaved_reasons = self._unsaved_reasons, []
        settled, self._settled = self._settled, set()
        try:
            async with self.calls.lock, self._running.db.write() as session:
                await store_scores(session, scores, self._running.now(), self.payer)
                await store_reasons(session, said, self._running.now(), self.payer)
                if not is_last:
                    await self.calls.store_without(session, settled)
                yield session
                if is_last:
                    await self.calls.store_without(session, settled)
        except BaseException:
            self._unsaved = scores + self._unsaved
            self._unsaved_reasons = said + self._unsaved_reasons
            self._settled |= settled
            raise
        self.calls.strike(settled)

    @asynccontextmanager
    async def saving(self) -> AsyncIterator[None]:
        """Store checkpoints regularly while the block runs, and what is left when it fails."""
        regularly = asyncio.create_task(self._save_regularly())
        try:
            yield
        except BaseException:
            await _stopped(regularly)
            await self.save()
            raise
        finally:
            await _stopped(regularly)

    async def _save_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._running.settings.checkpoint_seconds)
            await self.save()

    async def save(self) -> None:
        """Store a checkpoint now."""
        # a transaction that is cut off leaves the driver in an undefined state
        await shielded(self._save())

    async def _save(self) -> None:
        counts = self.counts
        is_news = self._is_news() and counts != self._told
        has_paid = self._unsaved or self._unsaved_reasons or self._settled
        if not has_paid and not is_news:
            return
        try:
            async with self.transaction() as session:
                is_told = is_news and await self._tell(session, counts)
        except Exception as error:
            _log.warning(
                "%d scores could not be stored yet: %s", len(self._unsaved), in_words(error)
            )
        else:
            if is_told:
                self.count_in_metrics(counts)

    async def _tell(self, session: AsyncSession, counts: dict[str, Any]) -> bool:
        shard, now = self._task.shard, self._running.now()
        if not await leases.tell(session, shard, counts):
            return False
        await service.mark(session, shard.batch_seq, counts, self._task.started_at, now)
        return True

    def count_in_metrics(self, counts: dict[str, Any]) -> None:
        """Count the verdicts that have come since counts were stored the last time."""
        count_progress(self._told.get("statuses", {}), counts["statuses"], self._task.promise)
        self._told = counts


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
