"""One shard: its pairs are judged, and its results are stored with its completion.

Where the pairs come from and where the verdicts go is behind `ShardStore`. `DatabaseShard` stores
scores every few seconds, because they were paid for: a worker that dies loses only the calls under
way. With them it stores what the verdicts so far have come to. The verdicts themselves are stored
when the shard is complete. `app.batches.parquet.shard` is the other store.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import queries, service
from app.batches.provider.lines import ShardDesk, forget, kept_rows, kept_scores
from app.batches.totals import NOT_ADMITTED, Tally, done, spent_of
from app.batches.work import Item, Work
from app.batches.worker import leases, spending
from app.bodies.common import Promise
from app.bodies.judgments import VerdictBody
from app.core.models import Shard
from app.core.outages import in_words, outages
from app.core.runtime import Runtime
from app.core.tasks import shielded
from app.judgments.judging import Judged, Subject, Waiting, judge_subjects, unasked
from app.judgments.reasons import store as store_reasons
from app.judgments.verdicts import (
    asking_usd,
    count_progress,
    promise_of,
    seq_of,
    store_verdicts,
    verdict_body,
    verdict_row,
)
from app.monitors import drawing
from app.monitors.sampling import Candidate, Where
from app.reports.batches import keep_if_completed
from app.scores.store import KeptScores, Payer, ScoreKey, store_scores
from judges.cascade import CascadeVerdict
from judges.reasons import Reason
from judges.types import Score

_log = logging.getLogger(__name__)
_ATTEMPTS: Final = 8


class NextShard:
    """Claims the next shard in the transaction that completes the one before.

    SQLite has one writer at a time: a worker that claimed its next shard in a transaction of its own
    would wait behind the results of all others and judge nothing.
    """

    def __init__(self, claim: Callable[[AsyncSession], Awaitable[Shard | None]]) -> None:
        self._claim = claim
        self.shard: Shard | None = None

    async def claim(self, session: AsyncSession) -> None:
        """Claim the next shard, if one is free, as part of the caller's transaction."""
        self.shard = None
        self.shard = await self._claim(session)

    def forget(self) -> None:
        """Forget a claim that was rolled back."""
        self.shard = None


@dataclass(slots=True)
class Task:
    """A claimed shard and what is needed to judge it.

    `next_shard` claims the next shard with the completion, if given; `is_last` says afterwards
    whether the batch had no other shard left.
    """

    running: Runtime
    shard: Shard
    work: Work
    next_shard: NextShard | None = None
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


class Portion(NamedTuple):
    """Pairs that may be judged now.

    `payer` and `kept` say which scores need not be obtained again: those that this shard paid for
    in an earlier attempt, and those that are stored outside of the database. `waiting` is where
    answers may wait for a batch of a judge's provider.
    """

    subjects: Sequence[Subject]
    payer: Payer | None = None
    kept: KeptScores | None = None
    waiting: Waiting | None = None


class ShardStore(Protocol):
    """The source of a shard's pairs and the destination of its results."""

    def items(self) -> AsyncGenerator[Portion, None]:
        """Yield the pairs, in portions; each must be judged before the next is asked for."""

    async def keep(self, judged: Judged) -> None:
        """Take one judged pair."""

    def saving(self) -> AbstractAsyncContextManager[None]:
        """Store paid scores and counts while the block runs, and what is left of them if it fails."""

    async def complete(self) -> None:
        """Store the results and the completion of the shard together, or put it off.

        Raises:
            LeaseLost: the lease is not in force any more; nothing is stored.
        """

    def spent(self) -> dict[str, Any]:
        """Return the counts of what was spent so far, without verdicts."""


async def judge_shard(task: Task, store: ShardStore) -> None:
    """Judge the pairs of a shard, and complete it.

    Raises:
        LeaseLost: the lease is not in force any more; no verdict is stored.
    """
    authority = task.work.authority
    try:
        async with store.saving():
            async with aclosing(store.items()) as portions:
                async for subjects, payer, kept, waiting in portions:
                    await judge_subjects(
                        task.running,
                        authority,
                        subjects,
                        store.keep,
                        payer=payer,
                        kept=kept,
                        pause=task.running.courtesy.pause,
                        waiting=waiting,
                    )
            await store.complete()
    except (leases.LeaseLost, asyncio.CancelledError):
        await shielded(service.count_cost_of_cancelled(task.running.db, task.shard, store.spent()))
        raise


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
    """

    def __init__(self, task: Task, payer: Payer) -> None:
        self._task, self._running, self._payer = task, task.running, payer
        self._unsaved: list[tuple[ScoreKey, Score]] = []
        self._unsaved_reasons: list[tuple[str, Reason]] = []
        self._tally = Tally()
        self._told: dict[str, Any] = task.shard.so_far or {}

    def add(self, verdict: VerdictBody, judged: Judged | None = None) -> None:
        """Count a verdict."""
        obtained = judged.obtained if judged else ()
        reason = judged.paid_reason if judged else None
        self._tally.add(
            verdict,
            [(score.judge, score.cost_usd) for _, score in obtained],
            [] if reason is None else [reason],
        )

    def put_off(self, judged: Judged) -> None:
        """Count what was spent on a pair that has no verdict yet."""
        self._tally.spend([(score.judge, score.cost_usd) for _, score in judged.obtained])

    def store(self, judged: Judged) -> None:
        """Take the scores and reasons that were newly obtained."""
        self._unsaved += judged.fresh
        self._unsaved_reasons += judged.fresh_reasons

    @property
    def counts(self) -> dict[str, Any]:
        """What the shard adds to its batch so far."""
        return self._tally.counts

    def spent(self) -> dict[str, Any]:
        """Return the counts of what was spent so far, without verdicts."""
        return spent_of(self.counts if self._is_news() else self._told)

    def _is_news(self) -> bool:
        return done(self.counts) >= done(self._told)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that stores the scores; if it fails, they are kept for the next."""
        scores, self._unsaved = self._unsaved, []
        said, self._unsaved_reasons = self._unsaved_reasons, []
        try:
            async with self._running.db.write() as session:
                await store_scores(session, scores, self._running.now(), self._payer)
                await store_reasons(session, said, self._running.now(), self._payer)
                yield session
        except BaseException:
            self._unsaved = scores + self._unsaved
            self._unsaved_reasons = said + self._unsaved_reasons
            raise

    @asynccontextmanager
    async def saving(self) -> AsyncIterator[None]:
        """Store checkpoints regularly while the block runs, and what is left when it fails."""
        regularly = asyncio.create_task(self._save_regularly())
        try:
            yield
        except BaseException:
            await _stopped(regularly)
            await shielded(self._save())
            raise
        finally:
            await _stopped(regularly)

    async def _save_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._running.settings.checkpoint_seconds)
            # a transaction that is cut off leaves the driver in an undefined state
            await shielded(self._save())

    async def _save(self) -> None:
        counts = self.counts
        is_news = self._is_news() and counts != self._told
        if not (self._unsaved or self._unsaved_reasons) and not is_news:
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


class DatabaseShard:
    """A shard of a stored dataset; its scores and verdicts are rows of the database.

    Args:
        task: The shard.
        items: Its pairs, in the order of admission.
        desk: Where questions wait for a batch of their judge's provider; None: nowhere.
    """

    def __init__(self, task: Task, items: Sequence[Item], desk: ShardDesk | None = None) -> None:
        self._task, self._items, self._desk = task, items, desk
        self._waiting = Waiting(desk, self._put_off) if desk else None
        # what an earlier round has come to, and the pairs that wait for the next
        self._kept = kept_scores(task.shard)
        self._late: dict[str, Judged] = {}
        self._is_short = False
        self._payer = Payer(task.shard.batch_seq, task.shard.number)
        self._checkpoints = Checkpoints(task, self._payer)
        self._known = {pair.id for _, pair, is_known in items if is_known}
        self._judged: dict[str, Judged] = {}
        self._verdicts: dict[str, VerdictBody] = {}

    async def items(self) -> AsyncGenerator[Portion, None]:
        """Yield all pairs, or under a budget as many as it covers at a time."""
        task = self._task
        waiting = [
            Subject(pair, key.content_hash or "", key.swapped_hash or "", key.metadata)
            for key, pair, _ in self._items
        ]
        if task.work.batch.budget_usd is None:
            yield self._portion(waiting)
            return
        held = task.shard.held_usd
        while waiting:
            admitted = await spending.admit(
                task.running, task.shard, task.work.authority, waiting, held
            )
            held -= admitted.held_usd
            if not admitted.number:
                self._is_short = admitted.is_later
                return
            portion, waiting = waiting[: admitted.number], waiting[admitted.number :]
            yield self._portion(portion)
            usd = self._cost_of(portion)
            late = [admitted.most[one.pair.id] for one in portion if one.pair.id in self._late]
            await shielded(
                spending.settle(task.running, task.shard, admitted, usd, math.fsum(late))
            )

    def _portion(self, subjects: Sequence[Subject]) -> Portion:
        return Portion(subjects, self._payer, self._kept or None, self._waiting)

    def _cost_of(self, subjects: Sequence[Subject]) -> float | None:
        """Return what these pairs have cost in this attempt; None if a judge's cost is unknown."""
        found = {**self._judged, **self._late}
        judged = [found[one.pair.id] for one in subjects]
        costs = [score.cost_usd for one in judged for _, score in one.fresh]
        costs += [reason.cost_usd for one in judged for _, reason in one.fresh_reasons]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    async def _put_off(self, judged: Judged) -> None:
        """Take a pair that waits; the scores of the judges before are stored within seconds."""
        self._checkpoints.store(judged)
        self._checkpoints.put_off(judged)
        self._late[judged.verdict.id] = judged

    async def keep(self, judged: Judged) -> None:
        """Take one judged pair; its scores are stored within seconds."""
        self._checkpoints.store(judged)
        self._judged[judged.verdict.id] = judged
        self._take(judged.verdict.id, judged)

    def _take(self, pair_id: str, judged: Judged | CascadeVerdict) -> VerdictBody:
        """Make the body of a verdict and count it."""
        authority, is_known = self._task.work.authority, pair_id in self._known
        body = verdict_body(judged, authority, self._task.promise, is_known=is_known)
        if isinstance(judged, CascadeVerdict):
            body["abstained_because"] = NOT_ADMITTED
        self._checkpoints.add(body, judged if isinstance(judged, Judged) else None)
        self._verdicts[pair_id] = body
        return body

    def saving(self) -> AbstractAsyncContextManager[None]:
        """Store paid scores and counts while the block runs, and what is left of them if it fails."""
        return self._checkpoints.saving()

    def spent(self) -> dict[str, Any]:
        """Return the counts of what was spent so far, without verdicts."""
        return self._checkpoints.spent()

    async def complete(self) -> None:
        """Store verdicts, the scores that are left, and the completion in one transaction.

        If pairs wait, the shard is put off instead, and is judged again when their answers come.
        """
        task = self._task
        if self._late or self._is_short:
            await commit_patiently(task, self._commit_put_off)
            return
        rows = self._rows()
        counts = self._checkpoints.counts
        await commit_patiently(task, lambda: self._commit(rows, counts))
        self._checkpoints.count_in_metrics(counts)
        if task.is_last:
            report = keep_if_completed(task.running, task.shard.batch_seq)
            task.running.start(report, f"report of {task.work.batch.id}")

    async def _commit(self, rows: list[dict[str, Any]], counts: dict[str, Any]) -> None:
        async with self._checkpoints.transaction() as session:
            await store_verdicts(session, rows)
            await self._draw_audits(session)
            if self._desk is not None:
                await forget(session, self._task.shard)
            # last: it locks the batch, and the other shards of the batch wait for that lock
            await self._task.finish(session, counts)

    async def _commit_put_off(self) -> None:
        task, desk = self._task, self._desk
        failed = [
            (pair_id, score)
            for pair_id, judged in {**self._judged, **self._late}.items()
            for _, score in judged.obtained
            if score.failure is not None
        ]
        values = {
            "so_far": self._checkpoints.counts,
            "kept": kept_rows(failed),
            "lines_seen": desk.lines_seen if desk else 0,
        }
        async with self._checkpoints.transaction() as session:
            if desk is not None:
                await desk.store(session, task.shard, task.running.now())
            await leases.put_off(session, task.shard, values)

    async def _draw_audits(self, session: AsyncSession) -> None:
        """Draw some of the verdicts for the monitors and shadows of their certificate."""
        work, certificate_seq = self._task.work, seq_of(self._task.work.authority)
        if certificate_seq is None:
            return
        candidates = [
            Candidate(
                pair, key.content_hash or "", key.metadata, self._verdicts[pair.id], key.seq,
                key.position, asking_usd(self._judged[pair.id]),
            )
            for key, pair, _ in self._items
            if pair.id in self._judged
        ]  # fmt: skip
        where = Where(certificate_seq, self._task.running.now(), work.batch.seq)
        await drawing.draw(session, where, candidates)

    def _rows(self) -> list[dict[str, Any]]:
        """Return the verdicts as the table holds them."""
        work, moment = self._task.work, self._task.running.now()
        certificate_seq = seq_of(work.authority)
        rows = []
        for key, pair, _ in self._items:
            # a pair that the budget did not cover was not judged
            body = self._verdicts.get(pair.id) or self._take(pair.id, unasked(pair.id, "abstained"))
            judged = self._judged.get(pair.id)
            place = {
                "dataset_seq": work.dataset.seq,
                "pair_seq": key.seq,
                "batch_seq": work.batch.seq,
                "position": key.position,
                "explained_by": judged.explained_by if judged else None,
            }
            rows.append(verdict_row(body, key.content_hash or "", certificate_seq, moment, place))
        return rows
