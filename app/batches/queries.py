"""Every SQL statement about batches, their shards and their verdicts, except for leases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.lists import Paging, fetch_page
from app.core.models import UNFINISHED_BATCH, Batch, PairRow, Shard, Verdict

UNFINISHED = UNFINISHED_BATCH
Positions = tuple[int, int] | Sequence[int]
_CHUNK = 1_000


async def by_seq(session: AsyncSession, seq: int) -> Batch:
    """Return a batch."""
    return (await session.scalars(_by_seq(seq, locked=False))).one()


async def locked(session: AsyncSession, seq: int) -> Batch:
    """Return a batch and lock its row until the transaction ends."""
    return (await session.scalars(_by_seq(seq, locked=True))).one()


async def find_by_seq(session: AsyncSession, seq: int, *, locked: bool = False) -> Batch | None:
    """Return a batch, None if it was deleted."""
    return (await session.scalars(_by_seq(seq, locked=locked))).one_or_none()


def _by_seq(seq: int, *, locked: bool) -> Select[Batch]:
    query = select(Batch).where(Batch.seq == seq).execution_options(populate_existing=True)
    # not FOR UPDATE: inserting verdicts, which refer to the batch, would block it
    return query.with_for_update(key_share=True) if locked else query


async def page(session: AsyncSession, paging: Paging) -> Sequence[Batch]:
    """Return one batch more than the page holds."""
    return await fetch_page(session, select(Batch), Batch, paging)


async def last_ended(session: AsyncSession, dataset_seq: int, certificate_seq: int) -> Batch | None:
    """Return the latest ended batch of a certificate over a dataset."""
    query = (
        select(Batch)
        .where(
            Batch.dataset_seq == dataset_seq,
            Batch.certificate_seq == certificate_seq,
            Batch.status.not_in(UNFINISHED),
        )
        .order_by(Batch.seq.desc())
        .limit(1)
    )
    return (await session.scalars(query)).first()


async def of_dataset(session: AsyncSession, dataset_seq: int) -> Batch | None:
    """Return the latest batch over a dataset."""
    query = select(Batch).where(Batch.dataset_seq == dataset_seq).order_by(Batch.seq.desc())
    return (await session.scalars(query.limit(1))).first()


async def unfinished_of(session: AsyncSession, dataset_seq: int) -> Sequence[Batch]:
    """Return the unfinished batches over a dataset."""
    query = select(Batch).where(Batch.dataset_seq == dataset_seq, Batch.status.in_(UNFINISHED))
    return (await session.scalars(query.order_by(Batch.seq))).all()


async def overdue(
    session: AsyncSession, moment: datetime, *, locked: bool = True
) -> Sequence[Batch]:
    """Return unfinished batches whose time is up; `locked` locks them and skips locked ones."""
    query = select(Batch).where(Batch.status.in_(UNFINISHED), Batch.expires_at < moment)
    if locked:
        query = query.with_for_update(skip_locked=True, key_share=True)
    return (await session.scalars(query)).all()


async def add_shards(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Store the shards of a new batch."""
    for start in range(0, len(rows), _CHUNK):
        await session.execute(insert(Shard), list(rows[start : start + _CHUNK]))


async def shards(session: AsyncSession, batch_seq: int) -> Sequence[Shard]:
    """Return a batch's shards in order."""
    query = select(Shard).where(Shard.batch_seq == batch_seq).order_by(Shard.number)
    return (await session.scalars(query)).all()


async def shard(session: AsyncSession, batch_seq: int, number: int) -> Shard:
    """Return one shard."""
    return await session.get_one(Shard, (batch_seq, number), populate_existing=True)


async def forget_verdicts(session: AsyncSession, shard: Shard, positions: Positions) -> None:
    """Delete the verdicts of a shard that is judged again."""
    of_batch = Verdict.batch_seq == shard.batch_seq
    if isinstance(positions, tuple):
        await session.execute(
            delete(Verdict).where(
                of_batch, Verdict.position >= positions[0], Verdict.position < positions[1]
            )
        )
        return
    for start in range(0, len(positions), _CHUNK):
        await session.execute(
            delete(Verdict).where(of_batch, Verdict.position.in_(positions[start : start + _CHUNK]))
        )


async def cancel_shards(session: AsyncSession, batch_seq: int) -> None:
    """Cancel every unfinished shard; their workers lose their leases."""
    await session.execute(
        update(Shard)
        .where(Shard.batch_seq == batch_seq, Shard.state == "todo")
        .values(state="cancelled", leased_until=None)
    )


async def set_promise(session: AsyncSession, batch_seq: int, promise: str) -> None:
    """Set what every verdict of a batch promises."""
    await session.execute(
        update(Verdict).where(Verdict.batch_seq == batch_seq).values(promise=promise)
    )


async def verdicts(
    session: AsyncSession, batch_seq: int, statuses: Sequence[str] | None = None
) -> AsyncIterator[Verdict]:
    """Yield a batch's verdicts in the order of the dataset; one chunk is in memory at a time."""
    last = -1
    while True:
        query = (
            select(Verdict)
            .where(Verdict.batch_seq == batch_seq, Verdict.position > last)
            .order_by(Verdict.position)
            .limit(_CHUNK)
        )
        if statuses is not None:
            query = query.where(Verdict.status.in_(statuses))
        rows = (await session.scalars(query)).all()
        for row in rows:
            yield row
        if len(rows) < _CHUNK:
            return
        last = rows[-1].position or 0
        session.expunge_all()


async def unfinished_shards(session: AsyncSession, batch_seq: int) -> list[Shard]:
    """Return the shards that have no verdicts, in order."""
    query = (
        select(Shard)
        .where(Shard.batch_seq == batch_seq, Shard.state != "done")
        .order_by(Shard.number)
    )
    return list(await session.scalars(query))


async def unjudged(
    session: AsyncSession, batch: Batch, positions: tuple[int, int] | Sequence[int]
) -> AsyncIterator[Row[int, str, str]]:
    """Yield position, id and group of the pairs at these positions that have no verdict."""
    for chunk in _chunks(positions):
        is_there = (
            (PairRow.position >= chunk[0]) & (PairRow.position < chunk[1])
            if isinstance(chunk, tuple)
            else PairRow.position.in_(chunk)
        )
        has_verdict = exists().where(
            Verdict.batch_seq == batch.seq, Verdict.position == PairRow.position
        )
        query = (
            select(PairRow.position, PairRow.id, PairRow.group)
            .where(
                PairRow.dataset_seq == batch.dataset_seq,
                PairRow.content.is_not(None),
                is_there,
                ~has_verdict,
            )
            .order_by(PairRow.position)
        )
        for row in await session.execute(query):
            yield row


def _chunks(
    positions: tuple[int, int] | Sequence[int],
) -> Iterator[tuple[int, int] | Sequence[int]]:
    if isinstance(positions, tuple):
        first, last = positions
        for start in range(first, last, _CHUNK):
            yield (start, min(start + _CHUNK, last))
        return
    for start in range(0, len(positions), _CHUNK):
        yield positions[start : start + _CHUNK]
