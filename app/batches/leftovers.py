"""Every SQL statement about what a batch has left unjudged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from sqlalchemy import Row, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Batch, PairRow, Shard, Verdict

_CHUNK: Final = 1_000


async def unfinished_shards(session: AsyncSession, batch_seq: int) -> list[Shard]:
    """Return the shards that ended without verdicts, in order."""
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
