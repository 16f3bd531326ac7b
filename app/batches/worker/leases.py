"""Shard leases: the SQL with which workers claim shards, keep them and end them.

A claimed `Shard` is the lease itself: it carries the worker's name and the number of the attempt,
and every statement here changes the row only while both are still its own. A worker that dies stops
renewing; its shard is free when the lease has run out, or at once where the worker is known to be
dead. A shard's results and its completion are one transaction, which fails if the lease was lost, so
nothing is stored twice or in part.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.models import Batch, Shard


class Longest(NamedTuple):
    """How long a worker keeps a shard, and how long a shard that failed is left alone, at most."""

    lease: timedelta
    pause: timedelta


class LeaseLost(Exception):
    """Another worker has the shard, or it was cancelled: nothing of it may be stored."""


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


async def ledger_time(session: AsyncSession, now: Callable[[], datetime]) -> datetime:
    """Return the time that leases are measured by: the database's if machines share it.

    A machine whose clock is ahead would otherwise claim shards that others are working on.
    """
    if session.get_bind().dialect.name != "postgresql":
        return now()
    moment: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return moment


async def is_any_free(
    session: AsyncSession, moment: datetime, *, batch_seq: int | None = None
) -> bool:
    """Say whether a shard, of this batch if one is given, is free; takes no lock."""
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
    """Claim the next free shard, of this batch if one is given; None if no shard is free."""
    return await _claim(session, worker, _free(moment, batch_seq), moment + lease)


async def claim_untried(
    session: AsyncSession,
    worker: str,
    moment: datetime,
    lease: timedelta,
    *,
    batch_seq: int | None = None,
) -> Shard | None:
    """Claim a shard that no worker had before, so that none can have died over it."""
    query = _free(moment, batch_seq).where(Shard.attempts == 0)
    return await _claim(session, worker, query, moment + lease)


async def _claim(session: AsyncSession, worker: str, query: Any, until: datetime) -> Shard | None:
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
            Shard.is_waiting.is_(False),
            or_(Shard.leased_until.is_(None), Shard.leased_until < moment),
            Batch.status == "in_progress",
        )
        .order_by(Shard.batch_seq, Shard.number)
        .limit(1)
    )
    return query if batch_seq is None else query.where(Shard.batch_seq == batch_seq)


async def holders(session: AsyncSession, is_meant: Callable[[str], bool]) -> list[str]:
    """Return the workers that hold unfinished shards, as far as they are meant."""
    query = select(Shard.worker).where(Shard.state == "todo", Shard.worker.is_not(None))
    return [name for name in await session.scalars(query.distinct()) if name and is_meant(name)]


async def release(session: AsyncSession, is_dead: Callable[[str], bool]) -> int:
    """Free the shards of workers that are known to be dead; return how many they held."""
    dead = await holders(session, is_dead)
    if not dead:
        return 0
    freed = await session.execute(
        update(Shard)
        .where(Shard.state == "todo", Shard.worker.in_(dead))
        .values(leased_until=None, worker=None)
        .returning(Shard.number)
    )
    return len(freed.all())


async def is_any_overlong(session: AsyncSession, moment: datetime, longest: Longest) -> bool:
    """Say whether a shard is leased for longer than any lease from now: the clock was set back."""
    queries = [select(Shard.number).where(is_meant) for is_meant, _ in _overlong(moment, longest)]
    return any([(await session.execute(query.limit(1))).first() for query in queries])


async def shorten(session: AsyncSession, moment: datetime, longest: Longest) -> None:
    """Let no lease and no pause end later than one that starts now.

    A worker that lives renews its lease in time; a dead one would keep its shard until the clock is
    where it was.
    """
    for is_meant, until in _overlong(moment, longest):
        await session.execute(update(Shard).where(is_meant).values(leased_until=until))


def _overlong(moment: datetime, longest: Longest) -> list[tuple[ColumnElement[bool], datetime]]:
    is_open = Shard.state == "todo"
    return [
        (is_open & is_held & (Shard.leased_until > moment + most), moment + most)
        for is_held, most in (
            (Shard.worker.is_not(None), longest.lease),
            (Shard.worker.is_(None), longest.pause),
        )
    ]


async def renew(session: AsyncSession, shard: Shard, until: datetime) -> None:
    """Keep a shard until a later moment.

    Raises:
        LeaseLost: the lease is not in force any more.
    """
    await _update(session, shard, {"leased_until": until})


async def reserve(session: AsyncSession, shard: Shard, usd: float) -> None:
    """Store what the worker of a shard may still spend on it.

    Raises:
        LeaseLost: the lease is not in force any more.
    """
    await _update(session, shard, {"reserved_usd": usd})


async def hold(session: AsyncSession, shard: Shard, usd: float) -> None:
    """Store what pairs of a shard that wait for a provider may still cost; nothing else is reserved.

    Raises:
        LeaseLost: the lease is not in force any more.
    """
    await _update(session, shard, {"reserved_usd": 0.0, "held_usd": usd})


async def tell(session: AsyncSession, shard: Shard, so_far: dict[str, Any]) -> bool:
    """Store what the pairs of a shard have come to; return False if the lease was lost."""
    try:
        await _update(session, shard, {"so_far": so_far})
    except LeaseLost:
        return False
    return True


async def note_calls(
    session: AsyncSession,
    shard: Shard,
    calls: Iterable[tuple[str, str]],
    *,
    is_open: bool = True,
) -> None:
    """Store which calls are under way or were cut off, as pair and judge.

    Raises:
        LeaseLost: another attempt at the shard has begun, or it has ended and `is_open` says that
            it may not have.
    """
    values = {"calls": [list(call) for call in sorted(calls)] or None}
    await _update(session, shard, values, is_open=is_open)


async def finish(session: AsyncSession, shard: Shard, counts: dict[str, Any]) -> None:
    """Mark a shard as done.

    Raises:
        LeaseLost: the lease is not in force any more.
    """
    done = {
        "state": "done", "leased_until": None, "error": None, "reserved_usd": 0.0, "so_far": None,
        "held_usd": 0.0, "kept": None,
    }  # fmt: skip
    await _update(session, shard, {**done, "counts": {**shard.counts, **counts}})


async def give_up(
    session: AsyncSession, shard: Shard, error: str, *, retry_at: datetime | None
) -> None:
    """Free a shard for another attempt from `retry_at` on, or set it aside where that is None.

    Raises:
        LeaseLost: the lease is not in force any more.
    """
    state = "failed" if retry_at is None else "todo"
    values = {"state": state, "leased_until": retry_at, "error": error, "worker": None}
    await _update(session, shard, values | ({} if retry_at else {"reserved_usd": 0.0}))


async def put_off(session: AsyncSession, shard: Shard, values: dict[str, Any]) -> None:
    """Free a shard whose pairs wait for a provider's batch; no worker claims it until it is woken.

    Args:
        session: The transaction that stores its questions.
        shard: The shard.
        values: What its next attempt needs to know.

    Raises:
        LeaseLost: the lease is not in force any more.
    """
    free = {
        "leased_until": None, "worker": None, "attempts": shard.attempts - 1, "error": None,
        "is_waiting": True,
    }  # fmt: skip
    await _update(session, shard, {**values, **free})


async def hand_back(session: AsyncSession, shard: Shard) -> None:
    """Free a shard at once, as if it had not been claimed.

    Raises:
        LeaseLost: the lease is not in force any more.
    """
    free = {"leased_until": None, "worker": None, "attempts": shard.attempts - 1}
    await _update(session, shard, free)


async def exists(session: AsyncSession, shard: Shard) -> bool:
    """Say whether a shard still exists: deleting its dataset or certificate deletes it too."""
    query = select(Shard.number).where(
        Shard.batch_seq == shard.batch_seq, Shard.number == shard.number
    )
    return (await session.execute(query)).first() is not None


async def is_finished(session: AsyncSession, shard: Shard) -> bool:
    """Say whether a shard was finished under this lease."""
    query = select(Shard.number).where(
        Shard.batch_seq == shard.batch_seq,
        Shard.number == shard.number,
        Shard.worker == shard.worker,
        Shard.attempts == shard.attempts,
        Shard.state == "done",
    )
    return (await session.execute(query)).first() is not None


async def _update(
    session: AsyncSession, shard: Shard, values: dict[str, Any], *, is_open: bool = True
) -> None:
    statement = (
        update(Shard)
        .where(
            Shard.batch_seq == shard.batch_seq,
            Shard.number == shard.number,
            Shard.worker == shard.worker,
            Shard.attempts == shard.attempts,
            Shard.state == "todo" if is_open else true(),
        )
        .values(**values)
        .returning(Shard.number)
        .execution_options(synchronize_session=False)
    )
    if (await session.execute(statement)).first() is None:
        raise LeaseLost(f"shard {shard.number} of batch {shard.batch_seq}")
