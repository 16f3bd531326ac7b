"""One shard: its pairs are judged, and its results are stored with its completion.

Where the pairs come from and where the verdicts go is behind `ShardStore`. `DatabaseShard` stores
scores every few seconds (`app.batches.worker.checkpoints`), and the verdicts when the shard is
complete. `app.batches.parquet.shard` is the other store.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import (
    AsyncGenerator,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, NamedTuple, Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import service
from app.batches.provider.lines import ShardDesk, forget, kept_rows, kept_scores
from app.batches.totals import NOT_ADMITTED
from app.batches.work import Item
from app.batches.worker import leases, spending
from app.batches.worker.checkpoints import Checkpoints, Task, commit_patiently
from app.bodies.judgments import VerdictBody
from app.core.tasks import shielded
from app.judgments.judging import Judged, Subject, Waiting, judge_subjects, unasked
from app.judgments.verdicts import (
    asking_usd,
    seq_of,
    store_verdicts,
    verdict_body,
    verdict_row,
)
from app.monitors import drawing
from app.monitors.sampling import Candidate, Where
from app.reports.batches import keep_if_completed
from app.scores.store import KeptScores, Payer
from judges.base import BeforeCall, calls_announced
from judges.cascade import CascadeVerdict


class Portion(NamedTuple):
    """Pairs that may be judged now.

    `payer` and `kept` say which scores need not be obtained again: those that this shard paid for
    in an earlier attempt, and those that are stored outside of the database. `waiting` is where
    answers may wait for a batch of a judge's provider. `before_call` notes calls that cost money.
    """

    subjects: Sequence[Subject]
    before_call: BeforeCall
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
                async for portion in portions:
                    with calls_announced(portion.before_call):
                        await judge_subjects(
                            task.running,
                            authority,
                            portion.subjects,
                            store.keep,
                            payer=portion.payer,
                            kept=portion.kept,
                            pause=task.running.courtesy.pause,
                            waiting=portion.waiting,
                        )
            await store.complete()
    except (leases.LeaseLost, asyncio.CancelledError):
        await shielded(service.count_cost_of_cancelled(task.running.db, task.shard, store.spent()))
        raise


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
        self._checkpoints = Checkpoints(task)
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
        before, payer = self._checkpoints.calls.before, self._checkpoints.payer
        return Portion(subjects, before, payer, self._kept or None, self._waiting)

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
        body = self._checkpoints.calls.marked(body)
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
        self._checkpoints.settle_all()
        async with self._checkpoints.transaction(is_last=True) as session:
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
        # the failures are kept with what they have cost
        self._checkpoints.settle_all()
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
