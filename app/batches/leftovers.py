"""Every SQL statement about what a batch has left unjudged."""

from __future__ import annotations

from collections.abc import AsyncIterator
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
    session: AsyncSession, batch: Batch, shard: Shard
) -> AsyncIterator[Row[int, str, str]]:
    """Yield id and group of a shard's pairs that have no verdict, a chunk in memory at a time."""
    first = shard.first
    has_verdict = exists().where(
        Verdict.batch_seq == batch.seq, Verdict.position == PairRow.position
    )
    while True:
        query = (
            select(PairRow.position, PairRow.id, PairRow.group)
            .where(
                PairRow.dataset_seq == batch.dataset_seq,
                PairRow.position >= first,
                PairRow.position < shard.last,
                PairRow.content.is_not(None),
                ~has_verdict,
            )
            .order_by(PairRow.position)
            .limit(_CHUNK)
        )
        rows = (await session.execute(query)).all()
        for row in rows:
            yield row
        if len(rows) < _CHUNK:
            return
        first = rows[-1].position + 1
