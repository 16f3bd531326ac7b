"""A thin driver of the lease ledger: each step one transaction, the clock in the test's hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, select

from app.batches import queries, service
from app.batches import service as batches
from app.batches.admission import Range, new_shard
from app.batches.worker import leases
from app.core.db import Database
from app.core.models import Batch, Dataset, Shard, new_id
from app.core.runtime import Runtime

LEASE = timedelta(seconds=15)
RETRY = timedelta(seconds=4)


@dataclass(slots=True)
class Clock:
    """A clock that moves when it is told to."""

    moment: datetime = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass(slots=True)
class Ledger:
    """The shards of one batch, as one process sees them."""

    db: Database
    clock: Clock
    running: Runtime | None = None
    finished: list[int] = field(default_factory=list)
    set_aside: list[int] = field(default_factory=list)

    async def claim(self, worker: str) -> Shard | None:
        """Take a free shard."""
        async with self.db.write() as session:
            return await leases.claim(session, worker, self.clock(), LEASE)

    async def renew(self, shard: Shard) -> bool:
        """Keep a shard; False where the lease is lost."""
        try:
            async with self.db.write() as session:
                await leases.renew(session, shard, self.clock() + LEASE)
        except leases.LeaseLost:
            return False
        return True

    async def finish(self, shard: Shard) -> bool:
        """End a shard as the worker does, with its batch; False where the lease is lost."""
        try:
            async with self.db.write() as session:
                batch = await queries.locked(session, shard.batch_seq)
                counts = {"statuses": {"accepted": 1}}
                await leases.finish(session, shard, counts)
                await service.shard_done(session, batch, counts, self.clock())
        except leases.LeaseLost:
            return False
        self.finished.append(shard.number)
        return True

    async def give_up(self, shard: Shard, *, for_good: bool) -> bool:
        """Leave a shard to a later attempt or set it aside; False where the lease is lost."""
        retry_at = None if for_good else self.clock() + RETRY
        try:
            async with self.db.write() as session:
                batch = await queries.locked(session, shard.batch_seq)
                await leases.give_up(session, shard, "it broke", retry_at=retry_at)
                if for_good:
                    await service.shard_set_aside(session, batch, shard, "it broke", self.clock())
        except leases.LeaseLost:
            return False
        if for_good:
            self.set_aside.append(shard.number)
        return True

    async def hand_back(self, shard: Shard) -> bool:
        """Let go of a shard; False where the lease is lost."""
        try:
            async with self.db.write() as session:
                await leases.hand_back(session, shard)
        except leases.LeaseLost:
            return False
        return True

    async def cancel(self, batch: Batch) -> None:
        """Cancel the batch as a user does."""
        assert self.running is not None
        await batches.cancel(self.running, batch.id)

    async def states(self, batch: Batch) -> dict[int, str]:
        """Return every shard's state."""
        async with self.db.read() as session:
            return {one.number: one.state for one in await queries.shards(session, batch.seq)}

    async def status(self, batch: Batch) -> str:
        """Return the batch's status."""
        async with self.db.read() as session:
            return (await queries.by_seq(session, batch.seq)).status


async def batch_of(db: Database, moment: datetime, n: int) -> Batch:
    """Store a batch of `n` shards, and nothing else that could be claimed."""
    async with db.write() as session:
        await session.execute(delete(Batch))
        dataset = (await session.scalars(select(Dataset))).first() or _dataset(n, moment)
        session.add(dataset)
        await session.flush()
        batch = _batch(dataset.seq, moment, n)
        session.add(batch)
        await session.flush()
        rows = [new_shard(batch.seq, number, Range(number, number + 1, 1)) for number in range(n)]
        await queries.add_shards(session, rows)
    return batch


def _dataset(n: int, moment: datetime) -> Dataset:
    counts: dict[str, Any] = dict.fromkeys(("groups", "labels", "annotators", "rejected_count"), 0)
    return Dataset(
        id=new_id("ds"), name="leased", dialect="canonical", content_hash="0" * 64, pairs=n,
        recorded_judges=[], rejected=[], created_at=moment, **counts,
    )  # fmt: skip


def _batch(dataset_seq: int, moment: datetime, n: int) -> Batch:
    return Batch(
        id=new_id("batch"), status="in_progress", dataset_seq=dataset_seq, certificate_seq=None,
        request={"cascade": None, "part": None}, total=n, open_shards=n,
        totals={"shards": {"todo": n}}, promise="none", suspended_because=None,
        error=None, created_at=moment, in_progress_at=moment, completed_at=None, cancelled_at=None,
        expires_at=moment + timedelta(days=7),
    )  # fmt: skip
