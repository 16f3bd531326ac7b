"""Cursor pages, and look-up by public id.

`after` is the id of the last row already seen, so that new rows never shift a page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.common import PageBody
from app.core.errors import NotFound
from app.core.models import Listed
from app.core.names import is_name, shown

Limit = Annotated[int, Query(ge=1, le=1000, description="rows on this page")]
After = Annotated[str | None, Query(max_length=512, description="id of the last row already seen")]
RowT = TypeVar("RowT")


Page = PageBody[dict[str, Any]]


def page_of(
    rows: Sequence[RowT], limit: int, show: Callable[[RowT], dict[str, Any]], key: str = "id"
) -> Page:
    """Make a page of at most `limit` rows out of `limit + 1` fetched ones."""
    data = [show(row) for row in rows[:limit]]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0][key] if data else None,
        "last_id": data[-1][key] if data else None,
        "has_more": len(rows) > limit,
    }


async def fetch_page(
    session: AsyncSession, query: Select[RowT], table: Any, limit: int, after: str | None
) -> Sequence[RowT]:
    """Return up to `limit + 1` rows of `query` after the row whose id is `after`.

    Raises:
        NotFound: `after` is the id of no row.
    """
    if after is not None:
        is_possible = is_name(after)
        seq = (
            await session.scalar(select(table.seq).where(table.id == after))
            if is_possible
            else None
        )
        if seq is None:
            raise NotFound(f"after: there is no {shown(after)} in this list")
        query = query.where(table.seq > seq)
    return (await session.scalars(query.order_by(table.seq).limit(limit + 1))).all()


ListedT = TypeVar("ListedT", bound=Listed)


async def by_public_id(
    session: AsyncSession, table: type[ListedT], public_id: str
) -> ListedT | None:
    """Return the row with this id, or None.

    An id that no row can have (NUL, lone surrogates) is not sent: PostgreSQL refuses such text.
    """
    if not is_name(public_id):
        return None
    return await session.scalar(select(table).where(table.id == public_id))
