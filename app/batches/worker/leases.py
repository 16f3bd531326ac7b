"""Leases; storing patiently.

A worker that dies simply stops renewing; when the lease has run out anybody may take the shard, and
at once where the worker is known to be dead. A shard's results and its completion are one
transaction, which fails if the lease was lost, so nothing is stored twice and nothing by halves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, or_, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.models import Batch, Shard
from app.core.runtime import Runtime
from app.core.tasks import to_the_end

_LONGEST_BACKOFF = timedelta(minutes=5)


class LeaseLost(Exception):
    """Somebody else has the shard, or it was cancelled: what was done on it must not be stored."""


async def ledger_time(session: AsyncSession, now: Callable[[], datetime]) -> datetime:
    """Return the time that leases go by: the database's, where machines share one.

    A machine whose clock is ahead would otherwise take what others are working on.
    """
    if session.get_bind().dialect.name != "postgresql":
        return now()
    moment: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return moment


async def is_any_free(
    session: AsyncSession, moment: datetime, *, batch_seq: int | None = None
) -> bool:
    """Whether some shard, or one of this batch, waits for a worker: a look that hinders nobody."""
    query = _free(moment, batch_seq).with_only_columns(Shard.number)
    return (await session.execute(query)).first() is not None


async def claim(
    session: AsyncSession,
    worker: str,
    moment: datetime,
    lease: timedelta,
    *,
    batch_seq: int | None = None,
) -> Shard | None:
    """Take the next free shard, of this batch if one is given, or None where there is none."""
    return await _take(session, worker, _free(moment, batch_seq), moment + lease)


async def claim_untried(
    session: AsyncSession,
    worker: str,
    moment: datetime,
    lease: timedelta,
    *,
    batch_seq: int | None = None,
) -> Shard | None:
    """Take as `claim` does, but a shard that nobody has had: there is nothing to account for."""
    query = _free(moment, batch_seq).where(Shard.attempts == 0)
    return await _take(session, worker, query, moment + lease)


async def _take(session: AsyncSession, worker: str, query: Any, until: datetime) -> Shard | None:
    query = query.with_for_update(of=Shard, skip_locked=True, key_share=True)
    shard: Shard | None = (await session.scalars(query)).one_or_none()
    if shard is not None:
        shard.worker = worker
        shard.leased_until = until
        shard.attempts += 1
    return shard


def _free(moment: datetime, batch_seq: int | None) -> Any:
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
    )
    return query if batch_seq is None else query.where(Shard.batch_seq == batch_seq)


async def held_by(session: AsyncSession, is_meant: Callable[[str], bool]) -> list[str]:
    """Return those of the workers that hold shards that are meant."""
    query = select(Shard.worker).where(Shard.state == "todo", Shard.worker.is_not(None))
    return [name for name in await session.scalars(query.distinct()) if name and is_meant(name)]


async def release(session: AsyncSession, is_dead: Callable[[str], bool]) -> int:
    """Free the shards of workers that are known to be dead; return how many there were."""
    dead = await held_by(session, is_dead)
    if not dead:
        return 0
    freed = await session.execute(
        update(Shard)
        .where(Shard.state == "todo", Shard.worker.in_(dead))
        .values(leased_until=None, worker=None)
        .returning(Shard.number)
    )
    return len(freed.all())


async def renew(session: AsyncSession, shard: Shard, worker: str, until: datetime) -> None:
    """Keep a shard longer.

    Raises:
        LeaseLost: it is not this worker's any more.
    """
    await _update(session, shard, worker, {"leased_until": until})


async def reserve(session: AsyncSession, shard: Shard, worker: str, usd: float) -> None:
    """Note what the worker of a shard may still spend on it.

    Raises:
        LeaseLost: it is not this worker's any more.
    """
    await _update(session, shard, worker, {"reserved_usd": usd})


async def finish(session: AsyncSession, shard: Shard, worker: str, counts: dict[str, Any]) -> None:
    """Mark a shard as done.

    Raises:
        LeaseLost: it is not this worker's any more.
    """
    done = {"state": "done", "leased_until": None, "error": None, "reserved_usd": 0.0}
    await _update(session, shard, worker, {**done, "counts": {**shard.counts, **counts}})


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
    values = {"state": state, "leased_until": retry_at, "error": error}
    await _update(session, shard, worker, values | ({} if retry_at else {"reserved_usd": 0.0}))


async def hand_back(session: AsyncSession, shard: Shard, worker: str) -> None:
    """Leave a shard to whoever comes next, as if it had not been tried.

    Raises:
        LeaseLost: it is not this worker's any more.
    """
    free = {"leased_until": None, "worker": None, "attempts": shard.attempts - 1}
    await _update(session, shard, worker, free)


async def is_there(session: AsyncSession, shard: Shard) -> bool:
    """Whether a shard still exists: it goes when its dataset or its certificate is deleted."""
    query = select(Shard.number).where(
        Shard.batch_seq == shard.batch_seq, Shard.number == shard.number
    )
    return (await session.execute(query)).first() is not None


async def is_finished_by(session: AsyncSession, shard: Shard, worker: str) -> bool:
    """Whether this very worker has finished a shard in this attempt."""
    query = select(Shard.number).where(
        Shard.batch_seq == shard.batch_seq,
        Shard.number == shard.number,
        Shard.worker == worker,
        Shard.attempts == shard.attempts,
        Shard.state == "done",
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
        .execution_options(synchronize_session=False)
    )
    if (await session.execute(statement)).first() is None:
        raise LeaseLost(f"shard {shard.number} of batch {shard.batch_seq}")


_log = logging.getLogger(__name__)
_ATTEMPTS: Final = 8


async def store_patiently(
    running: Runtime,
    shard: Shard,
    worker: str,
    store: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Run the transaction that completes a shard, again where the database was away.

    Raises:
        LeaseLost: the shard is not this worker's any more.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            await to_the_end(store())
            return
        except (DBAPIError, OSError) as error:
            # what looks like a failure may have been a connection that broke after the commit
            if await _is_stored(running, shard, worker):
                return
            if attempt == _ATTEMPTS or isinstance(error, IntegrityError):
                raise
            _log.warning("shard %d cannot be stored yet: %s", shard.number, error)
            await asyncio.sleep(min(0.1 * 2**attempt, 10.0))


async def _is_stored(running: Runtime, shard: Shard, worker: str) -> bool:
    try:
        async with running.db.read() as session:
            return await is_finished_by(session, shard, worker)
    except (DBAPIError, OSError):
        return False
