"""Who works on which shard, until when. Every function is part of its caller's transaction.

A worker that dies simply stops renewing; when the lease has run out anybody may take the shard.
A shard's results and its completion are one transaction, which fails if the lease was lost, so
nothing is stored twice and nothing is stored by halves.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Batch, Shard

_LONGEST_BACKOFF = timedelta(minutes=5)


class LeaseLost(Exception):
    """Somebody else has the shard, or it was cancelled: what was done on it must not be stored."""


async def claim(
    session: AsyncSession, worker: str, moment: datetime, lease: timedelta
) -> Shard | None:
    """Take the next free shard, or None where there is none."""
    query = (
        select(Shard)
        .join(Batch, Batch.seq == Shard.batch_seq)
        .where(
            Shard.state == "todo",
            or_(Shard.leased_until.is_(None), Shard.leased_until < moment),
            Batch.status == "in_progress",
        )
        .order_by(Shard.batch_seq, Shard.number)
        .limit(1)
        .with_for_update(of=Shard, skip_locked=True)
    )
    shard = (await session.scalars(query)).one_or_none()
    if shard is not None:
        shard.worker = worker
        shard.leased_until = moment + lease
        shard.attempts += 1
    return shard


async def renew(session: AsyncSession, shard: Shard, worker: str, until: datetime) -> None:
    """Keep a shard longer.

    Raises:
        LeaseLost: it is not this worker's any more.
    """
    await _update(session, shard, worker, {"leased_until": until})


async def finish(session: AsyncSession, shard: Shard, worker: str, counts: dict[str, Any]) -> None:
    """Mark a shard as done.

    Raises:
        LeaseLost: it is not this worker's any more.
    """
    await _update(session, shard, worker, {"state": "done", "leased_until": None, "counts": counts})


async def give_up(
    session: AsyncSession,
    shard: Shard,
    worker: str,
    error: str,
    *,
    retry_at: datetime | None,
) -> None:
    """Leave a shard to a later attempt, or set it aside where `retry_at` is None.

    Raises:
        LeaseLost: it is not this worker's any more.
    """
    state = "failed" if retry_at is None else "todo"
    await _update(
        session, shard, worker, {"state": state, "leased_until": retry_at, "error": error}
    )


async def hand_back(session: AsyncSession, shard: Shard, worker: str) -> None:
    """Leave a shard to whoever comes next, as if it had not been tried.

    Raises:
        LeaseLost: it is not this worker's any more.
    """
    await _update(session, shard, worker, {"leased_until": None, "attempts": shard.attempts - 1})


async def is_there(session: AsyncSession, shard: Shard) -> bool:
    """Whether a shard still exists: it goes when its dataset or its certificate is deleted."""
    query = select(Shard.number).where(
        Shard.batch_seq == shard.batch_seq, Shard.number == shard.number
    )
    return (await session.execute(query)).first() is not None


def backoff(attempts: int) -> timedelta:
    """Return how long a shard rests after so many attempts."""
    return min(timedelta(seconds=2.0 ** min(attempts, 16)), _LONGEST_BACKOFF)


async def _update(session: AsyncSession, shard: Shard, worker: str, values: dict[str, Any]) -> None:
    statement = (
        update(Shard)
        .where(
            Shard.batch_seq == shard.batch_seq,
            Shard.number == shard.number,
            Shard.worker == worker,
            Shard.attempts == shard.attempts,
            Shard.state == "todo",
        )
        .values(**values)
        .returning(Shard.number)
    )
    if (await session.execute(statement)).first() is None:
        raise LeaseLost(f"shard {shard.number} of batch {shard.batch_seq}")
