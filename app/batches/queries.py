"""Every SQL statement about batches, their shards and their verdicts, except for leases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.lists import Paging, fetch_page
from app.core.models import UNFINISHED_BATCH, Batch, PairRow, ProviderFile, Shard, Verdict

UNFINISHED = UNFINISHED_BATCH
Positions = tuple[int, int] | Sequence[int]
_CHUNK = 1_000
VERDICTS_AT_ONCE = 1_000
# texts may be long
_WITH_TEXTS = 50


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


async def sums(
    session: AsyncSession, seqs: Sequence[int]
) -> Sequence[Row[int, dict[str, Any], dict[str, Any] | None]]:
    """Return each batch with its sums once for each shard under way, and once if it has none.

    One statement: a shard that ends between two would count twice, or not at all.
    """
    query = (
        select(Batch.seq, Batch.totals, Shard.so_far)
        .outerjoin(Shard, _is_under_way() & (Shard.batch_seq == Batch.seq))
        .where(Batch.seq.in_(seqs))
    )
    return (await session.execute(query)).all()


async def under_way(session: AsyncSession, batch_seq: int) -> Sequence[Shard]:
    """Return the shards of a batch that have come to something or made calls, and lock them."""
    has_begun = Shard.so_far.is_not(None) | Shard.calls.is_not(None)
    query = select(Shard).where(has_begun, Shard.state == "todo", Shard.batch_seq == batch_seq)
    query = query.order_by(Shard.number).with_for_update(key_share=True)
    return (await session.scalars(query.execution_options(populate_existing=True))).all()


def _is_under_way() -> ColumnElement[bool]:
    return Shard.so_far.is_not(None) & (Shard.state == "todo")


async def locked_if_free(session: AsyncSession, seq: int) -> Batch | None:
    """Return a batch and lock its row; None if another transaction has it."""
    query = _by_seq(seq, locked=False).with_for_update(key_share=True, skip_locked=True)
    return (await session.scalars(query)).one_or_none()


async def running(session: AsyncSession, limit: int) -> Sequence[Batch]:
    """Return the latest unfinished batches."""
    query = select(Batch).where(Batch.status.in_(UNFINISHED)).order_by(Batch.seq.desc())
    return (await session.scalars(query.limit(limit))).all()


async def shard(session: AsyncSession, batch_seq: int, number: int) -> Shard:
    """Return one shard."""
    return await session.get_one(Shard, (batch_seq, number), populate_existing=True)


async def provider_files(
    session: AsyncSession, seqs: Sequence[int]
) -> dict[int, list[ProviderFile]]:
    """Return the files of questions of these batches, by the batch, in the order of their making."""
    query = select(ProviderFile).where(ProviderFile.batch_seq.in_(seqs)).order_by(ProviderFile.seq)
    found: dict[int, list[ProviderFile]] = {}
    for file in await session.scalars(query):
        found.setdefault(file.batch_seq, []).append(file)
    return found


async def held_usd(session: AsyncSession, batch_seq: int) -> float:
    """Return what all pairs of a batch that wait for providers may still cost."""
    query = select(func.coalesce(func.sum(Shard.held_usd), 0.0)).where(Shard.batch_seq == batch_seq)
    return float(await session.scalar(query) or 0.0)


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
        .values(state="cancelled", leased_until=None, so_far=None, is_waiting=False, held_usd=0.0)
    )


async def error_of_waiting(session: AsyncSession, batch_seq: int) -> str | None:
    """Return why the last attempt at a shard that waits for another one failed, if one does."""
    query = (
        select(Shard.error)
        .where(Shard.batch_seq == batch_seq, Shard.state == "todo", Shard.error.is_not(None))
        .order_by(Shard.number)
        .limit(1)
    )
    return (await session.scalars(query)).first()


async def number_waiting(session: AsyncSession, batch_seq: int) -> int:
    """Return how many shards of a batch wait for a provider's file."""
    query = (
        select(func.count())
        .select_from(Shard)
        .where(Shard.batch_seq == batch_seq, Shard.state == "todo", Shard.is_waiting.is_(True))
    )
    return await session.scalar(query) or 0


async def set_promise(session: AsyncSession, batch_seq: int, promise: str) -> None:
    """Set what every verdict of a batch promises."""
    await session.execute(
        update(Verdict).where(Verdict.batch_seq == batch_seq).values(promise=promise)
    )


async def verdicts_after(
    session: AsyncSession, batch_seq: int, position: int, statuses: Sequence[str] | None = None
) -> Sequence[Verdict]:
    """Return the next verdicts of a batch, or those of these statuses, in order of the dataset."""
    query = (
        select(Verdict)
        .where(Verdict.batch_seq == batch_seq, Verdict.position > position)
        .order_by(Verdict.position)
        .limit(VERDICTS_AT_ONCE)
    )
    if statuses is not None:
        query = query.where(Verdict.status.in_(statuses))
    return (await session.scalars(query)).all()


async def results_after(
    session: AsyncSession, batch_seq: int, position: int, *, texts: bool = False
) -> tuple[Sequence[Row[Any]], bool]:
    """Return verdict, pair id, models and, if wanted, texts of the next pairs, in their order.

    The rows are those that `pair_from_row` takes; also returned is whether there may be more.
    """
    columns = (
        Verdict.body, Verdict.position, Verdict.content_hash, Verdict.explained_by,
        PairRow.id, PairRow.model_a, PairRow.model_b,
    )  # fmt: skip
    limit = _WITH_TEXTS if texts else VERDICTS_AT_ONCE
    query = (
        select(*columns, *((PairRow.content,) if texts else ()))
        .outerjoin(PairRow, PairRow.seq == Verdict.pair_seq)
        .where(Verdict.batch_seq == batch_seq, Verdict.position > position)
        .order_by(Verdict.position)
        .limit(limit)
    )
    rows = (await session.execute(query)).all()
    return rows, len(rows) == limit


async def unfinished_shards(session: AsyncSession, batch_seq: int) -> list[Shard]:
    """Return the shards that have no verdicts, in order."""
    query = (
        select(Shard)
        .where(Shard.batch_seq == batch_seq, Shard.state != "done")
        .order_by(Shard.number)
    )
    return list(await session.scalars(query))


async def unjudged(
    session: AsyncSession, batch: Batch, positions: Positions
) -> Sequence[Row[int, str, str]]:
    """Return position, id and group of the pairs at these few positions that have no verdict."""
    is_there = (
        (PairRow.position >= positions[0]) & (PairRow.position < positions[1])
        if isinstance(positions, tuple)
        else PairRow.position.in_(positions)
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
    return (await session.execute(query)).all()


def some_at_a_time(positions: Positions) -> Iterator[Positions]:
    """Split positions, so that few rows are read at a time."""
    if isinstance(positions, tuple):
        first, last = positions
        for start in range(first, last, _CHUNK):
            yield (start, min(start + _CHUNK, last))
        return
    for start in range(0, len(positions), _CHUNK):
        yield positions[start : start + _CHUNK]
