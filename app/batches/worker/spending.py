"""A batch's budget: a pair is judged only if all judges that it may need are covered.

A cheap judge never answers a pair because money ran out for a dearer one: the promise is on the
whole cascade. The most that pairs may cost is reserved before they are judged, and replaced by what
they did cost afterwards. What a dead worker had reserved counts as spent.
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

# pairs reserved at a time: few, so that a worker that dies ties up little
_PIECE: Final = 256
_WAIT_SECONDS: Final = 0.25
# pairs after which a soft budget reserves the mean cost of a pair instead of the most
_ENOUGH: Final = 20


async def admit(
    running: Runtime, shard: Shard, authority: Authority, subjects: Sequence[Subject]
) -> int:
    """Reserve money for the next pairs of a shard; return how many of them may be judged.

    They are admitted in the order given. If what is left does not cover the first one, this waits
    while other workers hold reservations. 0 means that the budget of the batch is spent.
    """
    piece = subjects[:_PIECE]
    knowledge = Knowledge(authority, piece)
    await knowledge.load(running)
    most = np.array([most_of_pair(authority, knowledge, subject) for subject in piece])
    while True:
        async with running.db.write() as session:
            batch = await queries.locked(session, shard.batch_seq)
            admitted, usd = covered(batch, most)
            if admitted or batch.totals.get("is_exhausted"):
                admitted = 0 if batch.totals.get("is_exhausted") else admitted
                await leases.reserve(session, shard, usd if admitted else 0.0)
                batch.reserved_usd += usd if admitted else 0.0
                return admitted
            if batch.reserved_usd <= 1e-12:
                next_pair = {"is_exhausted": True, "next_pair_usd": float(most[0])}
                batch.totals = {**batch.totals, **next_pair}
                return 0
        await asyncio.sleep(_WAIT_SECONDS)


def covered(batch: Batch, most: Any) -> tuple[int, float]:
    """Return how many of the next pairs the rest of a budget covers, and what to reserve for them.

    `most` is the most that each may cost, in USD, in the order of admission, shape (n,).
    """
    left = (batch.budget_usd or 0.0) - batch.spent_usd - batch.reserved_usd
    costs = batch.totals.get("costs", {})
    if batch.budget_mode == "soft" and costs.get("pairs", 0) >= _ENOUGH:
        most = np.minimum(most, costs.get("sum", 0.0) / costs["pairs"])
    total = np.cumsum(most)
    admitted = int(np.searchsorted(total, left + 1e-12, side="right"))
    return admitted, float(total[admitted - 1]) if admitted else 0.0


async def settle(running: Runtime, shard: Shard, usd: float | None) -> None:
    """Replace a shard's reservation by what its pairs have cost, or by all of it if `usd` is None."""
    async with running.db.write() as session:
        batch = await queries.locked(session, shard.batch_seq)
        reserved = (await queries.shard(session, shard.batch_seq, shard.number)).reserved_usd
        await leases.reserve(session, shard, 0.0)
        batch.reserved_usd = max(batch.reserved_usd - reserved, 0.0)
        batch.spent_usd += reserved if usd is None else usd


def count_as_spent(batch: Batch, reserved_usd: float) -> None:
    """Count what a dead worker had reserved as spent: its calls may have been made.

    The caller holds the lock of the batch.
    """
    batch.reserved_usd = max(batch.reserved_usd - reserved_usd, 0.0)
    batch.spent_usd += reserved_usd
