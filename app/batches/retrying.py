"""Retries an ended batch that lacks verdicts: judges failed, or money or time ran out.

Only the shards that lack something are judged again, and every stored score is used again. A promise
that was suspended because a judge failed is checked again when the batch ends.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import queries
from app.batches.creating import LIFETIME
from app.batches.provider.lines import forget_unanswered, read_again
from app.batches.schemas import RetryIn
from app.batches.stored import find, require
from app.batches.totals import added, spent_before, taken_up_at
from app.batches.work import Work, work_of
from app.core.errors import Conflict, Unprocessable
from app.core.models import Batch, Shard
from app.core.runtime import Runtime
from app.judgments.promise import AnswerCounts
from app.judgments.verdicts import promise_of

# what the totals hold once the budget is spent
_OF_SPENT_BUDGET: Final = ("is_exhausted", "next_pair_usd")


async def retry(running: Runtime, batch_id: str, request: RetryIn) -> dict[str, Any]:
    """Reopen the shards that lack something, and return the batch.

    Raises:
        Conflict: it still runs, lacks nothing, or its certificate does not apply any more.
        Unprocessable: a budget for a batch without one, or less than was spent.
    """
    async with running.db.write() as session:
        found = await require(session, batch_id)
        batch = await queries.locked(session, found.seq)
        if batch.status in queries.UNFINISHED:
            raise Conflict(
                f"batch {batch_id} is {batch.status}: it can be taken up when it has ended"
            )
        _set_budget(batch, request)
        if not await reopen(running, session, batch, _lacks_something):
            raise Conflict(
                f"batch {batch_id} has nothing left to judge: every pair has the scores that it needs"
            )
    running.wake_workers.set()
    return await find(running, batch_id)


async def reopen(
    running: Runtime, session: AsyncSession, batch: Batch, lacks: Callable[[Shard], bool]
) -> bool:
    """Reopen an ended batch with the shards that lack something; return False if none does.

    The caller holds the lock of the batch.
    """
    work = await work_of(session, running.registry, batch.seq)
    if not await _reopen(session, work, lacks, running.now()):
        return False
    batch.status, batch.error, batch.suspended_because = "in_progress", None, None
    batch.completed_at = batch.cancelled_at = None
    batch.promise = promise_of(work.authority, None)
    batch.expires_at = running.now() + LIFETIME
    await queries.set_promise(session, batch.seq, batch.promise)
    return True


def _set_budget(batch: Batch, request: RetryIn) -> None:
    if request.budget_usd is not None:
        if batch.budget_usd is None:
            raise Unprocessable.field(["budget_usd"], "the batch was made without a budget")
        if request.budget_usd < batch.spent_usd:
            raise Unprocessable.field(
                ["budget_usd"], f"{batch.spent_usd:.6g} USD were spent already"
            )
        batch.budget_usd = request.budget_usd
    batch.totals = {k: v for k, v in batch.totals.items() if k not in _OF_SPENT_BUDGET}


async def _reopen(
    session: AsyncSession, work: Work, lacks: Callable[[Shard], bool], moment: datetime
) -> int:
    batch = work.batch
    shards = await queries.shards(session, batch.seq)
    lacking = [shard for shard in shards if lacks(shard)]
    totals = {**batch.totals, "set_aside": 0, "marks": []}
    for shard in lacking:
        totals = added(totals, shard.counts, sign=-1)
        if shard.state == "done":
            await queries.forget_verdicts(session, shard, work.positions(shard))
        # the money is gone, also that for answers of no use, which nobody would find again
        spent = added(shard.counts, await read_again(session, shard), sign=-1)
        shard.counts = taken_up_at(spent, moment)
        _, shard.so_far = spent_before(shard.counts)
        shard.state, shard.attempts, shard.error = "todo", 0, None
        shard.worker, shard.leased_until, shard.reserved_usd = None, None, 0.0
        shard.is_waiting, shard.held_usd, shard.kept = False, 0.0, None
    await forget_unanswered(session, batch.seq)
    states = {"done": len(shards) - len(lacking), "todo": len(lacking)}
    batch.open_shards = len(lacking)
    batch.totals = {**totals, "shards": {state: count for state, count in states.items() if count}}
    return len(lacking)


def _lacks_something(shard: Shard) -> bool:
    """Return whether another attempt may help; no call adds scores that recorded judges lack."""
    seen = AnswerCounts.from_json(shard.counts.get("attendance", {}))
    has_failed = bool(+(seen.failed - seen.not_recorded))
    return shard.state != "done" or has_failed or shard.counts.get("not_admitted", 0) > 0
