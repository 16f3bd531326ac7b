"""One shard.

A score was paid for, perhaps waited for long, and is true whoever obtained it: it is stored within
seconds, so that a worker that dies loses what is on its way and little more. The verdicts wait for
the end of the shard.

On SQLite those who write wait for each other. A worker that asked for its next shard by itself would
stand behind the results of others, and while they are stored nobody would judge.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import service
from app.batches.parquet.files import tables_of
from app.batches.parquet.shard import judge_table_shard
from app.batches.totals import NOT_ADMITTED, shard_counts
from app.batches.work import Work, work_of
from app.batches.worker import leases, spending
from app.batches.worker.leases import store_patiently
from app.core.models import Shard
from app.core.runtime import Runtime
from app.core.tasks import to_the_end
from app.datasets import service as datasets
from app.datasets.records import PairKey
from app.judgments.judging import Judged, Subject, count_verdicts, judge_subjects, show
from app.judgments.service import promise_of, seq_of, store_verdicts, verdict_row
from app.reports.batches import keep_if_completed
from app.scores.store import Payer, ScoreKey, is_recorded, store_scores
from judges.types import Pair, Score

_log = logging.getLogger(__name__)


class ScoreKeeper:
    """The scores of one shard that are not stored yet."""

    def __init__(self, running: Runtime, payer: Payer) -> None:
        self._running = running
        self._payer = payer
        self._unsaved: list[tuple[ScoreKey, Score]] = []

    def add(self, judged: Judged) -> None:
        """Note what was newly obtained."""
        self._unsaved += judged.fresh

    def take(self) -> list[tuple[ScoreKey, Score]]:
        """Return what is not stored, to a transaction that stores it."""
        taken, self._unsaved = self._unsaved, []
        return taken

    def put_back(self, scores: list[tuple[ScoreKey, Score]]) -> None:
        """Note that a transaction did not store these after all."""
        self._unsaved = scores + self._unsaved

    async def save(self) -> None:
        """Store what is not stored; what cannot be stored now is kept for the next time."""
        scores = self.take()
        if not scores:
            return
        try:
            async with self._running.db.write() as session:
                await store_scores(session, scores, self._running.now(), self._payer)
        except BaseException:
            self.put_back(scores)
            raise

    @asynccontextmanager
    async def saving(self) -> AsyncIterator[None]:
        """Store regularly while the block runs, and what is left when it fails."""
        regularly = asyncio.create_task(self._save_regularly())
        try:
            yield
        except BaseException:
            await _settled(regularly)
            await to_the_end(self._save_or_say())
            raise
        finally:
            await _settled(regularly)

    async def _save_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._running.settings.checkpoint_seconds)
            # cut off in the middle, a transaction would leave the driver in disorder
            await to_the_end(self._save_or_say())

    async def _save_or_say(self) -> None:
        try:
            await self.save()
        except Exception as error:
            _log.warning("%d scores could not be stored yet: %s", len(self._unsaved), error)


async def _settled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


class Following:
    """Takes a shard that nobody has tried yet, of this batch if one is given."""

    def __init__(
        self, running: Runtime, worker: str, lease: timedelta, batch_seq: int | None
    ) -> None:
        self._running, self._worker, self._lease = running, worker, lease
        self._batch_seq = batch_seq
        self.shard: Shard | None = None

    async def claim(self, session: AsyncSession) -> None:
        """Take the next shard, if there is one, as part of the caller's transaction."""
        self.shard = None
        moment = await leases.ledger_time(session, self._running.now)
        self.shard = await leases.claim_untried(
            session, self._worker, moment, self._lease, batch_seq=self._batch_seq
        )

    def forget(self) -> None:
        """The transaction was rolled back, and the shard is not ours."""
        self.shard = None


Item = tuple[PairKey, Pair]


async def judge_shard(
    running: Runtime, shard: Shard, worker: str, following: Following | None = None
) -> None:
    """Judge a shard's pairs and store verdicts and completion together.

    Scores are stored as they come; those not stored yet come with the completion, and with it the
    worker's claim on the shard that follows.

    Raises:
        LeaseLost: the shard is not this worker's any more; no verdict is stored.
    """
    async with running.db.read() as session:
        work = await work_of(session, running.registry, shard.batch_seq)
        source = tables_of(work.batch)
        items = [] if source else await _read(session, work, shard)
    if source is not None:
        await judge_table_shard(running, shard, worker, work, source)
        return
    task = _Task(running, shard, worker, work, following)
    try:
        async with task.keeper.saving():
            await task.judge(items)
            await task.complete(items)
    except (leases.LeaseLost, asyncio.CancelledError):
        await to_the_end(
            service.count_cost_of_cancelled(running.db, shard, worker, task.counts([]))
        )
        raise
    if task.is_last:
        report = keep_if_completed(running, shard.batch_seq)
        running.start(report, f"report of {work.batch.id}")


async def _read(session: Any, work: Work, shard: Shard) -> list[Item]:
    """Return the pairs of a shard in the order in which they are admitted."""
    positions = work.positions(shard)
    has_records = any(is_recorded(tier.judge.spec) for tier in work.authority.tiers)
    stored = await datasets.read_pairs(
        session, work.dataset, positions=positions, with_recorded=has_records
    )
    held = [(key, pair) for key, pair in stored if work.holds(key)]
    if isinstance(positions, tuple):
        return held
    place = {position: number for number, position in enumerate(positions)}
    return sorted(held, key=lambda item: place[item[0].position])


class _Task:
    """A shard at work."""

    def __init__(
        self,
        running: Runtime,
        shard: Shard,
        worker: str,
        work: Work,
        following: Following | None,
    ) -> None:
        self.running, self.shard, self.worker, self.work = running, shard, worker, work
        self.following = following
        self.payer = Payer(shard.batch_seq, shard.number)
        self.keeper = ScoreKeeper(running, self.payer)
        self.judged: dict[int, Judged] = {}
        self.is_last = False

    async def judge(self, items: Sequence[Item]) -> None:
        """Judge the pairs, under a budget as far as it reaches."""
        if self.work.batch.budget_usd is None:
            await self._judge(items)
            return
        waiting = list(items)
        while waiting:
            admitted = await spending.admit(
                self.running, self.shard, self.worker, self.work.authority, _subjects(waiting)
            )
            if not admitted:
                return
            await self._judge(waiting[:admitted])
            spent = self._spent(waiting[:admitted])
            await to_the_end(spending.settle(self.running, self.shard, self.worker, spent))
            waiting = waiting[admitted:]

    async def _judge(self, items: Sequence[Item]) -> None:
        by_id = {pair.id: key for key, pair in items}

        async def take(judged: Judged) -> None:
            self.keeper.add(judged)
            self.judged[by_id[judged.pair.id].seq] = judged

        subjects = _subjects(items)
        await judge_subjects(self.running, self.work.authority, subjects, take, payer=self.payer)

    def _spent(self, items: Sequence[Item]) -> float | None:
        """Return what these pairs have cost now; None where a judge cannot say."""
        costs = [score.cost_usd for key, _ in items for _, score in self.judged[key.seq].fresh]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    def counts(self, shown: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return what the shard adds to its batch."""
        obtained = [
            (score.judge, score.cost_usd)
            for judged in self.judged.values()
            for _, score in judged.obtained
        ]
        return shard_counts(shown, obtained)

    async def complete(self, items: Sequence[Item]) -> None:
        """Store verdicts, what scores are left, and the completion; a database may be away."""
        shown = self._shown(items)
        rows = self._rows(items, shown)
        counts = self.counts(shown)
        try:
            await store_patiently(
                self.running, self.shard, self.worker, lambda: self._store(rows, counts)
            )
        except Exception:
            if self.following is not None:
                self.following.forget()
            raise
        count_verdicts(shown, is_settled=False)

    async def _store(self, rows: list[dict[str, Any]], counts: dict[str, Any]) -> None:
        scores = self.keeper.take()
        try:
            async with self.running.db.write() as session:
                moment = self.running.now()
                await store_scores(session, scores, moment, self.payer)
                await store_verdicts(session, rows)
                # last, so that the shards of a batch wait for each other but for a moment
                batch = await service.locked(session, self.shard.batch_seq)
                await leases.finish(session, self.shard, self.worker, counts)
                await service.shard_done(session, batch, counts, moment)
                # before the commit: a connection that breaks after it tells of nothing any more
                self.is_last = not batch.open_shards
                if self.following is not None:
                    await self.following.claim(session)
        except BaseException:
            self.keeper.put_back(scores)
            raise

    def _shown(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        authority = self.work.authority
        promise = promise_of(authority, None)
        return [
            _not_admitted(pair, self.work, promise, is_known=self.work.is_known(key))
            if (judged := self.judged.get(key.seq)) is None
            else show(judged, authority, promise, is_known=self.work.is_known(key))
            for key, pair in items
        ]

    def _rows(self, items: Sequence[Item], shown: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        certificate_seq, moment = seq_of(self.work.authority), self.running.now()
        dataset_seq, batch_seq = self.work.dataset.seq, self.work.batch.seq
        rows = []
        for (key, _), body in zip(items, shown, strict=True):
            place = {
                "dataset_seq": dataset_seq,
                "pair_seq": key.seq,
                "batch_seq": batch_seq,
                "position": key.position,
            }
            content_hash = key.content_hash or ""
            rows.append(verdict_row(body, content_hash, certificate_seq, moment, place))
        return rows


def _subjects(items: Sequence[Item]) -> list[Subject]:
    return [
        Subject(pair, key.content_hash or "", key.swapped_hash or "", key.metadata)
        for key, pair in items
    ]


def _not_admitted(pair: Pair, work: Work, promise: str, *, is_known: bool) -> dict[str, Any]:
    """The verdict on a pair that the budget did not cover: nobody was asked."""
    return {
        "id": pair.id,
        "status": "abstained",
        "label": None,
        "confidence": None,
        "judge": None,
        "tiers": [],
        "calibration": work.authority.certificate.id if work.authority.certificate else None,
        "promise": promise,
        "calibration_pair": is_known,
        "cost_usd": 0.0,
        "cached": False,
        "abstained_because": NOT_ADMITTED,
    }
