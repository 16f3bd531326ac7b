"""A batch's budget: a pair is begun only if its whole way up the cascade is covered.

Never is a pair answered by a cheap judge because money ran out for the dear one: the promise is on
the whole cascade. What a shard's pairs may cost at most is reserved before they are begun and given
back when it is known what they did cost; a worker that dies has spent what it had reserved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from app.batches import queries
from app.batches.creating import most_of_pair
from app.batches.worker import leases
from app.core.models import Batch, Shard
from app.core.runtime import Runtime
from app.judgments.authority import Authority
from app.judgments.judging import Knowledge, Subject

# so many at once, so that little is tied up where a worker dies
_PIECE: Final = 256
_WAIT_SECONDS: Final = 0.25
# a soft budget goes by what pairs have cost on average once so many have
_ENOUGH: Final = 20


async def admit(
    running: Runtime, shard: Shard, worker: str, authority: Authority, subjects: Sequence[Subject]
) -> int:
    """Reserve money for the next pairs of a shard; return how many of them may be begun.

    They are admitted in the order given. Where the first cannot be covered by what is left, but
    others still hold reservations, this waits for what they give back; 0 means that the budget is
    spent, for this batch and for good.

    Raises:
        LeaseLost: the shard is not this worker's any more.
    """
    piece = subjects[:_PIECE]
    knowledge = Knowledge(authority, piece)
    await knowledge.load(running)
    most = np.array([most_of_pair(authority, knowledge, subject) for subject in piece])
    while True:
        async with running.db.write() as session:
            batch = await queries.by_seq(session, shard.batch_seq, locked=True)
            admitted, usd = covered(batch, most)
            if admitted or batch.totals.get("is_exhausted"):
                admitted = 0 if batch.totals.get("is_exhausted") else admitted
                await leases.reserve(session, shard, worker, usd if admitted else 0.0)
                batch.reserved_usd += usd if admitted else 0.0
                return admitted
            if batch.reserved_usd <= 1e-12:
                next_pair = {"is_exhausted": True, "next_pair_usd": float(most[0])}
                batch.totals = {**batch.totals, **next_pair}
                return 0
        await asyncio.sleep(_WAIT_SECONDS)


def covered(batch: Batch, most: Any) -> tuple[int, float]:
    """Return how many of the next pairs what is left covers, and what to reserve for them.

    `most` is what each may cost at most, in USD, in the order of admission, shape (n,).
    """
    left = (batch.budget_usd or 0.0) - batch.spent_usd - batch.reserved_usd
    costs = batch.totals.get("costs", {})
    if batch.budget_mode == "soft" and costs.get("pairs", 0) >= _ENOUGH:
        most = np.minimum(most, costs.get("sum", 0.0) / costs["pairs"])
    total = np.cumsum(most)
    admitted = int(np.searchsorted(total, left + 1e-12, side="right"))
    return admitted, float(total[admitted - 1]) if admitted else 0.0


async def settle(running: Runtime, shard: Shard, worker: str, usd: float | None) -> None:
    """Replace a shard's reservation by what its pairs have cost; None: all of it.

    Raises:
        LeaseLost: the shard is not this worker's any more.
    """
    async with running.db.write() as session:
        batch = await queries.by_seq(session, shard.batch_seq, locked=True)
        reserved = (await queries.shard(session, shard.batch_seq, shard.number)).reserved_usd
        await leases.reserve(session, shard, worker, 0.0)
        batch.reserved_usd = max(batch.reserved_usd - reserved, 0.0)
        batch.spent_usd += reserved if usd is None else usd


def count_as_spent(batch: Batch, reserved_usd: float) -> None:
    """Count what a worker had reserved that died: its calls may have been made.

    The caller holds the lock of the batch.
    """
    batch.reserved_usd = max(batch.reserved_usd - reserved_usd, 0.0)
    batch.spent_usd += reserved_usd
