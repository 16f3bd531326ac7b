"""How batches end: with their last shard, by their time, by a user, and what is promised then."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app import metrics
from app.batches import queries
from app.batches.totals import added, marked
from app.db import Database
from app.judgments.promise import Attendance, suspended_because
from app.models import Batch, Certificate, Shard


async def locked(session: AsyncSession, batch_seq: int) -> Batch:
    """Return a batch; others who change it wait for the end of the transaction."""
    return await queries.by_seq(session, batch_seq, locked=True)


async def shard_done(
    session: AsyncSession, batch: Batch, counts: Mapping[str, Any], moment: datetime
) -> None:
    """Add a shard that has finished to its batch, whose lock the caller holds."""
    totals = added(batch.totals, counts)
    batch.totals = marked(_moved(totals, "todo", "done"), moment.timestamp())
    await _one_less(session, batch, moment)


async def shard_set_aside(
    session: AsyncSession, batch: Batch, shard: Shard, error: str, moment: datetime
) -> None:
    """Count the pairs of a shard that was given up as failed; the caller holds the lock."""
    aside = batch.totals.get("set_aside", 0) + shard.counts["pairs"]
    batch.totals = {**_moved(batch.totals, "todo", "failed"), "set_aside": aside}
    batch.error = batch.error or error
    await _one_less(session, batch, moment)


async def _one_less(session: AsyncSession, batch: Batch, moment: datetime) -> None:
    batch.open_shards -= 1
    if batch.open_shards:
        return
    batch.status = "completed" if batch.totals["shards"].get("done") else "failed"
    batch.completed_at = moment
    await _settle_promise(session, batch)


def _moved(
    totals: Mapping[str, Any], before: str, after: str, count: int | None = None
) -> dict[str, Any]:
    states = dict(totals.get("shards", {}))
    count = 1 if count is None else count
    states[before] = states.get(before, 0) - count
    states[after] = states.get(after, 0) + count
    return {**totals, "shards": {state: n for state, n in states.items() if n}}


async def is_any_overdue(session: AsyncSession, moment: datetime) -> bool:
    """Whether the time of some batch is up."""
    return bool(await queries.overdue(session, moment, locked=False))


async def expire_overdue(session: AsyncSession, moment: datetime) -> None:
    """End the batches whose time is up; they keep what is done."""
    for batch in await queries.overdue(session, moment):
        await end(session, batch, "expired", moment)


async def end(session: AsyncSession, batch: Batch, status: str, moment: datetime) -> None:
    """End a batch before its last shard; the caller holds its lock."""
    await queries.cancel_shards(session, batch.seq)
    left = batch.totals.get("shards", {}).get("todo", 0)
    batch.totals = _moved(batch.totals, "todo", "cancelled", left)
    batch.open_shards = 0
    # what was reserved may have been spent on calls that are under way
    batch.spent_usd += batch.reserved_usd
    batch.reserved_usd = 0.0
    batch.status, batch.completed_at = status, moment
    await _settle_promise(session, batch)


async def count_cost_of_cancelled(
    db: Database, shard: Shard, worker: str, counts: Mapping[str, Any]
) -> None:
    """Add what a worker had spent on a shard that was cancelled under its hands."""
    async with db.write() as session:
        batch = await queries.find_by_seq(session, shard.batch_seq, locked=True)
        if batch is None:
            return
        stored = await queries.shard(session, shard.batch_seq, shard.number)
        if (stored.state, stored.worker, stored.attempts) != ("cancelled", worker, shard.attempts):
            return
        stored.counts = {**stored.counts, **counts}
        batch.totals = added(batch.totals, counts)


async def _settle_promise(session: AsyncSession, batch: Batch) -> None:
    await _hold_against_calibration(session, batch)
    metrics.batches_total.labels(status=batch.status, promise=batch.promise).inc()


async def _hold_against_calibration(session: AsyncSession, batch: Batch) -> None:
    """Suspend a run as a whole where a judge failed more often, or less, than in calibration."""
    if batch.promise != "certified" or batch.certificate_seq is None:
        return
    certificate = await session.get_one(Certificate, batch.certificate_seq)
    seen = Attendance.from_json(batch.totals.get("attendance", {}))
    why = suspended_because(certificate.body["calibration"]["failures"], seen)
    if why is not None:
        batch.promise, batch.suspended_because = "suspended", why
        await queries.set_promise(session, batch.seq, "suspended")
