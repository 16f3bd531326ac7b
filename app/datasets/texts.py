"""The responses of a dataset's pairs, read a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.datasets import queries
from app.models import Dataset

_PAGE = 1_000

Sides = tuple[Sequence[str], Sequence[str]]


async def response_sides(
    session: AsyncSession, dataset: Dataset
) -> AsyncIterator[tuple[int, Sides]]:
    """Yield the seq of each pair that has texts, and the turns of both its responses."""
    first = 0
    while rows := await queries.page_rows(session, dataset.seq, first, _PAGE):
        for row in rows:
            if row.content is not None:
                yield row.seq, (row.content["responses_a"], row.content["responses_b"])
        first = rows[-1].position + 1
